"""Any amount of generated text whose distinct words keep growing as those of real text do.

    (seed, document) ──hash──> ranks of words, Zipf to CORE, a heavier tail beyond ──spelled in syllables──> text

Ranks. Real text has two regimes: the most frequent few thousand words fall off as 1 / rank, the rest faster. Here a
draw is of the core, where rank r has a share of about 1 / r, or, one in five or so, of the tail, where shares fall as
r ** -1.5 without an end. The share of the tail makes the two meet at CORE. Then n words have about
2.68 * (TAIL_DENSITY * n) ** (2 / 3) different ones beyond the core: Heaps' law with an exponent of 2/3.

Words. A rank is cut into bytes, scrambled one to one, and each byte spells a syllable, a start of consonants and a rime
of vowels, so that different ranks are different words. One word in 16 ends a sentence, one in 16 has a comma, one in 64
ends a paragraph; the next one after a period is capitalized; one draw in 64 is a number. So the GPT-2 pattern finds
exactly the words made here, with the blank before each; `word_keys` numbers them, for an exact count.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rbt.kernels import inline_kernel, kernel
from rbt.rng import hash_keys

UInt8, UInt64, Int64 = npt.NDArray[np.uint8], npt.NDArray[np.uint64], npt.NDArray[np.int64]
CORE = 8000  # ranks of the first regime
TAIL_SHARE = 0.1820  # of draws: where the two densities meet, p / (1 - p) = 1 / (ln(CORE) / 2)
TAIL_DENSITY = TAIL_SHARE * 0.5 * CORE**0.5  # share of rank r is TAIL_DENSITY * r ** -1.5 beyond the core
DRAWS = 1 << 17  # entries of the table that a draw of the core looks up
LARGEST_RANK = 1 << 60
MINIMUM_WORDS, MORE_WORDS = 200, 400  # of a document: 200 to 599
LONGEST = 40  # bytes that a word with all its punctuation can take, at most
BATCH_BYTES = 8_000_000
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
ONSETS = ("b", "c", "d", "f", "g", "h", "l", "m", "n", "p", "r", "s", "t", "w", "st", "th")
RIMES = ("a", "e", "i", "o", "u", "ai", "ea", "ee", "ie", "io", "oa", "ou", "oo", "ue", "ia", "y")
NUMBER, MARK = np.uint64(1 << 62), np.uint64(3 << 62)  # kinds of keys beside words; marks: 0 comma, 1 period, 2 newline
NUMBERS = 1_000_000  # are below this
COMMAS, MARKS = 4, 8  # of 64 words, those with a comma; those with any mark, the last of which ends a paragraph too


@cache
def tables() -> tuple[UInt64, npt.NDArray[np.int32], UInt64, npt.NDArray[np.int64]]:
    """(syllables (256,): letters in the low bytes, length in the highest; draws -> rank (DRAWS,); letters of core words
    (CORE + 1,); their lengths (CORE + 1,)).

    Draw i of n of the core stands for rank CORE ** (i / n). A core word has two syllables or fewer: 8 letters.
    """
    spelled = [onset + rime for onset in ONSETS for rime in RIMES]
    syllables = np.array([int.from_bytes(word.encode(), "little") | len(word) << 56 for word in spelled], np.uint64)
    draws = (CORE ** ((np.arange(DRAWS) + 0.5) / DRAWS)).astype(np.int32)
    core, lengths, text = np.zeros(CORE + 1, np.uint64), np.zeros(CORE + 1, np.int64), np.zeros(64, np.uint8)
    for rank in range(1, CORE + 1):
        lengths[rank] = spell(np.uint64(rank), syllables, text, 0)
        core[rank] = text[:8].view(np.uint64)[0]
    return syllables, draws, core, lengths


@inline_kernel
def _mix(x: Any) -> Any:
    """`rbt.rng.mix64` for one uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@inline_kernel
def _rank(draw: Any, draws: Any) -> Any:
    """The rank, from 1 on, that 64 random bits stand for: the upper 32 choose in a regime, the lower 32 the regime."""
    upper = draw >> np.uint64(32)
    if (draw & np.uint64(0xFFFFFFFF)) >= np.uint64(TAIL_SHARE * 4294967296.0):
        return np.uint64(draws[upper >> np.uint64(15)])
    share = (np.float64(upper) + 0.5) / 4294967296.0  # of the tail's draws, those with a larger rank
    return np.uint64(min(CORE / (share * share), np.float64(LARGEST_RANK)))


@kernel
def spell(rank: np.uint64, syllables: UInt64, text: UInt8, done: int) -> int:
    """Write the word of a rank behind the first `done` bytes; the new number of bytes."""
    size = np.uint64(8)
    while size < np.uint64(64) and rank >> size:
        size += np.uint64(8)
    mask = ~np.uint64(0) >> (np.uint64(64) - size)
    scrambled = (rank * np.uint64(0xD6E8FEB86659FD93)) & mask  # odd: one to one below 2 ** size
    scrambled ^= scrambled >> (size >> np.uint64(1))
    scrambled = (scrambled * np.uint64(0xCF1BBCDCB7A56463)) & mask
    while size:
        syllable = syllables[scrambled & np.uint64(255)]
        text[done] = np.uint8(syllable & np.uint64(255))  # four at once, whatever its length: the next one overwrites
        text[done + 1] = np.uint8((syllable >> np.uint64(8)) & np.uint64(255))
        text[done + 2] = np.uint8((syllable >> np.uint64(16)) & np.uint64(255))
        text[done + 3] = np.uint8((syllable >> np.uint64(24)) & np.uint64(255))
        done += np.int64(syllable >> np.uint64(56))
        scrambled >>= np.uint64(8)
        size -= np.uint64(8)
    return done


