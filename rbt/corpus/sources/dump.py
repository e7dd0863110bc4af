"""MediaWiki dumps (pages-articles XML, plain or compressed, multistream too): one document a page.

    bytes ──<page> ... </page>──> page bytes ──read_page (dump_page)──> fields, wikitext ──extract_utf8──> Document

Pages are cut out of the byte stream and read one by one, so memory stays flat and a broken page costs itself alone:
in a dump "<page>" is only ever a tag, since text has "<" escaped. Entities are never resolved. What a page's templates
lose is counted by their name: `reading.counts["template:<name>"]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from lxml import etree

from rbt.corpus.config import SourceConfig
from rbt.corpus.extract.wikitext import extract_utf8
from rbt.corpus.reading import Reading
from rbt.corpus.sources.compression import Damage
from rbt.corpus.sources.dump_page import PageFields, read_page
from rbt.corpus.sources.raw import RawStream, open_raw
from rbt.formats.document import Document

MAXIMUM_PAGE_BYTES = 64 << 20
MAXIMUM_TEMPLATE_NAMES = 10_000  # counted apart; the rest together
OPEN, CLOSE = b"<page>", b"</page>"
REDIRECT = re.compile(rb"\s*#\s*redirect\b", re.IGNORECASE)
DISAMBIGUATION = frozenset(  # templates of disambiguation pages, beside all whose name ends in " disambiguation"
    """disambiguation|disambig|disamb|dab|disambiguation page|disambiguation cleanup|disambig-cleanup|hndis
    |hndis-cleanup|geodis|schooldis|hospitaldis|airportdis|airport disambig|callsigndis|churchdis|roaddis
    |stationdis|mil-unit-dis|mathdab|numberdis|tndis|molformdisambig|letter-numbercombdisambig
    |species latin name abbreviation disambiguation|begriffsklärung|homonymie|disambigua|desambiguación
    |desambiguação|desambiguació|doorverwijspagina|ujednoznacznienie|неоднозначность|багатозначність
    |вишезначна одредница|förgrening|flertydig|täsmennyssivu|rozcestník|egyért|anlam ayr\u0131m\u0131|aimai
    |曖昧さ回避|消歧义|消歧義|동음이의|توضيح|ابهام‌زدایی|định hướng|dezambiguizare|razločitev|nozīmju atdalīšana
    |zeimeibu škiršona|निःसंदिग्धीकरण|बहुविकल्पी""".replace("\n    ", "").split("|")
)
SWITCH = b"__DISAMBIG__"
_PAGE_ID = re.compile(rb"<id>\s*(\d+)\s*</id>")
_BASE = re.compile(rb"<base>\s*([^<\s]+)\s*</base>")


@dataclass(frozen=True)
class Page:
    """The bytes of one page, whole or not. `offset`: in the decompressed dump."""

    data: bytes
    offset: int
    problem: str = ""  # "truncated" or "too_large"; "" for a whole page

    @property
    def locator(self) -> str:
        """Its page id as far as known."""
        found = _PAGE_ID.search(self.data)
        return found[1].decode() if found else ""


class PageCutter:
    """Cuts a stream of bytes into pages; what stands between pages is kept only as far as the header needs."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0  # bytes of the buffer known to hold no end of the page
        self._offset = 0  # of the buffer's first byte
        self.base = ""
        self.opened = self.closed = False  # whether <mediawiki and </mediawiki> were seen

    def feed(self, data: bytes) -> Iterator[Page]:
        """Pages that are complete now."""
        self._buffer += data
        while (page := self._next()) is not None:
            yield page

    def _next(self) -> Page | None:
        buffer = self._buffer
        if not buffer.startswith(OPEN):
            start = buffer.find(OPEN)
            self._look_between(bytes(buffer[: start if start >= 0 else len(buffer)]))
            # without a page the last bytes stay: a tag may be cut, the header's facts may be
            self._drop(start if start >= 0 else max(len(buffer) - (1 << 14), 0))
            if start < 0:
                return None
        end = buffer.find(CLOSE, max(self._searched - len(CLOSE), 0))
        next_start = buffer.find(OPEN, max(self._searched - len(OPEN), len(OPEN)), end if end >= 0 else len(buffer))
        if next_start >= 0:
            return self._take(next_start, "truncated")
        if end >= 0:
            return self._take(end + len(CLOSE), "")
        if len(buffer) > MAXIMUM_PAGE_BYTES:
            return self._take(len(buffer), "too_large")
        self._searched = len(buffer)
        return None

    def _look_between(self, data: bytes) -> None:
        self.opened |= b"<mediawiki" in data
        self.closed |= b"</mediawiki>" in data
        if not self.base and (found := _BASE.search(data)):
            self.base = found[1].decode("utf-8", "replace")

    def _take(self, size: int, problem: str) -> Page:
        page = Page(bytes(self._buffer[:size]), self._offset, problem)
        self._drop(size)
        return page

    def _drop(self, size: int) -> None:
        del self._buffer[:size]
        self._offset += size
        self._searched = 0

    def cut(self) -> Page | None:
        """The page that the end of the stream, or a damage, cuts; the cutter is empty afterwards."""
        page = self._take(len(self._buffer), "truncated")
        return page if page.data.startswith(OPEN) else None


