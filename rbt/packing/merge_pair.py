"""One merge: two tokens become one wherever they stand, and the pairs around them change.

    neighbors (2, ids, 5) int64: what each id loses and gains as the neighbor BEFORE and BEHIND the pair
    touched (2, ids) int64: which ids have entries there;  numbers (2,) int64: how many

The pairs that a merge makes or undoes all hold one of its three ids, so they are added up by the other one, and the
table of pairs is asked once for each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rbt.kernels import inline_kernel, kernel
from rbt.packing.merge_words import Int64, Symbols, step_of
from rbt.packing.pair_queue import find, push

BEFORE, BEHIND = range(2)
LOSS, GAIN, NUMBER, CURSOR, SEEN = range(5)
NEIGHBOR_COLUMNS = 5


@inline_kernel
def _touch(side: Any, id: Any, neighbors: Any, touched: Any, numbers: Any) -> None:
    if neighbors[side, id, SEEN] == 0:
        neighbors[side, id, SEEN] = 1
        touched[side, numbers[side]] = id
        numbers[side] += 1


@kernel
def replace(
    symbols: Symbols, lengths: Int64, step_starts: Int64, weights: Int64, listed: npt.NDArray[Any],
    left: int, right: int, new: int, neighbors: Int64, touched: Int64, numbers: Int64,
) -> int:
    """Make one token of the pair where it still stands; how often. Its positions move to the front of `listed`.

    `listed` ascends, so that of "aaa" the first two merge. What stood around the pairs is added to LOSS.
    """
    boundary, dead = symbols[0], symbols[0] - 1
    left_bytes, right_bytes = lengths[left], lengths[right]
    count, step = 0, 0
    for number in range(len(listed)):
        place = np.int64(listed[number])
        middle = place + left_bytes
        if symbols[place] != left or symbols[middle] != right:
            continue
        end = middle + right_bytes
        step = step_of(place, step, step_starts)
        if symbols[place - 1] != boundary:  # a new token there makes a pair that no table has yet: its loss is no loss
            _touch(BEFORE, symbols[place - 1], neighbors, touched, numbers)
            neighbors[BEFORE, symbols[place - 1], LOSS] += weights[step]
        if symbols[end] != boundary:
            _touch(BEHIND, symbols[end], neighbors, touched, numbers)
            neighbors[BEHIND, symbols[end], LOSS] += weights[step]
        if right_bytes > 1:
            symbols[middle] = dead
        symbols[place] = symbols[end - 1] = new
        listed[count] = place
        count += 1
    return count


@kernel
def count_neighbors(
    symbols: Symbols, lengths: Int64, step_starts: Int64, weights: Int64, merged: npt.NDArray[Any], new: int,
    neighbors: Int64, touched: Int64, numbers: Int64,
) -> None:
    """Add to GAIN and NUMBER what stands around the new tokens at `merged`; a pair of two counts once."""
    boundary, step = symbols[0], 0
    for number in range(len(merged)):
        place = np.int64(merged[number])
        end = place + lengths[new]
        step = step_of(place, step, step_starts)
        if symbols[place - 1] != boundary:
            _touch(BEFORE, symbols[place - 1], neighbors, touched, numbers)
            neighbors[BEFORE, symbols[place - 1], GAIN] += weights[step]
            neighbors[BEFORE, symbols[place - 1], NUMBER] += 1
        is_next = number + 1 < len(merged) and merged[number + 1] == end
        if symbols[end] != boundary and not is_next:
            _touch(BEHIND, symbols[end], neighbors, touched, numbers)
            neighbors[BEHIND, symbols[end], GAIN] += weights[step]
            neighbors[BEHIND, symbols[end], NUMBER] += 1


@inline_kernel
def _key(side: Any, neighbor: Any, token: Any) -> Any:
    first, second = (neighbor, token) if side == BEFORE else (token, neighbor)
    return (np.int64(first) << 32) | np.int64(second)


@kernel
def take_losses(
    left: int, right: int, neighbors: Int64, touched: Int64, numbers: Int64, table: Int64
) -> None:
    """Take LOSS from the pairs that stood there before the merge; those that the table lacks are not followed."""
    for side in range(2):
        for number in range(numbers[side]):
            id = touched[side, number]
            if neighbors[side, id, LOSS] > 0:
                row = find(_key(side, id, left if side == BEFORE else right), table)
                if table[row, 0] != 0:
                    table[row, 1] -= neighbors[side, id, LOSS]


@kernel
def add_gains(
    lengths: Int64, new: int, floor: int, most_bytes: int, neighbors: Int64, touched: Int64, numbers: Int64,
    table: Int64, heap: Int64, size: int, used: int,
) -> tuple[int, int]:
    """Add GAIN to the pairs with the new token, and queue them with room for their positions, from `used` on.

    A pair new to the table comes in where it occurs `floor` times or more. Returns the entries of the heap and
    the positions in use. CURSOR is where a pair's positions go, -1: nowhere.
    """
    for side in range(2):
        for number in range(numbers[side]):
            id = touched[side, number]
            neighbors[side, id, CURSOR] = -1
            if lengths[id] + lengths[new] > most_bytes:
                continue
            row = find(_key(side, id, new), table)
            gain = neighbors[side, id, GAIN]
            if table[row, 0] == 0:
                if gain < floor:
                    continue
                table[row, 0] = _key(side, id, new) + 1
                table[row, 1] = 0
            table[row, 1] += gain
    for side in range(2):
        for number in range(numbers[side]):
            id = touched[side, number]
            row = find(_key(side, id, new), table)
            if table[row, 0] == 0 or table[row, 1] <= 0 or lengths[id] + lengths[new] > most_bytes:
                continue
            neighbors[side, id, CURSOR] = used
            size = push(heap, size, table[row, 1], _key(side, id, new), used, neighbors[side, id, NUMBER])
            used += neighbors[side, id, NUMBER]
    return size, used


@kernel
def list_neighbors(
    symbols: Symbols, lengths: Int64, merged: npt.NDArray[Any], new: int, neighbors: Int64,
    positions: npt.NDArray[Any],
) -> None:
    """Write the positions of the pairs with the new tokens at `merged` where CURSOR stands, ascending."""
    boundary = symbols[0]
    for number in range(len(merged)):
        place = np.int64(merged[number])
        end = place + lengths[new]
        neighbor = symbols[place - 1]
        if neighbor != boundary and neighbors[BEFORE, neighbor, CURSOR] >= 0:
            positions[neighbors[BEFORE, neighbor, CURSOR]] = place - lengths[neighbor]
            neighbors[BEFORE, neighbor, CURSOR] += 1
        neighbor = symbols[end]
        is_next = number + 1 < len(merged) and merged[number + 1] == end
        if neighbor != boundary and not is_next and neighbors[BEHIND, neighbor, CURSOR] >= 0:
            positions[neighbors[BEHIND, neighbor, CURSOR]] = place
            neighbors[BEHIND, neighbor, CURSOR] += 1


@kernel
def clear(neighbors: Int64, touched: Int64, numbers: Int64) -> None:
    """Forget the neighbors of a merge."""
    for side in range(2):
        for number in range(numbers[side]):
            neighbors[side, touched[side, number]] = 0
        numbers[side] = 0


@kernel
def merge_pair(
    symbols: Symbols, lengths: Int64, step_starts: Int64, weights: Int64, positions: npt.NDArray[Any],
    start: int, listed: int, left: int, right: int, new: int, floor: int, most_bytes: int,
    neighbors: Int64, touched: Int64, numbers: Int64, table: Int64, heap: Int64, size: int, used: int,
) -> tuple[int, int]:
    """Merge a pair at positions[start:start + listed]: all of the above in turn. Returns what `add_gains` does."""
    found = positions[start : start + listed]
    count = replace(
        symbols, lengths, step_starts, weights, found, left, right, new, neighbors, touched, numbers
    )
    merged = found[:count]
    count_neighbors(symbols, lengths, step_starts, weights, merged, new, neighbors, touched, numbers)
    take_losses(left, right, neighbors, touched, numbers, table)
    size, used = add_gains(
        lengths, new, floor, most_bytes, neighbors, touched, numbers, table, heap, size, used
    )
    list_neighbors(symbols, lengths, merged, new, neighbors, positions)
    clear(neighbors, touched, numbers)
    return size, used
