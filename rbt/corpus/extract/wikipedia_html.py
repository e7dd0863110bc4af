"""Parsoid's HTML of a Wikipedia page to text passages, by the rule that extract/wikitext.py keeps.

    html ──mark blocks and line breaks──> html ──HTMLTree──> tree ──drop subtrees by selector──> text of the body
         ──cut at the marks──> ──spaces, empty brackets──> paragraphs, apart by one blank line

What readers see as running text is kept: paragraphs, quotations, poems, templates with their text (conversions, dates,
languages, nowrap), plain formulas (x, n = 5), IPA and other inline markup with all its tails; exponents stay apart
from their base (10⁶, km²). Dropped are lists, tables, headings, references, figures and galleries, other formulas,
code, notes to readers and editors (hatnotes, message boxes, "citation needed"), navigation, coordinates, and whatever
is hidden from readers.

A paragraph costs no Python call and a node that stays none: block borders are marked in the source, whose tags Parsoid
writes in lower case, by one regular expression (a mark that falls into an attribute or a table does no harm); the
parser finds the subtrees to remove, and gives the text as one string. Selectors name one element each, without
ancestors, so no depth of nesting costs more than linear time; large blocks go first, so that the many class names are
only looked for in what is left.

Names of tags and types: https://www.mediawiki.org/wiki/Specs/HTML (Parsoid's DOM specification); names of classes:
the style sheets of English Wikipedia.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from resiliparse.parse.html import HTMLTree

FORMULA_DEPTH = 4  # elements between a formula and what holds its renderings; Parsoid writes one
MARK = "\x1e"  # a block begins or ends here; no character of a page

DROPPED_BLOCKS = ", ".join(
    """table ul ol dl figure h1 h2 h3 h4 h5 h6 style script noscript template pre math audio video map form select
    textarea button svg iframe object sup.reference .navbox .reflist .mw-references-wrap""".split()
)
DROPPED_CLASSES = ", ".join(
    f".{name}"
    for name in """reference mw-ref mwe-math-element mw-highlight noprint metadata hatnote dablink rellink
    mbox ambox tmbox ombox cmbox fmbox imbox dmbox mbox-small side-box sistersitebox portalbox portal-bar asbox
    stub infobox sidebar vertical-navbox quotebox succession-box authority-control catlinks toc
    thumb tmulti floatright floatleft gallery gallerybox listen haudio mw-tmh-player
    mw-kartographer-container mw-kartographer-maplink geo geo-inline geo-default geo-nondefault coordinates
    shortdescription mw-empty-elt mw-editsection mw-cite-backlink mw-indicator Inline-Template templatequotecite
    refbegin timeline-wrapper error citation-comment navigation-not-searchable mw-collapsed autocollapse""".split()
)
DROPPED_OTHERS = ", ".join(
    (
        "#coordinates", "#toc", "#disambigbox", "#setindexbox", "[hidden]", "rt", "rp", '[role="navigation"]',
        '[style*="display:none"]', '[style*="display: none"]', '[typeof*="mw:Error"]', '[typeof*="mw:File"]',
        '[typeof*="mw:Image"]', '[typeof*="mw:Video"]', '[typeof*="mw:Audio"]',
        *(
            f'[typeof~="mw:Extension/{name}"]'
            for name in """ref references math chem ce gallery timeline score graph maplink mapframe hiero imagemap
            syntaxhighlight inputbox templatestyles""".split()
        ),
    )
)
DISAMBIGUATION = 'meta[property="mw:PageProp/disambiguation"], #disambigbox, .dmbox-disambig'
REDIRECT = 'link[rel~="mw:PageProp/redirect"]'

_BLOCK = re.compile(
    r"<(?=/?(?:p|div|section|blockquote|table|ul|ol|dl|h[1-6]|hr|center|figure|pre|article|main|aside|header|footer|"
    r"address|fieldset|details|summary|body)[\s/>])"
)
_MIXED_FRACTION = re.compile(r"<span (?=[^<>]{0,99}sr-only)[^<>]{1,200}>\+</span>")  # stands between 3 and 1/2
_EXPONENT = re.compile(r'<sup(?: id="[^"<>]{1,20}")?>([0-9+−-]{1,8})</sup>')
_RAISED = str.maketrans("0123456789+−-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻")
_FORMULA = re.compile(  # of those that are text as they stand
    r"\s*(?:\{\\displaystyle )?([A-Za-z0-9 =()+,./-]{1,60})\}?\s*"
)
_EMPTY_BRACKETS = re.compile(r" ?\([ ,;:]*\)")
_BRACKET_HEAD = re.compile(r"\([ ,;]+")
_BRACKET_TAIL = re.compile(r"(?<![ ,;])[ ,;]+\)")


@dataclass(frozen=True)
class WikipediaPage:
    """What a page is, and its passages (of a redirect: none)."""

    kind: Literal["article", "disambiguation", "redirect"]
    text: str


def extract_wikipedia_html(html: str) -> WikipediaPage:
    """The running text of a page in Parsoid's HTML. Never raises, whatever the markup; linear in its length."""
    tree = HTMLTree.parse(_mark(html))
    body = tree.body
    if body is None:
        return WikipediaPage("article", "")
    kind = _kind(tree.document, html)
    if kind == "redirect":
        return WikipediaPage(kind, "")
    if "<math" in html:
        _keep_plain_formulas(tree, body)
    for selectors in (DROPPED_BLOCKS, DROPPED_CLASSES, DROPPED_OTHERS):
        for node in body.query_selector_all(selectors).values():
            node.decompose()
    return WikipediaPage(kind, _passages(body.text or ""))


def _mark(html: str) -> str:
    plain = html.encode("utf-8", "replace").decode()  # JSON may escape half a surrogate pair
    marked = _BLOCK.sub(f"{MARK}<", plain.replace(MARK, "")).replace("<br", " <br")
    return _EXPONENT.sub(lambda found: found[1].translate(_RAISED), _MIXED_FRACTION.sub(" ", marked))


def _keep_plain_formulas(tree: Any, body: Any) -> None:
    """Put the text of formulas that are text as they stand before them; the formulas themselves are dropped."""
    for node in body.query_selector_all("math[alttext]").values():
        found = _FORMULA.fullmatch(node.getattr("alttext") or "")
        outer = _whole_formula(node)
        if found and outer.parent is not None:
            outer.parent.insert_before(tree.create_text_node(found[1].strip()), outer)


def _whole_formula(math: Any) -> Any:
    """The element that holds all renderings of a formula; itself where none is near."""
    node = math
    for _ in range(FORMULA_DEPTH):  # closest() would climb to the root from each of a hostile page's formulas
        node = node.parent
        if node is None:
            break
        if "mwe-math-element" in (node.getattr("class") or "").split():
            return node
    return math


def _kind(document: Any, html: str) -> Literal["article", "disambiguation", "redirect"]:
    if "mw:PageProp/redirect" in html and document.query_selector(REDIRECT) is not None:
        return "redirect"
    if "disambig" in html and document.query_selector(DISAMBIGUATION) is not None:
        return "disambiguation"
    return "article"


def _passages(text: str) -> str:
    found = (_polish(block) for block in text.replace("\u2044", "/").split(MARK))
    return "\n\n".join(block for block in found if any(character.isalnum() for character in block))


def _polish(block: str) -> str:
    """One paragraph: on one line, without brackets that hold nothing since what they held was dropped."""
    text = " ".join(block.split())
    if "(" not in text:
        return text
    return _BRACKET_TAIL.sub(")", _BRACKET_HEAD.sub("(", _EMPTY_BRACKETS.sub("", text)))
