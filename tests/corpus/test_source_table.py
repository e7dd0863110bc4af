"""Tables: JSON lines, CSV and Parquet."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus.sources.raw import RawStream
from rbt.corpus.sources.text import decode, read_lines

ROWS = [
    {"id": 7, "text": "One.", "title": "T", "url": "http://x.example", "date": "2001-02-03"},
    {"text": "Two\nlines."},
]


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [
        ("", bytes),
        (".gz", gzip.compress),
        (".bz2", bz2.compress),
        (".xz", lzma.compress),
        (".zst", lambda data: pa.compress(data, "zstd", asbytes=True)),
    ],
)
def test_json_lines_become_documents(suffix: str, compress: Any, tmp_path: Path, read_source: Any) -> None:
    """Compressed in any way, with ids by column or by offset."""
    path = tmp_path / f"letters.jsonl{suffix}"
    path.write_bytes(compress("".join(json.dumps(row) + "\n" for row in ROWS).encode()))
    first, second = read_source(path, "table", name="letters").documents
    assert (first.id, first.locator, first.text) == ("letters:7", "0", "One.")
    assert (first.title, first.url, first.date) == ("T", "http://x.example", "2001-02-03")
    assert (second.id, second.text) == (f"letters:{path.name}:{len(json.dumps(ROWS[0])) + 1}", "Two\nlines.")
    assert second.payload_bytes == len(json.dumps(ROWS[1])) + 1


def test_columns_are_renamed_by_the_recipe(tmp_path: Path, read_source: Any) -> None:
    """A column that has our name and is not meant is not read."""
    path = tmp_path / "news.jsonl"
    path.write_text('{"key": "a", "body": "Text.", "text": "not this"}\n')
    [document] = read_source(path, "table", columns={"id": "key", "text": "body"}).documents
    assert (document.id, document.text) == ("table:a", "Text.")


def test_bad_lines_are_quarantined_by_offset(tmp_path: Path, read_source: Any) -> None:
    """Each with its reason, and the lines around them stay."""
    path = tmp_path / "bad.jsonl"
    lines = [
        b'{"text": "Good."}',
        b'{"text": "cut',
        b"",
        b"[1]",
        b'{"text": null}',
        b'{"other": "x"}',
        b'{"text": "\xff"}',
        b"[" * 100_000,
        b'{"text": "half \\ud800", "id": "\\udfff"}',
        b'{"text": "Last."}',
    ]
    path.write_bytes(b"\n".join(lines))
    outcome = read_source(path, "table")
    assert outcome.texts == ["Good.", "half \ud800", "Last."]
    assert outcome.documents[1].id == "table:?"
    starts = [sum(len(line) + 1 for line in lines[:number]) for number in range(len(lines))]
    assert [(row["reason"], int(row["locator"])) for row in outcome.reading.quarantined] == [
        ("bad_json", starts[1]),
        ("bad_json", starts[3]),
        ("missing_text", starts[4]),
        ("missing_text", starts[5]),
        ("encoding", starts[6]),
        ("bad_json", starts[7]),
    ]
    assert outcome.reading.quarantined[0]["offset"] == len(lines[0]) + 1


def test_a_cut_table_keeps_its_whole_rows(tmp_path: Path, read_source: Any) -> None:
    """The row that the cut goes through is given up, as the one damage."""
    for name in ("rows.jsonl.gz", "rows.csv.gz"):
        path = tmp_path / name
        rows = [f"sentence {number}" for number in range(5000)]
        lines = [json.dumps({"text": row}) for row in rows] if "jsonl" in name else ["text", *rows]
        path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0)[:-500])
        outcome = read_source(path, "table")
        assert 1000 < len(outcome.documents) < 5000
        assert outcome.texts == rows[: len(outcome.documents)]
        assert outcome.reasons == ["truncated"]


def test_csv_with_quotes_and_line_feeds_is_read_row_by_row(tmp_path: Path, read_source: Any) -> None:
    """A quoted field may hold anything, and bytes add up."""
    path = tmp_path / "table.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([["id", "text"], ["1", 'a "b",\n\nc'], ["2", "d"]])
    outcome = read_source(path, "table")
    assert [text.replace("\r", "") for text in outcome.texts] == ['a "b",\n\nc', "d"]
    assert sum(document.payload_bytes for document in outcome.documents) == path.stat().st_size - len("id,text\r\n")


def test_bad_csv_rows_are_quarantined(tmp_path: Path, read_source: Any) -> None:
    """Each with its reason; a quote that is never closed costs what is behind it."""
    path = tmp_path / "table.csv"
    path.write_bytes(b'id,text\n1,good\n2\n3,"x"y\n4,\xff\n\n5,fine\n6,"never closed\n7,swallowed\n')
    outcome = read_source(path, "table")
    assert outcome.texts == ["good", "fine"]
    assert outcome.reasons == ["bad_csv", "bad_csv", "encoding", "bad_csv"]


def test_a_long_field_is_read(tmp_path: Path, read_source: Any) -> None:
    """The library's limit of 131,072 characters is lifted."""
    path = tmp_path / "table.csv"
    path.write_text("text\n" + "x" * 1_000_000 + "\n")
    assert len(read_source(path, "table").texts[0]) == 1_000_000


