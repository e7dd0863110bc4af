"""Lines of text and of lists, headings, rests of tables, to paragraphs. Last of the passes; see wikitext.py.

    uint8 (n,) ──join_lines──> uint8 (m,) ──close_gaps──> uint8 (k,)

What dropped markup left around it (an empty bracket, a separator twice) goes, and only there: text as an author wrote
it stays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rbt.corpus.extract.wikitext_marks import (
    APOSTROPHE,
    BANG,
    BLANK,
    COLON,
    COMMA,
    DASH,
    DOT,
    EQUALS,
    GAP,
    HASH,
    HIDDEN,
    NEWLINE,
    OPEN,
    PIPE,
    QUESTION,
    QUOTATION,
    ROUND_CLOSE,
    ROUND_OPEN,
    SEMICOLON,
    SHIFT,
    SQUARE_CLOSE,
    STAR,
    UInt8,
    copy,
    is_ascii_letter,
    is_blank,
    line_end,
)
from rbt.kernels import kernel

MINIMUM_PASSAGE_BYTES = 60  # of an indented line that is text
_EMPTY, _TEXT, _NO_TEXT, _INDENTED = range(4)  # kinds of lines
_GAP_RUN = np.zeros(256, np.bool_)
_GAP_RUN[[*b" \t,;", GAP]] = True


@kernel
def _line_kind(data: UInt8, start: int, stop: int) -> int:
    """What the line data[start:stop], without blanks around, is."""
    gap = False
    while start < stop and (data[start] == GAP or is_blank(data[start])):
        gap |= data[start] == GAP
        start += 1
    while stop > start and (data[stop - 1] == GAP or is_blank(data[stop - 1])):
        stop -= 1
    if start == stop:
        return _EMPTY
    first = data[start]
    if first == COLON and not gap:
        return _INDENTED if _is_sentence(data, _behind_colons(data, start, stop), stop) else _NO_TEXT
    if first in (STAR, HASH, PIPE) or (first == SEMICOLON and not gap):
        return _NO_TEXT
    if first == EQUALS:
        return _NO_TEXT if data[stop - 1] == EQUALS and stop - start > 2 else _TEXT
    if first == DASH:
        dashes = start
        while dashes < stop and data[dashes] == DASH:
            dashes += 1
        return _NO_TEXT if dashes - start >= 4 else _TEXT
    if first == BANG:  # a head of an unclosed table: "! a !! b", "! style | a"
        for place in range(start + 1, stop):
            if data[place] == PIPE or (data[place] == BANG and data[place - 1] == BANG and place > start + 1):
                return _NO_TEXT
    return _TEXT


@kernel
def _behind_colons(data: UInt8, start: int, stop: int) -> int:
    """Where the content of an indented line begins."""
    while start < stop and (data[start] == COLON or is_blank(data[start])):
        start += 1
    return start


@kernel
def _is_sentence(data: UInt8, start: int, stop: int) -> bool:
    """Whether what is indented is long enough for a passage, ends like a sentence, and is no list."""
    if stop - start < MINIMUM_PASSAGE_BYTES or data[start] in (STAR, HASH, SEMICOLON, PIPE):
        return False
    while stop > start and data[stop - 1] in (GAP, BLANK, QUOTATION, APOSTROPHE, ROUND_CLOSE, SQUARE_CLOSE):
        stop -= 1
    if data[stop - 1] == 0x9D:  # the last byte of a closing quotation mark
        stop -= 3
    return data[stop - 1] in (DOT, BANG, QUESTION)


@kernel
def _has_letter(data: UInt8, start: int, stop: int) -> bool:
    """Whether a letter or digit is in data[start:stop]. Beyond ASCII: all but U+0080-00BF, U+2000-2BFF, U+3000-303F."""
    place = start
    while place < stop:
        byte = data[place]
        if is_ascii_letter(byte) or 48 <= byte <= 57:
            return True
        symbol = (byte == 0xE2 and data[place + 1] < 0xB0) or (byte == 0xE3 and data[place + 1] == 0x80)
        if 0xC3 <= byte < OPEN and not symbol:
            return True
        place += 2 if byte == HIDDEN else 1
    return False


@kernel
def join_lines(data: UInt8) -> UInt8:
    """Lines joined to paragraphs, which are one blank line apart. What is no text ends a paragraph and is dropped.

    An indented sentence that follows text (a quotation) is a paragraph; after a heading or a list it is a note or an
    item.
    """
    out = np.empty(len(data) + 3, np.uint8)
    start = size = begin = 0  # `begin`: of the paragraph in `out`
    follows_text = False
    while start <= len(data):
        stop = line_end(data, start)
        behind = stop + 1
        while start < stop and is_blank(data[start]):
            start += 1
        while start < stop and is_blank(data[stop - 1]):
            stop -= 1
        kind = _line_kind(data, start, stop)
        if kind != _TEXT:
            size = begin = _end_paragraph(out, begin, size)
        if kind == _INDENTED and follows_text:
            size = copy(data, _behind_colons(data, start, stop), stop, out, size)
            size = begin = _end_paragraph(out, begin, size)
        elif kind == _TEXT:
            if size > begin:
                out[size] = BLANK
                size += 1
            size = copy(data, start, stop, out, size)
        if kind in (_TEXT, _NO_TEXT):
            follows_text = kind == _TEXT
        start = behind
    return out[: max(_end_paragraph(out, begin, size) - 2, 0)]


@kernel
def _end_paragraph(out: UInt8, begin: int, size: int) -> int:
    """End the paragraph out[begin:size], or take it back where it is none; the size of `out` then."""
    if size == begin or not _has_letter(out, begin, size):
        return begin
    out[size] = out[size + 1] = NEWLINE
    return size + 2


@kernel
def _gap_run(data: UInt8, place: int) -> tuple[int, bool, int, bool]:
    """The run of blanks, commas, semicolons and gaps from `place`: (end, any gap, first separator or 0, any blank)."""
    gap = blank = False
    separator = 0
    while place < len(data):
        byte = data[place]
        if byte == 0xC2 and data[place + 1] == 0xA0:  # a blank that does not break
            blank = True
            place += 2
            continue
        if not _GAP_RUN[byte]:
            break
        gap |= byte == GAP
        blank |= is_blank(byte)
        if separator == 0 and (byte in (COMMA, SEMICOLON)):
            separator = byte
        place += 1
    return place, gap, separator, blank


@kernel
def close_gaps(data: UInt8) -> UInt8:
    """The text without marks. Blanks in a row become one.

    A run of blanks, commas and semicolons with a gap in it leaves its first separator and one blank; nothing at a
    paragraph's start or end, behind "(" or before ")", whose bracket goes too where nothing else is in it.
    """
    out = np.empty(len(data), np.uint8)
    place = size = 0
    while place < len(data):
        byte = data[place]
        if byte == HIDDEN:
            out[size] = data[place + 1] - SHIFT
            size += 1
            place += 2
            continue
        following = data[place + 1] if place + 1 < len(data) else np.uint8(NEWLINE)
        alone = byte != GAP and not _GAP_RUN[following] and following != 0xC2
        if byte != 0xC2 and (alone or not _GAP_RUN[byte]):
            out[size] = byte
            size += 1
            place += 1
            continue
        end, gap, separator, blank = _gap_run(data, place)
        if not gap:
            end = max(end, place + 1)
            size = _copy_run(data, place, end, out, size)
            place = end
            continue
        previous = data[place - 1] if place else np.uint8(NEWLINE)
        following = data[end] if end < len(data) else np.uint8(NEWLINE)
        place = end
        if previous == ROUND_OPEN and following == ROUND_CLOSE:
            size, place = _take_bracket_back(data, end + 1, out, size - 1)
        elif previous not in (ROUND_OPEN, NEWLINE) and following not in (ROUND_CLOSE, NEWLINE):
            if separator:
                out[size] = separator
                size += 1
            if blank and (separator or not _ends_a_clause(following)):
                out[size] = BLANK
                size += 1
    return out[:size]


@kernel
def _take_bracket_back(data: UInt8, place: int, out: UInt8, size: int) -> tuple[int, int]:
    """(size, place) without the blanks before an emptied bracket, or behind it where it begins a paragraph."""
    while size and is_blank(out[size - 1]):
        size -= 1
    while (size == 0 or out[size - 1] == NEWLINE) and place < len(data) and is_blank(data[place]):
        place += 1
    return size, place


@kernel
def _ends_a_clause(byte: Any) -> bool:
    return byte in (DOT, COLON, BANG, QUESTION)


@kernel
def _copy_run(data: UInt8, place: int, end: int, out: UInt8, size: int) -> int:
    """Copy a run without a gap, blanks in a row as one; the size of `out` then."""
    for at in range(place, end):
        if is_blank(data[at]) and at > place and is_blank(data[at - 1]):
            out[size - 1] = BLANK
            continue
        out[size] = data[at]
        size += 1
    return size
