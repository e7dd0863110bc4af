"""One pass over a page's serialized tree: its text as blocks, the elements they lie in, and where its facts stand.

    HTML as the parser writes it, UTF-8 (n,) uint8 ──scan──> text (t,) uint8, blocks (b, 8) int32,
                                                             elements (e, 4) int32, facts (f,) int32

What is scanned is not the page but the tree made of it, written out: every tag is closed, every attribute stands in
double quotes, every `<` and `&` of a text is escaped. So a tokenizer needs no repair rules, and visits a byte once.

A block is the text between two boundaries of block-level elements; two line breaks in a row end one as well. Spaces in
it are folded, a line break is one LF. Nothing recurses: the open elements are a stack of flags, and each element takes
its parent's flags and adds its own (`html_words`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from rbt.corpus.extract.html_words import (
    BLOCK,
    BREAK,
    DROP,
    FACT,
    HASH_BASIS,
    HIDDEN,
    INHERITED,
    LINK,
    NAMES,
    PRE,
    RAW,
    REFERENCE,
    VOID,
    attribute_table,
    extend,
    look_up,
    tag_table,
    word_table,
)

UInt8 = npt.NDArray[np.uint8]
UInt64 = npt.NDArray[np.uint64]
Int32 = npt.NDArray[np.int32]

# Columns of blocks. CHARACTERS and LINKED leave out spaces; FLAGS are those that all its text shares; ENDED is 1 where
# it ends as a sentence does.
START, STOP, CHARACTERS, LINKED, FLAGS, ELEMENT, WORDS, ENDED = range(8)
# Columns of elements: their blocks are FIRST to END, OWN their own flags.
FIRST, END, PARENT, OWN = range(4)
# Counters of a scan.
_DEPTH, _WRITTEN, _BEGAN, _BLOCKS, _ELEMENTS, _CHARACTERS, _LINKED, _SPACE, _SHARED, _FACTS, _COUNTERS = range(11)

LESS, GREATER, SLASH, QUOTE, EQUALS, AMPERSAND, SEMICOLON = (np.uint8(ord(sign)) for sign in "<>/\"=&;")
MARK, QUESTION, HYPHEN, LINE_FEED, BLANK = (np.uint8(ord(sign)) for sign in "!?-\n ")
# Characters as the number that their UTF-8 bytes make.
SENTENCE_ENDS = tuple(int.from_bytes(sign.encode(), "big") for sign in ".!?:;…。！？।؟")
CLOSERS = tuple(int.from_bytes(sign.encode(), "big") for sign in "\"')]”’»」』）")


@dataclass(frozen=True)
class Scan:
    """A page as blocks and elements; `html` is what was scanned, `facts` the places of its FACT tags."""

    html: bytes
    text: UInt8
    blocks: Int32
    elements: Int32
    facts: Int32

    def block(self, index: int) -> str:
        """The text of a block."""
        start, stop = self.blocks[index, START], self.blocks[index, STOP]
        return self.text[start:stop].tobytes().decode()


def scan_html(html: str) -> Scan:
    """Scan a serialized tree."""
    data = html.encode()
    tags = data.count(b"<") + 2
    text, stack = np.empty(len(data) + 2, np.uint8), np.zeros((tags, 3), np.int32)
    blocks, elements, facts = np.empty((tags, 8), np.int32), np.empty((tags, 4), np.int32), np.empty(tags, np.int32)
    tables = (*tag_table(), *attribute_table(), *word_table())
    counters = np.zeros(_COUNTERS, np.int64)
    scan(np.frombuffer(data, np.uint8), tables, stack, text, blocks, elements, facts, counters)
    ends = counters[[_WRITTEN, _BLOCKS, _ELEMENTS, _FACTS]]
    return Scan(data, text[: ends[0]], blocks[: ends[1]], elements[: ends[2]], facts[: ends[3]])


@njit(nogil=True, cache=True)
def scan(
    data: UInt8, tables: Any, stack: Int32, text: UInt8, blocks: Int32, elements: Int32, facts: Int32, at: Any
) -> None:
    """Fill `text`, `blocks`, `elements`, `facts` and the counters `at`; room for a row more than there are `<`."""
    stack[0, 1] = -1
    at[_SHARED] = -1
    place, size = 0, len(data)
    while place < size:
        if data[place] != LESS:
            place = _text(data, place, size, stack, text, at, AMPERSAND)
            continue
        sign = data[place + 1] if place + 1 < size else GREATER
        if sign == SLASH:
            place = _end_tag(data, place, tables, stack, text, blocks, elements, at)
        elif sign in (MARK, QUESTION):
            place = _comment(data, place, size)
        else:
            place = _start_tag(data, place, size, tables, stack, text, blocks, elements, facts, at)
    _flush(stack, text, blocks, at)
    while at[_DEPTH] > 0:
        _close(stack, text, blocks, elements, at)


@njit(nogil=True, cache=True, inline="always")
def _comment(data: Any, place: Any, size: Any) -> Any:
    """The place behind a comment, document type or processing instruction."""
    long = place + 3 < size and data[place + 2] == HYPHEN and data[place + 3] == HYPHEN
    place += 4 if long else 1
    while place < size:
        if data[place] == GREATER and (not long or (data[place - 1] == HYPHEN and data[place - 2] == HYPHEN)):
            return place + 1
        place += 1
    return size


@njit(nogil=True, cache=True, inline="always")
def _is_space(byte: Any) -> Any:
    return byte == 32 or (9 <= byte <= 13 and byte != 11)


@njit(nogil=True, cache=True)
def _text(data: UInt8, place: int, stop: int, stack: Int32, text: UInt8, at: Any, escape: Any) -> int:
    """Append a run of text that ends at `<` or `stop`; `escape` is its escape character (0: none, and `<` is text)."""
    flags = stack[at[_DEPTH], 0]
    seen = False
    while place < stop and (data[place] != LESS or escape == 0):
        byte = data[place]
        place += 1
        if flags & DROP:
            continue
        if byte == AMPERSAND and escape == AMPERSAND:
            byte, place = _escaped(data, place, stop)
        elif byte == 0xC2 and place < stop and (data[place] == 0xA0 or data[place] == 0xAD):
            place += 1
            if data[place - 1] == 0xAD:  # a soft hyphen
                continue
            byte = BLANK  # a space that does not break
        if _is_space(byte) and not flags & PRE:
            at[_SPACE] = 1
            continue
        seen |= not _is_space(byte)
        _append(byte, flags, text, at)
    if seen:
        at[_SHARED] &= flags
    return place


@njit(nogil=True, cache=True, inline="always")
def _append(byte: Any, flags: Any, text: Any, at: Any) -> None:
    written = at[_WRITTEN]
    if at[_SPACE] and written > at[_BEGAN] and text[written - 1] != LINE_FEED:
        text[written] = BLANK
        written += 1
    at[_SPACE] = 0
    text[written] = byte
    at[_WRITTEN] = written + 1
    if byte & 0xC0 != 0x80 and byte > 32:  # bytes that begin a character
        at[_CHARACTERS] += 1
        if flags & LINK:
            at[_LINKED] += 1


@njit(nogil=True, cache=True, inline="always")
def _escaped(data: Any, place: Any, stop: Any) -> Any:
    """(byte, place behind it) of the escape whose `&` stands before `place`: &amp; &lt; &gt; or &nbsp;."""
    end = place
    while end < stop and end < place + 5 and data[end] != SEMICOLON:
        end += 1
    if end >= stop or data[end] != SEMICOLON:
        return AMPERSAND, place
    if end - place == 2:
        return (LESS if data[place] == np.uint8(108) else GREATER), end + 1
    return (AMPERSAND if end - place == 3 else BLANK), end + 1


@njit(nogil=True, cache=True)
def _start_tag(
    data: UInt8, place: int, size: int, tables: Any, stack: Int32, text: UInt8, blocks: Int32, elements: Int32,
    facts: Int32, at: Any,
) -> int:  # fmt: skip
    """Open an element; the place behind its tag, or behind its text where that is raw."""
    begin = place
    place, name = _name(data, place + 1, size)
    tag = look_up(tables[0], tables[1], name)
    place, named = _attributes(data, place, size, tables)
    if tag & FACT:
        facts[at[_FACTS]] = begin
        at[_FACTS] += 1
    if tag & VOID:
        if tag & BREAK:
            _break(stack, text, blocks, at)
        elif tag & BLOCK:
            _flush(stack, text, blocks, at)
        return place
    _open(tag, named, name, stack, text, blocks, elements, at)
    if tag & RAW:
        end = _raw_end(data, place, size, begin + 1)
        _text(data, place, end, stack, text, at, np.uint8(0))
        place = end
    return place


@njit(nogil=True, cache=True, inline="always")
def _name(data: Any, place: Any, size: Any) -> Any:
    """(place behind it, hash) of a tag's name."""
    state = HASH_BASIS
    while place < size and data[place] != GREATER and data[place] != BLANK:
        state = extend(state, data[place])
        place += 1
    return place, state