def test_a_csv_row_with_a_line_beyond_the_limit_is_quarantined(
    tmp_path: Path, read_source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone or inside a quoted field; it is no empty row, and the rows around it stay."""
    monkeypatch.setattr("rbt.corpus.sources.text.MAXIMUM_LINE_BYTES", 100)
    path = tmp_path / "table.csv"
    path.write_text(f'id,text\n1,a\n2,{"x" * 500}\n3,b\n4,"c\n{"y" * 500}\nd"\n5,e\n')
    outcome = read_source(path, "table")
    assert [(document.id, document.text) for document in outcome.documents] == [
        ("table:1", "a"), ("table:3", "b"), ("table:5", "e"),
    ]
    assert outcome.reasons == ["too_large", "too_large"]
    assert outcome.reading.row.incoming.bytes == path.stat().st_size - len("id,text\n")


def test_parquet_is_read_in_batches(tmp_path: Path, read_source: Any) -> None:
    """Over groups and batches, with ids by column and a row without text quarantined."""
    path = tmp_path / "table.parquet"
    texts = [f"text {number}" for number in range(3000)]
    texts[17] = None  # type: ignore[call-overload]
    table = pa.table({"id": pa.array(range(3000)), "body": pa.array(texts), "other": pa.array([0] * 3000)})
    pq.write_table(table, path, row_group_size=1000)
    outcome = read_source(path, "table", columns={"text": "body"})
    assert outcome.texts == [text for text in texts if text is not None]
    assert outcome.documents[-1].id == "table:2999"
    assert [(row["reason"], row["locator"]) for row in outcome.reading.quarantined] == [("missing_text", "18")]
    assert outcome.reading.raw_hash


def test_a_broken_row_group_costs_itself_alone(tmp_path: Path, read_source: Any) -> None:
    """The groups around it stay, and a file that is none is one record."""
    path = tmp_path / "table.parquet"
    texts = [f"text number {number}" for number in range(3000)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=1000, compression="zstd", use_dictionary=False)
    group = pq.ParquetFile(path).metadata.row_group(1).column(0)
    raw = bytearray(path.read_bytes())
    start = group.data_page_offset
    raw[start + 30 : start + 200] = bytes(170)
    path.write_bytes(raw)
    outcome = read_source(path, "table")
    assert outcome.texts == texts[:1000] + texts[2000:]
    assert outcome.reasons == ["corrupt"]
    path.write_bytes(b"PAR1 is not enough")
    assert read_source(path, "table").reasons == ["unreadable"]


@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(1, 20), max_size=20))
def test_lines_join_to_the_bytes_they_came_from(data: bytes, cuts: list[int]) -> None:
    """However the stream is cut into pieces, with numbers and offsets."""
    data = data.replace(b"\x0a\x0a", b"\n")
    starts = [0, *(sum(cuts[: n + 1]) for n in range(len(cuts)))]
    pieces = [data[start:end] for start, end in zip(starts, [*starts[1:], len(data)], strict=True)]
    lines = list(read_lines(RawStream(iter(pieces))))
    assert [line.data for line in lines] == [line.rstrip(b"\n") for line in io.BytesIO(data)]
    assert all(data[line.offset : line.offset + line.size].rstrip(b"\n") == line.data for line in lines)
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))
    assert not any(line.too_large for line in lines)


def test_a_line_beyond_the_limit_keeps_only_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines around it are whole."""
    monkeypatch.setattr("rbt.corpus.sources.text.MAXIMUM_LINE_BYTES", 10)
    lines = list(read_lines(RawStream(iter([b"0123456789\nab", b"x" * 9, b"\nlast"]))))
    assert [(line.data, line.size, line.too_large) for line in lines] == [
        (b"", 11, True),
        (b"", 12, True),
        (b"last", 4, False),
    ]


@given(text=st.text(max_size=50), bad=st.sampled_from([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f"]))
def test_decoding_leaves_out_bad_bytes_and_nothing_else(text: str, bad: bytes) -> None:
    """And says where the first of them is, with or without a mark."""
    text = text.lstrip("\ufeff")
    data = text.encode()
    assert decode(data) == (text, -1)
    assert decode(data + bad + b"end") == (text + "end", len(data))
    assert decode(b"\xef\xbb\xbf" + data) == (text, -1)
    assert decode(b"\xff\xfe" + text.encode("utf-16-le")) == (text, -1)


MIRRORS = [  # (name on the Hub, its columns, the map a recipe needs)
    ("wikimedia/wikipedia", {"id": "12", "url": "u", "title": "t", "text": "body"}, {}),
    ("wikipedia", {"title": "t", "text": "body"}, {}),
    ("bookcorpusopen", {"title": "t", "text": "body"}, {}),
    (
        "vblagoje/cc_news",
        {"title": "t", "text": "body", "domain": "d", "date": "2017-01-02 03:04:05", "description": "s", "url": "u",
         "image_url": "i"},
        {},
    ),
    (
        "stanford-oval/ccnews",
        {"requested_url": "u", "plain_text": "body", "published_date": "2016-09-01", "title": "t", "language": "en",
         "language_score": 0.99},
        {"text": "plain_text", "url": "requested_url", "date": "published_date"},
    ),
    ("Geralt-Targaryen/CC-News", {"text": "body"}, {}),
    ("Skylion007/openwebtext", {"text": "body"}, {}),
    ("openwebtext2", {"text": "body", "meta": {"url": "u", "title": "t"}}, {"url": "meta.url", "title": "meta.title"}),
    ("lucadiliello/STORIES", {"text": "body"}, {}),
    ("spacemanidol/cc-stories", {"text": "body"}, {}),
]


@pytest.mark.parametrize("form", ["parquet", "jsonl.zst", "jsonl.gz"])
@pytest.mark.parametrize(("row", "columns"), [case[1:] for case in MIRRORS], ids=[case[0] for case in MIRRORS])
def test_every_mirror_is_read_with_its_columns(
    row: dict[str, Any], columns: dict[str, str], form: str, tmp_path: Path, read_source: Any
) -> None:
    """The schemas of the mirrors that people hold, as Parquet and as JSON lines."""
    path = tmp_path / f"train.{form}"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist([row, row]), path)
    else:
        data = f"{json.dumps(row)}\n".encode() * 2
        path.write_bytes(gzip.compress(data) if form.endswith("gz") else pa.compress(data, "zstd", asbytes=True))
    first = read_source(path, "table", columns=columns).documents[0]
    nested = {**row, **row.get("meta", {})}
    assert first.text == "body"
    assert first.title == nested.get("title", "")
    assert first.url == nested.get("url", nested.get("requested_url", ""))
    assert first.date == nested.get("date", nested.get("published_date", ""))
    assert first.id == ("table:12" if "id" in row else f"table:{path.name}:{1 if form == 'parquet' else 0}")


def test_dates_of_parquet_are_written_as_iso_8601(tmp_path: Path, read_source: Any) -> None:
    """A time stamp column gives what a text column would."""
    path = tmp_path / "rows.parquet"
    times = [datetime(2017, 1, 2, 3, 4, 5), None]
    pq.write_table(pa.table({"text": ["a", "b"], "date": times}), path)
    assert [document.date for document in read_source(path, "table").documents] == ["2017-01-02T03:04:05", ""]


@pytest.mark.parametrize(
    ("type", "good", "bad"),
    [(pa.timestamp("us"), "1970-01-01T00:00:00", 2**62), (pa.date32(), "1970-01-01", 2**30),
     (pa.timestamp("s", "Nowhere/Nothing"), None, 0)],
)
def test_a_date_beyond_those_of_python_costs_no_text(
    type: Any, good: str | None, bad: int, tmp_path: Path, read_source: Any
) -> None:
    """The value is left out, told once and counted; the row stays."""
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["a", "b"], "date": pa.array([bad if good is None else 0, bad], type)}), path)
    outcome = read_source(path, "table")
    assert [(document.text, document.date) for document in outcome.documents] == [("a", good or ""), ("b", "")]
    assert outcome.reasons == ["bad_value"]
    assert outcome.reading.counts == {"bad_values": 1 if good else 2}
    assert "'date'" in outcome.reading.quarantined[0]["detail"]


