"""A user's mistake is one clear line and exit code 2; bad raw files are quarantined, or stop a build by its budget."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROSE = "The ferry left the quay at seven, and nobody on the upper deck spoke until the island was behind us. "


def one_line(result: Any) -> str:
    """The error of a failed command, which must be one line and no traceback."""
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    errors = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, result.output
    assert "Traceback" not in result.output
    return str(errors[0])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("corpus", "build", "--set", "corpus.nmae=x"), "unknown key 'nmae' in [corpus]"),
        (("corpus", "build", "--recipe", "nowhere.toml"), "nowhere.toml: expected a recipe file"),
        (("corpus", "build", "--engine", "ray"), "expected --address HOST:PORT"),
        (("corpus", "build", "--workers", "-2"), "expected --workers 0 (every core) or more"),
        (("corpus", "show", "--corpus", "nowhere"), "nowhere: expected a finished corpus; found no such folder"),
        (("bpe", "train", "--corpus", "nowhere"), "run `rbt corpus build`"),
        (("bpe", "train", "--counts", "a", "--workers", "2"), "--counts: expected no --workers beside it"),
        (("bpe", "train", "--counts", "a", "--corpus", "b"), "--counts: expected no --corpus beside it"),
        (("bpe", "train", "--gpt2", "a", "--memory", "2GB"), "--gpt2: expected no --memory beside it"),
        (("bpe", "train", "--from", "a", "--workers", "2"), "--from: expected no --workers beside it"),
        (("bpe", "train", "--from", "a", "--gpt2", "b"), "expected one of --from, --gpt2 and --counts"),
        (("bpe", "train", "--from", "a", "--vocab-size", "9"), "expected no option that shapes merges"),
        (("bpe", "train", "--from", "nowhere"), "nowhere: expected the tokenizer of a model"),
        (("pack", "--corpus", "nowhere"), "run `rbt corpus build`"),
        (("pack", "stats", "--out", "nowhere"), "nowhere: expected an index"),
        (("pack", "stats", "--format", "full"), "'full' is not one of 'full-sentences'"),
        (("pack", "--explain", "1", "--out", "nowhere"), "nowhere: expected an index"),
        (("trace", "--step", "1", "--packed", "nowhere"), "nowhere: expected an index"),
        (("trace", "--step", "1", "--run", "nowhere"), "nowhere/config.toml: expected the configuration of a run"),
        (("pretrain", "--packed", "nowhere"), "nowhere"),
        (("export", "--run", "nowhere"), "nowhere"),
        (("export", "--checkpoint", "last"), "newest, best or a number of steps; found 'last'"),
        (("fill-mask", "a <mask>", "--model", "nowhere"), "nowhere"),
        (("verify", "nowhere"), "nowhere: expected the folder of an artefact"),
        (("init", "."), "rbt.toml: expected no recipe yet"),
        (("corpus", "build", "--nope"), "No such option '--nope'. (see `"),
        (("corpus", "build", "--set", "source.2.until='soon'"), "source 'ccnews', until: expected a date"),
        (("corpus", "build", "--set", "source.5.columns={body='text'}"), "columns: expected some of id, text"),
    ],
)
def test_a_mistake_is_one_clear_line(
    new_project: Callable[[], Any], words: tuple[str, ...], expected: str
) -> None:
    assert expected in one_line(new_project().run(*words, small=False))


def test_without_a_recipe_only_the_corpus_needs_one(tmp_path: Path, new_project: Callable[[], Any]) -> None:
    project = new_project()
    (project.folder / "rbt.toml").unlink()
    assert "expected at least one [[source]]" in one_line(project.run("corpus", "build", small=False))


def test_raw_files_that_are_not_there_are_named(new_project: Callable[[], Any]) -> None:
    project = new_project()
    (project.folder / "raw").unlink()
    assert "raw/wikipedia/*.xml.bz2: expected at least one file" in one_line(project.run("corpus", "build"))


def table_project(project: Any, name: str, data: bytes, errors: float = 0.9) -> Any:
    """A project whose one source is one raw file."""
    raw = project.folder / "input"
    raw.mkdir()
    (raw / name).write_bytes(data)
    kinds = {".xml": "wikipedia", ".warc": "ccnews", ".txt": "bookcorpus", ".jsonl": "table"}
    kind = next(kind for suffix, kind in kinds.items() if suffix in name)
    source = f'[[source]]\nkind = "{kind}"\npaths = ["input/*"]\nmaximum_errors = {errors}\n'
    (project.folder / "rbt.toml").write_text(source + "[clean]\nminimum_characters = 10\n")
    return project


def jsonl(count: int) -> bytes:
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]
    lines = [f'{{"id": "{n}", "text": "{PROSE}{words[n % 10]} {n} {words[n * 7 % 10]}."}}' for n in range(count)]
    return "\n".join(lines).encode() + b"\n"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("cut.jsonl.gz", gzip.compress(jsonl(400), mtime=0)[:-300]),
        ("cut.jsonl.bz2", bz2.compress(jsonl(400))[:-100]),
        ("cut.jsonl.xz", lzma.compress(jsonl(400))[:-50]),
        ("bad.jsonl", b"{not json}\n" + jsonl(5) + b"[1]\n"),
        ("bytes.jsonl", jsonl(3) + b'{"id": "x", "text": "\xff\xfe"}\n' + jsonl(1)),
    ],
)
def test_invariant_5_a_damaged_table_is_quarantined_and_the_rest_kept(
    new_project: Callable[[], Any], name: str, data: bytes
) -> None:
    from rbt.formats import quarantine
    from rbt.formats.parts import open_table

    project = table_project(new_project(), name, data)
    result = project.run("corpus", "build", "--set", "deduplicate.near=false", small=False)
    bad = sorted((project.folder / "corpus" / "work" / "ingest").glob("*.quarantine.arrow"))
    found = [row for path in bad for row in open_table(path, quarantine.SCHEMA).to_pylist()]
    assert found
    assert all(row["origin"] == name and row["reason"] for row in found)
    if name.startswith(("bad", "bytes")):
        assert result.exit_code == 0, result.output
    else:  # what could be decompressed before the cut decides whether there is a corpus; either way it is said
        assert result.exit_code == 0 or "expected at least one document" in one_line(result)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("empty.jsonl", b""),
        ("empty.txt", b""),
        ("noise.xml.bz2", b"this is not bzip2 at all"),
        ("noise.warc.gz", b"\x1f\x8bnot gzip either"),
        ("empty.xml", b"<mediawiki></mediawiki>"),
    ],
)
def test_a_source_without_a_document_stops_the_build_and_is_named(
    new_project: Callable[[], Any], name: str, data: bytes
) -> None:
    error = one_line(table_project(new_project(), name, data).run("corpus", "build", small=False))
    assert "expected at least one document" in error
    assert "input/*" in error


def test_a_source_past_its_error_budget_stops_the_build(new_project: Callable[[], Any]) -> None:
    project = table_project(new_project(), "bad.jsonl", jsonl(8) + b"x\n" * 4, errors=0.05)
    error = one_line(project.run("corpus", "build", small=False))
    assert "expected at most 5.0% unreadable records; found 4 of 12" in error


def test_a_source_that_deduplication_eats_stops_the_build(new_project: Callable[[], Any]) -> None:
    line = f'{{"id": "%d", "text": "{PROSE * 3}"}}\n'
    data = "".join(line % n for n in range(9)).encode()
    error = one_line(table_project(new_project(), "same.jsonl", data).run("corpus", "build", small=False))
    assert "found 8 of 9 documents (exact_duplicate 8)" in error


def test_an_output_folder_with_other_files_is_left_alone(new_project: Callable[[], Any]) -> None:
    project = new_project()
    (project.folder / "mine").mkdir()
    (project.folder / "mine" / "thesis.txt").write_text("chapter one")
    assert "expected a new or empty folder" in one_line(project.run("corpus", "build", "--out", "mine"))
    assert (project.folder / "mine" / "thesis.txt").read_text() == "chapter one"


def test_an_interrupt_is_one_line_and_exit_code_130(
    new_project: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rbt.corpus.build.build_corpus", interrupted)
    result = new_project().run("corpus", "build")
    assert (result.exit_code, result.output.count("\n")) == (130, 1)
    assert "interrupted" in result.output


def test_a_raw_file_whose_name_is_not_utf8_is_read_like_any_other(new_project: Callable[[], Any]) -> None:
    project = table_project(new_project(), "good.txt", (PROSE * 5).encode())
    Path(os.fsdecode(bytes(project.folder / "input") + b"/caf\xe9.txt")).write_text(PROSE.replace("ferry", "bus") * 9)
    project.must("corpus", "build", "--workers", "1", small=False)
    assert "already built" not in project.must("corpus", "show", "--id", "bookcorpus:caf\ufffd", small=False)
    project.must("corpus", "build", small=False)  # and it is found to be finished


def test_a_corpus_without_its_provenance_is_still_finished(new_project: Callable[[], Any]) -> None:
    project = table_project(new_project(), "good.txt", (PROSE * 5).encode())
    project.must("corpus", "build", "--workers", "1", small=False)
    (project.folder / "corpus" / "provenance.json").unlink()
    before = (project.folder / "corpus" / "manifest.json").stat().st_mtime_ns
    project.must("corpus", "build", small=False)
    assert (project.folder / "corpus" / "manifest.json").stat().st_mtime_ns == before


def test_without_keep_work_nothing_but_the_lock_is_left_in_the_work_folder(new_project: Callable[[], Any]) -> None:
    project = table_project(new_project(), "good.txt", (PROSE * 5).encode())
    work = project.folder / "corpus" / "work"
    for _ in range(2):  # the second run stands for one after a kill between the manifest and the clearing
        project.must("corpus", "build", "--workers", "1", "--set", "corpus.keep_work=false", small=False)
        assert [entry.name for entry in work.iterdir()] == ["lock"]
        (work / "ingest").mkdir()


def test_verify_counts_ids_that_occur_twice_and_removals_for_what_was_not_kept(
    new_project: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rbt.formats.corpus_check import check_corpus

    project = new_project()
    project.must("corpus", "build", "--workers", "1", small=False)
    folder = project.folder / "corpus"
    assert check_corpus(folder) == []
    monkeypatch.setattr("rbt.formats.corpus_check.hash_text", lambda id: 7)
    assert check_corpus(folder) == ["an id occurs twice: 91 repeats"]
    numbers = iter(range(1 << 20))
    monkeypatch.setattr("rbt.formats.corpus_check.hash_text", lambda id: next(numbers))
    assert all("which was not kept" in problem for problem in check_corpus(folder))
    assert len(check_corpus(folder)) == 7


def test_two_books_of_one_name_in_two_folders_are_two_documents(new_project: Callable[[], Any]) -> None:
    from rbt.formats.parts import find_document, open_corpus

    project = new_project()
    for folder, words in (("a", "The mill wheel stopped in March. "), ("b", "Nobody at the fair had seen a balloon. ")):
        (project.folder / "input" / folder).mkdir(parents=True)
        (project.folder / "input" / folder / "story.txt").write_text(words * 9)
    source = '[[source]]\nkind = "bookcorpus"\npaths = ["input/**/*.txt"]\n'
    (project.folder / "rbt.toml").write_text(source)
    project.must("corpus", "build", small=False)
    corpus = open_corpus(project.folder / "corpus")
    assert corpus.documents() == 2
    assert find_document(corpus, "bookcorpus:a/story") is not None
    assert find_document(corpus, "bookcorpus:b/story") is not None


def test_a_recipe_that_gives_no_corpus_replaces_none(new_project: Callable[[], Any]) -> None:
    project = new_project()
    project.must("corpus", "build")
    (project.folder / "corpus" / "notes.txt").write_text("mine")
    manifest = (project.folder / "corpus" / "manifest.json").read_bytes()
    result = project.run("corpus", "build", "--replace", "--set", "clean.minimum_characters=99999999")
    assert "expected at least one document" in one_line(result)
    assert (project.folder / "corpus" / "manifest.json").read_bytes() == manifest
    assert "sound" in project.must("verify", "corpus", small=False)
    project.must("corpus", "build", "--replace", "--set", "clean.minimum_characters=300")
    assert (project.folder / "corpus" / "notes.txt").read_text() == "mine"


def test_a_replacement_that_ends_half_way_leaves_nothing_that_looks_finished(
    new_project: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rbt.corpus import build
    from rbt.errors import RbtError

    def full_disk(*_: Any) -> None:
        raise RbtError("expected room on the disk")

    project = new_project()
    project.must("corpus", "build")
    monkeypatch.setattr(build, "write_parts", full_disk)
    one_line(project.run("corpus", "build", "--replace", "--set", "clean.minimum_characters=300"))
    assert not (project.folder / "corpus" / "manifest.json").exists()
