"""The merges of byte-pair encoding over counted words.

    words by count ──lay out──> symbols ──count pairs──> table, heap, positions ──merge the top──> merges

Always the pair that occurs most, of equal ones that with the smaller (left id, right id); ids are the 256 bytes in the
order of the code points that spell them, then the merged tokens. That is the rule of Hugging Face tokenizers, with
counts that cannot overflow.

No two merges make tokens that are spelled the same, so every merge has a new id. Every merge is made wherever its pair
stands, so what happens between the two ends of a token depends on the bytes there alone: a merge across an end would
have destroyed the token, and of a run like "aaaa", which merges from the left, a token that began in the middle of a
pair would too. So all places that come to hold the token came to it by the same merges, at the same time.

Only pairs that occur `floor` times or more are followed: of the others there are many, and nearly all stay rare. When
the most frequent pair of those followed occurs less often than that, the floor goes down and the words are counted
once more, so the result is that of following all.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from rbt.formats.tokenizer import byte_symbols
from rbt.packing.laid_words import LaidWords
from rbt.packing.merge_pair import NEIGHBOR_COLUMNS, merge_pair
from rbt.packing.merge_words import adopt, count_pairs, list_positions
from rbt.packing.pair_queue import COUNT, FULLEST, KEY, SIZE, START, compact, drop_top, move_rows, settle

Int64 = npt.NDArray[np.int64]
NUM_BYTES = 256
UNLIMITED = 1 << 62
SMALLEST = 1 << 12  # rows of a table at first
RIGHT = (1 << 32) - 1
GROWTH, COMPACTED = 1.5, 0.75
FIRST_SHARE = 1 / 32  # the first floor is this share of the mean count of as many pairs as merges are wanted
NEXT_SHARE = 1 / 8  # of the floor before
OnMerge = Callable[[bytes, bytes], object]


class PairIndex:
    """The pairs of laid-out words, while they are merged."""

    def __init__(self, words: LaidWords, num_ids: int, most_bytes: int) -> None:
        self._words, self._most_bytes = words, most_bytes
        self._lengths = np.ones(num_ids, dtype=np.int64)
        self._neighbors = np.zeros((2, num_ids, NEIGHBOR_COLUMNS), dtype=np.int64)
        self._touched, self._numbers = np.empty((2, num_ids), dtype=np.int64), np.zeros(2, dtype=np.int64)
        self._table, self._pairs = np.zeros((SMALLEST, 2), dtype=np.int64), 0
        self._heap, self._entries = np.empty((SMALLEST, 4), dtype=np.int64), 0
        position = np.uint32 if len(words.symbols) < 1 << 32 else np.int64
        self._positions, self._used = np.empty(SMALLEST, dtype=position), 0

    def follow(self, floor: int) -> None:
        """Count the pairs that are not followed yet, and follow those that occur `floor` times or more."""
        words, place = self._words, 0
        found = np.zeros((SMALLEST, 3), dtype=np.int64)
        while place < len(words.symbols):
            found = _grown(found) if place else found
            place, _ = count_pairs(
                words.symbols, self._lengths, words.step_starts, words.weights, self._table, self._most_bytes,
                place, found,
            )
        kept = found[(found[:, 0] != 0) & (found[:, 1] >= floor)]
        self._make_room(len(kept), int(kept[:, 2].sum()))
        cursors = np.empty(len(kept), dtype=np.int64)
        self._entries, self._used = adopt(found, floor, self._table, self._heap, self._entries, self._used, cursors)
        self._pairs += len(kept)
        if len(kept):
            list_positions(words.symbols, self._lengths, found, cursors, self._positions)

    def top(self) -> tuple[int, int, int]:
        """(count, left, right) of the most frequent pair that is followed; a count of 0 where there is none."""
        settle(self._heap, self._entries, self._table)
        if self._entries == 0:
            return 0, 0, 0
        key = int(self._heap[0, KEY])
        return int(self._heap[0, COUNT]), key >> 32, key & RIGHT

    def merge_top(self, new: int, floor: int) -> None:
        """Merge the pair that `top` gave into the id `new`; follow the new pairs that occur `floor` times or more."""
        listed = int(self._heap[0, SIZE])
        self._make_room(2 * min(listed + 1, new + 1), 2 * listed)
        key, start = int(self._heap[0, KEY]), int(self._heap[0, START])
        left, right = key >> 32, key & RIGHT
        self._lengths[new] = self._lengths[left] + self._lengths[right]
        words, before = self._words, drop_top(self._heap, self._entries)
        self._entries, self._used = merge_pair(
            words.symbols, self._lengths, words.step_starts, words.weights, self._positions, start, listed, left,
            right, new, floor, self._most_bytes, self._neighbors, self._touched, self._numbers, self._table,
            self._heap, before, self._used,
        )
        self._pairs += self._entries - before

    def _make_room(self, pairs: int, positions: int) -> None:
        """Grow what would be too small for so many more; positions of pairs that are gone are given up first."""
        while self._pairs + pairs > FULLEST * len(self._table):
            self._table = _grown(self._table)
        if self._entries + pairs > len(self._heap):
            self._heap.resize((2 * (self._entries + pairs), 4), refcheck=False)
        if self._used + positions <= len(self._positions):
            return
        if int(self._heap[: self._entries, SIZE].sum()) + positions <= COMPACTED * len(self._positions):
            order = np.argsort(self._heap[: self._entries, START], kind="stable")
            self._used = compact(self._heap, self._entries, order, self._positions)
        else:
            self._positions.resize(int(GROWTH * (self._used + positions)), refcheck=False)


def _grown(table: Int64) -> Int64:
    larger = np.zeros((2 * len(table), table.shape[1]), dtype=np.int64)
    move_rows(table, larger)
    return larger


def learn_merges(
    words: LaidWords, num_tokens: int, *, minimum_frequency: int = 0, most_bytes: int = 0,
    on_merge: OnMerge | None = None,
) -> list[tuple[bytes, bytes]]:
    """Merges until there are `num_tokens` tokens with the 256 bytes, or no pair is left.

    A pair that occurs less often than `minimum_frequency` is not merged, nor one that would be longer than `most_bytes`
    (0: any length). `on_merge` hears of each pair as it is merged. `words.symbols` is used up.
    """
    spelled = [bytes([byte]) for byte in np.argsort(byte_ids()).tolist()]
    index = PairIndex(words, max(num_tokens, NUM_BYTES), most_bytes or UNLIMITED)
    merges: list[tuple[bytes, bytes]] = []
    lowest = max(1, minimum_frequency)
    floor = max(lowest, int(words.pairs / max(1, num_tokens - NUM_BYTES) * FIRST_SHARE))
    index.follow(floor)
    while len(spelled) < num_tokens:
        count, left, right = index.top()
        if count < floor:
            if floor == lowest:
                break
            floor = max(lowest, int(floor * NEXT_SHARE))
            index.follow(floor)
            continue
        index.merge_top(len(spelled), floor)
        merges.append((spelled[left], spelled[right]))
        spelled.append(spelled[left] + spelled[right])
        if on_merge is not None:
            on_merge(*merges[-1])
    return merges


def byte_ids() -> Int64:
    """The trainer's id of each byte, int64 (256,)."""
    order = sorted(range(NUM_BYTES), key=lambda byte: byte_symbols()[byte])
    return np.argsort(np.array(order)).astype(np.int64)
