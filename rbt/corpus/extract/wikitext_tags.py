"""Wikitext without comments and without the tags whose content is no text. First of the passes; see wikitext.py.

    uint8 (n,) ──drop_comments──> uint8 (m,) ──scan_tags──> tokens ──match_tags──> pairs ──copy_outside──> uint8 (k,)

A comment or a tag that is never closed, or closed only behind the next heading, costs itself (a comment or a
reference: the rest of its line). Every pass is linear.
"""

from __future__ import annotations

import numpy as np

from rbt.corpus.extract.wikitext_marks import (
    AMPERSAND,
    BANG,
    BLANK,
    DASH,
    DROP,
    EQUALS,
    GAP,
    GREATER,
    HIDDEN,
    LESS,
    NEWLINE,
    ROUND_OPEN,
    SHIFT,
    SLASH,
    STAR,
    UNDERSCORE,
    Int32,
    UInt8,
    UInt64,
    copy,
    find_hash,
    hash_name,
    hash_table,
    is_ascii_letter,
    is_blank,
    is_blank_line,
    is_heading,
)
from rbt.kernels import kernel

DROPPED_TAGS = (
    "ref", "math", "chem", "ce", "references", "gallery", "timeline", "syntaxhighlight", "source", "score", "imagemap",
    "hiero", "templatedata", "mapframe", "maplink", "graph", "pre", "table", "includeonly", "inputbox", "section",
    "indicator", "categorytree", "style", "script", "templatestyles",
)
TAGS = ("nowiki", *DROPPED_TAGS)
_NOWIKI, _REF, _MATH, _CHEM, _CE = range(5)  # in TAGS
_FORMULA_BYTES = LESS  # formulas of letters, digits and simple signs up to this length are text
_OPENED, _CLOSED, _SINGLE, _HEADING, _BLANK_LINE = range(5)  # kinds of tokens
_NEVER = 1 << 30


def tag_table() -> tuple[UInt64, Int32]:
    """Sorted hashes of the tags whose content is dropped or hidden, and their numbers in TAGS."""
    numbers = {int(hash_table([name])[0]): number for number, name in enumerate(TAGS)}
    hashes = sorted(numbers)
    return np.array(hashes, np.uint64), np.array([numbers[key] for key in hashes], np.int32)


@kernel
def _starts_comment(data: UInt8, place: int) -> bool:
    return (
        place + 3 < len(data) and data[place] == LESS and data[place + 1] == BANG
        and data[place + 2] == DASH and data[place + 3] == DASH
    )


@kernel
def _comment_end(data: UInt8, place: int) -> int:
    """Behind the next "-->" at or behind `place`; -1 without one."""
    for start in range(place, len(data) - 2):
        if data[start] == DASH and data[start + 1] == DASH and data[start + 2] == GREATER:
            return start + 3
    return -1


@kernel
def _never_closed(data: UInt8, place: int, end: int) -> bool:
    """Whether a heading and then another comment come before the comment's end."""
    heading = False
    while place < end:
        if data[place] == NEWLINE and is_heading(data, place + 1):
            heading = True
        elif _starts_comment(data, place):
            return heading
        place += 1
    return False


@kernel
def _line_of_its_own(data: UInt8, end: int, out: UInt8, size: int) -> int:
    """Size of `out` without the blanks before a comment that stands alone on its line; -1 for any other."""
    if not is_blank_line(data, end):  # first: what is looked back over below goes away, so no blank is met twice
        return -1
    while size and is_blank(out[size - 1]):
        size -= 1
    return -1 if size and out[size - 1] != NEWLINE else size


@kernel
def drop_comments(data: UInt8) -> UInt8:
    """The source without comments; one alone on its line takes the line along."""
    out = np.empty(len(data), np.uint8)
    place, size, end = 0, 0, 0
    while place < len(data):
        if data[place] != LESS or not _starts_comment(data, place):
            out[size] = data[place]
            place += 1
            size += 1
            continue
        if 0 <= end < place + 7:
            end = _comment_end(data, place + 4)
        if end < 0 or _never_closed(data, place + 4, end):
            out[size] = DROP
            place += 4
            size += 1
            continue
        place = end
        alone = _line_of_its_own(data, end, out, size)
        if alone >= 0:
            size = alone
            while data[place] != NEWLINE:
                place += 1
            place += 1
    return out[:size]


@kernel
def tag_end(data: UInt8, place: int) -> int:
    """Behind the tag that starts with the "<" at `place`; -1 where none does.

    `</?[a-zA-Z][^<>]*>`, but not over a blank line, nor a line that starts with "=".
    """
    place += 1
    if place < len(data) and data[place] == SLASH:
        place += 1
    if place >= len(data) or not is_ascii_letter(data[place]):
        return -1
    while place < len(data) and data[place] != LESS and data[place] != GREATER:
        if data[place] == NEWLINE and (is_blank_line(data, place + 1) or data[min(place + 1, len(data) - 1)] == EQUALS):
            return -1
        place += 1
    return place + 1 if place < len(data) and data[place] == GREATER else -1


