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
OPEN_ROWS = 1024  # rows that wait for a block that fits; more fill better and keep less of the corpus's order
SMALLEST_BLOCK = 3  # <s>, one token, </s>


def one_block_a_row(lengths: Int64, max_tokens: int) -> tuple[Int64, Int64]:
    """Each block is a row."""
    return np.arange(len(lengths), dtype=np.int64), np.arange(len(lengths) + 1, dtype=np.int64)


def best_fit_rows(lengths: Int64, max_tokens: int) -> tuple[Int64, Int64]:
    """Each block goes to the fullest open row with room for it, ties to the oldest, else it opens a row.

    When a row must be opened and all are taken, the fullest is closed. Rows are numbered as they open.
    """
    row_of = _best_fit(lengths, max_tokens, OPEN_ROWS)
    counts = np.bincount(row_of) if len(row_of) else np.empty(0, dtype=np.int64)
    return np.argsort(row_of, kind="stable").astype(np.int64), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


@kernel
def _best_fit(lengths: Int64, max_tokens: int, open_rows: int) -> Int64:
    row_of = np.empty(len(lengths), dtype=np.int64)
    rooms = np.empty(open_rows, dtype=np.int64)
    numbers = np.empty(open_rows, dtype=np.int64)
    waiting = opened = 0
    for block in range(len(lengths)):
        best, fullest = -1, 0
        for slot in range(waiting):  # slots are in no order, hence the ties by number
            room, number = rooms[slot], numbers[slot]
            if room >= lengths[block] and (
                best < 0 or room < rooms[best] or (room == rooms[best] and number < numbers[best])
            ):
                best = slot
            if room < rooms[fullest] or (room == rooms[fullest] and number < numbers[fullest]):
                fullest = slot
        if best < 0:
            best = waiting if waiting < open_rows else fullest
            waiting = max(waiting, best + 1)
            rooms[best], numbers[best] = max_tokens, opened
            opened += 1
        row_of[block] = numbers[best]
        rooms[best] -= lengths[block]
        if rooms[best] < SMALLEST_BLOCK:
            waiting -= 1
            rooms[best], numbers[best] = rooms[waiting], numbers[waiting]
    return row_of
