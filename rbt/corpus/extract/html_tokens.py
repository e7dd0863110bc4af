"""The tokens of serialized HTML: names, attributes, comments, escapes and raw text, each read by one forward pass.

What a parser writes has no errors: attributes stand as ` name="value"`, of the escapes there are &amp; &lt; &gt; &nbsp;
and &quot; (in values). Each function takes the bytes, uint8 (n,), and a place; nothing is read behind the last byte.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rbt.corpus.extract.html_words import HASH_BASIS, HIDDEN, NAMES, REFERENCE, extend, hash_word, look_up
from rbt.kernels import inline_kernel, kernel

UInt8 = npt.NDArray[np.uint8]
UInt64 = npt.NDArray[np.uint64]
Int32 = npt.NDArray[np.int32]

LESS, GREATER, SLASH, QUOTE, EQUALS, AMPERSAND, SEMICOLON = (np.uint8(ord(sign)) for sign in "<>/\"=&;")
MARK, QUESTION, HYPHEN, LINE_FEED, BLANK = (np.uint8(ord(sign)) for sign in "!?-\n ")
HIDING = (hash_word("display:none"), hash_word("visibility:hidden"), hash_word("true"))
# Characters as the number that their UTF-8 bytes make.
SENTENCE_ENDS = tuple(int.from_bytes(sign.encode(), "big") for sign in ".!?:;…。！？।؟")
CLOSERS = tuple(int.from_bytes(sign.encode(), "big") for sign in "\"')]”“’»«」』）")


@inline_kernel
def is_space(byte: Any) -> Any:
    """Whether HTML folds this byte."""
    return byte == 32 or (9 <= byte <= 13 and byte != 11)


@inline_kernel
def pass_comment(data: Any, place: Any, size: Any) -> Any:
    """The place behind a comment, document type or processing instruction."""
    long = place + 3 < size and data[place + 2] == HYPHEN and data[place + 3] == HYPHEN
    place += 4 if long else 1
    while place < size:
        if data[place] == GREATER and (not long or (data[place - 1] == HYPHEN and data[place - 2] == HYPHEN)):
            return place + 1
        place += 1
    return size


@inline_kernel
def read_escape(data: Any, place: Any, stop: Any) -> Any:
    """(byte, place behind it) of the escape whose `&` stands before `place`: &amp; &lt; &gt; or &nbsp;."""
    end = place
    while end < stop and end < place + 5 and data[end] != SEMICOLON:
        end += 1
    if end >= stop or data[end] != SEMICOLON:
        return AMPERSAND, place
    if end - place == 2:
        return (LESS if data[place] == np.uint8(108) else GREATER), end + 1
    return (AMPERSAND if end - place == 3 else BLANK), end + 1


@inline_kernel
def read_name(data: Any, place: Any, size: Any) -> Any:
    """(place behind it, hash) of a tag's name."""
    state = HASH_BASIS
    while place < size and data[place] != GREATER and data[place] != BLANK:
        state = extend(state, data[place])
        place += 1
    return place, state


@kernel
def read_attributes(data: UInt8, place: int, size: int, tables: Any) -> tuple[int, int]:
    """(place behind the tag, flags that its attributes give it)."""
    flags = 0
    while place < size and data[place] != GREATER:
        place += 1
        state = HASH_BASIS
        first = place
        while place < size and (data[place] != EQUALS or place == first):
            state = extend(state, data[place])
            place += 1
        begin = place + 2
        place = begin
        while place < size and data[place] != QUOTE:
            place += 1
        kind = look_up(tables[2], tables[3], state)
        if kind & REFERENCE:
            flags |= REFERENCE
        elif kind & NAMES:
            flags |= _words(data, begin, min(place, size), tables[4], tables[5])
        elif kind:
            flags |= _hides(data, begin, min(place, size), kind)
        place += 1
    return min(place + 1, size), flags


@kernel
def _words(data: UInt8, place: int, stop: int, keys: UInt64, values: Int32) -> int:
    """The flags of the words in an attribute's value, and of words that stand side by side, written as one."""
    flags = 0
    before, word, pair = HASH_BASIS, HASH_BASIS, HASH_BASIS
    length = 0
    low = False
    for index in range(place, stop + 1):
        byte = data[index] if index < stop else BLANK
        upper = 65 <= byte <= 90
        letter = upper or 97 <= byte <= 122
        if length and (not letter or (upper and low)):
            flags |= look_up(keys, values, word) | look_up(keys, values, pair)
            before = word
            word, pair, length = HASH_BASIS, before, 0
        if letter:
            lower = byte | np.uint8(32)
            word, pair = extend(word, lower), extend(pair, lower)
            length += 1
        elif is_space(byte):
            pair = HASH_BASIS
        low = bool(letter and not upper)
    return flags


@kernel
def _hides(data: UInt8, place: int, stop: int, kind: int) -> int:
    """HIDDEN by the attribute alone (`hidden`), or by the value of `style` or `aria-hidden` without its spaces."""
    if kind & HIDDEN:
        return HIDDEN
    state = HASH_BASIS
    for index in range(place, stop):
        byte = data[index]
        if byte == 32:
            continue
        state = HASH_BASIS if byte == SEMICOLON else extend(state, byte | np.uint8(32))
        if state in HIDING:
            return HIDDEN
    return 0


@kernel
def find_raw_end(data: UInt8, place: int, size: int, name: int) -> int:
    """Where the end tag of a raw text element begins, whose name stands at `name`."""
    length = 0
    while name + length < size and data[name + length] != GREATER and data[name + length] != BLANK:
        length += 1
    while place + length + 2 < size:
        if data[place] == LESS and data[place + 1] == SLASH:
            same = 0
            while same < length and data[place + 2 + same] == data[name + same]:
                same += 1
            if same == length and data[place + 2 + length] == GREATER:
                return place
        place += 1
    return size


@kernel
def count_words(text: UInt8, start: int, stop: int) -> int:
    """Runs of spaces in text[start:stop], and one."""
    words = 1
    for index in range(start, stop - 1):
        words += is_space(text[index]) and not is_space(text[index + 1])
    return words


@kernel
def ends_sentence(text: UInt8, start: int, stop: int) -> bool:
    """Whether the last character of text[start:stop], closing quotes and brackets aside, is a full stop or its like."""
    while stop > start:
        first = stop - 1
        while first > start and text[first] & 0xC0 == 0x80:
            first -= 1
        point = np.int64(0)
        for index in range(first, stop):  # the bytes of one character, as a number
            point = (point << 8) | np.int64(text[index])
        if point in SENTENCE_ENDS:
            return True
        if point not in CLOSERS:
            return False
        stop = first
    return False
