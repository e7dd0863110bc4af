"""One <page> of a MediaWiki dump to its fields.

    page bytes ──a page as dumps write it: two regular expressions, unescape (kernel)──> PageFields
               ──any other──> lxml ──> PageFields

The quick way takes exactly one shape: the elements that MediaWiki writes, in its order, one revision, the five
entities of XML, no control characters. All else, well-formed or not, is left to lxml. No entity is ever resolved.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from lxml import etree

from rbt.kernels import kernel

UInt8 = npt.NDArray[np.uint8]

_CHARACTERS = np.frombuffer(b"<>\"&", np.uint8)
_NAMES = (b"&lt;", b"&gt;", b"&quot;", b"&amp;")
_ENTITIES = np.frombuffer(b"".join(_NAMES), np.uint8)
_STARTS = np.cumsum([0, *map(len, _NAMES)])
_AMPERSAND, _LEAD = 0x26, 0xEF  # U+FFFE and U+FFFF, which XML has not, start with the latter
_ODD = np.zeros(256, np.bool_)
_ODD[[*range(9), *range(11, 32), ord(">"), _LEAD]] = True
_TEXT = rb"(?:[^<>&\xef\x00-\x08\x0b-\x1f]++|&(?:lt|gt|amp|quot);)*+"  # \xef: starts two characters that XML has not
_VALUE = _TEXT.replace(b"[^<>&", b'[^<>"&')
_NUMBER = rb"\d{1,18}"
_HEAD = re.compile(
    (
        rb"<page>\s*<title>(TEXT)</title>\s*<ns>(-?NUMBER)</ns>\s*<id>(NUMBER)</id>\s*"
        rb'(<redirect title="VALUE" ?/>\s*)?(?:<restrictions>TEXT</restrictions>\s*)?'
        rb"<revision>\s*<id>NUMBER</id>\s*(?:<parentid>NUMBER</parentid>\s*)?<timestamp>([\dTZ:-]*)</timestamp>\s*"
        rb'(?:<contributor deleted="deleted" ?/>\s*|<contributor>\s*(?:<ip>TEXT</ip>\s*|'
        rb"<username(?: ?/>|>TEXT</username>)\s*(?:<id>NUMBER</id>\s*)?)</contributor>\s*)?"
        rb'(?:<minor ?/>\s*)?(?:<comment(?: deleted="deleted" ?/>| ?/>|>TEXT</comment>)\s*)?'
        rb"(?:<origin>NUMBER</origin>\s*)?(?:<model>(TEXT)</model>\s*(?:<format>TEXT</format>\s*)?)?"
        rb'<text(?: bytes="NUMBER")?(?: sha1="\w*")?(?: xml:space="preserve")?( ?/)?>'
    ).replace(rb"\s", rb"[ \t\n]").replace(b"TEXT", _TEXT).replace(b"VALUE", _VALUE).replace(b"NUMBER", _NUMBER)
)
_TAIL = re.compile(
    (
        rb"\s*(?:<sha1(?: ?/>|>\w*</sha1>)\s*)?(?:<model>(TEXT)</model>\s*(?:<format>TEXT</format>\s*)?)?"
        rb"</revision>\s*</page>\Z"
    ).replace(rb"\s", rb"[ \t\n]").replace(b"TEXT", _TEXT)
)


class PageFields(NamedTuple):
    """What a page says of itself, and the wikitext of its last revision, UTF-8."""

    title: str
    namespace: str
    id: str
    redirect: bool
    timestamp: str
    model: str
    text: bytes


def read_page(data: bytes) -> PageFields:
    """The fields of a page. Raises lxml's XMLSyntaxError where it is not well-formed."""
    return read_usual_page(data) or parse_page(data)


def read_usual_page(data: bytes) -> PageFields | None:
    """The fields of a page that has the shape that dumps have; None for any other."""
    head = _HEAD.match(data)
    if head is None:
        return None
    title, namespace, id, redirect, timestamp, model, empty = head.groups()
    stop = head.end() if empty else data.find(b"</text>", head.end())
    tail = _TAIL.match(data, stop + (0 if empty else len(b"</text>"))) if stop >= 0 else None
    if tail is None or data.find(b"<", head.end(), stop) >= 0 or not _is_utf8(data):
        return None
    text = unescape(np.frombuffer(data, np.uint8), head.end(), stop)
    return None if text is None else PageFields(
        _unescaped(title), namespace.decode(), id.decode(), redirect is not None, timestamp.decode(),
        _unescaped(model or tail[1] or b"wikitext"), text.tobytes(),
    )


def _is_utf8(data: bytes) -> bool:
    try:
        return data.isascii() or bool(data.decode())
    except UnicodeDecodeError:
        return False


def _unescaped(data: bytes) -> str:
    for name, character in zip(_NAMES, b"<>\"&", strict=True):
        data = data.replace(name, bytes([character]))
    return data.decode()


@kernel
def _entity(data: UInt8, place: int, stop: int) -> tuple[int, int]:
    """(index in _CHARACTERS, place behind) of the entity whose "&" is at `place`; (-1, place) for any other."""
    for number in range(len(_CHARACTERS)):
        length = _STARTS[number + 1] - _STARTS[number]
        matched, end = 0, min(length, stop - place)
        while matched < end and data[place + matched] == _ENTITIES[_STARTS[number] + matched]:
            matched += 1
        if matched == length:
            return number, place + length
    return -1, place


@kernel
def unescape(data: UInt8, start: int, stop: int) -> UInt8 | None:
    """The characters of data[start:stop], which holds no tag; None where XML or the quick way does not allow one."""
    out = np.empty(max(stop - start, 0), np.uint8)
    place, size = start, 0
    while place < stop:
        byte = data[place]
        behind = place + 1
        if byte == _AMPERSAND:
            number, behind = _entity(data, place, stop)
            if number < 0:
                return None
            byte = _CHARACTERS[number]
        elif _ODD[byte]:
            noncharacter = byte == _LEAD and place + 2 < stop and data[place + 1] == 0xBF and data[place + 2] >= 0xBE
            if byte != _LEAD or noncharacter:
                return None
        out[size] = byte
        size += 1
        place = behind
    return out[:size]


def parse_page(data: bytes) -> PageFields:
    """The fields of any well-formed page. Raises lxml's XMLSyntaxError.

    All of the text is taken, also what stands behind a comment or inside an element that no dump has there.
    """
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True, remove_comments=True, remove_pis=True
    )
    page = etree.fromstring(data, parser)
    revision = "revision[last()]/"
    text = page.find(revision + "text")
    return PageFields(
        page.findtext("title") or "",
        (page.findtext("ns") or "0").strip(),
        (page.findtext("id") or "").strip(),
        page.find("redirect") is not None,
        page.findtext(revision + "timestamp") or "",
        page.findtext(revision + "model") or "wikitext",
        "".join(text.itertext() if text is not None else ()).encode(),
    )
