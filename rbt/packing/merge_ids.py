"""The ids of one word: its bytes, merged by rank, for kernels.

    pairs (capacity, 2) int64: key of a pair + 1 (0 = free), merge: its rank << 32 | the id that it makes
    scratch (4, n) int64: id, merge with the next one, place of the next, place of the one before

Of all pairs that stand in a word, the one of the lowest rank is merged, of equal ones the first; then the next, until
none is left that has a rank: what Hugging Face tokenizers does. A short word looks for the lowest rank again and again;
in a long one that would take time that is quadratic in its length, so there the candidates wait in a heap.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rbt.kernels import inline_kernel, kernel
from rbt.packing.pair_queue import find

UInt8 = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]
NO_MERGE = 1 << 62
MADE = (1 << 32) - 1  # of a merge: the id
SHORT_WORD = 48  # bytes up to which looking again is faster
SCRATCH_ROWS = 4
IDS, MERGES, NEXT, BEFORE = range(SCRATCH_ROWS)


@inline_kernel
def _merge_of(left: Any, right: Any, pairs: Any) -> Any:
    row = find((np.int64(left) << 32) | np.int64(right), pairs)
    return pairs[row, 1] if pairs[row, 0] != 0 else np.int64(NO_MERGE)


@kernel
def merge_word(data: UInt8, start: int, stop: int, byte_ids: Int64, pairs: Int64, scratch: Int64, heap: Int64) -> int:
    """Ids of the word data[start:stop] into scratch[IDS]; how many. `scratch` has room for its bytes, `heap`, int64
    (n, 2), for three times as many."""
    for place in range(start, stop):
        scratch[IDS, place - start] = byte_ids[data[place]]
    if stop - start <= SHORT_WORD:
        return _merge_short(stop - start, pairs, scratch)
    return _merge_long(stop - start, pairs, scratch, heap)


@kernel
def _merge_short(size: int, pairs: Int64, scratch: Int64) -> int:
    ids, merges = scratch[IDS], scratch[MERGES]
    for place in range(size - 1):
        merges[place] = _merge_of(ids[place], ids[place + 1], pairs)
    while size > 1:
        best, lowest = 0, merges[0]
        for place in range(1, size - 1):
            if merges[place] < lowest:
                best, lowest = place, merges[place]
        if lowest == NO_MERGE:
            return size
        ids[best] = lowest & MADE
        size -= 1
        for place in range(best + 1, size):
            ids[place] = ids[place + 1]
            merges[place - 1] = merges[place]
        merges[size - 1] = NO_MERGE
        if best > 0:
            merges[best - 1] = _merge_of(ids[best - 1], ids[best], pairs)
        if best < size - 1:
            merges[best] = _merge_of(ids[best], ids[best + 1], pairs)
    return size


@inline_kernel
def _is_lower(left: Any, right: Any, heap: Any) -> Any:
    return heap[left, 0] < heap[right, 0] or (heap[left, 0] == heap[right, 0] and heap[left, 1] < heap[right, 1])


@inline_kernel
def _swap(left: Any, right: Any, heap: Any) -> None:
    heap[left, 0], heap[right, 0] = heap[right, 0], heap[left, 0]
    heap[left, 1], heap[right, 1] = heap[right, 1], heap[left, 1]


@kernel
def _push(heap: Int64, size: int, merge: int, place: int) -> int:
    heap[size, 0], heap[size, 1] = merge, place
    here = size
    while here > 0 and _is_lower(here, (here - 1) // 2, heap):
        _swap(here, (here - 1) // 2, heap)
        here = (here - 1) // 2
    return size + 1


@kernel
def _drop_top(heap: Int64, size: int) -> int:
    size -= 1
    heap[0, 0], heap[0, 1] = heap[size, 0], heap[size, 1]
    here = 0
    while True:
        child = 2 * here + 1
        if child >= size:
            return size
        if child + 1 < size and _is_lower(child + 1, child, heap):
            child += 1
        if not _is_lower(child, here, heap):
            return size
        _swap(here, child, heap)
        here = child


@kernel
def _note(place: int, size: int, pairs: Int64, scratch: Int64, heap: Int64, waiting: int) -> int:
    """Look up the merge at `place` and put it into the heap; the heap's size."""
    behind = scratch[NEXT, place]
    scratch[MERGES, place] = NO_MERGE
    if behind < size:
        scratch[MERGES, place] = _merge_of(scratch[IDS, place], scratch[IDS, behind], pairs)
        if scratch[MERGES, place] != NO_MERGE:
            return _push(heap, waiting, scratch[MERGES, place], place)
    return waiting


@kernel
def _merge_long(size: int, pairs: Int64, scratch: Int64, heap: Int64) -> int:
    waiting = 0
    for place in range(size):
        scratch[NEXT, place], scratch[BEFORE, place] = place + 1, place - 1
    for place in range(size):
        waiting = _note(place, size, pairs, scratch, heap, waiting)
    while waiting > 0:
        merge, place = heap[0, 0], heap[0, 1]
        waiting = _drop_top(heap, waiting)
        if scratch[MERGES, place] != merge:  # one of the two went into another token meanwhile
            continue
        behind = scratch[NEXT, place]
        scratch[IDS, place] = merge & MADE
        scratch[MERGES, behind] = -1
        scratch[NEXT, place] = scratch[NEXT, behind]
        if scratch[NEXT, behind] < size:
            scratch[BEFORE, scratch[NEXT, behind]] = place
        waiting = _note(place, size, pairs, scratch, heap, waiting)
        if scratch[BEFORE, place] >= 0:
            waiting = _note(scratch[BEFORE, place], size, pairs, scratch, heap, waiting)
    count = place = 0
    while place < size:
        scratch[IDS, count] = scratch[IDS, place]
        count += 1
        place = scratch[NEXT, place]
    return count
