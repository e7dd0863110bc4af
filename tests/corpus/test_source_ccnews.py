"""WARC files: which records become documents, and what damage costs."""

from __future__ import annotations

import gzip
import io
import random
import re
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fastwarc.stream_io import ChunkedReader
from fastwarc.warc import ArchiveIterator
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus.guard import EXTRACTORS
from rbt.corpus.sources import warc
from rbt.corpus.sources.raw import RawStream
from rbt.corpus.sources.warc import WarcReader, parse_headers, parse_http, unchunk

BODY = "<html><head><title>News {0}</title></head><body><article>{1}</article></body></html>"


def html(number: int) -> bytes:
    """A page with one article."""
    sentence = f"This is sentence number {number} of a story about the harbor, and it is long enough to count. "
    return BODY.format(number, f"<p>{sentence * 3}</p><p>{sentence * 2}</p>").encode()


def record(
    number: int,
    body: bytes | None = None,
    *,
    type: str = "response",
    status: str = "200 OK",
    date: str = "2017-05-06T07:08:09Z",
    mime: str = "text/html; charset=utf-8",
    headers: str = "",
    url: str = "",
) -> bytes:
    """One WARC record with an HTTP response."""
    body = html(number) if body is None else body
    content = f"HTTP/1.1 {status}\r\nContent-Type: {mime}\r\n{headers}\r\n".encode() + body
    head = (
        f"WARC/1.0\r\nWARC-Type: {type}\r\nWARC-Record-ID: <urn:uuid:0000-{number}>\r\nWARC-Date: {date}\r\n"
        f"WARC-Target-URI: {url or f'http://news.example/{number}'}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content + b"\r\n\r\n"


def write(path: Path, records: list[bytes], *, one_member: bool = False) -> list[int]:
    """Write a WARC, gzipped record by record (or as a whole) if its name says so; offsets of the members."""
    members = records
    if path.suffix == ".gz":
        members = [gzip.compress(part, mtime=0) for part in ([b"".join(records)] if one_member else records)]
    path.write_bytes(b"".join(members))
    return [sum(map(len, members[:number])) for number in range(len(members) + 1)]


@pytest.mark.parametrize("name", ["news.warc", "news.warc.gz"])
@pytest.mark.parametrize("one_member", [False, True])
def test_a_response_becomes_a_document_with_all_its_facts(
    name: str, one_member: bool, tmp_path: Path, read_source: Any
) -> None:
    """Plain, in one gzip member, and in a member for each record."""
    path = tmp_path / name
    write(path, [record(1), record(2)], one_member=one_member)
    first, second = read_source(path, "ccnews", name="news").documents
    assert (first.id, first.locator) == ("news:0000-1", "urn:uuid:0000-1")
    assert (first.url, first.title, first.date) == ("http://news.example/1", "News 1", "2017-05-06T07:08:09Z")
    assert first.text.startswith("This is sentence number 1 of a story")
    assert second.text.count("\n\n") == 1
    assert first.payload_bytes > len(html(1))


def test_what_is_no_page_of_the_period_is_counted_by_rule(tmp_path: Path, read_source: Any) -> None:
    """Types, states, media types, dates and schemes."""
    path = tmp_path / "news.warc.gz"
    records = [
        record(1, type="request"),
        record(2, type="warcinfo"),
        record(3, status="404 Not Found"),
        record(4, mime="image/png"),
        record(5, date="2016-08-31T23:59:59Z"),
        record(6, date="2016-09-01T00:00:00Z"),
        record(7, date="2019-02-28T23:59:59Z"),
        record(8, date="2019-03-01T00:00:00Z"),
        record(9, url="dns:news.example"),
    ]
    write(path, records)
    outcome = read_source(path, "ccnews", since="2016-09-01", until="2019-03-01")
    assert [document.locator[-1] for document in outcome.documents] == ["6", "7"]
    assert outcome.dropped == {"not_response": 3, "http_status": 1, "mime": 1, "date": 2}


@pytest.mark.parametrize(
    "type", ["revisit", "request", "metadata", "warcinfo", "resource", "continuation", "", "RESPONSE"]
)
def test_only_responses_are_pages(type: str, tmp_path: Path, read_source: Any) -> None:
    """The type is read in any case."""
    path = tmp_path / "news.warc.gz"
    write(path, [record(1, type=type)])
    outcome = read_source(path, "ccnews")
    assert outcome.dropped == ({} if type == "RESPONSE" else {"not_response": 1})
    assert outcome.reasons == []


@pytest.mark.parametrize(
    ("date", "since", "until", "rule"),
    [
        ("2016-09-01T00:00:00.000Z", "2016-09-01", "2019-03-01", ""),
        ("2016-08-31T23:59:59.999999Z", "2016-09-01", "2019-03-01", "date"),
        ("2019-02-28T23:59:59.5Z", "2016-09-01", "2019-02-28T23:59:59Z", "date"),
        ("2016-09", "2016-09-01", "", ""),  # an imprecise date stands for its first second
        ("2016", "2016-09-01", "", "date"),
        ("2019-03", "", "2019-03-01", "date"),
        ("2019-02", "", "2019-03", ""),
        ("2017-05-06T07:08Z", "2017-05-06T07:08:00Z", "2017-05-06T07:08:01Z", ""),
        ("2017-05-06T07:08:00Z", "2017-05-06T07:08", "2017-05-06T07:08:01", ""),
        ("2017-05-06T07:07:59Z", "2017-05-06T07:08", "", "date"),
        ("2017-12-31T23:59:59Z", "2018", "", "date"),
        ("2018-01-01T00:00:00Z", "2018", "2019", ""),
        ("yesterday", "2018", "", "no_date"),
        ("yesterday", "", "", ""),
        ("1999-01-01T00:00:00Z", "", "", ""),
    ],
)
def test_the_window_compares_dates_of_any_precision(
    date: str, since: str, until: str, rule: str, tmp_path: Path, read_source: Any
) -> None:
    """From a year to a fraction of a second."""
    path = tmp_path / "news.warc"
    write(path, [record(1, date=date)])
    outcome = read_source(path, "ccnews", since=since, until=until)
    assert outcome.dropped == ({rule: 1} if rule else {})


def test_the_window_is_the_papers_unless_another_is_named(tmp_path: Path, read_source: Any) -> None:
    """From September 2016 to February 2019, both included."""
    path = tmp_path / "news.warc"
    dates = ["2016-08-31T23:59:59Z", "2016-09-01T00:00:00Z", "2019-02-28T23:59:59Z", "2019-03-01T00:00:00Z"]
    write(path, [record(number, date=date) for number, date in enumerate(dates)])
    assert [document.locator[-1] for document in read_source(path, "ccnews").documents] == ["1", "2"]


def test_a_response_without_a_body_or_a_media_type_is_dropped_by_rule(tmp_path: Path, read_source: Any) -> None:
    """Unless the crawler says what its type is."""
    path = tmp_path / "news.warc"
    untyped = record(3).replace(b"Content-Type: text/html; charset=utf-8\r\n", b"X: " + b"x" * 35 + b"\r\n")
    identified = untyped.replace(b"WARC-Date", b"WARC-Identified-Payload-Type: text/html\r\nWARC-Date")
    nothing = b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://a.example/\r\nContent-Length: 0\r\n\r\n\r\n"
    write(path, [record(1, b""), record(2, b" \r\n\t"), untyped, identified.replace(b"0000-3", b"0000-4"), nothing])
    outcome = read_source(path, "ccnews")
    assert [document.locator[-1] for document in outcome.documents] == ["4"]
    assert outcome.dropped == {"empty": 3, "mime": 1}


def test_what_is_too_large_and_no_page_is_dropped_by_its_own_rule(tmp_path: Path, read_source: Any) -> None:
    """Size is a reason only for what would have been a page."""
    path = tmp_path / "news.warc.gz"
    large = html(1) * 2000
    records = [
        record(1, large),
        record(2, large, mime="video/mp4"),
        record(3, large, status="404 Not Found"),
        record(4, large, type="resource"),
        record(5, gzip.compress(random.Random(1).randbytes(200_000)), headers="Content-Encoding: gzip\r\n"),
        record(6),
    ]
    write(path, records)
    outcome = read_source(path, "ccnews", page_bytes=100_000)
    assert [document.locator[-1] for document in outcome.documents] == ["6"]
    assert outcome.dropped == {"quarantined_too_large": 2, "mime": 1, "http_status": 1, "not_response": 1}


def test_the_page_limit_is_exact(tmp_path: Path, read_source: Any) -> None:
    """A page of as many bytes is kept, one more is too many, as stored and as decoded."""
    path = tmp_path / "news.warc"
    for name, body in (("plain", html(1)), ("packed", gzip.compress(html(1), mtime=0))):
        headers = "Content-Encoding: gzip\r\n" if name == "packed" else ""
        whole = record(1, body, headers=headers)
        write(path, [whole])
        length = int(whole.partition(b"Content-Length: ")[2].partition(b"\r")[0])
        limit = max(length, len(html(1)))
        assert len(read_source(path, "ccnews", page_bytes=limit).documents) == 1
        assert read_source(path, "ccnews", page_bytes=limit - 1).reasons == ["too_large"]


def test_a_page_that_breaks_its_extractor_is_quarantined_by_url_and_the_others_are_kept(
    tmp_path: Path, read_source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop, a crash and an exception, each with a good page behind it."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setitem(EXTRACTORS, "fast", "hostile_extractors:misbehave")
    path = tmp_path / "news.warc.gz"
    deeds = ["loop", "read from zero", "raise"]
    pages = [record(number, html(number) + f"do: {deed}".encode()) for number, deed in enumerate(deeds)]
    write(path, [pages[0], record(7), pages[1], record(8), pages[2], record(9)])
    outcome = read_source(path, "ccnews", page_seconds=0.2)
    assert [document.locator[-1] for document in outcome.documents] == ["7", "8", "9"]
    assert outcome.reasons == ["too_slow", "crashed", "crashed"]
    locators = [row["locator"] for row in outcome.reading.quarantined]
    assert locators == [f"http://news.example/{number}" for number in range(3)]
    assert all(row["offset"] >= 0 and row["detail"] for row in outcome.reading.quarantined)


def test_the_extractor_of_the_recipe_is_used(
    tmp_path: Path, read_source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each name leads to its own function."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setitem(EXTRACTORS, "trafilatura", "hostile_extractors:echo")
    path = tmp_path / "news.warc"
    write(path, [record(1)])
    assert read_source(path, "ccnews", extractor="trafilatura").texts == [html(1).decode()]
    assert read_source(path, "ccnews", extractor="fast").texts != [html(1).decode()]


@pytest.mark.parametrize("name", ["news.arc", "news.arc.gz"])
def test_a_file_in_the_older_arc_format_is_one_quarantined_place(name: str, tmp_path: Path, read_source: Any) -> None:
    """Plain and compressed."""
    path = tmp_path / name
    block = b"1 0 Crawler\nURL IP-address Archive-date Content-type Archive-length\n"
    first = b"filedesc://news.arc 0.0.0.0 20170506070809 text/plain %d\n%s\n" % (len(block), block)
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + html(1)
    write(path, [first, b"http://news.example/ 1.2.3.4 20170506070809 text/html %d\n%s\n" % (len(page), page)])
    outcome = read_source(path, "ccnews")
    assert outcome.documents == []
    assert outcome.reasons == ["arc_format"]


@pytest.mark.parametrize("length", [10**18 - 1, 1 << 62, 1 << 64, 10**30])
def test_a_length_beyond_the_file_costs_what_is_there(length: int, tmp_path: Path, read_source: Any) -> None:
    """What a header claims is never counted."""
    path = tmp_path / "news.warc.gz"
    liar = re.sub(rb"Content-Length: \d+", b"Content-Length: %d" % length, record(2))
    write(path, [record(1), liar])
    outcome = read_source(path, "ccnews")
    assert [document.locator[-1] for document in outcome.documents] == ["1"]
    assert outcome.reasons == ["truncated" if length < 10**18 else "bad_record"]
    assert outcome.reading.row.incoming.bytes < 10_000  # never what a header claims


@pytest.mark.parametrize("place", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_v4_a_broken_member_is_quarantined_by_url_and_offset_and_the_others_are_kept(
    place: float, tmp_path: Path, read_source: Any
) -> None:
    """Damage in any place of a record's bytes, its header and its checksum."""
    path = tmp_path / "news.warc.gz"
    body = html(3).replace(b"</article>", random.Random(1).randbytes(3000).hex().encode() + b"</article>")
    offsets = write(path, [record(1), record(2), record(3, body), record(4), record(5)])
    raw = bytearray(path.read_bytes())
    position = int(offsets[2] + place * (offsets[3] - offsets[2]))
    raw[position : position + 4] = bytes(255 - byte for byte in raw[position : position + 4])
    path.write_bytes(raw)
    outcome = read_source(path, "ccnews")
    assert [document.locator[-1] for document in outcome.documents] == ["1", "2", "4", "5"]
    [row] = outcome.reading.quarantined
    assert (row["reason"], row["offset"]) == ("corrupt", offsets[2])
    if place >= 0.3:
        assert row["locator"] == "http://news.example/3"


def test_a_file_cut_in_a_record_keeps_those_before(tmp_path: Path, read_source: Any) -> None:
    """The cut one is named."""
    for name, cut in (("news.warc", 300), ("news.warc.gz", 40)):
        path = tmp_path / name
        write(path, [record(1), record(2), record(3)])
        path.write_bytes(path.read_bytes()[:-cut])
        outcome = read_source(path, "ccnews")
        assert [document.locator[-1] for document in outcome.documents] == ["1", "2"]
        assert outcome.reasons == ["truncated"]
        assert outcome.reading.quarantined[0]["locator"] == "http://news.example/3"


def test_bytes_between_records_are_quarantined_up_to_the_next_record(tmp_path: Path, read_source: Any) -> None:
    """As one record of so many bytes."""
    path = tmp_path / "news.warc"
    bad_length = record(2).replace(b"Content-Length: ", b"Content-Length: x")
    write(path, [record(1), b"garbage\nof two lines\n", record(3), bad_length, record(4)])
    outcome = read_source(path, "ccnews")
    assert [document.locator[-1] for document in outcome.documents] == ["1", "3", "4"]
    assert outcome.reasons == ["bad_record", "bad_record"]


def test_a_page_above_the_limit_is_quarantined(tmp_path: Path, read_source: Any) -> None:
    """As stored and as decoded, whatever its coding."""
    path = tmp_path / "news.warc.gz"
    page = b"<p>" + b"x" * 11_000_000
    twice = gzip.compress(gzip.compress(page))
    bombs = [
        record(2, gzip.compress(page), headers="Content-Encoding: gzip\r\n"),
        record(3, raw_deflate(page), headers="Content-Encoding: deflate\r\n"),
        record(4, pa.compress(page, "brotli", asbytes=True), headers="Content-Encoding: br\r\n"),
        record(5, pa.compress(page, "zstd", asbytes=True), headers="Content-Encoding: zstd\r\n"),
        record(6, twice, headers="Content-Encoding: gzip, gzip\r\n"),
    ]
    write(path, [record(1, page[:10_500_000]), *bombs, record(7)])
    outcome = read_source(path, "ccnews")
    assert [document.locator[-1] for document in outcome.documents] == ["7"]
    assert outcome.reasons == ["too_large"] * 6


def raw_deflate(body: bytes) -> bytes:
    """Deflate without zlib's header, as some servers send it."""
    encoder = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return encoder.compress(body) + encoder.flush()


def chunked(body: bytes, line: bytes = b"%x\r\n", end: bytes = b"\r\n") -> bytes:
    """`body` as two chunks."""
    parts = [body[:100], body[100:], b""]
    return b"".join(line % len(part) + part + end for part in parts)


@pytest.mark.parametrize(
    ("headers", "encode"),
    [
        ("Content-Encoding: gzip\r\n", gzip.compress),
        ("Content-Encoding: deflate\r\n", zlib.compress),
        ("Transfer-Encoding: chunked\r\n", lambda body: b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (len(body), body)),
        ("Content-Encoding: br\r\n", lambda body: pa.compress(body, "brotli", asbytes=True)),
        ("Content-Encoding: zstd\r\n", lambda body: pa.compress(body, "zstd", asbytes=True)),
        ("Content-Encoding: x-gzip\r\n", gzip.compress),
        ("Content-Encoding: gzip, identity\r\n", gzip.compress),
        ("Content-Encoding: deflate\r\nContent-Encoding: br\r\n", raw_deflate),  # the first of a name counts
        ("Content-Encoding: deflate\r\n", gzip.compress),
        ("Content-Encoding: gzip\r\n", zlib.compress),
        ("Content-Encoding: gzip\r\n", lambda body: gzip.compress(body) + b"\r\n"),
        ("Transfer-Encoding: Chunked\r\nContent-Encoding: gzip\r\n", lambda body: chunked(gzip.compress(body))),
        ("Transfer-Encoding: gzip, chunked\r\n", lambda body: chunked(gzip.compress(body))),
        ("Transfer-Encoding: chunked\r\n", chunked),
        ("Transfer-Encoding: chunked\r\n", lambda body: chunked(body, b"%x\n", b"\n")),
        ("Transfer-Encoding: chunked\r\n", lambda body: chunked(body)[:-20]),
        ("Transfer-Encoding: chunked\r\n", lambda body: b"Added facade\n" + body),
        *((f"Transfer-Encoding: chunked\r\nContent-Encoding: {name}\r\n", bytes) for name in warc._READERS),
    ],
)
def test_transfer_and_content_encodings_are_undone(
    headers: str, encode: Any, tmp_path: Path, read_source: Any
) -> None:
    """The last one first, and text under a compression's name is text."""
    path = tmp_path / "news.warc.gz"
    write(path, [record(1, encode(html(1)), headers=headers), record(1)])
    first, plain = read_source(path, "ccnews").documents
    assert first.text.endswith(plain.text)


def test_a_body_that_cannot_be_decoded_is_quarantined(tmp_path: Path, read_source: Any) -> None:
    """An unknown coding, broken ones, and no HTTP at all."""
    path = tmp_path / "news.warc"
    damaged = gzip.compress(html(2), mtime=0)
    records = [
        record(1, headers="Content-Encoding: compress\r\n"),
        record(2, damaged[:-8] + b"checksum", headers="Content-Encoding: gzip\r\n"),
        record(3, damaged[:60] + b"\xff\xff" + damaged[62:], headers="Content-Encoding: br\r\n"),
        record(4).replace(b"HTTP/1.1", b"GOPHER  "),
        record(5),
    ]
    write(path, records)
    outcome = read_source(path, "ccnews")
    assert [document.locator[-1] for document in outcome.documents] == ["5"]
    assert outcome.reasons == ["bad_http"] * 4


class PanicException(BaseException):
    """As pyo3 makes it: not an Exception, in a module that cannot be imported."""

    __module__ = "pyo3_runtime"


def raising(error: BaseException) -> Any:
    """A reader that raises."""

    def reader(stream: io.BytesIO) -> bytes:
        raise error

    return reader


def test_a_panic_of_fastwarc_costs_one_record(
    tmp_path: Path, read_source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its type is no Exception, and it is caught all the same."""
    path = tmp_path / "news.warc"
    write(path, [record(1, headers="Content-Encoding: gzip\r\n"), record(2)])
    monkeypatch.setitem(warc._READERS, "gzip", raising(PanicException("index out of bounds")))
    outcome = read_source(path, "ccnews")
    assert [document.locator[-1] for document in outcome.documents] == ["2"]
    [row] = outcome.reading.quarantined
    assert (row["reason"], row["detail"]) == ("bad_http", "fastwarc panicked: index out of bounds")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), MemoryError()])
def test_what_ends_the_process_is_not_taken_for_a_panic(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt and an exit go through."""
    monkeypatch.setitem(warc._READERS, "gzip", raising(error))
    with pytest.raises(type(error)):
        parse_http(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", 1000)


@given(body=st.binary(max_size=200), sizes=st.lists(st.integers(1, 50), min_size=1, max_size=9))
def test_chunks_join_to_the_body(body: bytes, sizes: list[int]) -> None:
    """As fastwarc joins them."""
    encoded, position = b"", 0
    for size in sizes * 200:
        if position >= len(body):
            break
        part = body[position : position + size]
        encoded, position = encoded + b"%X\r\n%s\r\n" % (len(part), part), position + size
    encoded += b"0\r\n\r\n"
    assert unchunk(encoded) == ChunkedReader(io.BytesIO(encoded)).read() == body


@given(content=st.binary(max_size=300))
def test_no_content_makes_the_http_parser_fail_in_another_way(content: bytes) -> None:
    """Whatever the bytes, it gives a response or raises ValueError."""
    for candidate in (content, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + content):
        try:
            parse_http(candidate, 1000)
        except ValueError:
            assert not candidate.startswith(b"HTTP/1.1 200")


def test_headers_fold_and_the_first_of_a_name_wins() -> None:
    """Lines without a colon are passed over."""
    block = b"WARC/1.0\r\nA: 1\r\n b\r\nno colon\r\nA: 2\r\nB:3"
    assert parse_headers(block) == {"a": "1 b", "b": "3"}


def test_a_header_block_is_read_up_to_the_limit_and_beyond_it_is_no_record() -> None:
    """Up to it all fields are read, though fastwarc takes half as much at once."""
    last = b"\r\nContent-Length: 2\r\n\r\nok\r\n\r\n"
    known = b"WARC/1.0\r\nWARC-Record-ID: 1"
    for rest, problem in (
        (b"\r\nX: y\r\n z" * 2800, ""), (b"\r\nX: y\r\n z" * 3400, "bad_record"),
        (b"\r\nX: " + b"x" * 16_000, ""),
    ):
        block = known + rest + last
        pieces = [block[start : start + 1000] for start in range(0, len(block), 1000)]
        [record] = WarcReader(RawStream(iter(pieces)), 1000)
        assert (record.problem, record.id) == (problem, "" if problem else "1")
        assert problem or len(record.headers["x"]) in (16_000, len("y z"))


@given(
    junk=st.lists(
        st.sampled_from([b"WARC/1.0\r\n", b"\r\n", b"Content-Length: 5\r\n", b"\n", b"abc", b"WARC/1."]), max_size=30
    )
)
def test_no_bytes_make_the_reader_loop_or_fail(junk: list[bytes]) -> None:
    """Pieces of records in any order give no more records than pieces."""
    data = b"".join(junk)
    records = list(WarcReader(RawStream(iter([data])), 1000))
    assert len(records) <= len(junk) + 1


def test_records_are_those_that_fastwarc_finds(data: Path) -> None:
    """Ids, sizes and contents of all real files that it reads."""
    for path in [*sorted((data / "warc").glob("*/*.warc.gz")), data / "warc/warcio/example.warc"]:
        if path.stat().st_size > 1_000_000:
            continue
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
        mine = [(record.id, record.size, record.content) for record in WarcReader(RawStream(iter([raw])), 1 << 30)]
        theirs = [
            (record.headers.get("WARC-Record-ID", "").strip("<>"), record.content_length, record.reader.read())
            for record in ArchiveIterator(io.BytesIO(raw), parse_http=False)
        ]
        assert mine == theirs, path.name


def test_odd_files_are_accounted_for_and_never_raise(data: Path, read_source: Any) -> None:
    """All real files of two test collections."""
    for path in sorted((data / "warc/warcio").iterdir()) + sorted((data / "warc/dolma").iterdir()):
        outcome = read_source(path, "ccnews")
        assert outcome.reading.row.incoming.documents > 0, path.name
        assert outcome.reading.raw_hash, path.name
