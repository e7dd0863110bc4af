"""The two structures of the merge trainer, for kernels: how often each pair occurs, and which pair comes next.

    table (capacity, 2) int64: key of a pair + 1 (0 = free), count;  capacity a power of two
    heap (capacity, 4) int64:  count, key of a pair, where its positions start, how many they are

The key of a pair is left << 32 | right. The top of the heap has the highest count, and of equal ones the smallest key,
that is the smaller (left, right). Counts in the heap may be stale: they are compared with the table when they come up.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rbt.kernels import inline_kernel, kernel

Int64 = npt.NDArray[np.int64]
FULLEST = 0.6  # share of a table in use
COUNT, KEY, START, SIZE = range(4)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)
_POSITIVE = np.uint64((1 << 63) - 1)


@inline_kernel
def find(key: Any, table: Any) -> Any:
    """Row of a pair in a table, or of the free row where it would go."""
    mask = np.int64(len(table) - 1)
    state = np.uint64(key) * _MULTIPLIER
    row = np.int64((state ^ (state >> _SHIFT)) & _POSITIVE) & mask
    while table[row, 0] != 0 and table[row, 0] != key + 1:
        row = (row + 1) & mask
    return row


@kernel
def move_rows(old: Int64, new: Int64) -> None:
    """Put all rows of a table into one that is empty and larger."""
    for place in range(len(old)):
        if old[place, 0] != 0:
            new[find(old[place, 0] - 1, new)] = old[place]


@kernel
def fill_rows(keys: Int64, values: Int64, table: Int64) -> None:
    """Put pairs and their values into a table that has room; of a key that comes twice the later value stays."""
    for number in range(len(keys)):
        row = find(keys[number], table)
        table[row, 0], table[row, 1] = keys[number] + 1, values[number]


@inline_kernel
def _before(left: Any, right: Any, heap: Any) -> Any:
    """Whether entry `left` of the heap comes before entry `right`."""
    if heap[left, COUNT] != heap[right, COUNT]:
        return heap[left, COUNT] > heap[right, COUNT]
    return heap[left, KEY] < heap[right, KEY]


@inline_kernel
def _swap(left: Any, right: Any, heap: Any) -> None:
    for column in range(4):
        heap[left, column], heap[right, column] = heap[right, column], heap[left, column]


@kernel
def push(heap: Int64, size: int, count: int, key: int, start: int, positions: int) -> int:
    """Put an entry into a heap of `size` entries that has room; the new size."""
    heap[size, COUNT], heap[size, KEY], heap[size, START], heap[size, SIZE] = count, key, start, positions
    place = size
    while place > 0 and _before(place, (place - 1) // 2, heap):
        _swap(place, (place - 1) // 2, heap)
        place = (place - 1) // 2
    return size + 1


@kernel
def _sift_down(heap: Int64, size: int) -> None:
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            return
        if child + 1 < size and _before(child + 1, child, heap):
            child += 1
        if not _before(child, place, heap):
            return
        _swap(place, child, heap)
        place = child


@kernel
def settle(heap: Int64, size: int, table: Int64) -> None:
    """Bring the pair with the highest true count to the top."""
    while size > 0:
        count = table[find(heap[0, KEY], table), 1]
        if count == heap[0, COUNT]:
            return
        heap[0, COUNT] = count
        _sift_down(heap, size)


@kernel
def drop_top(heap: Int64, size: int) -> int:
    """Take the top away; the new size."""
    heap[0] = heap[size - 1]
    _sift_down(heap, size - 1)
    return size - 1


@kernel
def compact(heap: Int64, size: int, order: Int64, positions: npt.NDArray[Any]) -> int:
    """Move the entries' positions together, in `order` of their starts; the number of positions in use."""
    used = 0
    for entry in order[:size]:
        start, count = heap[entry, START], heap[entry, SIZE]
        for offset in range(count):
            positions[used + offset] = positions[start + offset]
        heap[entry, START] = used
        used += count
    return used
