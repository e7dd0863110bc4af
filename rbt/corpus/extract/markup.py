"""XML and XHTML to paragraphs, whatever its state.

    bytes ──decode──> str ──entities to characters, no DOCTYPE──> lxml ──broken?──> resiliparse (HTML)
          ──start, text, end──> Walk ──> paragraphs, lines inside them kept

No entity is left when a parser sees the text, so none is resolved: HTML's names become their characters, every other
name stays as it is written, and the DOCTYPE, in which entities are declared, is cut out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html.entities import html5
from typing import Any

from lxml import etree
from resiliparse.parse.html import HTMLTree, NodeType, traverse_dom

from rbt.corpus.extract.page_facts import decode_html

Attributes = Mapping[str, str]
VOID_TAGS = frozenset("area base br col embed hr img input link meta param source track wbr".split())
_XML_DECLARATION = re.compile(r"\s*<\?xml[^>]*\?>")
_XML_ENCODING = re.compile(rb"\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9._:-]{1,40})[\"']")
CDATA = "<![CDATA["
_SECTION_ENDS = {"<!--": "-->", CDATA: "]]>"}
_SECTION = re.compile(r"<!--|<!\[CDATA\[")
_DOCTYPE, _ELEMENT = re.compile(r"<!DOCTYPE", re.IGNORECASE), re.compile(r"<[A-Za-z]")
_REFERENCE = re.compile(r"&(#?[0-9A-Za-z]{1,32};)?")
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_SELF_CLOSED = re.compile(r"<([A-Za-z][^\s<>/]*+)([^<>]*)/>")
_SPACE = re.compile(r"[ \t\r\n\f\v]+")
_BLANK_LINES = re.compile(r"\n{2,}")


def decode_markup(data: bytes) -> str:
    """Text of an XML or HTML file: by its mark, UTF-8, its XML declaration or <meta>, else by detection."""
    declared = _XML_ENCODING.match(data)
    return decode_html(data, declared[1].decode() if declared else None)


def prepare(text: str) -> str:
    """Without declaration, comments, DOCTYPE, CDATA sections, named entities and characters that XML forbids."""
    text = text.lstrip("\ufeff")
    declaration = _XML_DECLARATION.match(text)  # one elsewhere is a slip that the parsers pass over
    text = _without_sections(text[declaration.end() if declaration else 0 :])
    return _NOT_XML.sub("", _REFERENCE.sub(_reference, _without_doctype(text)))


def _without_sections(text: str) -> str:
    """Without comments, and with CDATA as text. One that is never closed loses its mark, not the rest of the text."""
    last = {mark: text.rfind(end) for mark, end in _SECTION_ENDS.items()}
    parts: list[str] = []
    place = 0
    for match in _SECTION.finditer(text):
        mark = match[0]
        if match.start() < place:
            continue
        parts.append(text[place : match.start()])
        place = match.end()
        if last[mark] >= place:
            end = text.find(_SECTION_ENDS[mark], place)
            content = text[place:end] if mark == CDATA else ""
            parts.append(content.replace("&", "&amp;").replace("<", "&lt;"))
            place = end + 3
    return "".join([*parts, text[place:]])


def _without_doctype(text: str) -> str:
    """Without a DOCTYPE before the first element; behind that, it is a slip that the parsers pass over."""
    start, element = _DOCTYPE.search(text), _ELEMENT.search(text)
    if start is None or (element is not None and element.start() < start.start()):
        return text
    end, subset = text.find(">", start.end()), text.find("[", start.end())
    if 0 <= subset < end:
        end = text.find(">", max(text.find("]", subset), subset))
    return text[: start.start()] + (text[end + 1 :] if end >= 0 else text[start.end() :])


def _reference(match: re.Match[str]) -> str:
    name = match[1]
    if name in ("amp;", "lt;", "gt;", "quot;", "apos;"):
        return match[0]
    if name and name.startswith("#"):
        digits = name[1:-1].lower()
        try:
            number = int(digits[1:], 16) if digits.startswith("x") else int(digits)
        except ValueError:
            return f"&amp;{name}"
        return f"&#{number};" if 0 < number < 0x110000 and not _NOT_XML.match(chr(number)) else ""
    character = html5.get(name) if name else None
    return "".join(f"&#{ord(part)};" for part in character) if character else f"&amp;{name or ''}"


@dataclass
class Walk:
    """What a tree's text becomes. `drops(tag, attributes)` decides for an element and all that is in it.

    Block-level tags end a paragraph, `lines` end a line inside one; `marks` leave their text in its place.
    """

    blocks: frozenset[str]
    lines: frozenset[str]
    drops: Callable[[str, Attributes], bool]
    marks: Mapping[str, str] = field(default_factory=dict)
    verbatim: frozenset[str] = frozenset()
    paragraphs: list[str] = field(default_factory=list)
    links: int = 0  # <a> elements that lead somewhere; an anchor is none, and may hold a whole paragraph
    linked: int = 0  # characters inside them, without white space
    _run: list[str] = field(default_factory=list)
    _dropping: int = 0  # open elements from a dropped one inwards
    _anchors: list[bool] = field(default_factory=list)  # open <a> elements: whether it is a link
    _open_links: int = 0
    _verbatim: int = 0

    def start(self, tag: str, attributes: Attributes) -> None:
        """An element begins."""
        if tag in self.blocks:
            self.flush()
        if self._dropping or self.drops(tag, attributes):
            self._dropping += 1
            return
        if tag == "a":
            self._anchors.append("href" in attributes)
            self.links += self._anchors[-1]
            self._open_links += self._anchors[-1]
        self._verbatim += tag in self.verbatim
        if tag in self.marks:
            self._run.append(self.marks[tag])

    def text(self, text: str) -> None:
        """Characters."""
        if not self._dropping:
            self._run.append(text if self._verbatim else _SPACE.sub(" ", text))
            self.linked += sum(map(len, text.split())) if self._open_links else 0

    def end(self, tag: str) -> None:
        """An element ends."""
        if self._dropping:
            self._dropping -= 1
        else:
            self._open_links -= tag == "a" and self._anchors.pop()
            self._verbatim -= tag in self.verbatim
            if tag in self.lines:
                self._run.append("\n")
        if tag in self.blocks:
            self.flush()

    def flush(self) -> None:
        """End the paragraph; an empty line inside it ends one too."""
        lines = "\n".join(_SPACE.sub(" ", line).strip() for line in "".join(self._run).split("\n"))
        self._run.clear()
        self.paragraphs += [part for part in _BLANK_LINES.split(lines.strip("\n")) if part]


def local_name(tag: Any) -> str:
    """A tag without its namespace; "" for comments and instructions."""
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def outermost(root: Any, name: str) -> list[Any]:
    """The elements of a name that are inside no other of that name, in order; linear, however deep they nest."""
    found: list[Any] = []
    walk = etree.iterwalk(root, events=("start",))
    for _, element in walk:
        if local_name(element.tag) == name:
            found.append(element)
            walk.skip_subtree()
    return found


def words_of(element: Any) -> str:
    """All text of an element of a tree, on one line."""
    return " ".join("".join(element.itertext()).split())


def parse_xml(prepared: str, recover: bool = False) -> Any:
    """The root element of prepared text. Raises etree.XMLSyntaxError; with `recover` only where nothing is left."""
    parser = etree.XMLParser(
        resolve_entities=False, load_dtd=False, no_network=True, huge_tree=True, recover=recover,
        remove_comments=True, remove_pis=True,
    )
    root = etree.fromstring(prepared.encode(), parser)
    if root is None:
        raise etree.XMLSyntaxError("no element", 0, 0, 0)
    return root


def walk_xml(root: Any, walk: Walk) -> None:
    """Feed an lxml tree to a walk."""
    for event, element in etree.iterwalk(root, events=("start", "end")):
        tag = local_name(element.tag)
        if event == "start":
            walk.start(tag, {local_name(name): value for name, value in element.attrib.items()})
            if element.text:
                walk.text(element.text)
        else:
            walk.end(tag)
            if element.tail and element is not root:
                walk.text(element.tail)
    walk.flush()


def walk_html(prepared: str, walk: Walk) -> None:
    """Feed text that is no XML to a walk, by the rules of HTML; elements closed in XML's way are closed."""
    document: Any = HTMLTree.parse(_SELF_CLOSED.sub(_close, prepared)).document
    opened: list[tuple[str, int]] = []

    def start(context: Any) -> None:
        node = context.node
        while opened and opened[-1][1] >= context.depth:  # the parser's own end events leave some elements out
            walk.end(opened.pop()[0])
        if node.type == NodeType.TEXT:
            walk.text(node.value or "")
        elif node.type == NodeType.ELEMENT:
            names = {name.rpartition(":")[2]: name for name in node.attrs}
            walk.start(node.tag, {short: node.getattr(name) or "" for short, name in names.items()})
            opened.append((node.tag, context.depth))

    traverse_dom(document, start)
    while opened:
        walk.end(opened.pop()[0])
    walk.flush()


def _close(match: re.Match[str]) -> str:
    return match[0] if match[1].lower() in VOID_TAGS else f"<{match[1]}{match[2]}></{match[1]}>"
