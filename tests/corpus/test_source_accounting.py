"""Every raw file there is: records = documents + skipped + quarantined, in number and bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from rbt.config import to_table
from rbt.corpus.clean import clean_text
from rbt.corpus.config import SourceConfig, SourceKind
from rbt.corpus.ingest import ingest_file
from rbt.corpus.reading import Reading
from rbt.corpus.sources import SOURCES
from rbt.formats.parts import open_table
from rbt.formats.quarantine import SCHEMA
from rbt.stage import Task
from rbt.storage import hash_file

KINDS = {
    "wikipedia": "wikipedia/*/*.[xb]*",
    "ccnews": "warc/*/*",
    "bookcorpus": "books/*/*",
    "stories": "stories/commonsense/*.txt",
}


def test_the_kinds_of_the_recipe_are_the_sources() -> None:
    assert set(get_args(SourceKind)) == set(SOURCES)


@pytest.mark.parametrize("kind", KINDS)
def test_every_real_file_is_accounted_for(kind: str, data: Path, read_source: Any) -> None:
    paths = [path for path in sorted(data.glob(KINDS[kind])) if path.is_file() and path.stat().st_size < 2_000_000]
    assert paths
    for path in paths:
        outcome = read_source(path, kind)  # checks the balance
        assert outcome.reading.raw_hash == hash_file(path)
        repeated = len(outcome.documents) - len({document.id for document in outcome.documents})
        assert repeated == 0 or path.name.startswith("tinywiki"), path.name  # made by hand, with repeated page ids
        for document in outcome.documents:
            assert document.origin == path.name
            clean_text(document.text).text.encode()
            f"{document.id}{document.locator}{document.url}{document.title}{document.date}".encode()


@pytest.mark.parametrize("kind", SOURCES)
def test_no_kind_of_source_fails_on_a_file_of_another_kind(
    kind: str, data: Path, tmp_path: Path, read_source: Any
) -> None:
    files = [
        data / "hostile/naughty/blns.txt",
        data / "warc/warcio/example.warc.gz",
        data / "wikipedia/dumpster-dive/tinywiki-latest-pages-articles.xml",
        data / "books/epub/alice_without_cover.epub",
        *sorted((data / "hostile/epubcheck").iterdir())[:3],
    ]
    for path in files:
        for name in (
            path.name,
            "renamed.gz",
            "renamed.bz2",
            "renamed.xz",
            "renamed.zst",
            "renamed.csv",
            "renamed.tar",
        ):
            copy = tmp_path / name
            copy.write_bytes(path.read_bytes())
            read_source(copy, kind)


def test_a_place_that_cannot_be_read_is_listed_without_a_record() -> None:
    reading = Reading("source", "file")
    reading.damage("encoding", offset=3, detail="x" * 1000)
    assert reading.row.incoming.documents == 0
    assert reading.quarantined[0]["offset"] == 3
    assert len(reading.quarantined[0]["detail"]) == 500


@pytest.mark.parametrize("kind", ["table", "bookcorpus"])
def test_a_file_of_junk_is_counted_and_listed_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Where every line is unreadable (another kind of file), each is in the ledger and in the list, batch by batch."""
    monkeypatch.setattr("rbt.formats.quarantine.BATCH_ROWS", 7)
    path = tmp_path / "rows.jsonl"
    path.write_text("no json\n" * 100 + '{"text": "One row."}\n', encoding="utf-8")
    source = SourceConfig(kind, (str(path),))  # type: ignore[arg-type]
    task = Task("t", {"origin": "rows.jsonl", "mojibake": False}, context={
        "location": str(path), "source": to_table(source), "span": None,
    })
    output = ingest_file(task, tmp_path)
    row = output.ledger.row("read", source.label)
    assert row.other["quarantined"] == row.incoming.documents - row.outgoing.documents == 100
    assert row.imbalance() == (0, 0)
    offsets = open_table(tmp_path / "t.quarantine.arrow", SCHEMA).column("offset").to_pylist()
    assert offsets == list(range(0, 800, 8))
