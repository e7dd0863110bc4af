"""Bytes to text, and streams to lines."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass

from rbt.corpus.sources.raw import RawStream

MAXIMUM_LINE_BYTES = 64 << 20


@dataclass(frozen=True)
class Line:
    """One line without its line feed. `number` counts from 1, `offset` is in the decompressed stream."""

    number: int
    offset: int
    data: bytes
    size: int  # bytes with the line feed; more than `data` holds where the line is longer than MAXIMUM_LINE_BYTES

    @property
    def too_large(self) -> bool:
        """Whether the line was longer than is kept."""
        return self.size > len(self.data) + 1


def read_lines(stream: RawStream, first: int = 1) -> Iterator[Line]:
    """Lines up to the end or the next damage. The last one may lack its line feed (then size == len(data))."""
    number, offset, size = first, stream.position, 0
    parts: list[bytes] = []
    while chunk := stream.read_some():
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            size += len(piece) + 1
            parts.append(piece)
            yield Line(number, offset, _joined(parts, size), size)
            number, offset, size, parts = number + 1, offset + size, 0, []
        size += len(rest)
        if size <= MAXIMUM_LINE_BYTES:
            parts.append(rest)
    if size:
        yield Line(number, offset, _joined(parts, size), size)


def _joined(parts: list[bytes], size: int) -> bytes:
    return b"".join(parts) if size <= MAXIMUM_LINE_BYTES else b""


def decode(data: bytes) -> tuple[str, int]:
    """Text of UTF-8 bytes (UTF-16 with a byte order mark), and the offset of the first bad byte or -1.

    Bytes that are no UTF-8 are left out; everything else is kept.
    """
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return data.decode(encoding), -1
    except UnicodeDecodeError as error:
        mark = len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) and encoding == "utf-8-sig" else 0
        return data.decode(encoding, "ignore"), error.start + mark
