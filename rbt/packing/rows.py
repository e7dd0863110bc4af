"""Rows: which blocks share one line of a batch, so that a batch holds about the same tokens in every format.

    lengths (blocks,) int64, in ids ──> order (blocks,) int64: blocks in row order; rows (rows + 1,) int64 offsets

The paper (section 4.2) grows the batch where DOC-SENTENCES leaves inputs short; filling rows does the same at a fixed
number of rows. Blocks of a row are kept apart by attention and positions, which is the trainer's affair.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rbt.kernels import kernel

Int64 = npt.NDArray[np.int64]
WINDOW = 1 << 14  # blocks that are laid into rows together; more fill better and keep less of the corpus's order
SMALLEST_BLOCK = 3  # <s>, one token, </s>


def one_block_a_row(lengths: Int64, max_tokens: int) -> tuple[Int64, Int64]:
    """Each block is a row."""
    return np.arange(len(lengths), dtype=np.int64), np.arange(len(lengths) + 1, dtype=np.int64)


def best_fit_rows(lengths: Int64, max_tokens: int) -> tuple[Int64, Int64]:
    """Of each window of blocks, the longest first (ties in order): each goes to the fullest row with room for it, ties
    to the oldest, else it opens a row. Rows are numbered as they open, and keep their blocks in order.
    """
    longest_first = np.lexsort((-lengths, np.arange(len(lengths)) // WINDOW))
    rows, num_rows = _best_fit(lengths[longest_first], max_tokens, WINDOW)
    row_of = np.empty_like(rows)
    row_of[longest_first] = rows
    return _in_row_order(row_of, num_rows)


@kernel
def _best_fit(lengths: Int64, max_tokens: int, window: int) -> tuple[Int64, int]:
    """(row of each block, int64 (blocks,), number of rows). Open rows are kept in order, by room and then by number."""
    row_of = np.empty(len(lengths), dtype=np.int64)
    keys = np.empty(window, dtype=np.int64)  # room * base + number of each open row, ascending
    base = len(lengths) + 1
    waiting = opened = 0
    for block, length in enumerate(lengths):
        if block % window == 0:
            waiting = 0
        place = np.searchsorted(keys[:waiting], length * base)  # the least room that is enough, its oldest row
        if place < waiting:
            room, number = divmod(keys[place], base)
        else:
            room, number = max_tokens, opened
            opened += 1
            waiting += 1
        row_of[block] = number
        room -= length
        if room >= SMALLEST_BLOCK:
            _put(keys, waiting, place, room * base + number)
        else:
            waiting -= 1
            keys[place:waiting] = keys[place + 1 : waiting + 1].copy()
    return row_of, opened


@kernel
def _put(keys: Int64, waiting: int, place: int, key: int) -> None:
    """Put a key where it belongs, `keys[place]` being free: those between move over by one."""
    while place > 0 and keys[place - 1] > key:
        keys[place] = keys[place - 1]
        place -= 1
    while place + 1 < waiting and keys[place + 1] < key:
        keys[place] = keys[place + 1]
        place += 1
    keys[place] = key


@kernel
def _in_row_order(row_of: Int64, num_rows: int) -> tuple[Int64, Int64]:
    """Blocks by row, each row's in their own order, and the rows' offsets: a counting sort."""
    offsets = np.zeros(num_rows + 1, dtype=np.int64)
    for row in row_of:
        offsets[row + 1] += 1
    offsets = np.cumsum(offsets)
    order, ends = np.empty(len(row_of), dtype=np.int64), offsets.copy()
    for block, row in enumerate(row_of):
        order[ends[row]] = block
        ends[row] += 1
    return order, offsets
