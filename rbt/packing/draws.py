"""Draws of `rbt.rng` inside kernels: the last key of `hash_keys` folded in, and a number below n made of the hash."""

from __future__ import annotations

from typing import Any

import numpy as np

from rbt.kernels import inline_kernel

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@inline_kernel
def mix(x: Any) -> Any:
    """The SplitMix64 finalizer of `rbt.rng.mix64`, for one uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@inline_kernel
def draw(state: Any, key: Any) -> Any:
    """The upper 32 bits of the hash of one more key, uint64: `hash_keys(*keys, key) >> 32`, `state` that of `keys`."""
    return mix((state + GOLDEN) ^ mix(np.uint64(key) + GOLDEN)) >> np.uint64(32)


@inline_kernel
def below(drawn: Any, count: Any) -> Any:
    """A number of [0, count), int64, out of a draw. `count` is below 2^32."""
    return np.int64((drawn * np.uint64(count)) >> np.uint64(32))
