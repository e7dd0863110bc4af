"""One book, from the bytes of its file: what is known of it, and the forms that are one document, text and TEI.

    bytes ──decode_book──> text ──extract_book──> Book
    bytes ──extract_tei──> Book, or Refused with a reason
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from dataclasses import dataclass, field

from lxml import etree

from rbt.corpus.extract.book import extract_book
from rbt.corpus.extract.tei import extract_tei
from rbt.corpus.sources.text import decode
from rbt.corpus.sources.zip_archive import Refused

BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
LONE_SHARE = 0.5  # of the bytes beyond ASCII that stand alone; in English or French Windows-1252 four in five do
OTHER_FORMATS = re.compile(rb"(?:\xef\xbb\xbf)?\s*(<!doctype html|<html|\{\\rtf|%PDF-)", re.IGNORECASE)
_HIGH = bytes(range(128, 256))
_LONE_HIGH = re.compile(rb"(?<![\x80-\xff])[\x80-\xff](?![\x80-\xff])")


@dataclass(frozen=True)
class Flaw:
    """Something missing or odd in a book that is kept. `offset`: in its file, -1 where unknown."""

    reason: str
    detail: str
    offset: int = -1


@dataclass
class Book:
    """A book that was read; `counts`: what was left out of it, by name."""

    text: str
    title: str = ""
    date: str = ""
    flaws: list[Flaw] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def read_text(data: bytes) -> Book | Refused:
    """A plain text file. What begins like a page or a word processor's file is none, whatever its name."""
    if (other := OTHER_FORMATS.match(data)) is not None:
        return Refused("not_text", f"{other[1].decode()!r} at its start: expected a plain text file")
    text, flaw = decode_book(data)
    if "\0" in text[:4096]:
        return Refused("not_text", "zero bytes: expected a plain text file")
    stripped = extract_book(text)
    book = Book(stripped.text, flaws=[flaw] if flaw else [])
    if stripped.oddity:
        book.flaws.append(Flaw("odd_marks", f"{stripped.oddity}; kept"))
    return book


def decode_book(data: bytes) -> tuple[str, Flaw | None]:
    """Text of UTF-8 or marked UTF-16, or of Windows-1252 (old Gutenberg texts) where it looks like that.

    It does where more bytes are no UTF-8 than are characters of it beyond ASCII, and most stand alone. Else what
    is no UTF-8 is left out.
    """
    text, bad = decode(data)
    if bad < 0:
        return text, None
    high = len(data) - len(data.translate(None, _HIGH))
    lost = len(data) - len(text.encode())
    lone = sum(1 for _ in _LONE_HIGH.finditer(data))
    if not data.startswith(BYTE_ORDER_MARKS) and 2 * lost > high and lone >= LONE_SHARE * high:
        return data.decode("cp1252", "replace"), Flaw("encoding", "no UTF-8: read as Windows-1252", bad)
    return text, Flaw("encoding", "bytes that are no UTF-8 are left out", bad)


def read_tei(data: bytes) -> Book | Refused:
    """A TEI file; what follows a slip in its XML is kept as far as the parser can make sense of it."""
    try:
        found = extract_tei(data)
    except etree.XMLSyntaxError as error:
        return Refused("bad_xml", str(error))
    if found is None:
        return Refused("not_tei", "expected TEI; found another XML format")
    flaws = [Flaw("bad_xml", f"{found.problem}; the text is kept as far as it could be read")] if found.problem else []
    return Book(found.text, found.title, found.date, flaws)
