"""Raw files of a recipe: what is refused before a byte is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rbt.corpus.config import OPTION_KINDS, SourceConfig
from rbt.corpus.ingest import check_sources
from rbt.corpus.raw_files import check_options, is_date, list_raw_files
from rbt.errors import ConfigError, InputError
from rbt.ledger import Ledger

OTHER_VALUES = {
    "disambiguation": True, "sentence_lines": "yes", "split_books": True, "since": "", "until": "",
    "extractor": "trafilatura", "page_bytes": 5, "page_seconds": 5.0, "urls": "u", "questions": ("q",),
    "top_fraction": 0.5, "detokenize": False, "columns": {"text": "t"},
}


@pytest.mark.parametrize("option", OPTION_KINDS)
def test_v6_an_option_of_another_kind_is_an_error_that_names_it(option: str) -> None:
    """Each option is refused on each kind that does not know it, and taken on those that do."""
    for kind in ("wikipedia", "bookcorpus", "ccnews", "openwebtext", "stories", "table"):
        values: dict[str, Any] = {option: OTHER_VALUES[option]}
        if option == "top_fraction":
            values["questions"] = ("q",) if kind == "stories" else ()
        source = SourceConfig(kind, ("x",), **values)  # type: ignore[arg-type]
        if kind in OPTION_KINDS[option]:
            check_options(source)
        else:
            with pytest.raises(ConfigError, match=f"{option!r} on a source of kind"):
                check_options(source)


@pytest.mark.parametrize("text", ["2016", "2016-09", "2016-09-01", "2016-09-01T00:00:00", "2016-09-01T00:00:00Z"])
def test_dates_may_be_as_precise_as_they_like(text: str) -> None:
    """A year, a month, a day, or a second."""
    assert is_date(text)


@pytest.mark.parametrize("text", ["2019-13-45", "2019-02-30", "19-01-01", "yesterday", "2019-01-01T25:00:00", "0000"])
def test_dates_that_no_calendar_has_are_refused(text: str) -> None:
    """They would be compared as text, and drop everything."""
    assert not is_date(text)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (SourceConfig("ccnews", ("x",), since="2019-13-45"), "expected a date"),
        (SourceConfig("ccnews", ("x",), since="2019-06", until="2019-01"), "`since` before `until`"),
        (SourceConfig("stories", ("x",), top_fraction=0.1), "`questions` beside `top_fraction`"),
    ],
)
def test_options_that_cannot_be_are_refused_at_once(source: SourceConfig, words: str) -> None:
    """Before anything is read."""
    with pytest.raises(ConfigError, match=words):
        check_options(source)


@pytest.mark.parametrize(("kind", "option"), [("stories", "questions"), ("openwebtext", "urls")])
def test_pages_for_a_source_of_texts_need_its_option(kind: str, option: str, tmp_path: Path) -> None:
    """A WARC file would be read as text otherwise."""
    (tmp_path / "a.warc.gz").write_bytes(b"")
    with pytest.raises(InputError, match=f"no `{option}`"):
        list_raw_files([SourceConfig(kind, ("*.gz",))], tmp_path)  # type: ignore[arg-type]


def test_lists_name_files_relative_to_themselves_or_from_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a list beside a recipe in the working folder, whose path is a bare name."""
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/a.txt").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    (tmp_path / "list").write_text(f"raw/a.txt\n{tmp_path}/b.txt\n")
    monkeypatch.chdir(tmp_path)
    for base in (Path(), tmp_path):
        files = list_raw_files([SourceConfig("bookcorpus", ("@list",))], base)
        assert sorted(Path(raw.location).resolve() for raw in files) == [tmp_path / "b.txt", tmp_path / "raw/a.txt"]


def test_a_folder_and_an_empty_list_are_called_so(tmp_path: Path) -> None:
    """The cure differs."""
    (tmp_path / "books").mkdir()
    (tmp_path / "list").write_text("# nothing\n")
    with pytest.raises(InputError, match=r"found a folder \(name its files: books/\*\*"):
        list_raw_files([SourceConfig("bookcorpus", ("books",))], tmp_path)
    with pytest.raises(InputError, match="found an empty list"):
        list_raw_files([SourceConfig("bookcorpus", ("@list",))], tmp_path)


@pytest.mark.parametrize(("rule", "words"), [("date", "since = '2016-09-01'"), ("url", "`urls`"), ("mime", "`kind`")])
def test_a_source_of_which_nothing_is_left_says_what_to_change(rule: str, words: str) -> None:
    """The rule that dropped its records tells which key it is."""
    ledger = Ledger()
    row = ledger.row("read", "ccnews")
    row.take(10)
    row.drop(rule, 10)
    with pytest.raises(InputError, match=words):
        check_sources([SourceConfig("ccnews", ("x",))], ledger)
