"""One pass over a page's serialized tree: its text as blocks, the elements they lie in, and where its facts stand.

    HTML as the parser writes it, UTF-8 (n,) uint8 ──scan──> text (t,) uint8, blocks (b, 8) int32,
                                                             elements (e, 4) int32, facts (f,) int32

What is scanned is not the page but the tree made of it, written out: every tag is closed, every attribute stands in
double quotes, every `<` and `&` of a text is escaped. So a tokenizer needs no repair rules, and visits a byte once.

A block is the text between two boundaries of block-level elements; two line breaks in a row end one as well. Spaces in
it are folded, a line break is one LF. Nothing recurses: the open elements are a stack of flags, and each element takes
its parent's flags and adds its own (`html_words`; what a name or a hidden block says is said of the element alone, for
`html_choose` to judge).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rbt.corpus.extract.html_tokens import (
    AMPERSAND,
    BLANK,
    GREATER,
    LESS,
    LINE_FEED,
    MARK,
    QUESTION,
    SLASH,
    count_words,
    ends_sentence,
    find_raw_end,
    is_space,
    pass_comment,
    read_attributes,
    read_escape,
    read_name,
)
from rbt.corpus.extract.html_words import (
    BLOCK,
    BREAK,
    DROP,
    FACT,
    HIDDEN,
    INHERITED,
    LINK,
    PRE,
    RAW,
    REFERENCE,
    VOID,
    attribute_table,
    look_up,
    tag_table,
    word_table,
)
from rbt.kernels import inline_kernel, kernel

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


@kernel
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
            place = _end_tag(data, place, stack, text, blocks, elements, at)
        elif sign in (MARK, QUESTION):
            place = pass_comment(data, place, size)
        else:
            place = _start_tag(data, place, size, tables, stack, text, blocks, elements, facts, at)
    _flush(stack, text, blocks, at)
    while at[_DEPTH] > 0:
        _close(stack, text, blocks, elements, at)


@kernel
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
            byte, place = read_escape(data, place, stop)
        elif byte == 0xC2 and place < stop and (data[place] == 0xA0 or data[place] == 0xAD):
            place += 1
            if data[place - 1] == 0xAD:  # a soft hyphen
                continue
            byte = BLANK  # a space that does not break
        if is_space(byte) and not flags & PRE:
            at[_SPACE] = 1
            continue
        seen |= not is_space(byte)
        _append(byte, flags, text, at)
    if seen:
        at[_SHARED] &= flags
    return place


@inline_kernel
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


@kernel
def _start_tag(
    data: UInt8, place: int, size: int, tables: Any, stack: Int32, text: UInt8, blocks: Int32, elements: Int32,
    facts: Int32, at: Any,
) -> int:  # fmt: skip
    """Open an element; the place behind its tag, or behind its text where that is raw."""
    begin = place
    place, name = read_name(data, place + 1, size)
    tag = look_up(tables[0], tables[1], name)
    place, named = read_attributes(data, place, size, tables)
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
        end = find_raw_end(data, place, size, begin + 1)
        _text(data, place, end, stack, text, at, np.uint8(0))
        place = end
    return place


@inline_kernel
def _open(tag: Any, named: Any, name: Any, stack: Any, text: Any, blocks: Any, elements: Any, at: Any) -> None:
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


@kernel
def _end_tag(data: UInt8, place: int, stack: Int32, text: UInt8, blocks: Int32, elements: Int32, at: Any) -> int:
    """Close the open element if it has the end tag's name: those of void elements in SVG have never been opened."""
    place, name = read_name(data, place + 2, len(data))
    if at[_DEPTH] > 0 and stack[at[_DEPTH], 2] == np.int32(name & np.uint64(0x7FFFFFFF)):
        _close(stack, text, blocks, elements, at)
    return min(place + 1, len(data))


@kernel
def _close(stack: Int32, text: UInt8, blocks: Int32, elements: Int32, at: Any) -> None:
    depth = at[_DEPTH]
    element = stack[depth, 1]
    if element != stack[depth - 1, 1]:
        _flush(stack, text, blocks, at)
        elements[element, 1] = at[_BLOCKS]
    at[_DEPTH] = depth - 1


@kernel
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


@kernel
def _flush(stack: Int32, text: UInt8, blocks: Int32, at: Any) -> None:
    """End the block at hand, if it has any text."""
    start, stop = at[_BEGAN], at[_WRITTEN]
    while stop > start and is_space(text[stop - 1]):
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