@kernel
def tag_name_hash(data: UInt8, place: int) -> tuple[np.uint64, int]:
    """(hash of the name of the tag at `place`, place behind the name)."""
    start = place + 2 if data[place + 1] == SLASH else place + 1
    stop = start
    while is_ascii_letter(data[stop]) or 48 <= data[stop] <= 57 or data[stop] in (DASH, UNDERSCORE):
        stop += 1
    return hash_name(data, start, stop), stop


@kernel
def _is_bare(data: UInt8, place: int, end: int) -> bool:
    """Whether nothing but blanks stands between a closing tag's name and its ">"."""
    while place < end - 1 and (is_blank(data[place]) or data[place] == NEWLINE):
        place += 1
    return place == end - 1


@kernel
def _add(tokens: Int32, count: int, kind: int, tag: int, start: int, end: int) -> int:
    tokens[count, 0], tokens[count, 1], tokens[count, 2], tokens[count, 3] = kind, tag, start, end
    return count + 1


@kernel
def scan_tags(data: UInt8, hashes: UInt64, numbers: Int32) -> Int32:
    """Tokens int32 (count, 4): kind, number of the tag, start, end. Headings and blank lines are tokens too."""
    room = 0
    for byte in data:
        room += byte in (LESS, NEWLINE)
    tokens = np.empty((room, 4), np.int32)
    count = 0
    for place in range(len(data)):
        end = tag_end(data, place) if data[place] == LESS else -1
        if data[place] == NEWLINE:
            heading = is_heading(data, place + 1)
            if heading or is_blank_line(data, place + 1):
                count = _add(tokens, count, _HEADING if heading else _BLANK_LINE, -1, place, place)
        elif end > 0:
            key, behind = tag_name_hash(data, place)
            known = find_hash(hashes, key)
            if known < 0:
                continue
            kind = _SINGLE if data[end - 2] == SLASH else _OPENED
            if data[place + 1] == SLASH:
                if not _is_bare(data, behind, end):
                    continue
                kind = _CLOSED
            count = _add(tokens, count, kind, numbers[known], place, end)
    return tokens[:count]


@kernel
def match_tags(tokens: Int32) -> Int32:
    """The token that closes each opening tag, int32 (count,); -1 for none.

    None where the same tag opens again before, or a heading stands between, or, for a reference, a blank line.
    """
    closes = np.full(len(tokens), -1, np.int32)
    next_open, next_close = np.full(len(TAGS), _NEVER, np.int32), np.full(len(TAGS), _NEVER, np.int32)
    heading = blank_line = _NEVER
    for number in range(len(tokens) - 1, -1, -1):
        kind, tag = tokens[number, 0], tokens[number, 1]
        if kind == _HEADING:
            heading = number
        elif kind == _BLANK_LINE:
            blank_line = number
        elif kind == _CLOSED:
            next_close[tag] = number
        elif kind == _OPENED:
            close = next_close[tag]
            if close < min(next_open[tag], heading) and (tag != _REF or close < blank_line):
                closes[number] = close
            next_open[tag] = number
    return closes


@kernel
def _hide(data: UInt8, start: int, stop: int, out: UInt8, size: int) -> int:
    """Copy what is no markup, whatever it looks like; the size of `out` then."""
    for place in range(start, stop):
        byte = data[place]
        if 32 < byte < 127 and byte != AMPERSAND and not is_ascii_letter(byte) and not 48 <= byte <= 57:
            out[size] = HIDDEN
            size += 1
            byte += SHIFT
        out[size] = byte
        size += 1
    return size


@kernel
def _is_plain(data: UInt8, start: int, stop: int) -> bool:
    """Whether data[start:stop] is a formula that is text as it stands: `x`, `n = 5`, `f(x)`."""
    for place in range(start, stop):
        byte = data[place]
        sign = byte in (BLANK, EQUALS) or (ROUND_OPEN <= byte <= SLASH and byte != STAR)  # ( ) + , - . /
        if not (sign or is_ascii_letter(byte) or 48 <= byte <= 57):
            return False
    return stop - start <= _FORMULA_BYTES


@kernel
def _write_content(data: UInt8, tag: int, start: int, stop: int, out: UInt8, size: int) -> int:
    """Write what the tag of data[start:stop] leaves; the size of `out` then."""
    if tag == _NOWIKI or (_MATH <= tag <= _CE and _is_plain(data, start, stop)):
        return _hide(data, start, stop, out, size)
    out[size] = GAP
    return size + 1


@kernel
def copy_outside(data: UInt8, tokens: Int32, closes: Int32) -> UInt8:
    """The source without what the tags drop; <nowiki> and plain formulas give their content, hidden."""
    out = np.empty(2 * len(data), np.uint8)
    place, size = 0, 0
    for number in range(len(tokens)):
        kind, tag, start, end = tokens[number, 0], tokens[number, 1], tokens[number, 2], tokens[number, 3]
        unclosed = kind == _OPENED and closes[number] < 0
        if start < place or kind > _SINGLE or kind == _CLOSED or (unclosed and tag != _REF):
            continue
        size = copy(data, place, start, out, size)
        place = end
        if kind == _SINGLE or unclosed:
            out[size] = DROP if unclosed else GAP
            size += 1
        else:
            close = closes[number]
            size = _write_content(data, tag, end, tokens[close, 2], out, size)
            place = tokens[close, 3]
    return out[: copy(data, place, len(data), out, size)]
