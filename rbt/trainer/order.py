"""The order of training: a pseudo-random permutation of the rows in each epoch, computed at any point alone.

    global position (int64) ──// num_rows──> epoch
                            ──%  num_rows──> position in the epoch ──Feistel network──> row (int64)

Position p of a run is the p-th row it reads, over all steps and epochs; step s reads [s x G, (s + 1) x G). Nothing is
shuffled in memory: a balanced Feistel network permutes the smallest even number of bits that holds every row, and
values beyond the last row are permuted again until they fall inside (cycle walking; Black and Rogaway 2002). Its
round function is keyed by (seed, epoch, round). Needs numpy alone, so that tracing a step needs no torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rbt.rng import UInt64, fold, hash_keys, hash_text

ROUNDS = 8
MAX_ROWS = 1 << 40
Int64 = npt.NDArray[np.int64]
Integers = npt.NDArray[Any] | int
_ORDER = hash_text("order")


def _half_bits(num_rows: int) -> int:
    if not 1 <= num_rows <= MAX_ROWS:
        raise ValueError(f"expected 1 to {MAX_ROWS} rows; found {num_rows}")
    return max(1, ((num_rows - 1).bit_length() + 1) // 2)


def _round_states(seed: int, epochs: Int64) -> UInt64:
    """What each round's function hashes a half from, (rounds, epochs)."""
    return np.stack([hash_keys(hash_keys(_ORDER, seed, epochs, number)) for number in range(ROUNDS)])


def _encrypt(values: UInt64, states: UInt64, half_bits: int) -> UInt64:
    mask, shift = np.uint64((1 << half_bits) - 1), np.uint64(half_bits)
    left, right = values >> shift, values & mask
    for state in states:
        left, right = right, left ^ (fold(state, right) & mask)
    return (left << shift) | right


def _decrypt(values: UInt64, states: UInt64, half_bits: int) -> UInt64:
    mask, shift = np.uint64((1 << half_bits) - 1), np.uint64(half_bits)
    left, right = values >> shift, values & mask
    for state in states[::-1]:
        left, right = right ^ (fold(state, left) & mask), left
    return (left << shift) | right


def _walk(cipher: Any, values: Integers, seed: int, epoch: Integers, num_rows: int) -> Int64:
    half_bits = _half_bits(num_rows)
    numbers, epochs = np.broadcast_arrays(np.asarray(values, dtype=np.int64), np.asarray(epoch, dtype=np.int64))
    if numbers.size and (numbers.min() < 0 or numbers.max() >= num_rows):
        raise ValueError(f"expected values from 0 to {num_rows - 1}; found {numbers.min()} to {numbers.max()}")
    result = numbers.astype(np.uint64).ravel()
    distinct, of_value = np.unique(epochs.ravel(), return_inverse=True)  # one or two, as a rule
    states = _round_states(seed, distinct)
    outside = np.arange(result.size)
    while outside.size:  # the domain is below 4 x num_rows: four turns are expected at most
        result[outside] = cipher(result[outside], states[:, of_value[outside]], half_bits)
        outside = outside[result[outside] >= np.uint64(num_rows)]
    return result.astype(np.int64).reshape(numbers.shape)


def permute(positions: Integers, seed: int, epoch: Integers, num_rows: int) -> Int64:
    """Rows read at positions of an epoch: int64 of the common shape of `positions` and `epoch`.

    For each (seed, epoch) a bijection of [0, num_rows) in O(1) memory. ValueError for a position outside.
    """
    return _walk(_encrypt, positions, seed, epoch, num_rows)


def locate(rows: Integers, seed: int, epoch: Integers, num_rows: int) -> Int64:
    """The inverse of `permute`: at which position of an epoch a row is read."""
    return _walk(_decrypt, rows, seed, epoch, num_rows)


def rows_at(positions: Integers, seed: int, num_rows: int) -> tuple[Int64, Int64]:
    """(epochs, rows), both int64, read at positions that run on across epochs."""
    epochs, inside = np.divmod(np.asarray(positions, dtype=np.int64), num_rows)
    return epochs, permute(inside, seed, epochs, num_rows)


def step_positions(step: int, global_batch: int, rank: int = 0, world_size: int = 1) -> Int64:
    """Positions that a rank reads in a step (counted from 0): its contiguous share of [step x G, (step + 1) x G).

    Shares differ by one row at most.
    """
    first, end = (step * global_batch + number * global_batch // world_size for number in (rank, rank + 1))
    return np.arange(first, end, dtype=np.int64)
