"""The order of rows is a permutation that is computed at any point alone."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.rng import hash_keys, hash_text
from rbt.trainer.order import MAX_ROWS, ROUNDS, locate, permute, rows_at, step_positions


def permute_slowly(position: int, seed: int, epoch: int, num_rows: int) -> int:
    """The definition with Python integers, one position at a time."""
    half = max(1, -(-(num_rows - 1).bit_length() // 2))
    value = position
    while True:
        left, right = value >> half, value & ((1 << half) - 1)
        for number in range(ROUNDS):
            key = int(hash_keys(hash_text("order"), seed, epoch, number))
            left, right = right, left ^ (int(hash_keys(key, right)) & ((1 << half) - 1))
        value = left << half | right
        if value < num_rows:
            return value


@given(num_rows=st.integers(1, 3000), seed=st.integers(0, 2**63), epoch=st.integers(0, 2**40))
def test_each_epoch_is_a_bijection_and_locate_inverts_it(num_rows: int, seed: int, epoch: int) -> None:
    rows = permute(np.arange(num_rows), seed, epoch, num_rows)
    assert np.array_equal(np.sort(rows), np.arange(num_rows))
    assert np.array_equal(locate(rows, seed, epoch, num_rows), np.arange(num_rows))


@given(num_rows=st.integers(1, 500), seed=st.integers(0, 100), epoch=st.integers(0, 100), data=st.data())
def test_vectorized_order_equals_its_definition(num_rows: int, seed: int, epoch: int, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, num_rows - 1))
    assert int(permute(position, seed, epoch, num_rows)) == permute_slowly(position, seed, epoch, num_rows)


def test_order_is_pinned() -> None:
    """A change of these rows would change what every published run has read."""
    assert permute(np.arange(10), 1, 0, 10).tolist() == [permute_slowly(p, 1, 0, 10) for p in range(10)]
    assert permute(np.arange(10), 1, 0, 10).tolist() == [9, 8, 5, 1, 7, 0, 4, 2, 3, 6]
    assert permute(np.arange(10), 1, 1, 10).tolist() == [7, 8, 4, 1, 0, 2, 9, 6, 5, 3]


def test_small_numbers_of_rows_reach_every_permutation() -> None:
    for num_rows, permutations in ((1, 1), (2, 2), (3, 6), (4, 24)):
        epochs = np.arange(1500)[:, None]
        seen = {tuple(rows) for rows in permute(np.arange(num_rows)[None], 1, epochs, num_rows).tolist()}
        assert len(seen) == permutations


def test_v32_consecutive_epochs_and_seeds_are_uncorrelated_permutations() -> None:
    count = 4096
    reference = permute(np.arange(count), 1, 0, count)
    for seed, epoch in ((1, 1), (1, 2), (2, 0), (2, 1)):
        other = permute(np.arange(count), seed, epoch, count)
        assert not np.array_equal(reference, other)
        assert abs(np.corrcoef(reference, other)[0, 1]) < 4 / np.sqrt(count)  # rows are ranks: Spearman's rho
    assert abs(np.corrcoef(reference, np.arange(count))[0, 1]) < 4 / np.sqrt(count)


def test_v33_any_position_of_a_huge_index_costs_the_same_memory() -> None:
    positions = 10**6 * 8192 + np.arange(1000)
    tracemalloc.start()
    epochs, rows = rows_at(positions, 1, MAX_ROWS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
    assert (epochs == 0).all()
    assert np.array_equal(locate(rows, 1, 0, MAX_ROWS), positions)


def test_v31_positions_run_on_into_the_next_epoch() -> None:
    epochs, rows = rows_at(np.arange(25), 5, 10)
    assert epochs.tolist() == [0] * 10 + [1] * 10 + [2] * 5
    assert np.array_equal(rows[:10], permute(np.arange(10), 5, 0, 10))
    assert np.array_equal(rows[10:20], permute(np.arange(10), 5, 1, 10))
    assert np.array_equal(rows[20:], permute(np.arange(5), 5, 2, 10))


def test_ranks_share_a_step_in_contiguous_chunks() -> None:
    whole = step_positions(3, 12)
    assert whole.tolist() == list(range(36, 48))
    for ranks in (1, 4, 5, 12):
        shares = [step_positions(3, 12, rank, ranks) for rank in range(ranks)]
        assert np.array_equal(np.concatenate(shares), whole)
        assert {len(share) for share in shares} <= {12 // ranks, -(-12 // ranks)}


def test_a_position_outside_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 9; found 10"):
        permute(10, 1, 0, 10)
    with pytest.raises(ValueError, match="found 0"):
        permute(0, 1, 0, 0)
