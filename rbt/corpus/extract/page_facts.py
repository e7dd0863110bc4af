"""What an HTML page says about itself: its encoding, and in tags that no reader sees, title, date and body.

    bytes ──decode_html──> str
    Scan.facts, places of <meta>, <title>, <h1>, <time>, <script> ──find_facts──> title, date; ──find_body──> body
"""

from __future__ import annotations

import codecs
import json
import re
from contextlib import suppress
from html import unescape

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

from rbt.corpus.extract.html_scan import Scan

META_BYTES = 4096  # where a charset declaration must stand
SOUND = 10
_BEYOND_ASCII = bytes(range(0x80, 0x100))
_META_CHARSET = re.compile(rb"<meta[^>]{0,300}charset\s*=\s*[\"']?\s*([\w.:-]{2,40})", re.IGNORECASE)
_JSON_DATE = re.compile(r"\"datePublished\"\s*:\s*\"([^\"]{4,40})\"")
_JSON_BODY = re.compile(r"\"articleBody\"\s*:\s*(\"(?:[^\"\\]|\\.)*\")", re.DOTALL)
_TAG = re.compile(r"<[^<>]*>")
_START_TAG = re.compile(rb"<[^\s>]+(?: [^\s=>]+=\"[^\"]*\")*")
_ATTRIBUTE = re.compile(rb" ([^\s=>]+)=\"([^\"]*)\"")
_ISO_DATE = re.compile(r"\s*(\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?\s?(?:Z|[+-]\d{2}:?\d{2})?)?)")
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
TITLE_PROPERTIES = ("og:title", "twitter:title")
DATE_PROPERTIES = (
    "article:published_time", "og:published_time", "datepublished", "date", "dc.date", "dc.date.issued", "pubdate",
    "publishdate", "sailthru.date", "parsely-pub-date",
)


def decode_html(html: bytes, charset: str | None) -> str:
    """Decode by byte order mark, UTF-8, the transport's charset, the page's <meta>, or detection: the first that fits.

    UTF-8 comes early since bytes beyond ASCII do not happen to be valid UTF-8, while servers that declare Latin-1 by
    default are common; a few broken bytes among many sound ones do not change that. Bytes that are all ASCII leave the
    choice to what is declared (ISO-2022-JP is such). Where none fits without an error, the last resort puts U+FFFD for
    what cannot be decoded. Zero bytes are left out.
    """
    for mark, encoding in _BOMS:
        if html.startswith(mark):
            return html[len(mark) :].decode(encoding, "replace").replace("\0", "")
    declared = _META_CHARSET.search(html, 0, META_BYTES)
    named = [charset, declared[1].decode("ascii", "replace") if declared else None]
    known = [encoding for name in named if name and (encoding := _codec(name)) not in ("", "utf-8")]
    for encoding in [*known, "utf-8"] if html.isascii() else ["utf-8", *known]:
        try:
            return html.decode(encoding).replace("\0", "")
        except UnicodeDecodeError:
            if encoding == "utf-8" and (text := _almost_utf8(html)):
                return text.replace("\0", "")
    best = known[0] if known else _codec(detect_encoding(html) or "") or "utf-8"
    return html.decode(best, "replace").replace("\0", "")


def _almost_utf8(html: bytes) -> str:
    """The text where SOUND times as many characters beyond ASCII are good UTF-8 as are broken, else ""."""
    text = html.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    beyond = len(text) - len(html.translate(None, _BEYOND_ASCII))
    return text if beyond - broken >= SOUND * broken else ""


def _codec(name: str) -> str:
    """The Python codec of a web encoding label, or ""."""
    try:
        return codecs.lookup(map_encoding_to_html5(name.strip(), fallback_utf8=False) or "").name
    except (LookupError, ValueError):
        return ""


def find_facts(scan: Scan) -> tuple[str, str]:
    """Title and date of a page.

    The title is the one it is shared by (og:title), else its only <h1>, else <title>. The date is that of publication
    in ISO 8601, of <meta>, JSON-LD or the first <time datetime>; else "".
    """
    metas = meta_properties(scan)
    dates = [metas.get(name, "") for name in DATE_PROPERTIES]
    dates += [found[1] for script in _linked_data(scan) if (found := _JSON_DATE.search(script))]
    dates += [_attributes(scan, place).get("datetime", "") for place in _places(scan, b"<time")]
    shared = next((metas[name] for name in TITLE_PROPERTIES if metas.get(name)), "")
    date = next((found[1] for date in dates if (found := _ISO_DATE.match(date))), "")
    return " ".join((shared or _heading(scan)).split()), date


def find_body(scan: Scan) -> str:
    """The article's text as stated in JSON-LD (articleBody), as HTML or plain text; else ""."""
    bodies = [found[1] for script in _linked_data(scan) if (found := _JSON_BODY.search(script))]
    with suppress(ValueError):
        return max((json.loads(body, strict=False) for body in bodies), key=len, default="")
    return ""


def meta_properties(scan: Scan) -> dict[str, str]:
    """<meta property|name|itemprop> to content; the first of a name wins."""
    found: dict[str, str] = {}
    for place in _places(scan, b"<meta"):
        meta = _attributes(scan, place)
        name = meta.get("property") or meta.get("name") or meta.get("itemprop") or ""
        found.setdefault(name.lower(), meta.get("content", ""))
    return found


def _heading(scan: Scan) -> str:
    headings = _places(scan, b"<h1")
    end_of_head = scan.html.find(b"</head><")  # drawings have titles as well
    titles = [place for place in _places(scan, b"<title") if place < end_of_head]
    for places, end in ((headings, b"</h1>"), (titles[:1], b"</title>")):
        if len(places) == 1:
            written = scan.html[places[0] : scan.html.find(end, places[0])].decode()
            if text := unescape(_TAG.sub(" ", written)).strip():
                return text
    return ""


def _places(scan: Scan, begin: bytes) -> list[int]:
    return [place for place in scan.facts.tolist() if scan.html.startswith(begin, place)]


def _attributes(scan: Scan, place: int) -> dict[str, str]:
    """The attributes of a tag, which ends at the first `>` that stands in no value."""
    tag = _START_TAG.match(scan.html, place)
    pairs = _ATTRIBUTE.findall(tag[0]) if tag else []
    return {name.decode(): unescape(value.decode()) for name, value in reversed(pairs)}


def _linked_data(scan: Scan) -> list[str]:
    """The JSON-LD scripts of a page."""
    places = [place for place in _places(scan, b"<script") if "ld+json" in _attributes(scan, place).get("type", "")]
    return [scan.html[place : scan.html.find(b"</script", place)].decode() for place in places]