def read(location: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """Read one dump, or the span of it that `reading.span` names.

    The span's facts: `base`, the address in the dump's header, and `last`, whether the dump should end with the span.
    """
    cutter, span = PageCutter(), reading.span
    if span is not None:
        cutter.base = str(span.facts.get("base", ""))
    with open_raw(location, reading) as stream:
        damaged = False
        while True:
            while data := stream.read_some():
                for page in cutter.feed(data):
                    yield from _document(page, cutter.base, config, reading)
            ends = cutter.opened if span is None else bool(span.facts.get("last"))
            _end(cutter, stream, ends and not damaged, reading)
            if stream.damage is None:
                return
            damaged = True
            stream.resume()


def _end(cutter: PageCutter, stream: RawStream, ends: bool, reading: Reading) -> None:
    """Account for what the end of the stream, or a damage, cuts. `ends`: </mediawiki> should have come."""
    page, damage = cutter.cut(), stream.damage
    if damage is None and page is None and ends and not cutter.closed:
        damage = Damage("truncated", stream.position, "the dump ends without </mediawiki>", 0)
    if page is not None:
        reading.record(len(page.data))
        reading.quarantine(
            damage.reason if damage else page.problem, size=len(page.data), locator=page.locator,
            offset=damage.offset if damage else page.offset, detail=damage.detail if damage else "the dump ends in it",
        )
    elif damage is not None:
        reading.lost(damage.reason, offset=damage.offset, detail=damage.detail)


def _document(page: Page, base: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    try:
        fields = None if page.problem else read_page(page.data)
        detail = f"page of {len(page.data)} bytes without an end"
    except etree.XMLSyntaxError as error:
        fields, detail = None, str(error)
    if fields is None:
        reading.record(len(page.data))
        reading.quarantine(
            page.problem or "bad_xml", size=len(page.data), offset=page.offset, locator=page.locator, detail=detail
        )
        return
    size = len(fields.text)
    reading.record(size)
    if not fields.id:
        reading.quarantine("bad_xml", size=size, offset=page.offset, detail="a page without an id")
        return
    if rule := _skip_rule(fields):
        reading.skip(rule, size)
        return
    templates: dict[str, int] = {}
    text = extract_utf8(fields.text, templates)
    if not config.disambiguation and is_disambiguation(fields.text, templates):
        reading.skip("disambiguation", size)
        return
    count_templates(templates, reading.counts)
    yield Document(
        f"{config.label}:{fields.id}", reading.origin, fields.id, text, _url(base, fields.id), fields.title,
        fields.timestamp, size,
    )


def _skip_rule(fields: PageFields) -> str:
    if fields.namespace != "0":
        return "namespace"
    if fields.redirect or REDIRECT.match(fields.text):
        return "redirect"
    return "" if fields.model == "wikitext" else "model"


def is_disambiguation(wikitext: bytes, templates: Iterable[str]) -> bool:
    """Whether a page, by its wikitext and the names of the templates that stand in it, only lists other pages."""
    return SWITCH in wikitext or any(
        name in DISAMBIGUATION or name.endswith(" disambiguation") for name in templates
    )


def count_templates(templates: dict[str, int], counts: dict[str, int]) -> None:
    """Add a page's dropped templates to `counts`, under "template:<name>"; names beyond the limit under one key."""
    for name, number in templates.items():
        key = f"template:{name}"
        if key not in counts and len(counts) >= MAXIMUM_TEMPLATE_NAMES:
            key = "template:(other)"
        counts[key] = counts.get(key, 0) + number


def _url(base: str, id: str) -> str:
    parts = urlsplit(base)
    return f"{parts.scheme}://{parts.netloc}/?curid={id}" if parts.scheme in ("http", "https") and parts.netloc else ""
