"""Web pages of WARC and WET files, one document a page: what ccnews, openwebtext and stories share.

    WARC records ──response, wanted, status 200, HTML──> HTTP body ──extract_guarded──> title, date, text ──> Document
    WET records ──conversion, wanted──> lines, each a paragraph ──> Document

A record is accepted only when the next one begins or the file ends well: a gzip member's checksum stands behind its
bytes, so a damage always belongs to the record before it.

Dropped by rule: `not_response` (warcinfo, request, metadata, revisit, resource, whatever is not of http), what `skip`
says, `http_status` (not 200), `mime` (not HTML), `empty` (no byte of a body). Quarantined: `truncated`, `corrupt`,
`bad_record` (no WARC here), `bad_http`, `too_large` (HTML of more than `page_bytes`, as stored or decoded), `too_slow`,
`too_much_memory`, `crashed` (see guard.py), and once for a whole file `arc_format`: Common Crawl's files before 2013,
which warcio's `recompress` turns into WARC.

A WET record has no title and no date of its own: its first line may be a title and stays in the text, its date is the
crawl's. The languages that some WET records name (WARC-Identified-Content-Language) are not used: the filter asks the
text itself, the same way for every source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rbt.corpus.config import SourceConfig
from rbt.corpus.guard import Refusal, extract_guarded
from rbt.corpus.reading import Reading
from rbt.corpus.sources.compression import Damage
from rbt.corpus.sources.raw import open_raw
from rbt.corpus.sources.text import decode
from rbt.corpus.sources.warc import HttpResponse, WarcReader, WarcRecord, parse_http
from rbt.formats.document import Document

HTML = frozenset({"text/html", "application/xhtml+xml"})
UNREADABLE = ("truncated", "bad_record", "arc_format")  # problems of a record that say nothing of what it holds

Skip = Callable[[WarcRecord], str]  # the rule by which a source does not want a page, or ""


def read_pages(location: str, config: SourceConfig, reading: Reading, skip: Skip) -> Iterator[Document]:
    """Read one WARC or WET file; `skip` is asked for each page before it is parsed."""
    with open_raw(location, reading, begins=b"WARC/") as stream:
        while True:
            held: WarcRecord | None = None
            for record in WarcReader(stream, config.page_bytes):
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
    reading.record(record.size)
    if record.problem in UNREADABLE:
        _quarantine(record, record.problem, _what_is_wrong(record), reading)
    elif rule := _no_page(record) or skip(record):
        reading.skip(rule, record.size)
    elif not record.id:
        _quarantine(record, "bad_record", "no WARC-Record-ID", reading)
    elif record.type == "conversion":
        yield from _text(record, config, reading)
    else:
        yield from _page(record, config, reading)


def _what_is_wrong(record: WarcRecord) -> str:
    if record.problem == "arc_format":
        return "expected WARC; found the older ARC format (warcio recompress makes one of the other)"
    if record.problem == "bad_record":
        return "expected a line WARC/1.x and a Content-Length"
    return f"{record.size} of {record.headers.get('content-length', 'unknown')} bytes"


def _quarantine(record: WarcRecord, reason: str, detail: str, reading: Reading) -> None:
    locator = record.url or record.id
    reading.quarantine(reason, size=record.size, offset=record.offset, locator=locator, detail=detail)


def _no_page(record: WarcRecord) -> str:
    if record.type not in ("response", "conversion") or not record.url.lower().startswith(("http://", "https://")):
        return "not_response"
    return "" if record.size else "empty"


def _text(record: WarcRecord, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """A page whose text was extracted by the crawler."""
    if not record.headers.get("content-type", "text/plain").lower().startswith("text/plain"):
        reading.skip("mime", record.size)
        return
    if record.problem:
        _quarantine(record, record.problem, f"more than {config.page_bytes} bytes", reading)
        return
    text, bad = decode(record.content)
    if bad >= 0:
        detail = "bytes that are no UTF-8 are left out"
        reading.damage("encoding", offset=record.offset, locator=record.url, detail=detail)
    lines = [line.strip() for line in text.split("\n")]
    yield _as_document(record, config, reading, "\n\n".join(line for line in lines if line), "", "")


def _as_document(
    record: WarcRecord, config: SourceConfig, reading: Reading, text: str, title: str, date: str
) -> Document:
    uuid, date = record.id.rpartition(":")[2], date or record.headers.get("warc-date", "")
    return Document(
        f"{config.label}:{uuid}", reading.origin, record.id, text, record.url, title, date, record.size
    )


def _page(record: WarcRecord, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    try:  # of a record that is too large the headers are here, and its body stays as it is
        response = parse_http(record.content, -1 if record.problem else config.page_bytes)
    except ValueError as error:
        _quarantine(record, "bad_http", str(error), reading)
        return
    if rule := _skip_response(response, record):
        reading.skip(rule, record.size)
        return
    if record.problem or len(response.body) > config.page_bytes:
        _quarantine(record, "too_large", f"a body of more than {config.page_bytes} bytes", reading)
        return
    article = extract_guarded(config.extractor, response.body, response.charset, config.page_seconds)
    if isinstance(article, Refusal):
        _quarantine(record, article.reason, article.detail, reading)
    else:
        yield _as_document(record, config, reading, article.text, article.title, article.date)


def _skip_response(response: HttpResponse, record: WarcRecord) -> str:
    if response.status != 200:
        return "http_status"
    mime = response.mime or record.headers.get("warc-identified-payload-type", "").lower()
    if mime not in HTML:
        return "mime"
    return "" if response.body.strip() else "empty"
