"""Counting the words of texts: 64-bit counts, in memory up to a bound, sorted.

    Arrow string arrays ──split──> words ──hash table──> words, counts ──sort──> record batches (word, count)

A counter that is full says so and keeps its place, so that whoever feeds it can take what it has and go on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from rbt.formats.parts import string_buffers
from rbt.formats.word_counts import SCHEMA, word_batch
from rbt.kernels import kernel
from rbt.packing.character_classes import character_classes
from rbt.packing.pretokenize import word_end
from rbt.packing.word_table import (
    FULLEST,
    INLINE_BYTES,
    LENGTH_BYTES,
    SLOT_BYTES,
    find_long,
    find_short,
    move_slots,
    short_key,
    store_long,
    stored_words,
)

UInt8 = npt.NDArray[np.uint8]
UInt64 = npt.NDArray[np.uint64]
Int64 = npt.NDArray[np.int64]
SMALLEST_SLOTS, SMALLEST_ARENA = 1 << 12, 1 << 14
# What a full table takes in all: itself, half of it while it grows, and three times its words while they are sorted
BYTES_A_TABLE_BYTE = 5


@kernel
def count_words(
    data: UInt8, edges: npt.NDArray[Any], text: int, place: int, pages: UInt8, classes: UInt8,
    slots: UInt64, arena: UInt8, used: Int64,
) -> tuple[int, int]:
    """Add the words of the texts data[edges[i]:edges[i + 1]] to a table, from byte `place` of text `text` on.

    `used`, int64 (2,), counts the table's words and the arena's bytes. Returns (text, place) of the first word for
    which there is no room; (number of texts, 0) when all are counted.
    """
    most, one = np.int64(len(slots) * FULLEST), np.uint64(1)
    while text < len(edges) - 1:
        stop: Any = np.int64(edges[text + 1])
        while place < stop:
            end = word_end(data, place, stop, pages, classes)
            if end - place <= INLINE_BYTES:
                low, high = short_key(data, place, end)
                slot = find_short(low, high, slots)
                if slots[slot, 1] == 0:
                    if used[0] >= most:
                        return text, place
                    slots[slot, 0], slots[slot, 1] = low, high
                    used[0] += 1
            else:
                slot = find_long(data, place, end, slots, arena)
                if slots[slot, 1] == 0:
                    if used[0] >= most or used[1] + LENGTH_BYTES + end - place > len(arena):
                        return text, place
                    used[1] = store_long(data, place, end, arena, used[1], slots, slot)
                    used[0] += 1
            slots[slot, 2] += one
            place = end
        text += 1  # the next one starts where this one ended
    return text, 0


class WordCounter:
    """Counts of words, up to about `memory_bytes` in all."""

    def __init__(self, memory_bytes: int) -> None:
        self._most_bytes = memory_bytes // BYTES_A_TABLE_BYTE
        self._empty()

    def _empty(self) -> None:
        self._slots = np.zeros((SMALLEST_SLOTS, 3), dtype=np.uint64)
        self._arena = np.empty(SMALLEST_ARENA, dtype=np.uint8)
        self._used = np.zeros(2, dtype=np.int64)

    def __len__(self) -> int:
        return int(self._used[0])

    def count(self, texts: pa.Array, start: tuple[int, int] | None = None) -> tuple[int, int] | None:
        """Count the words of a string array, from where a former call stopped; None when all are counted."""
        data, edges = string_buffers(texts)
        text, place = start or (0, int(edges[0]))
        while True:
            text, place = count_words(
                data, edges, text, place, *character_classes(), self._slots, self._arena, self._used
            )
            if text == len(texts):
                return None
            if not self._grow(word_end(data, place, int(edges[text + 1]), *character_classes()) - place):
                return text, place

    def _grow(self, word_bytes: int) -> bool:
        """Make the table larger, for a word of `word_bytes` bytes; False where there is no room for more words.

        An empty table always takes the next word, however long.
        """
        if self._used[0] >= int(len(self._slots) * FULLEST):
            if 2 * len(self._slots) * SLOT_BYTES > self._most_bytes and len(self):
                return False
            larger = np.zeros((2 * len(self._slots), 3), dtype=np.uint64)
            move_slots(self._slots, larger)
            self._slots = larger
            return True
        size = max(2 * len(self._arena), int(self._used[1]) + LENGTH_BYTES + word_bytes)
        if size > self._most_bytes and len(self):
            return False
        self._arena = np.concatenate([self._arena[: self._used[1]], np.empty(size - int(self._used[1]), np.uint8)])
        return True

    def take(self) -> pl.DataFrame:
        """All words and counts, by word; the counter is empty afterwards."""
        batch = word_batch(*stored_words(self._slots, self._arena))
        self._empty()
        table = pl.from_arrow(pa.Table.from_batches([batch], SCHEMA))
        assert isinstance(table, pl.DataFrame)
        return table.sort("word")
