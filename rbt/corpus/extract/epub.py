"""The parts of an EPUB: its container, its package (OPF) and its chapters (XHTML). Formats: EPUB 2.0.1 and 3.3.

    container.xml ──> path of the package ──> title, date, chapters in spine order ──> XHTML ──> paragraphs

What a reader of running text wants is kept: headings are paragraphs of their own, verses and addresses keep their
lines, list items, table rows and title pages stay. Left out: tables of contents and other navigation, captions,
notes and their marks, page numbers, ruby glosses, scripts, and the license that Project Gutenberg wraps around a book.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from lxml import etree

from rbt.corpus.extract.markup import (
    Attributes,
    Walk,
    decode_markup,
    local_name,
    outermost,
    parse_xml,
    prepare,
    walk_html,
    walk_xml,
    words_of,
)

CHAPTER_TYPES = frozenset(
    """application/xhtml+xml text/html application/xml text/xml text/x-oeb1-document application/x-dtbook+xml""".split()
)
FONT_MANGLING = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")  # fonts alone, no protection
GUIDE_DROPPED, GUIDE_TEXT = frozenset({"toc", "cover", "loi", "lot"}), frozenset({"text", "start"})
BLOCKS = frozenset(
    """address article aside blockquote body center dd details div dl dt figure footer form h1 h2 h3 h4 h5 h6 header
    hgroup hr html legend li main ol p pre section summary table tbody td tfoot th thead tr ul""".split()
) - {"td", "th"}
DROPPED_TAGS = frozenset(
    """script style head title nav template noscript svg figcaption caption rt rp audio video object iframe button
    select textarea""".split()
)
DROPPED_TYPES = frozenset(
    """toc landmarks loi lot page-list cover noteref footnote footnotes endnote endnotes rearnote rearnotes pagebreak
    doc-toc doc-cover doc-noteref doc-footnote doc-endnote doc-endnotes doc-pagebreak doc-pagelist""".split()
)
DROPPED_CLASSES = frozenset("pagenum pageno pagenumber pagebreak pg-boilerplate noteref fnanchor".split())
LOOKED_AT = 20  # titles and dates of a package; one may hold all the others
CONTENTS_LINKS = 0.8  # share of a chapter's characters that are links, from which on it is a table of contents
MARKS = {"td": " ", "th": " "}
_DATE = re.compile(r"([12]\d{3})(-\d\d(?:-\d\d)?)?(?!\d)")


@dataclass(frozen=True)
class Package:
    """What an OPF file says. `chapters`: member names in reading order; then counts of what is left out.

    `unknown`: what the reading order names and the package does not have.
    """

    title: str
    date: str
    chapters: tuple[str, ...]
    nonlinear: int
    navigation: int
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chapter:
    """The text of one XHTML document. `contents`: it is a list of links, so `text` is "" ."""

    text: str
    contents: bool = False
    broken: str = ""  # what the XML parser found, where it was read as HTML


def find_package(container: bytes) -> str:
    """Member name of the package, or "" where the container names none."""
    try:
        elements = _tree(container).iter()
    except etree.XMLSyntaxError:
        return ""
    paths = (element.get("full-path", "").strip() for element in elements if local_name(element.tag) == "rootfile")
    return next((unquote(path).lstrip("/") for path in paths if path), "")


def encrypted_members(encryption: bytes) -> set[str]:
    """Names of the members that META-INF/encryption.xml calls encrypted, mangled fonts left out."""
    found = set()
    for data in outermost(_tree(encryption), "EncryptedData"):
        inner = {local_name(element.tag): element for element in data.iter()}
        method, reference = inner.get("EncryptionMethod"), inner.get("CipherReference")
        if reference is not None and (method is None or method.get("Algorithm") not in FONT_MANGLING):
            found.add(unquote(reference.get("URI") or "").lstrip("/"))
    return found


def parse_package(data: bytes, path: str) -> Package:
    """Read an OPF file, itself the member `path`. Raises etree.XMLSyntaxError where nothing of it can be read."""
    root = _tree(data)
    elements: dict[str, list[Any]] = {}
    for element in root.iter():
        elements.setdefault(local_name(element.tag), []).append(element)
    folder = posixpath.dirname(path)
    items = {item.get("id"): item for item in elements.get("item", [])}
    left_out = _left_out(elements.get("reference", []), folder)
    spine = [(itemref, items.get(itemref.get("idref"))) for itemref in elements.get("itemref", [])]
    documents = [(itemref, item) for itemref, item in spine if item is not None and _is_chapter(item)]
    nonlinear = [item for itemref, item in documents if itemref.get("linear") == "no"]
    linear = [item for itemref, item in documents if itemref.get("linear") != "no"]
    chapters = [
        name for item in linear
        if (name := _resolve(folder, item.get("href", ""))) not in left_out
        and "nav" not in item.get("properties", "").split()
    ]
    title = next((found for element in elements.get("title", [])[:LOOKED_AT] if (found := words_of(element))), "")
    once = tuple(dict.fromkeys(chapters))
    unknown = tuple(itemref.get("idref", "") for itemref, item in spine if item is None)
    date = _date(elements.get("date", [])[:LOOKED_AT])
    return Package(title, date, once, len(nonlinear), len(linear) - len(chapters), unknown)


def _tree(data: bytes) -> Any:
    return parse_xml(prepare(decode_markup(data)), recover=True)


def _left_out(references: Sequence[Any], folder: str) -> set[str]:
    """The files that the guide calls no text. A place inside a file, or where the text begins, says nothing of it."""
    by_type = [(reference.get("type", "").lower(), reference.get("href", "")) for reference in references]
    dropped = {_resolve(folder, href) for type, href in by_type if type in GUIDE_DROPPED and "#" not in href}
    return dropped - {_resolve(folder, href) for type, href in by_type if type in GUIDE_TEXT}


def _is_chapter(item: Any) -> bool:
    return item.get("media-type", "application/xhtml+xml").strip().lower() in CHAPTER_TYPES


def _resolve(folder: str, href: str) -> str:
    path = unquote(href.strip().partition("#")[0]).replace("\\", "/")
    return posixpath.normpath(posixpath.join("/", folder, path)).lstrip("/")


def _date(elements: Sequence[Any]) -> str:
    """The date of publication where one is called so, else the first that is a date of the last thousand years."""
    dates = [(element.attrib, match[0]) for element in elements if (match := _DATE.match(words_of(element)))]
    called = [date for names, date in dates if "publication" in names.values()]
    others = [date for names, date in dates if not {"modification", "conversion"} & set(names.values())]
    return next(iter(called + others), "")


def extract_chapter(data: bytes) -> Chapter:
    """The paragraphs of an XHTML document. What is no XML is read as HTML, so that no chapter is lost to a slip."""
    prepared, broken = prepare(decode_markup(data)), ""
    walk = _walk()
    try:
        walk_xml(parse_xml(prepared), walk)
    except etree.XMLSyntaxError as error:
        broken, walk = str(error), _walk()
        walk_html(prepared, walk)
    text = "\n\n".join(walk.paragraphs)
    is_contents = walk.links >= 3 and walk.linked >= CONTENTS_LINKS * sum(len(word) for word in text.split())
    return Chapter("" if is_contents else text, is_contents, broken)


def _walk() -> Walk:
    return Walk(BLOCKS, frozenset({"br"}), _drops, MARKS, frozenset({"pre"}))


def _drops(tag: str, attributes: Attributes) -> bool:
    if tag in DROPPED_TAGS or "hidden" in attributes:
        return tag != "body"
    types = {*attributes.get("type", "").split(), attributes.get("role", "")}
    if not DROPPED_TYPES.isdisjoint(types):
        return True
    return not DROPPED_CLASSES.isdisjoint(attributes.get("class", "").lower().split())
