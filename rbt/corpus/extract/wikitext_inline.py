"""Wikitext without templates and links to lines without markup. Third of the passes; see wikitext.py.

    uint8 (n,) ──strip_inline──> uint8 (m,)

Tags, external links, switches, and quotes that are italics or bold go; tags of blocks leave line breaks. Exponents
are raised (exponents.py).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rbt.corpus.extract.exponents import MAXIMUM_SIGNS, RAISED
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
    lower,
)
from rbt.corpus.extract.wikitext_tags import tag_end, tag_name_hash
from rbt.kernels import kernel

Int64 = npt.NDArray[np.int64]

BREAKS = {  # tags that stand for something; all others leave nothing
    "blockquote": 1, "p": 1, "div": 1, "poem": 1, "center": 1, "ul": 1, "ol": 1, "dl": 1, "hr": 1, "br": 2,
    "li": 3, "dd": 3, "dt": 3, "h1": 3, "h2": 3, "h3": 3, "h4": 3, "h5": 3, "h6": 3, "sup": 4,
}  # 1 a new paragraph, 2 a blank, 3 a new line that is no paragraph (a list, a heading), 4 an exponent
_SCHEMES = ("http:", "https:", "ftp:", "mailto:", "//")
_SCHEME_BYTES = np.frombuffer("".join(_SCHEMES).encode(), np.uint8)
_SCHEME_STARTS = np.cumsum([0, *map(len, _SCHEMES)])
_WRITTEN_BYTES = np.frombuffer("".join(RAISED).encode(), np.uint8)
_WRITTEN_STARTS = np.cumsum([0, *(len(sign.encode()) for sign in RAISED)])
_RAISED_BYTES = np.frombuffer("".join(RAISED.values()).encode(), np.uint8)
_RAISED_STARTS = np.cumsum([0, *(len(sign.encode()) for sign in RAISED.values())])
_INLINE = np.zeros(256, np.bool_)
_INLINE[[*b"<[]'_", LINK]] = True


def break_table() -> tuple[UInt64, Int32]:
    """Sorted hashes of the tags in BREAKS, and what each stands for."""
    meanings = {int(hash_table([name])[0]): meaning for name, meaning in BREAKS.items()}
    hashes = sorted(meanings)
    return np.array(hashes, np.uint64), np.array([meanings[key] for key in hashes], np.int32)


@kernel
def _word_at(data: UInt8, place: int, words: UInt8, starts: Int64) -> tuple[int, int]:
    """(number of the word that stands at `place`, place behind it), or -1 for each; upper case is as good as lower.

    The words, in lower case, stand in a row; `starts` is where each starts, and the end.
    """
    for number in range(len(starts) - 1):
        length = starts[number + 1] - starts[number]
        matched = 0
        while (
            matched < length and place + matched < len(data)
            and lower(data[place + matched]) == words[starts[number] + matched]
        ):
            matched += 1
        if matched == length:
            return number, place + matched
    return -1, -1


@kernel
def _external_link(data: UInt8, place: int) -> tuple[int, int]:
    """(start of the label, place of the "]") of the external link that starts with the "[" at `place`, or (-1, -1)."""
    start = _word_at(data, place + 1, _SCHEME_BYTES, _SCHEME_STARTS)[1]
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


@kernel
def _switch_end(data: UInt8, place: int) -> int:
    """Behind the switch (__NOTOC__) that starts at `place`; -1 where none does."""
    stop = place + 2
    while stop < len(data) and 65 <= data[stop] <= 90 and stop - place <= 32:
        stop += 1
    if not 5 <= stop - place <= 32 or stop + 1 >= len(data) or data[place + 1] != UNDERSCORE:
        return -1
    return stop + 2 if data[stop] == UNDERSCORE and data[stop + 1] == UNDERSCORE else -1


@kernel
def _write_break(meaning: int, closing: bool, out: UInt8, size: int) -> int:
    """Write what a tag stands for; the size of `out` then."""
    if meaning == 2:
        out[size] = BLANK
        return size + 1
    if meaning in (0, 4):
        return size
    out[size] = out[size + 1] = NEWLINE
    if meaning == 3 and not closing:
        out[size + 2] = STAR
        return size + 3
    return size + 2


@kernel
def _write_exponent(data: UInt8, place: int, out: UInt8, size: int) -> tuple[int, int]:
    """Raise the signs at `place` where a <sup> holds nothing else: (place behind them, size of `out`) then."""
    begin, written = place, size
    for _ in range(MAXIMUM_SIGNS):
        number, behind = _word_at(data, place, _WRITTEN_BYTES, _WRITTEN_STARTS)
        if number < 0:
            break
        written = copy(_RAISED_BYTES, _RAISED_STARTS[number], _RAISED_STARTS[number + 1], out, written)
        place = behind
    closed = place + 1 < len(data) and data[place] == LESS and data[place + 1] == SLASH
    return (place, written) if closed else (begin, size)


@kernel
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


@kernel
def strip_inline(data: UInt8, hashes: UInt64, meanings: Int32) -> UInt8:
    """The text without tags, external links, switches, and quotes that are italics and bold."""
    out = np.empty(2 * len(data), np.uint8)  # raised signs are longer
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
            meaning = meanings[known] if known >= 0 else 0
            if meaning == 4 and data[place + 1] != SLASH and data[behind - 2] != SLASH:
                behind, size = _write_exponent(data, behind, out, size)
            size = _write_break(meaning, data[place + 1] == SLASH, out, size)
        elif byte == SQUARE_OPEN:
            link_close = close
        elif byte == APOSTROPHE:
            count = behind - place  # two are italics, three bold, five both; what is over is text
            count = 1 if count == 1 or count == 4 else max(count - 5, 0)
            size = copy(data, place, place + count, out, size)
        place = behind
    return out[:size]
