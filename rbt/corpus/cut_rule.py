"""Which bytes of a document to cut out around matched words, and how many pieces that leaves.

    spans (bytes) ──window──> ──word borders──> ──white space──> merged cuts ──short pieces go too──> cuts

A window is counted in characters and then widened to the next border, so that no word is cut in two: a border is
white space, an end of the text, or a side of a character that is a word by itself (Han, kana, Thai; never before a
combining mark). White space beside a cut goes with it.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import regex

from rbt.corpus.dedup.arrays import Int64
from rbt.corpus.dedup.shingles import SINGLE, UInt8, character_table
from rbt.kernels import inline_kernel, kernel
from rbt.utf8 import UNICODE, decode

SPACE, WORD, MARK = np.uint8(1), np.uint8(2), np.uint8(4)  # a code point's kinds


@cache
def kinds_table() -> UInt8:
    """The kinds of each code point, uint8 (0x110000,): white space, a word by itself, a combining mark."""
    table = np.where(character_table() >= SINGLE, WORD, np.uint8(0))
    characters = "".join(chr(point) for point in range(UNICODE) if not 0xD800 <= point < 0xE000)
    for found, kind in ((re.findall(r"\s", characters), SPACE), (regex.findall(r"\p{M}", characters), MARK)):
        table[[ord(character) for character in found]] |= kind
    table.flags.writeable = False
    return table


@inline_kernel
def _before(data: Any, place: Any, start: Any) -> Any:
    """Where the character that ends at `place` begins."""
    place -= 1
    while place > start and data[place] & 0xC0 == 0x80:
        place -= 1
    return place


@inline_kernel
def _kind(data: Any, place: Any, stop: Any, kinds: Any) -> Any:
    point = np.int64(data[place])
    if point > 127:
        point, _ = decode(data, place, stop)
    return kinds[point]


@inline_kernel
def _after(data: Any, place: Any, stop: Any) -> Any:
    """Where the character that begins at `place` ends."""
    place += 1
    while place < stop and data[place] & 0xC0 == 0x80:
        place += 1
    return place


@kernel
def _is_border(data: UInt8, place: int, start: int, stop: int, kinds: UInt8) -> bool:
    if place <= start or place >= stop:
        return True
    left, right = _kind(data, _before(data, place, start), stop, kinds), _kind(data, place, stop, kinds)
    if (left | right) & SPACE:
        return True
    return bool((left | right) & WORD != 0 and right & MARK == 0)


@kernel
def widen(data: UInt8, start: int, stop: int, first: int, last: int, window: int, kinds: UInt8) -> tuple[int, int]:
    """A span of a text with `window` characters on each side, up to borders, with the white space around it."""
    for _ in range(window):
        if first > start:
            first = _before(data, first, start)
        if last < stop:
            last = _after(data, last, stop)
    while not _is_border(data, first, start, stop, kinds):
        first = _before(data, first, start)
    while not _is_border(data, last, start, stop, kinds):
        last = _after(data, last, stop)
    while first > start and _kind(data, _before(data, first, start), stop, kinds) & SPACE:
        first = _before(data, first, start)
    while last < stop and _kind(data, last, stop, kinds) & SPACE:
        last = _after(data, last, stop)
    return first, last


@kernel
def _is_short(data: UInt8, start: int, stop: int, minimum: int) -> bool:
    """Whether a piece has fewer than `minimum` characters."""
    characters = 0
    while start < stop and characters < minimum:
        start = _after(data, start, stop)
        characters += 1
    return characters < minimum


@kernel
def plan_cuts(
    data: UInt8, start: int, stop: int, spans: Int64, window: int, minimum_piece: int, kinds: UInt8
) -> tuple[int, Int64]:
    """(pieces, cuts) of the text data[start:stop] around `spans` (2, n), ascending by start; at least one.

    `pieces` counts what the widened spans leave, before those under `minimum_piece` characters are cut out too. Cuts
    are int64 (2, m), ascending, disjoint, apart, in bytes of `data`; one that is the whole text leaves nothing.
    """
    merged = np.empty((2, spans.shape[1]), np.int64)
    total = 0
    for number in range(spans.shape[1]):
        first, last = widen(data, start, stop, spans[0, number], spans[1, number], window, kinds)
        if total and first <= merged[1, total - 1]:
            merged[1, total - 1] = max(last, merged[1, total - 1])
        else:
            merged[0, total], merged[1, total] = first, last
            total += 1
    cuts = np.empty((2, total), np.int64)
    pieces = kept = 0
    edge = start  # where the piece before the next cut begins
    for number in range(total + 1):
        piece_stop = merged[0, number] if number < total else stop
        pieces += edge < piece_stop
        joins = edge == piece_stop or _is_short(data, edge, piece_stop, minimum_piece)
        if number == total:
            if joins:
                cuts[1, kept - 1] = stop
            break
        first = edge if joins else piece_stop
        if joins and kept:
            cuts[1, kept - 1] = merged[1, number]
        else:
            cuts[0, kept], cuts[1, kept] = first, merged[1, number]
            kept += 1
        edge = merged[1, number]
    return pieces, cuts[:, :kept].copy()
