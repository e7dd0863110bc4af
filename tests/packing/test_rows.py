"""Rows against a slow best fit."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.packing import rows
from rbt.packing.rows import SMALLEST_BLOCK, best_fit_rows, one_block_a_row


def slow_best_fit(lengths: list[int], max_tokens: int, open_rows: int) -> list[list[int]]:
    """Rows as lists of blocks, in the order in which they open."""
    made: list[list[int]] = []
    waiting: list[tuple[int, int]] = []  # (room, row), least room first, then oldest
    for block, length in enumerate(lengths):
        fitting = [entry for entry in waiting if entry[0] >= length]
        if fitting:
            room, row = fitting[0]
            waiting.remove((room, row))
        else:
            if len(waiting) == open_rows:
                waiting.pop(0)
            room, row = max_tokens, len(made)
            made.append([])
        made[row].append(block)
        if room - length >= SMALLEST_BLOCK:
            waiting = sorted([*waiting, (room - length, row)])
    return made


@given(lengths=st.lists(st.integers(3, 40), max_size=60), open_rows=st.sampled_from([1, 2, 5, 1024]))
def test_rows_are_those_of_a_slow_best_fit(lengths: list[int], open_rows: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "OPEN_ROWS", open_rows)
        order, offsets = best_fit_rows(np.array(lengths, dtype=np.int64), 40)
    found = [order[start:stop].tolist() for start, stop in pairwise(offsets)]
    assert found == slow_best_fit(lengths, 40, open_rows)
    assert sorted(order.tolist()) == list(range(len(lengths)))
    assert all(sum(lengths[block] for block in row) <= 40 for row in found)


def test_short_blocks_fill_their_rows() -> None:
    lengths = np.random.default_rng(0).integers(3, 513, size=5000)
    _, offsets = best_fit_rows(lengths, 512)
    assert lengths.sum() / ((len(offsets) - 1) * 512) > 0.97


def test_one_block_a_row_keeps_the_order() -> None:
    order, offsets = one_block_a_row(np.array([5, 3, 4]), 8)
    assert order.tolist() == [0, 1, 2] and offsets.tolist() == [0, 1, 2, 3]
