"""Texts to shingles: from the bytes of an Arrow string array to 64-bit hashes of word n-grams, with no Python per word.

    UTF-8 bytes ──decode──> code points ──table──> words ──hash──> uint64 a word ──n-gram──> uint64 a shingle
                                                                             └─all──> 128 bits a text

Words are the runs of `\\w` of Python's `re` (letters, digits, numeric signs, underscore) in the text as it is, each
lower-cased one code point at a time by Unicode's simple mapping (so a final sigma is a sigma, and the dotted capital
I, the one character whose `str.lower` is longer than itself, is an i). A word character of the scripts Han, Hiragana,
Katakana or Thai, which put no space between words, is a word by itself. Hangul is written with spaces: its words are
runs like any others. Numbers stay as they are.

A text of fewer than n words has one shingle, of all its words; a text without words has the shingle of no words.
"""

from __future__ import annotations

import re
from functools import cache
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import regex

from rbt.formats.parts import string_buffers
from rbt.kernels import inline_kernel, kernel
from rbt.utf8 import UNICODE, decode

UInt8 = npt.NDArray[np.uint8]
UInt32 = npt.NDArray[np.uint32]
UInt64 = npt.NDArray[np.uint64]
Int64 = npt.NDArray[np.int64]

SURROGATES = range(0xD800, 0xE000)
SINGLE = np.uint32(1 << 31)  # flag of a character that is a word by itself
UNSPACED_SCRIPTS = r"[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]"
WORD_BASIS = np.uint64(0xCBF29CE484222325)  # FNV-1a, 64 bits, over code points
WORD_PRIME = np.uint64(0x00000100000001B3)
SHINGLE_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd: a change of one word always changes the sum below
TEXT_BASIS = np.uint64(0xA0761D6478BD642F)
TEXT_PRIME = np.uint64(0xE7037ED1A0B428DB)  # odd: multiplication loses nothing
_POINT = np.uint32(0x1FFFFF)


@cache
def character_table() -> UInt32:
    """What each code point is, uint32 (0x110000,): 0 between words, else its lower case, with SINGLE where it is one.

    Built once a process from Python's `re` and Unicode data, and the scripts of `regex`.
    """
    table = np.zeros(UNICODE, dtype=np.uint32)
    characters = "".join(chr(point) for point in range(UNICODE) if point not in SURROGATES)
    for character in re.findall(r"\w", characters):
        table[ord(character)] = ord(character.lower()[0])
    single = np.array([ord(character) for character in regex.findall(UNSPACED_SCRIPTS, characters)])
    table[single] |= np.where(table[single] != 0, SINGLE, np.uint32(0))
    table.flags.writeable = False
    return table


@cache
def table_fingerprint() -> str:
    """Identity of the table: it moves with Unicode's version, so signatures say which one they were made with."""
    return blake2b(character_table().astype("<u4").tobytes(), digest_size=16).hexdigest()


@inline_kernel
def mix(x: Any) -> Any:
    """The SplitMix64 finalizer of `rbt.rng.mix64`, for one uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@kernel
def hash_words(data: UInt8, start: int, stop: int, table: UInt32, words: UInt64) -> int:
    """Hash the words of data[start:stop] into `words`, which has room for (stop - start) // 2 + 1; their number."""
    count = 0
    inside = False
    state = WORD_BASIS
    place = start
    while place < stop:
        point, length = np.int64(data[place]), 1
        if point > 127:
            point, length = decode(data, place, stop)
        place += length
        entry = table[point]
        if entry != 0 and entry < SINGLE:
            state = (state ^ np.uint64(entry)) * WORD_PRIME
            inside = True
            continue
        if inside:
            words[count] = mix(state)
            count += 1
            inside = False
            state = WORD_BASIS
        if entry != 0:
            words[count] = mix((WORD_BASIS ^ np.uint64(entry & _POINT)) * WORD_PRIME)
            count += 1
    if inside:
        words[count] = mix(state)
        count += 1
    return count


@kernel
def hash_text(words: UInt64, count: int, hash: UInt64) -> None:
    """The 128-bit hash of a text as the sequence of its `count` word hashes, into `hash` uint64 (2,): equal for texts
    that differ in nothing but case, punctuation and white space.

    first <- (first ^ word) * TEXT_PRIME and second <- second * SHINGLE_BASE + word, over the words, from TEXT_BASIS
    and 0; then both are mixed with the number of words.
    """
    first, second = TEXT_BASIS, np.uint64(0)
    for number in range(count):
        first = (first ^ words[number]) * TEXT_PRIME
        second = second * SHINGLE_BASE + words[number]
    hash[0] = mix(first ^ np.uint64(count))
    hash[1] = mix(second ^ np.uint64(count))


@kernel
def hash_shingles(words: UInt64, count: int, ngram: int, shingles: UInt64) -> int:
    """Hash the n-grams of `count` word hashes, in order and with repeats, into `shingles`; their number, at least 1.

    A shingle of words w_1 ... w_n is mix(sum of w_i * SHINGLE_BASE ** (n - i)) modulo 2**64.
    """
    length = min(ngram, count)
    total = count - length + 1 if count else 1
    for number in range(total):
        shingles[number] = words[number] if count else np.uint64(0)
    for offset in range(1, length):  # one pass a word of the n-gram: each is a vector loop
        for number in range(total):
            shingles[number] = shingles[number] * SHINGLE_BASE + words[number + offset]
    for number in range(total):
        shingles[number] = mix(shingles[number])
    return total


@kernel
def _shingles(
    data: UInt8, starts: Int64, stops: Int64, table: UInt32, ngram: int
) -> tuple[UInt64, Int64]:
    """The shingles of all texts, one text behind the other, and where each ends."""
    room = longest = 0
    for document in range(len(starts)):
        longest = max(longest, stops[document] - starts[document])
        room += (stops[document] - starts[document]) // 2 + 1
    words = np.empty(longest // 2 + 1, dtype=np.uint64)
    shingles = np.empty(room, dtype=np.uint64)
    ends = np.empty(len(starts), dtype=np.int64)
    done = 0
    for document in range(len(starts)):
        count = hash_words(data, starts[document], stops[document], table, words)
        done += hash_shingles(words, count, ngram, shingles[done:])
        ends[document] = done
    return shingles[:done], ends


@kernel
def _drop_repeats(values: UInt64, ends: Int64) -> int:
    """Of sorted stretches that stop at `ends`, move each value once to the front; `ends` follow. How many they are."""
    done = start = 0
    for stretch in range(len(ends)):
        for place in range(start, ends[stretch]):
            if place == start or values[place] != values[place - 1]:
                values[done] = values[place]
                done += 1
        start = ends[stretch]
        ends[stretch] = done
    return done


def joined_shingle_sets(texts: pa.Array, ngram: int) -> tuple[UInt64, Int64]:
    """The sorted set of shingle hashes of each text: (all of them one behind the other, uint64; their ends, int64)."""
    data, offsets = string_buffers(texts)
    edges = offsets.astype(np.int64)
    values, ends = _shingles(data, edges[:-1], edges[1:], character_table(), ngram)
    start = 0
    for end in ends.tolist():
        values[start:end].sort()  # numpy's sort is several times faster than what a kernel can do
        start = end
    return values[: _drop_repeats(values, ends)], ends


def shingle_sets(texts: pa.Array, ngram: int) -> list[UInt64]:
    """The sorted set of shingle hashes of each text, uint64."""
    values, ends = joined_shingle_sets(texts, ngram)
    return [values[start:end] for start, end in pairwise([0, *ends.tolist()])]