@inline_kernel
def _word(
    draw: np.uint64, more: np.uint64, starts: bool, syllables: UInt64, draws: npt.NDArray[np.int32], core: UInt64,
    lengths: Int64, text: UInt8, done: int,
) -> tuple[int, np.uint64]:
    """Write a word, capitalized where a sentence starts, or a number; the new number of bytes, and the word's key."""
    rank = _rank(draw, draws)
    if more & np.uint64(63) == np.uint64(0):
        rank %= np.uint64(NUMBERS)
        return _digits(rank, text, done), NUMBER | rank << np.uint64(2)
    start = done
    if rank <= np.uint64(CORE):
        for letter in range(8):  # all at once, whatever its length: what follows overwrites
            text[done + letter] = np.uint8((core[rank] >> np.uint64(8 * letter)) & np.uint64(255))
        done += lengths[rank]
    else:
        done = spell(rank, syllables, text, done)
    text[start] -= np.uint8(32 if starts else 0)
    return done, rank << np.uint64(2) | np.uint64(2 if starts else 0)


@kernel
def _digits(number: np.uint64, text: UInt8, done: int) -> int:
    """Write a number in decimal; the new number of bytes."""
    scale = np.uint64(1)
    while number // scale >= np.uint64(10):
        scale *= np.uint64(10)
    while scale:
        text[done] = np.uint8(48 + np.int64(number // scale % np.uint64(10)))
        done += 1
        scale //= np.uint64(10)
    return done


@kernel
def _write(
    first: int, seed: np.uint64, syllables: UInt64, draws: npt.NDArray[np.int32], core: UInt64, lengths: Int64,
    text: UInt8, ends: npt.NDArray[np.int32], keys: UInt64,
) -> tuple[int, int]:
    """Documents from `first` on, as many as `ends` has room for; the bytes and words of all. `keys` may be empty."""
    done = words = 0
    for document in range(len(ends)):
        key = _mix((np.uint64(first + document) + np.uint64(1)) * GOLDEN ^ seed)
        starts, blank = True, 0
        for place in range(MINIMUM_WORDS + np.int64(key % np.uint64(MORE_WORDS))):
            draw = _mix(key + np.uint64(place + 1) * GOLDEN)
            more = _mix(draw + GOLDEN)
            mark = np.int64((more >> np.uint64(8)) & np.uint64(63))
            text[done] = 32
            done, word = _word(draw, more, starts, syllables, draws, core, lengths, text, done + blank)
            starts = COMMAS <= mark < MARKS
            marks = 0 if mark >= MARKS else (2 if mark == MARKS - 1 else 1)  # a period and a newline, or one mark
            text[done], text[done + 1] = 46 if starts else 44, 10
            if len(keys):
                keys[words] = word | np.uint64(blank)
                keys[words + 1], keys[words + 2] = MARK | np.uint64(starts), MARK | np.uint64(2)
            done += marks
            words += 1 + marks
            blank = 0 if marks == 2 else 1
        ends[document] = done
    return done, words


def documents(first: int, count: int, seed: int, with_keys: bool = False) -> tuple[pa.Array, UInt64]:
    """Some documents as an Arrow string array, and, where wanted, a key for each of their words (words,)."""
    syllables, draws, core, lengths = tables()
    room = count * (MINIMUM_WORDS + MORE_WORDS)
    text = np.empty(room * LONGEST // 2, dtype=np.uint8)
    ends = np.zeros(count + 1, dtype=np.int32)
    keys = np.empty(3 * room + 3 if with_keys else 0, dtype=np.uint64)
    size, words = _write(first, np.uint64(hash_keys(seed, 5)), syllables, draws, core, lengths, text, ends[1:], keys)
    found = pa.StringArray.from_buffers(count, pa.py_buffer(ends), pa.py_buffer(text[:size].copy()))
    return found, keys[:words]


def batches(size: int, seed: int) -> Iterator[pa.Array]:
    """Documents in batches of about BATCH_BYTES until there are `size` bytes."""
    first, made = 0, 0
    while made < size:
        count = max(1, min(BATCH_BYTES, size - made) // 2500)  # bytes of a document, nearly
        found, _ = documents(first, count, seed)
        yield found
        first += count
        made += found.buffers()[2].size


def distinct_words(count: int) -> tuple[UInt8, Int64, Int64]:
    """(bytes of the words of ranks 1 to `count`, each after a blank; their ends (count,); their counts (count,)).

    Counts are those of a text with about as many distinct words; a word expected less than once has a count of 1.
    """
    syllables = tables()[0]
    text = np.empty(count * 14 + 4, dtype=np.uint8)
    ends = np.empty(count, dtype=np.int64)
    size = _write_words(syllables, text, ends)
    ranks = np.arange(1, count + 1, dtype=np.float64)
    words = (count / 2.68) ** 1.5 / TAIL_DENSITY
    core = (1 - TAIL_SHARE) / np.log(CORE)
    shares = np.where(ranks < CORE, core / ranks, TAIL_DENSITY * ranks**-1.5)
    return text[:size], ends, np.maximum(1, words * shares).astype(np.int64)


@kernel
def _write_words(syllables: UInt64, text: UInt8, ends: Int64) -> int:
    done = 0
    for place in range(len(ends)):
        text[done] = 32
        done = spell(np.uint64(place + 1), syllables, text, done + 1)
        ends[place] = done
    return done
