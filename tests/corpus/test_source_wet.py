"""WET files: text that the crawler extracted, one conversion record a page."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

LINES = ["A headline", "", "  The first paragraph, with spaces around.  ", "The second one: größer."]


def conversion(
    number: int,
    text: bytes,
    *,
    date: str = "2017-05-06T07:08:09Z",
    mime: str | None = "text/plain",
    type: str = "conversion",
    headers: str = "",
) -> bytes:
    """One record as Common Crawl writes them."""
    head = (
        f"WARC/1.0\r\nWARC-Type: {type}\r\nWARC-Target-URI: https://news.example/{number}\r\nWARC-Date: {date}\r\n"
        f"WARC-Record-ID: <urn:uuid:0000-{number}>\r\nWARC-Refers-To: <urn:uuid:9999-{number}>\r\n{headers}"
        + (f"Content-Type: {mime}\r\n" if mime else "")
        + f"Content-Length: {len(text)}\r\n\r\n"
    )
    return head.encode() + text + b"\r\n\r\n"


def write(path: Path, records: list[bytes]) -> Path:
    """Write a WET file, one gzip member a record if its name says so."""
    path.write_bytes(b"".join(gzip.compress(part, mtime=0) if path.suffix == ".gz" else part for part in records))
    return path


@pytest.mark.parametrize("name", ["news.warc.wet", "news.warc.wet.gz"])
def test_a_conversion_becomes_a_document_whose_lines_are_paragraphs(
    name: str, tmp_path: Path, read_source: Any
) -> None:
    """Without title, dated by the crawl."""
    text = "\n".join(LINES).encode()
    records = [conversion(0, b"software: x", type="warcinfo"), conversion(1, text), conversion(2, b"Other\r\n")]
    outcome = read_source(write(tmp_path / name, records), "ccnews")
    first, second = outcome.documents
    assert (first.id, first.locator, first.url) == ("ccnews:0000-1", "urn:uuid:0000-1", "https://news.example/1")
    assert (first.title, first.date, first.payload_bytes) == ("", "2017-05-06T07:08:09Z", len(text))
    assert first.text == "\n\n".join(line.strip() for line in LINES if line)
    assert second.text == "Other"
    assert outcome.dropped == {"not_response": 1}


def test_conversions_are_dropped_by_the_rules_of_pages(tmp_path: Path, read_source: Any) -> None:
    """Dates, empty ones, media types, size."""
    records = [
        conversion(1, b"text", date="2016-08-31T23:59:59Z"),
        conversion(2, b"text", date="2019-03-01T00:00:00Z"),
        conversion(3, b""),
        conversion(4, b"a picture", mime="image/png"),
        conversion(5, b"text", mime=None),
        conversion(6, b"text", mime="text/plain; charset=utf-8"),
        conversion(7, b"x" * 2000),
    ]
    outcome = read_source(write(tmp_path / "news.warc.wet.gz", records), "ccnews", page_bytes=1000)
    assert [document.locator[-1] for document in outcome.documents] == ["5", "6"]
    assert outcome.dropped == {"date": 2, "empty": 1, "mime": 1, "quarantined_too_large": 1}


def test_a_language_that_the_crawler_names_changes_nothing(tmp_path: Path, read_source: Any) -> None:
    """The filter asks the text itself."""
    named = conversion(1, b"text", headers="WARC-Identified-Content-Language: deu\r\n")
    for record in (named, conversion(1, b"text")):
        [document] = read_source(write(tmp_path / "news.warc.wet", [record]), "ccnews").documents
        assert document.text == "text"


def test_bytes_that_are_no_utf8_are_left_out_and_listed(tmp_path: Path, read_source: Any) -> None:
    """The rest of the page is kept."""
    path = write(tmp_path / "news.warc.wet", [conversion(1, b"good \xff\xfe text")])
    outcome = read_source(path, "ccnews")
    assert outcome.texts == ["good  text"]
    assert outcome.reasons == ["encoding"]
    assert outcome.reading.row.incoming.documents == 1


def test_v4_a_broken_member_of_a_wet_file_costs_one_page(tmp_path: Path, read_source: Any) -> None:
    """It is named by its address and place."""
    records = [conversion(number, bytes(range(32, 127)) * 20) for number in range(1, 6)]
    path = write(tmp_path / "news.warc.wet.gz", records)
    start = sum(len(gzip.compress(record, mtime=0)) for record in records[:2])
    raw = bytearray(path.read_bytes())
    raw[start + 280] ^= 255
    path.write_bytes(raw)
    outcome = read_source(path, "ccnews")
    assert [document.locator[-1] for document in outcome.documents] == ["1", "2", "4", "5"]
    [row] = outcome.reading.quarantined
    assert (row["reason"], row["offset"], row["locator"]) == ("corrupt", start, "https://news.example/3")
