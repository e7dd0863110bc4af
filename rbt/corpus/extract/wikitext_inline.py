"""Wikitext without templates and links to lines without markup. Third of the passes; see wikitext.py.

    uint8 (n,) ──strip_inline──> uint8 (m,)

Tags, external links, switches, and quotes that are italics or bold go; tags of blocks leave line breaks.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from rbt.corpus.extract.wikitext_marks import (
    APOSTROPHE,
    BLANK,
    GAP,
    GREATER,
    LESS,
    LINK,
    NEWLINE,
    SLASH,
    SQUARE_CLOSE,
    SQUARE_OPEN,
    STAR,
    UNDERSCORE,
    Int32,
    UInt8,
    UInt64,
    copy,
    find_hash,
    hash_table,
    is_blank,
)
from rbt.corpus.extract.wikitext_tags import tag_end, tag_name_hash

BREAKS = {  # tags that stand for something; all others leave nothing
    "blockquote": 1, "p": 1, "div": 1, "poem": 1, "center": 1, "ul": 1, "ol": 1, "dl": 1, "hr": 1, "br": 2,
    "li": 3, "dd": 3, "dt": 3, "h1": 3, "h2": 3, "h3": 3, "h4": 3, "h5": 3, "h6": 3,
}  # 1 a new paragraph, 2 a blank, 3 a new line that is no paragraph (a list, a heading)
_SCHEMES = ("http:", "https:", "ftp:", "mailto:", "//")
_SCHEME_BYTES = np.frombuffer("".join(_SCHEMES).encode(), np.uint8)
_SCHEME_STARTS = np.cumsum([0, *map(len, _SCHEMES)])
_INLINE = np.zeros(256, np.bool_)
_INLINE[[*b"<[]'_", LINK]] = True


def break_table() -> tuple[UInt64, Int32]:
    """Sorted hashes of the tags in BREAKS, and what each stands for."""
    meanings = {int(hash_table([name])[0]): meaning for name, meaning in BREAKS.items()}
    hashes = sorted(meanings)
    return np.array(hashes, np.uint64), np.array([meanings[key] for key in hashes], np.int32)


@njit(nogil=True, cache=True)
def _scheme_end(data: UInt8, place: int) -> int:
    """Behind the scheme of a URL that starts at `place`; -1 where none does."""
    for number in range(len(_SCHEME_STARTS) - 1):
        length = _SCHEME_STARTS[number + 1] - _SCHEME_STARTS[number]
        matched = 0
        while (
            matched < length and place + matched < len(data)
            and (data[place + matched] | 32) == (_SCHEME_BYTES[_SCHEME_STARTS[number] + matched] | 32)
        ):
            matched += 1
        if matched == length:
            return place + matched
    return -1


@njit(nogil=True, cache=True)
def _external_link(data: UInt8, place: int) -> tuple[int, int]:
    """(start of the label, place of the "]") of the external link that starts with the "[" at `place`, or (-1, -1)."""
    start = _scheme_end(data, place + 1)
    if start < 0:
        return -1, -1
    while start < len(data) and data[start] > 32 and data[start] not in (SQUARE_OPEN, SQUARE_CLOSE, LESS, GREATER, GAP):
        start += 1
    while start < len(data) and is_blank(data[start]):
        start += 1
    stop = start
    while stop < len(data) and data[stop] != SQUARE_OPEN and data[stop] != SQUARE_CLOSE and data[stop] != NEWLINE:
        stop += 1
    return (start, stop) if stop < len(data) and data[stop] == SQUARE_CLOSE else (-1, -1)


@njit(nogil=True, cache=True)
def _switch_end(data: UInt8, place: int) -> int:
    """Behind the switch (__NOTOC__) that starts at `place`; -1 where none does."""
    stop = place + 2
    while stop < len(data) and 65 <= data[stop] <= 90 and stop - place <= 32:
        stop += 1
    if not 5 <= stop - place <= 32 or stop + 1 >= len(data) or data[place + 1] != UNDERSCORE:
        return -1
    return stop + 2 if data[stop] == UNDERSCORE and data[stop + 1] == UNDERSCORE else -1


@njit(nogil=True, cache=True)
def _write_break(meaning: int, closing: bool, out: UInt8, size: int) -> int:
    """Write what a tag stands for; the size of `out` then."""
    if meaning == 2:
        out[size] = BLANK
        return size + 1
    if meaning == 0:
        return size
    out[size] = out[size + 1] = NEWLINE
    if meaning == 3 and not closing:
        out[size + 2] = STAR
        return size + 3
    return size + 2


@njit(nogil=True, cache=True)
def _markup_end(data: UInt8, place: int) -> tuple[int, int]:
    """(behind the markup at `place`, "]" of an external link), each -1 where there is none."""
    byte = data[place]
    if byte == LESS:
        return tag_end(data, place), -1
    if byte == SQUARE_OPEN:
        return _external_link(data, place)
    if byte == UNDERSCORE:
        return _switch_end(data, place), -1
    if byte != APOSTROPHE:
        return -1, -1
    while place < len(data) and data[place] == APOSTROPHE:
        place += 1
    return place, -1


@njit(nogil=True, cache=True)
def strip_inline(data: UInt8, hashes: UInt64, meanings: Int32) -> UInt8:
    """The text without tags, external links, switches, and quotes that are italics and bold."""
    out = np.empty(len(data), np.uint8)
    place = size = 0
    link_close = -1
    while place < len(data):
        byte = data[place]
        if not _INLINE[byte]:
            out[size] = byte
            size += 1
            place += 1
            continue
        behind, close = _markup_end(data, place)
        if behind < 0:
            behind = place + 1
            if byte != LINK and place != link_close:
                out[size] = byte
                size += 1
        elif byte == LESS:
            known = find_hash(hashes, tag_name_hash(data, place)[0])
            size = _write_break(meanings[known] if known >= 0 else 0, data[place + 1] == SLASH, out, size)
        elif byte == SQUARE_OPEN:
            link_close = close
        elif byte == APOSTROPHE:
            count = behind - place  # two are italics, three bold, five both; what is over is text
            count = 1 if count == 1 or count == 4 else max(count - 5, 0)
            size = copy(data, place, place + count, out, size)
        place = behind
    return out[:size]
