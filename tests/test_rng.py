"""Hashes and generators."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rbt.rng import finish, fold, fold_unfinished, hash_keys, hash_text, mix64, rng, spread

UINT64 = st.integers(0, 2**64 - 1)


def reference_mix64(x: int) -> int:
    """The SplitMix64 finalizer in Python integers."""
    mask = 2**64 - 1
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


@given(UINT64)
def test_mix64_equals_integer_arithmetic(x: int) -> None:
    assert int(mix64(np.asarray([x], dtype=np.uint64))[0]) == reference_mix64(x)


@given(st.lists(UINT64, min_size=1, max_size=4), UINT64, st.integers(0, 2**31 - 1))
def test_an_unfinished_hash_tells_which_upper_bits_are_below_an_even_number(
    states: list[int], key: int, half: int
) -> None:
    hashes, shifted = np.empty((2, len(states)), dtype=np.uint64)
    array, bound = np.array(states, dtype=np.uint64), np.uint64(2 * half)
    fold_unfinished(array, spread(np.array([key], dtype=np.uint64)), hashes, shifted)
    are_below = hashes >> np.uint64(32) < bound
    finished = finish(hashes)
    assert finished.tolist() == fold(array, np.array([key], dtype=np.uint64)).tolist()
    assert (finished >> np.uint64(32) < bound).tolist() == are_below.tolist()


@given(st.lists(UINT64, min_size=1, max_size=4))
def test_hash_keys_equals_integer_arithmetic_and_broadcasts(keys: list[int]) -> None:
    golden, mask, state = 0x9E3779B97F4A7C15, 2**64 - 1, 0
    for key in keys:
        state = reference_mix64(((state + golden) & mask) ^ reference_mix64((key + golden) & mask))
    arrays = [np.asarray([key, key], dtype=np.uint64) for key in keys]
    assert hash_keys(*arrays).tolist() == [state, state]
    assert hash_keys(keys[0], *arrays[1:]).tolist() in (state, [state, state])
    assert int(hash_keys(*keys)) == state


def test_the_order_and_the_number_of_keys_matter() -> None:
    hashes = {int(hash_keys(*keys)) for keys in [(1, 2), (2, 1), (3,), (0, 3), (3, 0)]}
    assert len(hashes) == 5


def test_hash_text_never_changes() -> None:
    assert hash_text("wikipedia:12") == 0xFC62E31C75589E88


def test_generators_of_different_keys_differ_and_of_equal_keys_agree() -> None:
    assert rng(1, "a").integers(2**62) == rng(1, "a").integers(2**62)
    assert rng(1, 2).integers(2**62) != rng(2, 1).integers(2**62)
