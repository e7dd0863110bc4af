"""Lines of text and of lists, headings, rests of tables, to paragraphs. Last of the passes; see wikitext.py.

    uint8 (n,) ──join_lines──> uint8 (m,) ──close_gaps──> uint8 (k,)

What dropped markup left around it (an empty bracket, a separator twice) goes, and only there: text as an author wrote
it stays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from rbt.corpus.extract.wikitext_marks import (
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
    ROUND_CLOSE,
    ROUND_OPEN,
    SEMICOLON,
    SHIFT,
    STAR,
    UInt8,
    copy,
    is_ascii_letter,
    is_blank,
)

_GAP_RUN = np.zeros(256, np.bool_)
_GAP_RUN[[*b" \t,;", GAP]] = True


@njit(nogil=True, cache=True)
def _line_kind(data: UInt8, start: int, stop: int) -> int:
    """What the line data[start:stop], without blanks around, is: 0 blank, 1 text, 2 a list, heading, rule or table."""
    gap = False
    while start < stop and (data[start] == GAP or is_blank(data[start])):
        gap |= data[start] == GAP
        start += 1
    while stop > start and (data[stop - 1] == GAP or is_blank(data[stop - 1])):
        stop -= 1
    if start == stop:
        return 0
    first = data[start]
    if first in (STAR, HASH, PIPE) or ((first in (COLON, SEMICOLON)) and not gap):
        return 2
    if first == EQUALS:
        return 2 if data[stop - 1] == EQUALS and stop - start > 2 else 1
    if first == DASH:
        dashes = start
        while dashes < stop and data[dashes] == DASH:
            dashes += 1
        return 2 if dashes - start >= 4 else 1
    if first == BANG:  # a head of an unclosed table: "! a !! b", "! style | a"
        for place in range(start + 1, stop):
            if data[place] == PIPE or (data[place] == BANG and data[place - 1] == BANG and place > start + 1):
                return 2
    return 1


@njit(nogil=True, cache=True)
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


@njit(nogil=True, cache=True)
def join_lines(data: UInt8) -> UInt8:
    """Lines joined to paragraphs, which are one blank line apart. What is no text ends a paragraph and is dropped."""
    out = np.empty(len(data) + 3, np.uint8)
    start = size = begin = 0  # `begin`: of the paragraph in `out`
    while start <= len(data):
        stop = start
        while stop < len(data) and data[stop] != NEWLINE:
            stop += 1
        behind = stop + 1
        while start < stop and is_blank(data[start]):
            start += 1
        while start < stop and is_blank(data[stop - 1]):
            stop -= 1
        kind = _line_kind(data, start, stop)
        if kind == 1:
            if size > begin:
                out[size] = BLANK
                size += 1
            size = copy(data, start, stop, out, size)
        if (kind != 1 or behind > len(data)) and size > begin:
            if _has_letter(out, begin, size):
                out[size] = out[size + 1] = NEWLINE
                begin = size + 2
            size = begin
        start = behind
    return out[: max(begin - 2, 0)]


@njit(nogil=True, cache=True)
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


@njit(nogil=True, cache=True)
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
        if not _GAP_RUN[byte] and byte != 0xC2:
            out[size] = byte
            size += 1
            place += 1
            continue
        end, gap, separator, blank = _gap_run(data, place)
        if end == place:
            end += 1
        if not gap:
            size = _copy_run(data, place, end, out, size)
        else:
            previous = data[place - 1] if place else np.uint8(NEWLINE)
            following = data[end] if end < len(data) else np.uint8(NEWLINE)
            if previous == ROUND_OPEN and following == ROUND_CLOSE:
                size -= 1
                while size and is_blank(out[size - 1]):
                    size -= 1
                end += 1
                while (size == 0 or out[size - 1] == NEWLINE) and end < len(data) and is_blank(data[end]):
                    end += 1
            elif previous != ROUND_OPEN and previous != NEWLINE and following != ROUND_CLOSE and following != NEWLINE:
                if separator:
                    out[size] = separator
                    size += 1
                if blank and not (separator == 0 and _ends_a_clause(following)):
                    out[size] = BLANK
                    size += 1
        place = end
    return out[:size]


@njit(nogil=True, cache=True)
def _ends_a_clause(byte: Any) -> bool:
    return byte in (DOT, COLON, BANG, QUESTION)


@njit(nogil=True, cache=True)
def _copy_run(data: UInt8, place: int, end: int, out: UInt8, size: int) -> int:
    """Copy a run without a gap, blanks in a row as one; the size of `out` then."""
    for at in range(place, end):
        if is_blank(data[at]) and at > place and is_blank(data[at - 1]):
            out[size - 1] = BLANK
            continue
        out[size] = data[at]
        size += 1
    return size
