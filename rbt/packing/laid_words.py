"""Words laid out for the merge trainer: see `merge_words`.

    batches of (word, count) ──lengths by count──> steps ──second pass──> symbols (n,) uint16 or uint32
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rbt.packing.merge_words import lay_words

Int64 = npt.NDArray[np.int64]
Counted = tuple[npt.NDArray[np.uint8], Int64, Int64]  # bytes of words, one behind the other; their ends; their counts
RESERVED = 2  # of the symbols: BOUNDARY and DEAD


@dataclass(frozen=True)
class LaidWords:
    """Words in the order of their counts, highest first."""

    symbols: npt.NDArray[Any]  # (n,) uint16 or uint32
    step_starts: Int64  # (steps + 1,): where the words of each count begin; then n
    weights: Int64  # (steps,): the count of each word of a step
    pairs: int  # occurrences of pairs of bytes in all counted words


def lay_out(read: Callable[[], Iterable[Counted]], byte_ids: Int64, num_ids: int) -> LaidWords:
    """Lay out counted words that `read` gives twice, each word once, in any order. `num_ids`: of the vocabulary.

    Words of one byte have no pairs and are left out.
    """
    sizes: dict[int, int] = {}
    pairs = 0
    for _, ends, counts in read():
        lengths = np.diff(ends, prepend=0)
        longer = lengths > 1
        values, places = np.unique(counts[longer], return_inverse=True)
        for value, size in zip(values.tolist(), np.bincount(places, lengths[longer] + 1).tolist(), strict=True):
            sizes[value] = sizes.get(value, 0) + int(size)
        pairs += int(np.dot(np.maximum(lengths - 1, 0), counts))
    weights = np.array(sorted(sizes, reverse=True), dtype=np.int64)
    step_starts = np.cumsum([1, *(sizes[weight] for weight in weights.tolist())], dtype=np.int64)
    dtype = np.uint16 if num_ids + RESERVED <= 1 << 16 else np.uint32
    symbols = np.empty(int(step_starts[-1]), dtype=dtype)
    symbols[0] = np.iinfo(dtype).max
    cursors = step_starts[:-1].copy()
    for data, ends, counts in read():
        steps = np.searchsorted(-weights, -counts)
        lay_words(data, ends, steps.astype(np.int64), cursors, byte_ids, symbols)
    return LaidWords(symbols, step_starts, weights, pairs)
