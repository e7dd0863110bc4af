"""Project Gutenberg's wrapping around a book: header, small print, license, credits, transcriber's notes.

    text ──small print block──> ──start mark, end mark──> ──credits──> ──transcriber's notes──> the book

The marks changed over fifty years (source: etexts of 1991 to today), so each rule is bounded, and none can eat a book:
a start mark counts only near the beginning, an end mark only near the end, and where next to nothing would remain, all
of it is kept. `oddity` says so. Of several books in one file, the first one's header and the last one's footer go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice, pairwise

HEADER_CHARACTERS = 30_000  # a start mark stands before this place, in a text whose header holds the whole license
FOOTER_CHARACTERS = 30_000  # an end mark stands no farther from the end; the license takes about 19,000
LEAST_SHARE = 0.02  # of the text that must remain; a poem of a page in its license is more
CREDIT_CHARACTERS = 1000  # of a paragraph of credits
CREDIT_PARAGRAPHS = 6
NOTE_CHARACTERS = 5000  # of a transcriber's note
MAXIMUM_NOTES = 1000  # that are looked at
_FLAGS = re.MULTILINE | re.IGNORECASE
_NAME = r"(?:THE |THIS )?PROJECT GUTENBERG"
START = re.compile(
    rf"^(?:\*{{3}} ?START OF {_NAME}[^\n*]*(?:\n[^\n*]+){{0,2}}\*{{3}}[ \t]*$"  # a long title takes lines
    rf"|\*{{3}} ?START OF {_NAME}[^\n]*$"
    r"|\*{1,3} ?END ?\*{0,3} ?THE SMALL PRINT[^\n]*$)", _FLAGS
)
END = re.compile(
    rf"^(?:\*{{3}} ?END OF {_NAME}|[ \t]{{0,9}}[*\[]{{0,3}} ?(?:The )?End of {_NAME}"
    r"|\*{3} ?START: FULL LICENSE|\*{3} ?START ?\*{0,3} ?THE SMALL PRINT)", _FLAGS
)
CREDIT = re.compile(
    r"(?:\[|_)?(?:Produced by|(?:The )?(?:original )?e-?(?:text|book) (?:was )?(?:prepared|produced|created|scanned) by"
    r"|This (?:e-?text|e-?book|file|book) was (?:prepared|produced|created|scanned|transcribed|digiti[sz]ed)"
    r"|(?:Prepared|Scanned|Transcribed|Digiti[sz]ed|Proofed|Proofread|HTML version)(?: and proof(?:ed|read))? by"
    r"|Transcribed from the\b|Credits?:|Updated editions will|Note: Project Gutenberg)", re.IGNORECASE
)
_CLOSING = re.compile(r"end of", re.IGNORECASE)  # an end mark that is not that of a license or small print
_NOTE = re.compile(r"\[ ?Transcriber[’']?s?[’']? Notes?\b", re.IGNORECASE)
_BOX_EDGE = re.compile(r"[ \t]*\+[-=+]{3,}\+?[ \t]*")
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n")


@dataclass(frozen=True)
class Stripped:
    """The book without its wrapping. `oddity`: marks that were there and could not be followed, or ""."""

    text: str
    oddity: str = ""


def strip_gutenberg(text: str) -> Stripped:
    """Without header, footer, credits and transcriber's notes; text without any of Gutenberg's marks is returned as is.

    Lines end in a line feed.
    """
    starts, ends = list(START.finditer(text)), list(END.finditer(text))
    if not starts and not ends:
        return Stripped(drop_notes(text))
    closed, reopened = _between_books(starts, ends, text)
    headers = (mark.end() for mark in starts if mark.start() < closed and _is_header(mark, text))
    begin = max(headers, default=0)
    last = max(len(text) - FOOTER_CHARACTERS, begin, reopened)
    stop = min((mark.start() for mark in ends if mark.start() >= last), default=len(text))
    body = drop_notes(drop_credits(text[begin:stop]))
    if len(body.strip()) < LEAST_SHARE * len(text.strip()):
        return Stripped(text, f"{len(body.strip())} of {len(text)} characters lie between Project Gutenberg's marks")
    odd = [mark[0] for mark in [*starts, *ends] if begin < mark.start() < stop]
    return Stripped(body, f"a mark in the middle: {odd[0].strip()[:80]}" if odd else "")


def _between_books(starts: list[re.Match[str]], ends: list[re.Match[str]], text: str) -> tuple[int, int]:
    """Where the first of several books in a text ends, and where the last begins; of one book, the text's ends."""
    first = starts[0].start() if starts else len(text)
    closings = [mark.start() for mark in ends if mark.start() > first and _CLOSING.search(mark[0])]
    if not closings:
        return len(text), 0
    return closings[0], max((mark.end() for mark in starts if closings[0] < mark.start() < closings[-1]), default=0)


def _is_header(mark: re.Match[str], text: str) -> bool:
    """The small print may stand at the end as well, so its mark is a header's in the first half alone."""
    is_small_print = "SMALL PRINT" in mark[0].upper()
    return mark.end() <= HEADER_CHARACTERS and not (is_small_print and mark.end() > len(text) / 2)


def drop_credits(text: str) -> str:
    """Without the paragraphs at the beginning that say who made the etext."""
    for _ in range(CREDIT_PARAGRAPHS):
        begin = len(text) - len(text.lstrip())
        end = _PARAGRAPH_END.search(text, begin, begin + CREDIT_CHARACTERS)
        if end is None or not CREDIT.match(text, begin):
            break
        text = text[end.end() :]
    return text


def drop_notes(text: str) -> str:
    """Without notes of the transcriber that are delimited: in brackets, or in a box of dashes and bars."""
    parts, place = [], 0
    for note in islice(_NOTE.finditer(text), MAXIMUM_NOTES):
        end = _closing_bracket(text, note.start())
        if note.start() >= place and end:
            parts.append(text[place : note.start()])
            place = end
    return _drop_boxes("".join([*parts, text[place:]]))


def _closing_bracket(text: str, start: int) -> int:
    """Place behind the bracket that closes the one at `start`, or 0."""
    depth = 0
    for match in re.finditer(r"[\[\]]", text[start : start + NOTE_CHARACTERS]):
        depth += 1 if match[0] == "[" else -1
        if depth == 0:
            return start + match.end()
    return 0


def _drop_boxes(text: str) -> str:
    lines = text.split("\n")
    edges = [number for number, line in enumerate(lines) if _BOX_EDGE.fullmatch(line)]
    if len(edges) < 2 or "transcriber" not in text.lower():
        return text
    kept, place = [], 0
    for top, bottom in pairwise(edges):
        inside = lines[top + 1 : bottom]
        boxed = bool(inside) and all(line.strip()[:1] == "|" for line in inside)
        if top >= place and boxed and any("transcriber" in line.lower() for line in inside):
            kept += lines[place:top]
            place = bottom + 1
    return "\n".join(kept + lines[place:])