def test_nanoseconds_do_not_depend_on_pandas(tmp_path: Path, read_source: Any) -> None:
    """What Python's dates cannot hold is cut off."""
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["a"], "date": pa.array([1_500], pa.timestamp("ns"))}), path)
    assert read_source(path, "table").documents[0].date == "1970-01-01T00:00:00.000001"


def test_a_tab_separated_table_is_read(tmp_path: Path, read_source: Any) -> None:
    """The suffix names the delimiter."""
    path = tmp_path / "rows.tsv"
    path.write_text("id\ttext\n1\tone, two\n")
    assert read_source(path, "table").texts == ["one, two"]


def test_a_csv_keeps_its_header_behind_a_damage(tmp_path: Path, read_source: Any) -> None:
    """Rows behind a broken bzip2 stream still have the columns that the first line named."""
    rows = [f"{number},text {number} {number * number:x}\n" for number in range(3000)]
    streams = [bz2.compress("".join(rows[first : first + 1000]).encode()) for first in range(0, 3000, 1000)]
    streams[0] = bz2.compress(("key,text\n" + "".join(rows[:1000])).encode())
    streams[1] = streams[1][:200] + bytes(20) + streams[1][220:]
    path = tmp_path / "rows.csv.bz2"
    path.write_bytes(b"".join(streams))
    outcome = read_source(path, "table", columns={"id": "key"})
    assert {document.id for document in outcome.documents} >= {f"table:{number}" for number in range(2000, 3000)}
    assert "missing_text" not in outcome.reasons
