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
_GOLDEN, _ALL = 0x9E3779B97F4A7C15, (1 << 64) - 1
_FACTORS = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_SHIFTS = 30, 27, 31
_GOLDEN_64, _FACTORS_64, _SHIFTS_64 = np.uint64(_GOLDEN), *(tuple(map(np.uint64, each)) for each in (_FACTORS, _SHIFTS))


def mix64(values: npt.NDArray[Any] | int) -> UInt64:
    """Bijective mix of 64-bit integers: array of any shape in, uint64 of the same shape out."""
    return _mix(np.asarray(values).astype(np.uint64))


def _mix(x: UInt64) -> UInt64:
    """`mix64` of an array in its own memory, of which each pass finds the one before in the cache."""
    if x.ndim == 0:
        return np.asarray(_mix_number(int(x)), dtype=np.uint64)[()]
    _mix_but_last(x, np.empty_like(x))
    return finish(x)


def _mix_but_last(x: UInt64, shifted: UInt64) -> None:
    for shift, factor in zip(_SHIFTS_64, _FACTORS_64, strict=False):
        np.right_shift(x, shift, out=shifted)
        np.bitwise_xor(x, shifted, out=x)
        np.multiply(x, factor, out=x)


def finish(x: UInt64) -> UInt64:
    """The last step of a mix, in the array's own memory: the upper 32 bits u become u ^ (u >> 31)."""
    x ^= x >> _SHIFTS_64[2]
    return x


def _mix_number(x: int) -> int:
    """`mix64` of one number, which takes numpy several times as long."""
    x = (x ^ x >> _SHIFTS[0]) * _FACTORS[0] & _ALL
    x = (x ^ x >> _SHIFTS[1]) * _FACTORS[1] & _ALL
    return x ^ x >> _SHIFTS[2]


def spread(keys: npt.NDArray[Any] | int) -> UInt64:
    """What `fold_spread` takes of keys; made once for the same keys under many states."""
    return _mix(np.add(np.asarray(keys).astype(np.uint64), _GOLDEN_64))


def fold_spread(states: UInt64, spread_keys: UInt64) -> UInt64:
    """`fold` of keys that are spread already, broadcast: fold_spread(s, spread(k)) is fold(s, k)."""
    return _mix(np.bitwise_xor(np.add(states, _GOLDEN_64), spread_keys))


def fold_unfinished(states: UInt64, spread_keys: UInt64, out: UInt64, shifted: UInt64) -> None:
    """`fold_spread` up to its last step, `finish`, into an array that is there; `shifted` is memory of its shape.

    For whoever needs few of many hashes: the step leaves it to be seen which upper 32 bits are below an even number.
    """
    np.bitwise_xor(np.add(states, _GOLDEN_64), spread_keys, out=out)
    _mix_but_last(out, shifted)


def fold(states: UInt64, keys: npt.NDArray[Any] | int) -> UInt64:
    """One more key in `hash_keys`: fold(hash_keys(a, b), c) is hash_keys(a, b, c)."""
    return fold_spread(states, spread(keys))


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
