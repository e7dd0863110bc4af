"""What an HTML page says about itself: its encoding, title and date."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from typing import Any

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

META_BYTES = 4096  # where a charset declaration must stand
_META_CHARSET = re.compile(rb"<meta[^>]{0,300}charset\s*=\s*[\"']?\s*([\w.:-]{2,40})", re.IGNORECASE)
_JSON_DATE = re.compile(r"\"datePublished\"\s*:\s*\"([^\"]{4,40})\"")
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
    default are common; bytes that are all ASCII leave the choice to what is declared (ISO-2022-JP is such). Where none
    fits without an error, the last resort puts U+FFFD for what cannot be decoded. Zero bytes are left out.
    """
    for mark, encoding in _BOMS:
        if html.startswith(mark):
            return html[len(mark) :].decode(encoding, "replace").replace("\0", "")
    declared = _META_CHARSET.search(html, 0, META_BYTES)
    named = [charset, declared[1].decode("ascii", "replace") if declared else None]
    known = [encoding for name in named if name and (encoding := _codec(name))]
    for encoding in [*known, "utf-8"] if html.isascii() else ["utf-8", *known]:
        try:
            return html.decode(encoding).replace("\0", "")
        except UnicodeDecodeError:
            continue
    best = known[0] if known else _codec(detect_encoding(html) or "") or "utf-8"
    return html.decode(best, "replace").replace("\0", "")


def _codec(name: str) -> str:
    """The Python codec of a web encoding label, or ""."""
    try:
        return codecs.lookup(map_encoding_to_html5(name.strip(), fallback_utf8=False) or "").name
    except (LookupError, ValueError):
        return ""


def find_title(tree: Any, metas: Mapping[str, str]) -> str:
    """The page's title as shared (og:title), else its only <h1>, else <title>. `metas`: of `meta_properties`."""
    shared = next((metas[name] for name in TITLE_PROPERTIES if metas.get(name)), "")
    headings = [] if shared or tree.body is None else tree.body.query_selector_all("h1")
    only = headings[0].text if len(headings) == 1 else ""
    return " ".join((shared or only or tree.title or "").split())


def find_date(tree: Any, metas: Mapping[str, str]) -> str:
    """The date of publication in ISO 8601: <meta>, JSON-LD, then the first <time datetime>; else ""."""
    for name in DATE_PROPERTIES:
        if found := _ISO_DATE.match(metas.get(name, "")):
            return found[1]
    for script in tree.document.query_selector_all('script[type="application/ld+json"]'):
        if (stated := _JSON_DATE.search(script.text or "")) and (found := _ISO_DATE.match(stated[1])):
            return found[1]
    for time in tree.document.query_selector_all("time"):
        if found := _ISO_DATE.match(time.getattr("datetime") or ""):
            return found[1]
    return ""


def meta_properties(tree: Any) -> dict[str, str]:
    """<meta property|name|itemprop> to content; the first of a name wins."""
    found: dict[str, str] = {}
    for meta in tree.document.query_selector_all("meta"):
        name = meta.getattr("property") or meta.getattr("name") or meta.getattr("itemprop") or ""
        found.setdefault(name.lower(), meta.getattr("content") or "")
    return found
