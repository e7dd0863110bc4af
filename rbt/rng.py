"""The one source of randomness: counter-based, so that any draw can be made alone, in any order.

`mix64` is the SplitMix64 finalizer (Steele, Lea and Flood 2014); `hash_keys` folds integers through it.
Integers only, so that a draw is the same on every machine.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

UInt64 = npt.NDArray[np.uint64]
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix64(values: npt.NDArray[Any] | int) -> UInt64:
    """Bijective mix of 64-bit integers: array of any shape in, uint64 of the same shape out."""
    x = np.asarray(values).astype(np.uint64)
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def fold(states: UInt64, keys: npt.NDArray[Any] | int) -> UInt64:
    """One more key in `hash_keys`: fold(hash_keys(a, b), c) is hash_keys(a, b, c)."""
    with np.errstate(over="ignore"):
        return mix64((states + _GOLDEN) ^ mix64(np.asarray(keys).astype(np.uint64) + _GOLDEN))


def hash_keys(*keys: npt.NDArray[Any] | int) -> UInt64:
    """Hash a tuple of integers, broadcast over arrays: h <- mix64((h + golden) ^ mix64(key + golden))."""
    state: UInt64 = np.asarray(0, dtype=np.uint64)
    for key in keys:
        state = fold(state, key)
    return state


def hash_text(text: str) -> int:
    """64-bit hash of a string (BLAKE2b), the same on every machine and version."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def rng(seed: int, *keys: int | str) -> np.random.Generator:
    """A generator that depends on all of (seed, *keys); never on seed + key, which collides across seeds."""
    numbers = [hash_text(key) if isinstance(key, str) else key for key in keys]
    return np.random.Generator(np.random.Philox(int(hash_keys(seed, *numbers))))
