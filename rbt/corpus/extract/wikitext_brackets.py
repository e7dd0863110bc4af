"""Templates, tables and links of wikitext, with one stack. Second of the passes; see wikitext.py.

    uint8 (n,) ──resolve_brackets──> uint8 (m,), and int32 (k, 2): names of dropped templates, as spans of the input

Links become their text. Tables, media links and templates that carry no text become a GAP. A template that carries text
stays, between OPEN and CLOSE, with all inside it resolved. What is never closed, or closed only behind a heading,
loses its brackets, and with a template, table or media link the rest of its line: a DROP stands there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rbt.corpus.extract.wikitext_marks import (
    CLOSE,
    COLON,
    CURLY_CLOSE,
    CURLY_OPEN,
    DASH,
    DROP,
    GAP,
    LESS,
    LINK,
    MAXIMUM_NAME_BYTES,
    NEWLINE,
    OPEN,
    PIPE,
    SLASH,
    SQUARE_CLOSE,
    SQUARE_OPEN,
    Int32,
    UInt8,
    UInt64,
    find_hash,
    hash_name,
    is_blank,
    is_blank_line,
    is_heading,
)
from rbt.kernels import kernel

MAXIMUM_DEPTH = LESS  # of nested templates, tables and links; the brackets of deeper ones are dropped
_TEMPLATE, _LINK, _MEDIA, _TABLE = range(4)
_SPECIAL = np.zeros(256, np.bool_)
_SPECIAL[list(b"{}[]\n")] = True


class Names(NamedTuple):
    """Sorted hashes of the names that the kernel knows."""

    templates: UInt64  # that carry text
    prefixes: UInt64  # of such names, each up to its "-", ":" or "/"
    media: UInt64  # namespaces whose links are no text


@kernel
def _name_stop(data: UInt8, start: int) -> int:
    """Where the name that starts at `start` ends: at a bracket, a pipe, a mark, or the limit."""
    stop = min(len(data), start + MAXIMUM_NAME_BYTES)
    for place in range(start, stop):
        byte = data[place]
        if byte in (PIPE, CURLY_OPEN, CURLY_CLOSE, SQUARE_OPEN, SQUARE_CLOSE, LESS) or byte >= OPEN:
            return place
    return stop


@kernel
def _carries_text(data: UInt8, start: int, stop: int, names: Names) -> bool:
    for place in range(start, stop):
        byte = data[place]
        if (byte in (DASH, COLON, SLASH)) and find_hash(
            names.prefixes, hash_name(data, start, place + 1)
        ) >= 0:
            return True
    ended = stop < len(data) and (data[stop] in (PIPE, CURLY_CLOSE))
    return ended and find_hash(names.templates, hash_name(data, start, stop)) >= 0


@kernel
def _is_media(data: UInt8, start: int, names: Names) -> bool:
    for place in range(start, _name_stop(data, start)):
        if data[place] == COLON:
            return find_hash(names.media, hash_name(data, start, place)) >= 0
    return False


@kernel
def _table_bracket(data: UInt8, start: int) -> tuple[int, int]:
    """(kind, place behind) of the {| or |} that the line from `start` begins with: kind 1 opens, 2 closes, else 0."""
    place = start
    while place < len(data) and (is_blank(data[place]) or data[place] == COLON):
        place += 1
    if place + 1 < len(data):
        if data[place] == CURLY_OPEN and data[place + 1] == PIPE:
            return 1, place + 2
        if data[place] == PIPE and data[place + 1] == CURLY_CLOSE:
            template = place + 2 < len(data) and data[place + 2] == CURLY_CLOSE
            return (0, start) if template else (2, place + 2)
    return 0, start


@kernel
def _opening(kinds: UInt8, depth: int, template: bool, link: bool) -> int:
    """The frame that a closing bracket closes: the nearest of its kind, for templates and links within its table."""
    for frame in range(depth - 1, -1, -1):
        kind = kinds[frame]
        if kind == _TABLE:
            return -1 if template or link else frame
        if (template and kind == _TEMPLATE) or (link and (kind in (_LINK, _MEDIA))):
            return frame
    return -1


@kernel
def _pipe(out: UInt8, start: int, stop: int) -> int:
    """The first pipe of out[start:stop] outside of templates that carry text; -1 without one."""
    depth = 0
    for place in range(start, stop):
        byte = out[place]
        depth += (byte == OPEN) - (byte == CLOSE)
        if byte == PIPE and depth == 0:
            return place
    return -1


@kernel
def _is_language(out: UInt8, start: int, stop: int) -> bool:
    """Whether out[start:stop] begins like a link to another language: `xx:`, `xxx:`, `xx-yy:`, `xx-y-zzz:`."""
    length = parts = 0
    for place in range(start, stop):
        byte = out[place]
        whole = 2 <= length <= 3 if parts == 0 else 1 <= length <= 8
        if byte == COLON:
            return whole and parts <= 2
        if byte == DASH and whole:
            length = 0
            parts += 1
        elif 97 <= byte <= 122:
            length += 1
        else:
            return False
    return False


@kernel
def _render_link(out: UInt8, start: int, size: int) -> int:
    """Turn out[start + 1:size], what stands in a link behind its mark, to the link's text; the size then."""
    pipe = _pipe(out, start + 1, size)
    target_stop = pipe if pipe >= 0 else size
    begin, stop = start + 1, size
    text = pipe + 1
    while 0 < text < size and is_blank(out[text]):
        text += 1
    if pipe >= 0 and text < size:
        begin = pipe + 1
    else:
        stop = target_stop
        while begin < stop and is_blank(out[begin]):
            begin += 1
        while begin < stop and is_blank(out[stop - 1]):
            stop -= 1
        if pipe < 0 and _is_language(out, begin, stop):
            out[start] = GAP
            return start + 1
        if begin < stop and out[begin] == COLON:
            begin += 1
    for place in range(begin, stop):
        out[start + place - begin] = out[place]
    return start + stop - begin


