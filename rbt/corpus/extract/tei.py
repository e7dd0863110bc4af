"""TEI editions of books (P5, and P4's names): the body's text as paragraphs, title and date of the edited work.

    bytes ──prepare──> tree ──header──> title, date
                        └──<body>──> paragraphs, broken words mended ──> text

Kept: paragraphs, verse (lines inside a stanza), speeches, quotations, headings as paragraphs of their own, trailers.
Left out: the header, front and back matter, notes, figures, running heads, page numbers; of <choice>, what is
abbreviated, mistaken or in the old spelling.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import Any

from lxml import etree

from rbt.corpus.extract.markup import (
    Attributes,
    Walk,
    decode_markup,
    local_name,
    outermost,
    parse_xml,
    prepare,
    walk_xml,
    words_of,
)

ROOTS = frozenset({"TEI", "TEI.2", "teiCorpus", "teiCorpus.2"})
BLOCKS = frozenset(
    """ab argument bibl body byline castGroup castItem castList cit closer dateline div div1 div2 div3 div4 div5 div6
    div7 docAuthor docTitle epigraph floatingText group head item label lg list listBibl opener p postscript quote row
    salute set signed sp speaker stage table titlePage trailer""".split()
)
DROPPED = frozenset("note figure figDesc fw front back teiHeader del graphic formula".split())
WORSE = frozenset("sic orig abbr".split())  # readings of a <choice> that has others; alone, they are the text
PAGE_BREAK = "\0"  # in the place of a break, so that a word broken by it can be mended; XML itself cannot hold it
MARKS = {"pb": PAGE_BREAK, "lb": f" {PAGE_BREAK} ", "cb": PAGE_BREAK, "cell": " "}
EDITION = re.compile(r"\s*:\s*[^:]{0,60}\bedition\s*$", re.IGNORECASE)
_YEAR = re.compile(r"(?<!\d)(?:1[0-9]|20)\d\d(?:-\d\d(?:-\d\d)?)?(?!\d)")
_WORD = re.compile(r"\w+")
_HYPHENATED = re.compile("\\w[-\u2010\u00ad\u00ac]$")
LOOKED_AT = 20  # elements of a name in the header; one may hold all the others
_REACH = 60  # characters on either side of a page break in which half a word is looked for


@dataclass(frozen=True)
class TeiBook:
    """A book. `problem`: what is wrong with the XML, where something is."""

    title: str
    date: str
    text: str
    problem: str = ""


def extract_tei(data: bytes) -> TeiBook | None:
    """The book in a TEI file, or None where the XML is no TEI. Raises etree.XMLSyntaxError where it is no XML."""
    prepared, problem = prepare(decode_markup(data)), ""
    try:
        root = parse_xml(prepared)
    except etree.XMLSyntaxError as error:
        root, problem = parse_xml(prepared, recover=True), str(error)
    if local_name(root.tag) not in ROOTS:
        return None
    _mark_worse_readings(root)
    paragraphs: list[str] = []
    for body in outermost(root, "body"):
        walk = Walk(BLOCKS, frozenset({"l"}), _drops, MARKS)
        walk_xml(body, walk)
        paragraphs += walk.paragraphs
    title, date = _header(root)
    return TeiBook(title, date, mend_words("\n\n".join(paragraphs)), problem)


def _mark_worse_readings(root: Any) -> None:
    """Make deletions of what an editor mended, and plain breaks of line breaks inside a word."""
    for choice in root.iter("{*}choice"):
        worse = [reading for reading in choice if local_name(reading.tag) in WORSE]
        for reading in worse if len(worse) < len(choice) else []:
            reading.tag = "del"
    for line_break in root.iter("{*}lb"):
        if line_break.get("break") == "no":
            line_break.tag = "pb"


def _drops(tag: str, attributes: Attributes) -> bool:
    return tag in DROPPED or (tag == "ref" and "note" in attributes.get("type", "").lower())


def _header(root: Any) -> tuple[str, str]:
    """Title of the edition without the word for it, and year of the first edition (else of any source) named."""
    titles = root.xpath("(.//*[local-name()='titleStmt'])[1]/*[local-name()='title']")
    title = next((EDITION.sub("", words) for element in titles if (words := words_of(element))), "")
    sources = root.xpath(".//*[local-name()='sourceDesc']")[:1]
    editions = (bibl for source in sources for bibl in source.iter() if bibl.get("type") == "firstEdition")
    first = list(islice(editions, LOOKED_AT))
    return title, next((date for part in [*first, *sources] if (date := _find_date(part))), "")


def _find_date(part: Any) -> str:
    for element in islice(part.iter("{*}date"), LOOKED_AT):
        if (match := _YEAR.search(element.get("when") or words_of(element))):
            return match[0]
    return ""


def mend_words(text: str) -> str:
    """Without breaks of pages and lines. A word they break is joined; its hyphen stays where it belongs there.

    The book shows that where the first half is a word of the book and the whole, written without a hyphen, is none.

    >>> mend_words("A concentra‐ \\0 tion of ill- \\0 trimmed lamps, ill lit.")
    'A concentration of ill-trimmed lamps, ill lit.'
    """
    pieces = text.split(PAGE_BREAK)
    if len(pieces) == 1:
        return text
    words = Counter(_WORD.findall(text.casefold()))
    mended = pieces[0]
    parts: list[str] = []
    for piece in pieces[1:]:
        before, behind = mended.rstrip(" "), piece.lstrip(" ")
        if _HYPHENATED.search(before[-_REACH:]) and behind[:1].isalpha():
            parts.append(before[:-1] if _is_one_word(before[:-1], behind, words) else before)
            mended = behind
        else:
            parts.append(mended)
            mended = behind if mended[-1:] in ("", " ", "\n") else piece
    return re.sub(r"\n{3,}", "\n\n", "".join([*parts, mended])).strip()


def _is_one_word(before: str, behind: str, words: Counter[str]) -> bool:
    left, right = _WORD.findall(before[-_REACH:])[-1].casefold(), _WORD.findall(behind[:_REACH])[0].casefold()
    return behind[0].islower() and (left + right in words or words[left] < 2)
