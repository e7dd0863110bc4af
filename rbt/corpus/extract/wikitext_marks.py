"""Marks between the passes over wikitext, and the hashes by which kernels know names.

Text is UTF-8 in uint8 arrays (n,). A mark is a byte that UTF-8 never holds, so no source can bring one along.
Names (of tags, templates, namespaces) are compared by a 64-bit hash that takes no account of ASCII case, of "_" for a
blank, and of blanks in a row.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from rbt.kernels import kernel

UInt8 = npt.NDArray[np.uint8]
Int32 = npt.NDArray[np.int32]
UInt64 = npt.NDArray[np.uint64]

GAP = 0xFF  # something that carries no text was dropped here
HIDDEN = 0xFE  # the next byte less SHIFT is an ASCII character that is no markup
DROP = 0xFD  # the rest of the line goes
LINK = 0xFC  # a [[ that is not closed so far
OPEN, CLOSE = 0xF8, 0xF9  # around the name and parameters of a template that carries text
SHIFT = 0x60  # keeps hidden characters below the marks

(
    TAB, NEWLINE, BLANK, BANG, QUOTATION, HASH, AMPERSAND, APOSTROPHE, ROUND_OPEN, ROUND_CLOSE, STAR, COMMA, DASH, DOT,
    SLASH, COLON, SEMICOLON, LESS, EQUALS, GREATER, QUESTION, SQUARE_OPEN, SQUARE_CLOSE, UNDERSCORE, CURLY_OPEN,
    PIPE, CURLY_CLOSE,
) = b"\t\n !\"#&'()*,-./:;<=>?[]_{|}"
MAXIMUM_NAME_BYTES = 100
_BASIS = np.uint64(0xCBF29CE484222325)  # FNV-1a, 64 bits
_PRIME = np.uint64(0x00000100000001B3)


@kernel
def is_blank(byte: Any) -> Any:
    """A space or a tab."""
    return byte in (BLANK, TAB)


@kernel
def is_ascii_letter(byte: Any) -> Any:
    """A to Z in either case."""
    return 97 <= (byte | 32) <= 122


@kernel
def lower(byte: Any) -> Any:
    """A to Z as a to z; any other byte as it is."""
    return byte + 32 if 65 <= byte <= 90 else byte


@kernel
def step(state: Any, byte: Any) -> Any:
    """The hash state behind one more byte of a name."""
    return (state ^ np.uint64(lower(byte))) * _PRIME


@kernel
def hash_name(data: UInt8, start: int, stop: int) -> Any:
    """The hash of the name data[start:stop]."""
    state = _BASIS
    pending = False
    for place in range(start, stop):
        byte = data[place]
        if byte in (BLANK, TAB, NEWLINE, UNDERSCORE):
            pending = state != _BASIS
            continue
        if pending:
            state = step(state, np.uint8(32))
            pending = False
        state = step(state, byte)
    return state


@kernel
def find_hash(table: UInt64, key: Any) -> int:
    """The index of `key` in a sorted table, or -1."""
    low, high = 0, len(table)
    while low < high:
        middle = (low + high) // 2
        if table[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low if low < len(table) and table[low] == key else -1


@kernel
def copy(data: UInt8, start: int, stop: int, out: UInt8, size: int) -> int:
    """Append data[start:stop] to `out`, which holds `size` bytes; the size then."""
    for place in range(start, stop):
        out[size] = data[place]
        size += 1
    return size


@kernel
def line_end(data: UInt8, place: int) -> int:
    """The place of the next newline at or behind `place`, or the end."""
    while place < len(data) and data[place] != NEWLINE:
        place += 1
    return place


@kernel
def is_heading(data: UInt8, start: int) -> bool:
    """Whether the line from `start` is a heading of level 2 or deeper: == text ==."""
    if start + 4 >= len(data) or data[start] != EQUALS or data[start + 1] != EQUALS:
        return False
    stop = line_end(data, start)
    while stop > start and (is_blank(data[stop - 1]) or data[stop - 1] == GAP):
        stop -= 1
    if data[stop - 1] != EQUALS or data[stop - 2] != EQUALS:
        return False
    while start < stop and data[start] == EQUALS:
        start += 1
    return start < stop


@kernel
def is_blank_line(data: UInt8, start: int) -> bool:
    """Whether the line from `start` holds nothing but blanks, and ends."""
    while start < len(data) and is_blank(data[start]):
        start += 1
    return start < len(data) and data[start] == NEWLINE


def byte_array(data: bytes) -> UInt8:
    """A copy that may be written to: for arrays that may not, numba would compile all kernels once more."""
    return np.frombuffer(bytearray(data), np.uint8)


def spellings(name: str) -> set[str]:
    """A name as it may be written: the hash looks past the case of ASCII alone."""
    return {name, name[:1].upper() + name[1:], name.upper(), name.lower(), name.title()}


def hash_table(names: Iterable[str]) -> UInt64:
    """The sorted hashes of names, in any case."""
    written = [byte_array(form.encode()) for name in names for form in spellings(name)]
    return np.unique(np.array([hash_name(form, 0, len(form)) for form in written], dtype=np.uint64))
