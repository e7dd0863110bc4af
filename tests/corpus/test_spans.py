"""Spans of large raw files: what is read in spans is what is read as a whole."""

from __future__ import annotations

import bz2
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rbt.config import load_recipe
from rbt.corpus.build import build_corpus
from rbt.corpus.config import SourceConfig
from rbt.corpus.raw_files import RawFile, joined_hash
from rbt.corpus.reading import Reading, Span
from rbt.corpus.sources import read_documents, spans
from rbt.engine import LocalEngine
from rbt.formats.document import Document
from rbt.stage import WORK
from rbt.storage import hash_file

HEADER = b"<mediawiki><siteinfo><base>https://en.wikipedia.org/wiki/Main_Page</base></siteinfo>\n"
FOOTER = b"</mediawiki>\n"


@pytest.fixture(autouse=True)
def small_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "SPAN_BYTES", 4096)


def page(number: int) -> bytes:
    words = " ".join(f"w{number * 7919 + place:x}" for place in range(60))
    text = f"Page {number} says {words}."
    return (
        f"  <page><title>T{number}</title><ns>0</ns><id>{number}</id><revision><id>{number}9</id>"
        f"<timestamp>2020-01-01T00:00:00Z</timestamp><model>wikitext</model><text>{text}</text></revision></page>\n"
    ).encode()


def read_span(path: Path, kind: str, span: Span | None, **options: object) -> tuple[list[Document], Reading]:
    reading = Reading(kind, path.name, span)
    documents = list(read_documents(str(path), SourceConfig(kind, (), **options), reading))  # type: ignore[arg-type]
    for document in documents:
        reading.row.keep(document.payload_bytes)
    assert reading.row.imbalance() == (0, 0)
    return documents, reading


def assert_same_in_spans(path: Path, kind: str, least: int, **options: object) -> Sequence[Span]:
    """Reading in spans gives what reading the whole gives, and accounts for every byte once."""
    size = path.stat().st_size
    found = spans.split(str(path), size, kind)
    assert len(found) >= least
    assert [span.start for span in found] == [0, *(span.stop for span in found[:-1])]
    assert found[-1].stop == size
    whole, reading = read_span(path, kind, None, **options)
    parts = [read_span(path, kind, span, **options) for span in found]
    assert [document for documents, _ in parts for document in documents] == whole
    assert sum(part.raw_bytes for _, part in parts) == reading.raw_bytes == size
    assert [row for _, part in parts for row in part.quarantined] == reading.quarantined
    raw = RawFile(0, SourceConfig(kind, ()), 0, str(path), str(path.parent), {"size": size})  # type: ignore[arg-type]
    assert raw.hash() == joined_hash(found, [part.raw_hash for _, part in parts])
    return found


def multistream(folder: Path, *, index: bool) -> Path:
    """A dump of 60 streams of 5 pages, as dumps.wikimedia.org lays it out."""
    path = folder / "xxwiki-1-pages-articles-multistream.xml.bz2"
    data, lines = bz2.compress(HEADER), b""
    for first in range(1, 301, 5):
        lines += b"".join(b"%d:%d:T:%d\n" % (len(data), number, number) for number in range(first, first + 5))
        data += bz2.compress(b"".join(page(number) for number in range(first, first + 5)))
    path.write_bytes(data + bz2.compress(FOOTER))
    if index:
        (folder / "xxwiki-1-pages-articles-multistream-index.txt.bz2").write_bytes(bz2.compress(lines))
    return path


@pytest.mark.parametrize("index", [True, False])
def test_a_multistream_dump_is_split_at_its_streams(index: bool, tmp_path: Path) -> None:
    """With an index and without one the same pages come out, with their URLs."""
    found = assert_same_in_spans(multistream(tmp_path, index=index), "wikipedia", 5)
    assert [span.facts["last"] for span in found] == [False] * (len(found) - 1) + [True]


