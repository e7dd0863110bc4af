"""Rows against a slow best fit."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.packing import rows
from rbt.packing.rows import best_fit_rows, one_block_a_row


def slow_best_fit(lengths: list[int], max_tokens: int, window: int) -> list[list[int]]:
    """Rows as lists of blocks, in the order in which they open."""
    made: list[list[int]] = []
    for first in range(0, len(lengths), window):
        opened: list[list[int]] = []
        for block in sorted(range(first, min(first + window, len(lengths))), key=lambda block: -lengths[block]):
            rooms = [max_tokens - sum(lengths[other] for other in row) for row in opened]
            fitting = [(room, row) for row, room in enumerate(rooms) if room >= lengths[block]]
            if fitting:
                opened[min(fitting)[1]].append(block)
            else:
                opened.append([block])
        made += map(sorted, opened)
    return made


@given(lengths=st.lists(st.integers(3, 40), max_size=60), window=st.sampled_from([1, 2, 7, 1024]))
def test_rows_are_those_of_a_slow_best_fit(lengths: list[int], window: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "WINDOW", window)
        order, offsets = best_fit_rows(np.array(lengths, dtype=np.int64), 40)
    found = [order[start:stop].tolist() for start, stop in pairwise(offsets)]
    assert found == slow_best_fit(lengths, 40, window)
    assert sorted(order.tolist()) == list(range(len(lengths)))
    assert all(sum(lengths[block] for block in row) <= 40 for row in found)


def test_short_blocks_fill_their_rows() -> None:
    lengths = np.random.default_rng(0).integers(3, 513, size=5000)
    _, offsets = best_fit_rows(lengths, 512)
    assert lengths.sum() / ((len(offsets) - 1) * 512) > 0.99


def test_one_block_a_row_keeps_the_order() -> None:
    order, offsets = one_block_a_row(np.array([5, 3, 4]), 8)
    assert order.tolist() == [0, 1, 2] and offsets.tolist() == [0, 1, 2, 3]
