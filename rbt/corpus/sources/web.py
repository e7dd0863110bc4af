"""Web pages of WARC and WET files, one document a page: what ccnews, openwebtext and stories share.

    WARC records ──response, wanted, status 200, HTML──> HTTP body ──extract_article──> title, date, text ──> Document
    WET records ──conversion, wanted──> text ──> Document

A record is accepted only when the next one begins or the file ends well: a gzip member's checksum stands behind its
bytes, so a damage always belongs to the record before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rbt.corpus.config import SourceConfig
from rbt.corpus.extract.html import extract_article
from rbt.corpus.reading import Reading
from rbt.corpus.sources.compression import Damage
from rbt.corpus.sources.raw import open_raw
from rbt.corpus.sources.text import decode
from rbt.corpus.sources.warc import HttpResponse, WarcReader, WarcRecord, parse_http
from rbt.formats.document import Document

MAXIMUM_PAGE_BYTES = 10_000_000
HTML = frozenset({"text/html", "application/xhtml+xml"})


Skip = Callable[[WarcRecord], str]  # the rule by which a source does not want a page, or ""


def read_pages(location: str, config: SourceConfig, reading: Reading, skip: Skip) -> Iterator[Document]:
    """Read one WARC or WET file; `skip` is asked for each page before it is parsed."""
    with open_raw(location, reading, begins=b"WARC/") as stream:
        while True:
            held: WarcRecord | None = None
            for record in WarcReader(stream, MAXIMUM_PAGE_BYTES):
                if held is not None:
                    yield from _document(held, config, reading, skip)
                held = record
            damage = stream.damage
            if damage is not None and (held is None or not damage.recovered):
                reading.lost(damage.reason, offset=damage.offset, detail=damage.detail)
                damage_of_held = None
            else:
                damage_of_held = damage
            if held is not None and damage_of_held is not None:
                _quarantine_damaged(held, damage_of_held, reading)
            elif held is not None:
                yield from _document(held, config, reading, skip)
            if damage is None:
                return
            stream.resume()


def _quarantine_damaged(record: WarcRecord, damage: Damage, reading: Reading) -> None:
    reading.record(record.size)
    locator, detail = record.url or record.id, f"{record.id} {damage.detail}"
    reading.quarantine(damage.reason, size=record.size, offset=damage.offset, locator=locator, detail=detail)


def _document(record: WarcRecord, config: SourceConfig, reading: Reading, skip: Skip) -> Iterator[Document]:
    size = record.size
    reading.record(size)
    if record.problem in ("truncated", "bad_record"):
        _quarantine(record, record.problem, "", reading)
    elif rule := _no_page(record) or skip(record):
        reading.skip(rule, size)
    elif record.problem:
        _quarantine(record, record.problem, f"{size} bytes, more than {MAXIMUM_PAGE_BYTES}", reading)
    elif not record.id:
        _quarantine(record, "bad_record", "no WARC-Record-ID", reading)
    elif record.type == "conversion":
        yield from _text(record, config, reading)
    else:
        yield from _page(record, config, reading)


def _quarantine(record: WarcRecord, reason: str, detail: str, reading: Reading) -> None:
    locator = record.url or record.id
    reading.quarantine(reason, size=record.size, offset=record.offset, locator=locator, detail=detail)


def _no_page(record: WarcRecord) -> str:
    if record.type not in ("response", "conversion"):
        return "not_response"
    return "" if record.url.lower().startswith(("http://", "https://")) else "not_response"


def _text(record: WarcRecord, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """A page whose text was extracted by the crawler (WET): paragraphs are its lines."""
    text, bad = decode(record.content)
    if bad >= 0:
        detail = "bytes that are no UTF-8 are left out"
        reading.damage("encoding", offset=record.offset, locator=record.url, detail=detail)
    yield _as_document(record, config, reading, text.strip(), "", "")


def _as_document(
    record: WarcRecord, config: SourceConfig, reading: Reading, text: str, title: str, date: str
) -> Document:
    uuid, date = record.id.rpartition(":")[2], date or record.headers.get("warc-date", "")
    return Document(
        f"{config.label}:{uuid}", reading.origin, record.id, text, record.url, title, date, record.size
    )


def _page(record: WarcRecord, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    try:
        response = parse_http(record.content, MAXIMUM_PAGE_BYTES)
    except ValueError as error:
        _quarantine(record, "bad_http", str(error), reading)
        return
    if rule := _skip_response(response):
        reading.skip(rule, record.size)
    elif len(response.body) > MAXIMUM_PAGE_BYTES:
        _quarantine(record, "too_large", f"a body of more than {MAXIMUM_PAGE_BYTES} bytes", reading)
    else:
        article = extract_article(response.body, response.charset)
        yield _as_document(record, config, reading, article.text, article.title, article.date)


def _skip_response(response: HttpResponse) -> str:
    if response.status != 200:
        return "http_status"
    return "" if response.mime in HTML else "mime"