@njit(nogil=True, cache=True)
def _attributes(data: UInt8, place: int, size: int, tables: Any) -> tuple[int, int]:
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


@njit(nogil=True, cache=True)
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
        elif _is_space(byte):
            pair = HASH_BASIS
        low = letter and not upper
    return flags


@njit(nogil=True, cache=True)
def _hides(data: UInt8, place: int, stop: int, kind: int) -> int:
    """HIDDEN where the value of `hidden`, `aria-hidden` (4 letters: true) or `style` (display: none) says so."""
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


def _hash(word: str) -> Any:
    state = HASH_BASIS
    for byte in word.encode():
        state = np.uint64((int(state) ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF)
    return state


HIDING = (_hash("display:none"), _hash("visibility:hidden"), _hash("true"))


@njit(nogil=True, cache=True)
def _raw_end(data: UInt8, place: int, size: int, name: int) -> int:
    """Where the end tag of a raw text element begins, whose name stands at `name`."""
    length = 0
    while data[name + length] != GREATER and data[name + length] != BLANK:
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


@njit(nogil=True, cache=True, inline="always")
def _open(
    tag: Any, named: Any, name: Any, stack: Any, text: Any, blocks: Any, elements: Any, at: Any
) -> None:
    depth = at[_DEPTH]
    outer, element = stack[depth, 0], stack[depth, 1]
    own = (tag | named) & INHERITED
    if tag & LINK and not named & REFERENCE:
        own &= ~LINK
    if tag & BLOCK:
        _flush(stack, text, blocks, at)
        if not outer & DROP:
            row = at[_ELEMENTS]
            elements[row, 0], elements[row, 1] = at[_BLOCKS], at[_BLOCKS]
            elements[row, 2], elements[row, 3] = element, tag | named
            at[_ELEMENTS] = row + 1
            element = row
        own &= ~named
    elif named & HIDDEN:
        own |= DROP
    at[_DEPTH] = depth + 1
    stack[depth + 1, 0] = outer | own
    stack[depth + 1, 1] = element
    stack[depth + 1, 2] = np.int32(name & np.uint64(0x7FFFFFFF))


@njit(nogil=True, cache=True)
def _end_tag(
    data: UInt8, place: int, tables: Any, stack: Int32, text: UInt8, blocks: Int32, elements: Int32, at: Any
) -> int:
    """Close the open element if it has the end tag's name: those of void elements in SVG have never been opened."""
    place, name = _name(data, place + 2, len(data))
    if at[_DEPTH] > 0 and stack[at[_DEPTH], 2] == np.int32(name & np.uint64(0x7FFFFFFF)):
        _close(stack, text, blocks, elements, at)
    return min(place + 1, len(data))


@njit(nogil=True, cache=True)
def _close(stack: Int32, text: UInt8, blocks: Int32, elements: Int32, at: Any) -> None:
    depth = at[_DEPTH]
    element = stack[depth, 1]
    if element != stack[depth - 1, 1]:
        _flush(stack, text, blocks, at)
        elements[element, 1] = at[_BLOCKS]
    at[_DEPTH] = depth - 1


@njit(nogil=True, cache=True)
def _break(stack: Int32, text: UInt8, blocks: Int32, at: Any) -> None:
    """A line break; the second in a row ends the block, except in preformatted text."""
    written = at[_WRITTEN]
    if stack[at[_DEPTH], 0] & DROP or written == at[_BEGAN]:
        return
    if text[written - 1] == LINE_FEED and not stack[at[_DEPTH], 0] & PRE:
        _flush(stack, text, blocks, at)
        return
    at[_SPACE] = 0
    text[written] = LINE_FEED
    at[_WRITTEN] = written + 1


@njit(nogil=True, cache=True)
def _flush(stack: Int32, text: UInt8, blocks: Int32, at: Any) -> None:
    """End the block at hand, if it has any text."""
    start, stop = at[_BEGAN], at[_WRITTEN]
    while stop > start and _is_space(text[stop - 1]):
        stop -= 1
    while start < stop and (text[start] == LINE_FEED or text[start] == 13):
        start += 1
    if stop > start:
        row = at[_BLOCKS]
        blocks[row, 0], blocks[row, 1], blocks[row, 2] = start, stop, at[_CHARACTERS]
        blocks[row, 3], blocks[row, 4], blocks[row, 5] = at[_LINKED], at[_SHARED], stack[at[_DEPTH], 1]
        blocks[row, 6], blocks[row, 7] = count_words(text, start, stop), ends_sentence(text, start, stop)
        at[_BLOCKS] = row + 1
    at[_BEGAN] = at[_WRITTEN]
    at[_CHARACTERS] = at[_LINKED] = at[_SPACE] = 0
    at[_SHARED] = -1


@njit(nogil=True, cache=True)
def count_words(text: UInt8, start: int, stop: int) -> int:
    """Runs of spaces in text[start:stop], and one."""
    words = 1
    for index in range(start, stop - 1):
        words += _is_space(text[index]) and not _is_space(text[index + 1])
    return words


@njit(nogil=True, cache=True)
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
