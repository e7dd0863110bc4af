"""Common Crawl news: HTML responses of WARC files, one document a page.

    records ──response, date, status 200, HTML──> HTTP body ──extract_article──> title, date, text ──> Document

A record is accepted only when the next one begins or the file ends well: a gzip member's checksum stands behind its
bytes, so a damage always belongs to the record before it.
"""

from __future__ import annotations

from collections.abc import Iterator

from rbt.corpus.config import SourceConfig
from rbt.corpus.extract.html import extract_article
from rbt.corpus.reading import Reading
from rbt.corpus.sources.compression import Damage
from rbt.corpus.sources.raw import open_raw
from rbt.corpus.sources.warc import HttpResponse, WarcReader, WarcRecord, parse_http
from rbt.formats.document import Document

MAXIMUM_PAGE_BYTES = 10_000_000
HTML = frozenset({"text/html", "application/xhtml+xml"})


def read(location: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """Read one WARC file."""
    with open_raw(location, reading, begins=b"WARC/") as stream:
        while True:
            held: WarcRecord | None = None
            for record in WarcReader(stream, MAXIMUM_PAGE_BYTES):
                if held is not None:
                    yield from _document(held, config, reading)
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
                yield from _document(held, config, reading)
            if damage is None:
                return
            stream.resume()


def _quarantine_damaged(record: WarcRecord, damage: Damage, reading: Reading) -> None:
    reading.record(record.size)
    locator, detail = record.url or record.id, f"{record.id} {damage.detail}"
    reading.quarantine(damage.reason, size=record.size, offset=damage.offset, locator=locator, detail=detail)


def _document(record: WarcRecord, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    size = record.size
    reading.record(size)
    if record.problem in ("truncated", "bad_record"):
        _quarantine(record, record.problem, "", reading)
    elif rule := _skip_rule(record, config):
        reading.skip(rule, size)
    elif record.problem:
        _quarantine(record, record.problem, f"{size} bytes, more than {MAXIMUM_PAGE_BYTES}", reading)
    elif not record.id:
        _quarantine(record, "bad_record", "no WARC-Record-ID", reading)
    else:
        yield from _page(record, config, reading)


def _quarantine(record: WarcRecord, reason: str, detail: str, reading: Reading) -> None:
    locator = record.url or record.id
    reading.quarantine(reason, size=record.size, offset=record.offset, locator=locator, detail=detail)


def _skip_rule(record: WarcRecord, config: SourceConfig) -> str:
    if record.headers.get("warc-type", "").lower() != "response":
        return "not_response"
    if not record.url.lower().startswith(("http://", "https://")):
        return "not_response"
    date = record.headers.get("warc-date", "")
    if (config.since and date < config.since) or (config.until and date >= config.until):
        return "date"
    return ""


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
        date = article.date or record.headers.get("warc-date", "")
        uuid = record.id.rpartition(":")[2]
        yield Document(
            f"{config.label}:{uuid}", reading.origin, record.id, article.text, record.url, article.title, date,
            record.size,
        )


def _skip_response(response: HttpResponse) -> str:
    if response.status != 200:
        return "http_status"
    return "" if response.mime in HTML else "mime"
