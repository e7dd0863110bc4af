"""zstd as a chain of frames, with windows up to 2 GiB: what Pushshift's Reddit dumps need (`zstd --long=31`).

A frame takes the memory of its window as it fills: up to 2 GiB a worker for those dumps, 8 MiB for most other files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import zstandard

from rbt.corpus.sources.compression import Codec

MAXIMUM_WINDOW_BYTES = 1 << 31
FEED_BYTES = 1 << 11  # raw bytes at a time: four may stand for 128 KiB, so that a bomb gives 64 MiB at most


class _Zstd:
    def __init__(self) -> None:
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=MAXIMUM_WINDOW_BYTES).decompressobj()
        self._unused = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), FEED_BYTES):
            try:
                piece = self._decompressor.decompress(data[start : start + FEED_BYTES])
            except zstandard.ZstdError as error:
                raise ValueError(str(error)) from error
            if piece:
                yield piece
            if self._decompressor.eof:
                self._unused = self._decompressor.unused_data + data[start + FEED_BYTES :]
                return

    def finish(self) -> Iterator[bytes]:
        return iter(())

    @property
    def eof(self) -> bool:
        return self._decompressor.eof

    @property
    def unused(self) -> bytes:
        return self._unused


ZSTD = Codec("zstd", _Zstd, re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"), 4)
