"""Where n-grams of a given set occur in texts: kernels from Arrow buffers to matches, with no Python per word.

    UTF-8 bytes ──hash_words──> uint64 a word ──roll──> hash of `minimum` words ──bitmap──> prefix table ──> n-grams

Words are those of `rbt.corpus.dedup.shingles` (lower-cased runs of `\\w`), save that an underscore separates them like
any punctuation: the blank of a cloze question is then no word, however long it is drawn. So white space, line ends,
case and punctuation do not matter.

The n-grams of a set may have different lengths, from `minimum` words up; each begins with a prefix of `minimum` words.
At a place of a text only the prefix is hashed and looked up: in a bitmap, which answers nearly all places, then in a
table by open addressing, which says what lengths begin so. Only there are the n-grams themselves hashed and looked up.
An n-gram's key is its `hash_shingles` hash: equal keys are taken as equal n-grams (64 bits).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from rbt.corpus.dedup.arrays import Int64
from rbt.corpus.dedup.shingles import (
    SHINGLE_BASE,
    SINGLE,
    UInt8,
    UInt32,
    UInt64,
    character_table,
    hash_shingles,
    hash_words,
    mix,
)
from rbt.formats.parts import string_buffers
from rbt.kernels import inline_kernel, kernel
from rbt.utf8 import decode

LONGEST = 64  # words of an n-gram: the lengths behind a prefix are bits
PREFIXES_PER_WORD = 4  # of the bitmap, at most: then about one place in 70 passes it by chance


@dataclass(frozen=True)
class NgramSet:
    """N-grams by key, and the two tables that find them. All arrays may be memory maps."""

    minimum: int  # words of a prefix, and of the shortest n-gram
    keys: UInt64  # (n,), ascending; an n-gram's number is its place here
    lengths: UInt8  # (n,), words
    bitmap: UInt64  # (2**k,), two bits a prefix, both in the word of its hash
    prefixes: UInt64  # (slots,), a power of two of them
    masks: UInt64  # (slots,), bit b: n-grams of minimum + b words begin so; 0: the slot is free


@cache
def word_table() -> UInt32:
    """`character_table` without the underscore."""
    table = character_table().copy()
    table[ord("_")] = 0
    table.flags.writeable = False
    return table


def ngram_set(keys: UInt64, lengths: UInt8, prefixes: UInt64, minimum: int) -> NgramSet:
    """The tables of n-grams that may repeat: keys, words and prefix hashes, each (m,)."""
    unique, first = np.unique(keys, return_index=True)
    lengths, prefixes = lengths[first], prefixes[first]
    slots = max(1 << (2 * len(unique) - 1).bit_length(), 4 * PREFIXES_PER_WORD)
    bitmap, table = np.zeros(slots // (2 * PREFIXES_PER_WORD), np.uint64), np.zeros(slots, np.uint64)
    masks = np.zeros(slots, np.uint64)
    _fill(bitmap, table, masks, prefixes, lengths, minimum)
    return NgramSet(minimum, unique, lengths, bitmap, table, masks)


@kernel
def _shift(size: int) -> np.uint64:
    """By how much a hash is shifted to be a place among `size`, a power of two above 1: its upper bits."""
    shift = 64
    while size > 1:
        size >>= 1
        shift -= 1
    return np.uint64(shift)


@inline_kernel
def _bits(hash: Any) -> Any:
    """The two bits of a hash in its bitmap word, from its lowest bits."""
    return (np.uint64(1) << (hash & np.uint64(63))) | (np.uint64(1) << ((hash >> np.uint64(6)) & np.uint64(63)))


@kernel
def _slot(prefixes: UInt64, masks: UInt64, hash: np.uint64, shift: np.uint64) -> int:
    """The slot of a prefix, or the free one where it would go."""
    slot = np.int64(hash >> shift)
    while masks[slot] != 0 and prefixes[slot] != hash:
        slot = (slot + 1) & (len(prefixes) - 1)
    return int(slot)


@kernel
def _fill(bitmap: UInt64, prefixes: UInt64, masks: UInt64, hashes: UInt64, lengths: UInt8, minimum: int) -> None:
    word_shift, slot_shift = _shift(len(bitmap)), _shift(len(prefixes))
    for number in range(len(hashes)):
        hash = hashes[number]
        bitmap[np.int64(hash >> word_shift)] |= _bits(hash)
        slot = _slot(prefixes, masks, hash, slot_shift)
        prefixes[slot] = hash
        masks[slot] |= np.uint64(1) << np.uint64(np.int64(lengths[number]) - minimum)


@kernel
def roll_prefixes(words: UInt64, count: int, minimum: int, hashes: UInt64) -> int:
    """Hash every run of `minimum` words into `hashes`; their number. A hash is the sum of w_i * BASE ** (minimum - i),
    as in `hash_shingles` before its last step."""
    total = count - minimum + 1
    if total <= 0:
        return 0
    power, hash = np.uint64(1), np.uint64(0)
    for place in range(minimum):
        power *= SHINGLE_BASE
        hash = hash * SHINGLE_BASE + words[place]
    hashes[0] = hash
    for place in range(1, total):
        hash = hash * SHINGLE_BASE + (words[place + minimum - 1] - words[place - 1] * power)
        hashes[place] = hash
    return total


@kernel
def _find_key(keys: UInt64, key: np.uint64) -> int:
    """The place of a key in an ascending array, or -1."""
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) >> 1
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low if low < len(keys) and keys[low] == key else -1


@kernel
def _find_in_texts(
    data: UInt8, offsets: Int64, rows: Int64, table: UInt32, minimum: int, keys: UInt64, lengths: UInt8,
    bitmap: UInt64, prefixes: UInt64, masks: UInt64,
) -> Int64:
    """Matches in the texts `rows`: int64 (3, matches) of row, first word, n-gram; in order."""
    room = 1
    for row in rows:
        room = max(room, (offsets[row + 1] - offsets[row]) // 2 + 1)
    words, hashes = np.empty(room, np.uint64), np.empty(room, np.uint64)
    found, total = np.empty((3, 1024), np.int64), 0
    word_shift, slot_shift = _shift(len(bitmap)), _shift(len(prefixes))
    for row in rows:
        count = hash_words(data, offsets[row], offsets[row + 1], table, words)
        for first in range(roll_prefixes(words, count, minimum, hashes)):
            bits = _bits(hashes[first])
            if bitmap[np.int64(hashes[first] >> word_shift)] & bits != bits:
                continue
            mask = masks[_slot(prefixes, masks, hashes[first], slot_shift)]
            hash, length = hashes[first], minimum
            while mask != 0 and first + length <= count:
                if mask & np.uint64(1):
                    number = _find_key(keys, mix(hash))
                    if number >= 0 and lengths[number] == length:
                        if total == found.shape[1]:
                            larger = np.empty((3, 2 * total), np.int64)
                            larger[:, :total] = found
                            found = larger
                        found[0, total], found[1, total], found[2, total] = row, first, number
                        total += 1
                mask >>= np.uint64(1)
                if mask != 0 and first + length < count:
                    hash = hash * SHINGLE_BASE + words[first + length]
                length += 1
    return found[:, :total].copy()


def find_ngrams(texts: pa.Array, rows: Int64, ngrams: NgramSet) -> Int64:
    """Where n-grams occur in some texts of an array: int64 (3, matches), ascending: row, first word, n-gram."""
    data, offsets = string_buffers(texts)
    return _find_in_texts(
        data, offsets.astype(np.int64), rows, word_table(), ngrams.minimum, ngrams.keys, ngrams.lengths, ngrams.bitmap,
        ngrams.prefixes, ngrams.masks,
    )


@kernel
def locate_words(data: UInt8, start: int, stop: int, table: UInt32, places: Int64) -> int:
    """Write where the words of `hash_words` start and stop, in bytes, into places (2, room); their number."""
    count = 0
    inside = False
    place = start
    while place < stop:
        point, length = np.int64(data[place]), 1
        if point > 127:
            point, length = decode(data, place, stop)
        entry = table[point]
        runs = entry != 0 and entry < SINGLE
        if inside and not runs:
            places[1, count] = place
            count += 1
            inside = False
        if entry >= SINGLE:
            places[0, count], places[1, count] = place, place + length
            count += 1
        elif runs and not inside:
            places[0, count] = place
            inside = True
        place += length
    if inside:
        places[1, count] = stop
        count += 1
    return count


def word_places(data: UInt8, start: int, stop: int) -> Int64:
    """Where the words of a text start and stop, in bytes of `data`: int64 (2, words)."""
    places = np.empty((2, (stop - start) // 2 + 1), dtype=np.int64)
    return places[:, : locate_words(data, start, stop, word_table(), places)]


@kernel
def _hash_pieces(
    data: UInt8, offsets: Int64, table: UInt32, ngram: int, minimum: int
) -> tuple[Int64, UInt64, UInt64, UInt8]:
    room = 1
    for row in range(len(offsets) - 1):
        room = max(room, (offsets[row + 1] - offsets[row]) // 2 + 1)
    words, hashes = np.empty(room, np.uint64), np.empty(room, np.uint64)
    facts = np.zeros((2, len(offsets) - 1), np.int64)
    size = np.int64(0)
    for row in range(len(offsets) - 1):
        facts[0, row] = hash_words(data, offsets[row], offsets[row + 1], table, words)
        if facts[0, row] >= minimum:
            facts[1, row] = max(facts[0, row] - ngram + 1, 1)
            size += facts[1, row]
    keys, prefixes, lengths = np.empty(size, np.uint64), np.empty(size, np.uint64), np.empty(size, np.uint8)
    first = 0
    for row in range(len(offsets) - 1):
        total = facts[1, row]
        if total:
            count = hash_words(data, offsets[row], offsets[row + 1], table, words)
            roll_prefixes(words, count, minimum, hashes)
            prefixes[first : first + total] = hashes[:total]
            hash_shingles(words, count, ngram, hashes)
            keys[first : first + total] = hashes[:total]
            lengths[first : first + total] = min(count, ngram)
            first += total
    return facts, keys, prefixes, lengths


def hash_pieces(texts: pa.Array, ngram: int, minimum: int) -> tuple[Int64, UInt64, UInt64, UInt8]:
    """The n-grams of texts, one behind the other: (words and n-grams a text int64 (2, texts), keys uint64, prefixes
    uint64, words uint8). A text of `minimum` words up to `ngram` is one n-gram as a whole, a shorter one has none."""
    data, offsets = string_buffers(texts)
    return _hash_pieces(data, offsets.astype(np.int64), word_table(), ngram, minimum)
