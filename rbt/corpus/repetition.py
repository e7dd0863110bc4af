"""How much of a text repeats itself: Gopher's statistics of duplicate lines, paragraphs and word n-grams.

    UTF-8 bytes ──lines, paragraphs, words──> uint64 hash and int64 characters of each ──hash table──> shares, float64

What counts as a line, a word or a duplicate is said in quality.py. Linear in the text; memory is that of its words.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rbt.corpus.dedup.shingles import mix
from rbt.formats.parts import string_buffers
from rbt.kernels import kernel

TOP_NGRAMS, DUPLICATE_NGRAMS = (2, 3, 4), (5, 6, 7, 8, 9, 10)
SHARES = (
    "duplicate_lines", "duplicate_line_characters", "duplicate_paragraphs", "duplicate_paragraph_characters",
    *(f"top_{length}gram" for length in TOP_NGRAMS), *(f"duplicate_{length}gram" for length in DUPLICATE_NGRAMS),
)
BASIS, PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x00000100000001B3)  # FNV-1a, 64 bits, over bytes
NGRAM_BASE = np.uint64(0x9E3779B97F4A7C15)
SPACE, LINE_FEED = np.uint8(32), np.uint8(10)


@kernel
def hash_words(data: Any, start: int, stop: int, hashes: Any, lengths: Any) -> int:
    """Hash and measure the words of data[start:stop]; their number, at most (stop - start) // 2 + 1."""
    number = length = 0
    state = BASIS
    for place in range(start, stop + 1):
        if place < stop and data[place] != SPACE and data[place] != LINE_FEED:
            length += (data[place] & 0xC0) != 0x80
            state = (state ^ np.uint64(data[place])) * PRIME
        elif length:
            hashes[number], lengths[number] = mix(state), length
            number, length, state = number + 1, 0, BASIS
    return number


@kernel
def hash_stretches(data: Any, start: int, stop: int, feeds: int, hashes: Any, lengths: Any) -> int:
    """Hash and measure what lies between runs of `feeds` or more line feeds (1: lines, 2: paragraphs); their number."""
    number = run = length = 0
    state = BASIS
    for place in range(start, stop + 1):
        if place < stop and data[place] == LINE_FEED:
            run += 1
            continue
        if length and (place == stop or run >= feeds):
            hashes[number], lengths[number] = mix(state), length
            number, length, state = number + 1, 0, BASIS
        elif length and run:  # a line feed within a paragraph; it is no character of a line
            state = (state ^ np.uint64(LINE_FEED)) * PRIME
        run = 0
        if place < stop:
            length += (data[place] & 0xC0) != 0x80
            state = (state ^ np.uint64(data[place])) * PRIME
    return number


@kernel
def duplicate_shares(hashes: Any, lengths: Any, number: int) -> Any:
    """(share of the stretches that occurred before, their share of all characters)."""
    if number < 2:
        return 0.0, 0.0
    mask = np.int64(1)
    while mask < 2 * number:
        mask *= 2
    slots = np.full(mask, -1, dtype=np.int64)
    mask -= 1
    repeats = characters = 0
    for place in range(number):
        slot = np.int64(hashes[place] & np.uint64(mask))
        while slots[slot] >= 0 and hashes[slots[slot]] != hashes[place]:
            slot = (slot + 1) & mask
        if slots[slot] < 0:
            slots[slot] = place
        else:
            repeats += 1
            characters += lengths[place]
    return repeats / number, characters / lengths[:number].sum()


@kernel
def _cover(lengths: Any, place: int, length: int, edge: int) -> Any:
    """(characters of the words of an n-gram at `place` that lie at or behind `edge`, the edge behind it)."""
    characters = 0
    for word in range(max(place, edge), place + length):
        characters += lengths[word]
    return characters, place + length


@kernel
def _count_ngrams(grams: Any, hashes: Any, lengths: Any, count: int, length: int, places: Any, slots: Any) -> Any:
    """Extend the (length - 1)-grams at `places` (ascending) by a word, count them, and put each one's slot in `slots`.

    (counts by slot, places that have room for the n-gram, characters in n-grams that occurred before).
    """
    size = np.int64(2)
    while size < 2 * len(places):
        size *= 2
    keys, counts = np.empty(size, dtype=np.uint64), np.zeros(size, dtype=np.int32)
    number = characters = edge = 0
    for place in places:
        if place + length > count:
            break
        grams[place] = grams[place] * NGRAM_BASE + hashes[place + length - 1]
        key = mix(grams[place])
        slot = np.int64(key & np.uint64(size - 1))
        while counts[slot] and keys[slot] != key:
            slot = (slot + 1) & (size - 1)
        if counts[slot]:
            more, edge = _cover(lengths, place, length, edge)
            characters += more
        keys[slot] = key
        counts[slot] += 1
        slots[number] = slot
        number += 1
    return counts, number, characters


@kernel
def ngram_shares(hashes: Any, lengths: Any, count: int, shares: Any) -> None:
    """Fill shares (9,): characters in the top 2-, 3- and 4-gram, then in duplicate 5- to 10-grams, of all in words.

    An n-gram occurs twice only where its first n - 1 words do, so each length looks only at what the last one left.
    """
    shares[:] = 0.0
    total = lengths[:count].sum()
    grams = hashes[:count].copy()
    places = np.arange(count)
    slots = np.empty(count, dtype=np.int64)
    for length in range(2, 11):
        counts, number, characters = _count_ngrams(grams, hashes, lengths, count, length, places, slots)
        if length < 5:
            characters = edge = top = 0
            for candidate in range(1, number):
                if counts[slots[candidate]] > counts[slots[top]]:
                    top = candidate
            if number and counts[slots[top]] > 1:
                for candidate in range(top, number):
                    if slots[candidate] == slots[top]:
                        more, edge = _cover(lengths, places[candidate], length, edge)
                        characters += more
        if characters:
            shares[length - 2] = characters / total
        left = 0
        for candidate in range(number):
            if counts[slots[candidate]] > 1:
                places[left] = places[candidate]
                left += 1
        places = places[:left]
        if left == 0:
            return


@kernel
def _repetition(data: Any, offsets: Any) -> Any:
    longest = 0
    for number in range(len(offsets) - 1):
        longest = max(longest, offsets[number + 1] - offsets[number])
    hashes, lengths = np.empty(longest // 2 + 1, dtype=np.uint64), np.empty(longest // 2 + 1, dtype=np.int64)
    shares = np.zeros((len(offsets) - 1, len(SHARES)))
    for number in range(len(offsets) - 1):
        start, stop = offsets[number], offsets[number + 1]
        for feeds in (1, 2):
            stretches = hash_stretches(data, start, stop, feeds, hashes, lengths)
            found = duplicate_shares(hashes, lengths, stretches)
            shares[number, 2 * feeds - 2], shares[number, 2 * feeds - 1] = found
        words = hash_words(data, start, stop, hashes, lengths)
        ngram_shares(hashes, lengths, words, shares[number, 4:])
    return shares


def repetition_shares(texts: pa.Array) -> npt.NDArray[np.float64]:
    """The shares of repeated text of cleaned texts: float64 (documents, SHARES)."""
    data, offsets = string_buffers(texts)
    shares: npt.NDArray[np.float64] = _repetition(data, offsets.astype(np.int64))
    return shares