@kernel
def _close(
    kind: Any, data: UInt8, opened: int, out: UInt8, start: int, size: int, names: Names
) -> tuple[int, int]:
    """Close what opened at data[opened] and stands in out[start:size]: (size of `out`, end of its name).

    The end of the name is -1 where something is kept, 0 where a table or a media link is dropped.
    """
    if kind == _LINK:
        return _render_link(out, start, size), -1
    stop = 0
    if kind == _TEMPLATE:
        stop = _name_stop(data, opened)
        if _carries_text(data, opened, stop, names):
            out[start], out[size] = OPEN, CLOSE
            return size + 1, -1
    out[start] = GAP
    return start + 1, stop


@kernel
def _bracket(data: UInt8, place: int, at_line: bool) -> tuple[int, int, int]:
    """(kind that opens at `place` or -1, kind that closes or -1, place behind)."""
    if at_line:
        bracket, behind = _table_bracket(data, place)
        if bracket:
            return (_TABLE, -1, behind) if bracket == 1 else (-1, _TABLE, behind)
    byte = data[place]
    if place + 1 == len(data) or data[place + 1] != byte:
        return -1, -1, place + 1
    if byte in (CURLY_OPEN, CURLY_CLOSE):
        return (_TEMPLATE, -1, place + 2) if byte == CURLY_OPEN else (-1, _TEMPLATE, place + 2)
    if byte in (SQUARE_OPEN, SQUARE_CLOSE):
        return (_LINK, -1, place + 2) if byte == SQUARE_OPEN else (-1, _LINK, place + 2)
    return -1, -1, place + 1


@kernel
def resolve_brackets(data: UInt8, names: Names) -> tuple[UInt8, Int32]:
    """The text with its links resolved, and the spans of the names of templates that were dropped from it.

    A template inside one that is dropped, or inside a table or a media link, goes with it and is not named.
    """
    out = np.empty(len(data) + 1, np.uint8)
    dropped = np.empty((len(data) // 4 + 1, 2), np.int32)
    kinds = np.empty(MAXIMUM_DEPTH, np.uint8)
    frames = np.empty((MAXIMUM_DEPTH, 3), np.int64)  # place behind the bracket, place in `out`, names before it
    depth = size = num_dropped = place = 0
    heading = blank_line = -1  # where the last ones begin
    at_line = True
    while place < len(data):
        if not at_line and not _SPECIAL[data[place]]:
            out[size] = data[place]
            size += 1
            place += 1
            continue
        if at_line and is_heading(data, place):
            heading = place
        elif at_line and is_blank_line(data, place):
            blank_line = place
        opens, closes, behind = _bracket(data, place, at_line)
        frame = _opening(kinds, depth, closes == _TEMPLATE, closes == _LINK) if closes >= 0 else -1
        if opens >= 0 and depth < MAXIMUM_DEPTH:
            kinds[depth] = _MEDIA if opens == _LINK and _is_media(data, behind, names) else opens
            frames[depth, 0], frames[depth, 1], frames[depth, 2] = behind, size, num_dropped
            out[size] = LINK if kinds[depth] == _LINK else DROP
            size += 1
            depth += 1
        elif frame >= 0:
            opened, start, before = frames[frame]
            depth = frame
            if heading < opened and (kinds[frame] != _LINK or blank_line < opened):
                size, stop = _close(kinds[frame], data, opened, out, start, size, names)
                num_dropped = num_dropped if stop < 0 else before
                if stop > 0:
                    dropped[num_dropped, 0], dropped[num_dropped, 1] = opened, stop
                    num_dropped += 1
        elif opens < 0 and closes < 0:
            out[size] = data[place]
            size += 1
        at_line = data[place] == NEWLINE
        place = behind
    return out[:size], dropped[:num_dropped]