def test_borders_by_index_are_stream_starts(tmp_path: Path) -> None:
    """Each border is an offset that the index lists."""
    path = multistream(tmp_path, index=True)
    index = bz2.decompress(Path(spans.index_of(str(path))).read_bytes()).decode().splitlines()
    listed = {int(line.split(":")[0]) for line in index}
    assert {span.start for span in spans.split(str(path), path.stat().st_size, "wikipedia")[1:]} <= listed


def test_the_index_of_another_dump_is_not_believed(tmp_path: Path) -> None:
    """Offsets at which no stream begins do not cut pages: the streams are searched instead."""
    path = multistream(tmp_path, index=False)
    lines = "".join(f"{offset}:1:T\n" for offset in range(100, path.stat().st_size, 1000))
    Path(spans.index_of(str(path))).write_bytes(bz2.compress(lines.encode()))
    assert_same_in_spans(path, "wikipedia", 5)


def test_an_index_without_lines_is_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bomb beside the dump is not read as one line; the streams are searched instead."""
    path, sizes = multistream(tmp_path, index=False), []
    Path(spans.index_of(str(path))).write_bytes(bz2.compress(b"7" * 1_000_000))
    readline = bz2.BZ2File.readline

    def measured(*arguments: int) -> bytes:
        line = readline(*arguments)  # type: ignore[arg-type]
        sizes.append(len(line))
        return line

    monkeypatch.setattr(bz2.BZ2File, "readline", measured)
    assert_same_in_spans(path, "wikipedia", 5)
    assert 0 < max(sizes) <= spans.INDEX_LINE_BYTES


def test_names_of_partial_dumps_and_their_indexes() -> None:
    """A part of a dump has the index with its own number and page range."""
    dump = "/d/enwiki-20200101-pages-articles-multistream1.xml-p1p41242.bz2"
    assert spans.index_of(dump) == "/d/enwiki-20200101-pages-articles-multistream-index1.txt-p1p41242.bz2"
    assert spans.index_of("/d/enwiki-20200101-pages-articles.xml.bz2") == ""


def test_streams_that_cut_pages_are_no_borders(tmp_path: Path) -> None:
    """A dump compressed in parallel has streams that begin anywhere; it is read as a whole."""
    data = HEADER + b"".join(page(number) for number in range(1, 300)) + FOOTER
    path = tmp_path / "dump.xml.bz2"
    path.write_bytes(b"".join(bz2.compress(data[at : at + 1001]) for at in range(0, len(data), 1001)))
    assert len(spans.split(str(path), path.stat().st_size, "wikipedia")) == 1
    documents, _ = read_span(path, "wikipedia", None)
    assert len(documents) == 299


def test_a_broken_stream_costs_the_same_in_spans(tmp_path: Path) -> None:
    """Damage inside a span is found where it is, and the pages around it are kept."""
    path = multistream(tmp_path, index=False)
    data = bytearray(path.read_bytes())
    found = spans.split(str(path), len(data), "wikipedia")
    middle = (found[2].start + found[2].stop) // 2
    data[middle : middle + 8] = b"\xff" * 8
    path.write_bytes(data)
    assert_same_in_spans(path, "wikipedia", 5)
    _, reading = read_span(path, "wikipedia", spans.split(str(path), len(data), "wikipedia")[2])
    assert found[2].start <= reading.quarantined[0]["offset"] < found[2].stop


def test_a_plain_dump_is_split_at_pages(tmp_path: Path) -> None:
    """Plain XML has a border before any page."""
    path = tmp_path / "dump.xml"
    path.write_bytes(HEADER + b"".join(page(number) for number in range(1, 300)) + FOOTER)
    assert_same_in_spans(path, "wikipedia", 10)


def test_json_lines_are_split_at_lines(tmp_path: Path) -> None:
    """Rows without an id column keep their ids, which count bytes, and broken lines their offsets."""
    lines = [json.dumps({"text": f"é {number} " * (number % 50 + 1)}, ensure_ascii=False) for number in range(800)]
    lines[400] = '{"text": "cut'
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    assert_same_in_spans(path, "table", 10)


def test_parquet_is_split_at_row_groups(tmp_path: Path) -> None:
    """Rows keep their numbers, and each group is in one span."""
    table = pa.table({"text": [f"{number} " * 40 + f"{number * number:x}" for number in range(3000)]})
    path = tmp_path / "rows.parquet"
    pq.write_table(table, path, row_group_size=100, compression="none", use_dictionary=False)
    found = assert_same_in_spans(path, "table", 5)
    assert [span.facts["groups"][1] for span in found[:-1]] == [span.facts["groups"][0] for span in found[1:]]


def test_small_files_and_one_gzip_member_are_one_span(tmp_path: Path) -> None:
    """What cannot be split, or need not be, is one task, and its hash is that of the file."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n' * 20, encoding="utf-8")
    size = path.stat().st_size
    assert spans.split(str(path), size, "table") == [Span(0, size)]
    assert spans.split("x.jsonl.gz", 10**9, "table") == [Span(0, 10**9)]
    raw = RawFile(0, SourceConfig("table", ()), 0, str(path), str(tmp_path), {"size": size})
    assert raw.hash() == hash_file(path)


