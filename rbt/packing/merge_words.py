"""What the merge trainer does to the words, compiled: find pairs, lay words out, find and list their pairs.

    symbols (n,) uint16 or uint32: BOUNDARY, then the words, each its tokens and a BOUNDARY behind it. A token stands
    over its bytes: its id at the first and at the last of them, and DEAD or what was there before in between.

So the token behind the one at p starts at p + lengths[symbols[p]], and the one before it ends at p - 1, and nothing
has to be moved or linked when two tokens become one. Words lie in the order of their counts, highest first: the count
of the word at a position is that of the step it lies on, weights[k] for step_starts[k] <= p < step_starts[k + 1].
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rbt.kernels import inline_kernel, kernel
from rbt.packing.pair_queue import find, push

Int64 = npt.NDArray[np.int64]
Symbols = npt.NDArray[Any]


@inline_kernel
def step_of(place: Any, step: Any, step_starts: Any) -> Any:
    """The step of a position, for a step at or before it."""
    if place < step_starts[step + 1]:
        return step
    low, high = step + 1, len(step_starts) - 1  # step_starts[low] <= place < step_starts[high]
    while high - low > 1:
        middle = (low + high) // 2
        if step_starts[middle] <= place:
            low = middle
        else:
            high = middle
    return low


@kernel
def lay_words(
    data: npt.NDArray[np.uint8], ends: Int64, steps: Int64, cursors: Int64, byte_ids: Int64, symbols: Symbols
) -> None:
    """Write words (bytes one behind the other) where the steps of their counts are filled up to, `cursors`.

    Words of fewer than two bytes are left out.
    """
    boundary = symbols[0]
    start = 0
    for word in range(len(ends)):
        if ends[word] - start < 2:
            start = ends[word]
            continue
        place = cursors[steps[word]]
        for offset in range(start, ends[word]):
            symbols[place] = byte_ids[data[offset]]
            place += 1
        symbols[place] = boundary
        cursors[steps[word]] = place + 1
        start = ends[word]


@kernel
def count_pairs(
    symbols: Symbols, lengths: Int64, step_starts: Int64, weights: Int64, tracked: Int64, most_bytes: int,
    first: int, found: Int64,
) -> tuple[int, int]:
    """Count the pairs that `tracked` lacks, from position `first` on, into `found`: (key + 1, count, positions).

    Returns (position, pairs found), before the end where `found` is half full.
    """
    boundary = symbols[0]
    used = 0
    for row in range(len(found)):
        used += found[row, 0] != 0
    place, step = first, 0
    while place < len(symbols):
        left = symbols[place]
        if left == boundary:
            place += 1
            continue
        behind = place + lengths[left]
        right = symbols[behind]
        if right != boundary and lengths[left] + lengths[right] <= most_bytes:
            key = (np.int64(left) << 32) | np.int64(right)
            row = find(key, found)
            if found[row, 0] == 0 and tracked[find(key, tracked), 0] == 0:
                if used == len(found) // 2:
                    return place, used
                found[row, 0] = key + 1
                used += 1
            if found[row, 0] != 0:
                step = step_of(place, step, step_starts)
                found[row, 1] += weights[step]
                found[row, 2] += 1
        place = behind
    return place, used


@kernel
def adopt(found: Int64, floor: int, table: Int64, heap: Int64, size: int, used: int, cursors: Int64) -> tuple[int, int]:
    """Put the pairs of `found` that occur `floor` times or more into table and heap; (entries, positions) in use.

    `cursors` gets where the positions of each go, and its number goes into the pair's second column (-1: none).
    """
    number = 0
    for row in range(len(found)):
        if found[row, 0] == 0:
            continue
        if found[row, 1] < floor:
            found[row, 1] = -1
            continue
        key = found[row, 0] - 1
        table_row = find(key, table)
        table[table_row, 0], table[table_row, 1] = key + 1, found[row, 1]
        size = push(heap, size, found[row, 1], key, used, found[row, 2])
        cursors[number], found[row, 1] = used, number
        used += found[row, 2]
        number += 1
    return size, used


@kernel
def list_positions(
    symbols: Symbols, lengths: Int64, found: Int64, cursors: Int64, positions: npt.NDArray[Any]
) -> None:
    """Write the positions of adopted pairs, ascending, where the cursors of their numbers stand."""
    boundary = symbols[0]
    place = 0
    while place < len(symbols):
        left = symbols[place]
        if left == boundary:
            place += 1
            continue
        behind = place + lengths[left]
        right = symbols[behind]
        if right != boundary:
            row = find((np.int64(left) << 32) | np.int64(right), found)
            if found[row, 0] != 0 and found[row, 1] >= 0:
                positions[cursors[found[row, 1]]] = place
                cursors[found[row, 1]] += 1
        place = behind
