"""Characters in the bytes of UTF-8, for compiled functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from rbt.kernels import inline_kernel

UNICODE = 0x110000  # code points
REPLACEMENT = 0xFFFD  # stands for bytes that are no UTF-8


@inline_kernel
def decode(data: Any, place: Any, stop: Any) -> Any:
    """(code point, bytes) of the character that starts at `place` with a byte above 127; never reads behind `stop`."""
    lead = np.int64(data[place])
    length = 2 if lead < 0xE0 else (3 if lead < 0xF0 else 4)
    if lead < 0xC0 or place + length > stop:
        return np.int64(REPLACEMENT), 1
    point = lead & (0x7F >> length)
    for follower in range(1, length):
        point = (point << 6) | (np.int64(data[place + follower]) & 0x3F)
    return (point if point < UNICODE else np.int64(REPLACEMENT)), length