def write_raw_files(folder: Path) -> Path:
    """A recipe with one splittable file of each form; returns the recipe's path."""
    multistream(folder, index=True)
    rows = [f"Row {number} has the words {' '.join(f'r{number * 31 + place:x}' for place in range(50))}."
            for number in range(200)]
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows), encoding="utf-8")
    pq.write_table(
        pa.table({"id": [f"p{number}" for number in range(200)], "text": [f"Parquet {row}" for row in rows]}),
        folder / "rows.parquet", row_group_size=20, compression="none", use_dictionary=False,
    )
    recipe = folder / "rbt.toml"
    recipe.write_text(
        '[corpus]\npart_bytes = 30000\n[clean]\nlanguage = ""\n'
        '[[source]]\nkind = "wikipedia"\npaths = ["*.bz2"]\n'
        '[[source]]\nkind = "table"\npaths = ["rows.jsonl", "rows.parquet"]\n',
        encoding="utf-8",
    )
    return recipe


def test_a_corpus_of_split_files_is_the_corpus_of_whole_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same parts, removals and ledger, with one worker and with two; only the raw files' hashes differ."""
    monkeypatch.setattr(spans, "SPAN_BYTES", 12_000)
    recipe = load_recipe(str(write_raw_files(tmp_path)), ())
    split_in_two = build_corpus(recipe, tmp_path / "two", LocalEngine(2))
    split = build_corpus(recipe, tmp_path / "one", LocalEngine(1))
    assert split.fingerprint == split_in_two.fingerprint
    assert len(list((tmp_path / "one" / WORK / "ingest").glob("*.quarantine.arrow"))) > 12
    monkeypatch.setattr(spans, "SPAN_BYTES", 1 << 30)
    whole = build_corpus(recipe, tmp_path / "whole", LocalEngine(1))
    assert len(list((tmp_path / "whole" / WORK / "ingest").glob("*.quarantine.arrow"))) == 4
    assert whole.files == split.files == split_in_two.files
    assert whole.ledger.table() == split.ledger.table()
    assert whole.ledger.row("read", "wikipedia").other["files"] == 2


def test_a_moved_split_file_is_recognized_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New time stamps make the file be hashed in the same spans, once; then its new stamp is known."""
    monkeypatch.setattr(spans, "SPAN_BYTES", 12_000)
    recipe = load_recipe(str(write_raw_files(tmp_path)), ())
    build_corpus(recipe, tmp_path / "corpus", LocalEngine(1))
    for path in tmp_path.glob("rows.*"):
        os.utime(path, (1, 1))
    before = (tmp_path / "corpus/manifest.json").stat().st_mtime_ns
    build_corpus(recipe, tmp_path / "corpus", LocalEngine(1))
    assert (tmp_path / "corpus/manifest.json").stat().st_mtime_ns == before
    recorded = json.loads((tmp_path / "corpus/provenance.json").read_text())["raw"]
    stamps = {Path(entry["location"]).name: entry["stamp"]["tag"] for entry in recorded}
    assert stamps["rows.jsonl"] == stamps["rows.parquet"] == str(10**9)
