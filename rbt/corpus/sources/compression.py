"""Compressed streams that may be damaged: raw bytes to pieces, each either decompressed bytes or a Damage.

    RawInput ──member by member──> bytes | Damage

A compressed file is a chain of members: gzip members (a WARC has one a record), bzip2 streams (a multistream dump has
one a hundred pages), xz streams. A damaged member costs what follows the damage inside it and nothing else: the search
for the next member starts behind the damaged one's own first byte, and takes the first place that has the signature
and that decompresses. Python's zlib, bz2 and lzma do the work; zstd.py adds zstd.
"""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Protocol

CHUNK_BYTES = 1 << 16  # raw bytes fed at a time
PIECE_BYTES = 1 << 18  # most decompressed bytes given at a time
HISTORY_BYTES = 1 << 18  # raw bytes of a member that are searched again when it breaks
PROBE_BYTES = 1 << 12  # raw bytes that a member found by its signature must survive
XZ_MEMORY_BYTES = 1 << 29  # of its dictionary, mostly: `xz -9` makes them of 64 MiB, the format allows 4 GiB


@dataclass(frozen=True)
class Damage:
    """Bytes that are missing from a stream. `offset`: where in the raw file the damaged member starts."""

    reason: str  # "truncated", "corrupt", "unreadable" or "too_much_memory" (its header asks for more than is given)
    offset: int
    detail: str
    recovered: int  # decompressed bytes of the damaged member that came before


class Readable(Protocol):
    """The little that is asked of a stream."""

    def read(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes; b"" at the end."""


class RawInput:
    """Raw bytes in chunks, with a position and the power to put bytes back."""

    def __init__(self, stream: Readable, position: int = 0) -> None:
        self._stream = stream
        self._pending = b""
        self.position = position  # of the byte that comes next

    def read(self) -> bytes:
        """The next chunk, b"" at the end."""
        chunk = self._pending or self._stream.read(CHUNK_BYTES)
        self._pending = b""
        self.position += len(chunk)
        return chunk

    def unread(self, data: bytes) -> None:
        """Put back what was read last."""
        self._pending = data + self._pending
        self.position -= len(data)


class Member(Protocol):
    """The decompressor of one member."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decompress some more; raises one of ERRORS after what could be had."""

    def finish(self) -> Iterator[bytes]:
        """What is still held when the file ends."""

    @property
    def eof(self) -> bool:
        """Whether the member is complete."""

    @property
    def unused(self) -> bytes:
        """Raw bytes behind its end."""


class _Gzip:
    def __init__(self) -> None:
        self._decompressor = zlib.decompressobj(wbits=31)
        self._input = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._input = data
        while self._input and not self._decompressor.eof:
            before = self._decompressor.copy()  # 40 KB, for the case that the next piece is bad
            try:
                piece = self._decompressor.decompress(self._input, PIECE_BYTES)
            except zlib.error:
                yield from self._salvage(before)
                raise
            self._input = self._decompressor.unconsumed_tail
            if piece:
                yield piece

    def _salvage(self, decompressor: zlib._Decompress) -> Iterator[bytes]:
        for index in range(len(self._input)):
            try:
                piece = decompressor.decompress(self._input[index : index + 1])
            except zlib.error:
                return
            if piece:
                yield piece

    def finish(self) -> Iterator[bytes]:
        return iter(())

    @property
    def eof(self) -> bool:
        return self._decompressor.eof

    @property
    def unused(self) -> bytes:
        return self._decompressor.unused_data


class _Bzip2:
    """Holds back as much as a block holds, since a block's checksum comes after its bytes."""

    def __init__(self) -> None:
        self._decompressor = bz2.BZ2Decompressor()
        self._block_bytes = 0
        self._held: list[bytes] = []
        self._held_bytes = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        if not self._block_bytes:
            self._block_bytes = int(data[3:4]) * 100_000 if data[3:4].isdigit() else 900_000
        while True:
            self._held.append(self._decompressor.decompress(data, PIECE_BYTES))
            self._held_bytes += len(self._held[-1])
            data = b""
            if self._decompressor.eof:
                break
            while self._held and self._held_bytes - len(self._held[0]) >= self._block_bytes:
                yield self._release()
            if self._decompressor.needs_input:
                return
        yield from self.finish()

    def finish(self) -> Iterator[bytes]:
        while self._held:
            yield self._release()

    def _release(self) -> bytes:
        piece = self._held.pop(0)
        self._held_bytes -= len(piece)
        return piece

    @property
    def eof(self) -> bool:
        return self._decompressor.eof

    @property
    def unused(self) -> bytes:
        return self._decompressor.unused_data


class _Xz:
    def __init__(self) -> None:
        self._decompressor = lzma.LZMADecompressor(memlimit=XZ_MEMORY_BYTES)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while not self._decompressor.eof:
            piece = self._decompressor.decompress(data, CHUNK_BYTES // 8)
            data = b""
            if piece:
                yield piece
            if self._decompressor.needs_input and not self._decompressor.eof:
                return

    def finish(self) -> Iterator[bytes]:
        return iter(())

    @property
    def eof(self) -> bool:
        return self._decompressor.eof

    @property
    def unused(self) -> bytes:
        return self._decompressor.unused_data


@dataclass(frozen=True)
class Codec:
    """One compression: its decompressor of one member, how a member starts, and how a broken one shows."""

    name: str
    member: Callable[[], Member]
    signature: re.Pattern[bytes]
    signature_bytes: int  # most bytes the signature matches


CODECS = {
    ".gz": Codec("gzip", _Gzip, re.compile(rb"\x1f\x8b\x08[\x00-\x1f]"), 4),
    ".bz2": Codec("bzip2", _Bzip2, re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"), 10),
    ".xz": Codec("xz", _Xz, re.compile(rb"\xfd7zXZ\x00"), 6),
}
TOO_MUCH_MEMORY = ("Memory usage limit exceeded", "Frame requires too much memory")  # as xz and zstd say it
ERRORS = (zlib.error, OSError, lzma.LZMAError, ValueError, EOFError)


def decompress(raw: RawInput, codec: Codec, begins: bytes = b"") -> Iterator[bytes | Damage]:
    """Decompress all members. `begins`: what every member's content starts with, for a surer search."""
    data = raw.read()
    if not data:
        yield Damage("truncated", 0, f"an empty file is no {codec.name} file", 0)
    while data:
        padding = len(data) - len(data.lstrip(b"\0"))  # between members, and from tapes behind the last
        start = raw.position - len(data) + padding
        data = data[padding:]
        if not data:
            data = raw.read()
            continue
        raw.unread(data)
        damage = yield from _decompress_member(raw, codec, start)
        if damage is not None:
            yield damage
            if not _seek_member(raw, codec, begins):
                return
        data = raw.read()


def _decompress_member(
    raw: RawInput, codec: Codec, start: int
) -> Generator[bytes | Damage, None, Damage | None]:
    """Yield one member's pieces; return the damage that ends it, with the input put back to search in, or None."""
    head = _read_at_least(raw, codec.signature_bytes)
    if len(head) >= codec.signature_bytes and not codec.signature.match(head):
        raw.unread(head[1:])
        return Damage("corrupt" if start else "unreadable", start, f"no {codec.name} data here", 0)
    raw.unread(head)
    member, history, recovered = codec.member(), b"", 0
    while chunk := raw.read():
        history += chunk
        try:
            for piece in member.feed(chunk):
                recovered += len(piece)
                yield piece
        except ERRORS as error:
            raw.unread(history if raw.position - len(history) > start else history[1:])
            refused = any(message in str(error) for message in TOO_MUCH_MEMORY)
            return Damage("too_much_memory" if refused else "corrupt", start, str(error), recovered)
        if member.eof:
            raw.unread(member.unused)
            return None
        history = history[-HISTORY_BYTES:]
    for piece in member.finish():
        recovered += len(piece)
        yield piece
    raw.unread(history if raw.position - len(history) > start else history[1:])  # it may have run over good members
    return Damage("truncated", start, f"the file ends inside its {codec.name} data", recovered)


def _read_at_least(raw: RawInput, size: int) -> bytes:
    data = raw.read()
    while len(data) < size and (more := raw.read()):
        data += more
    return data


def _seek_member(raw: RawInput, codec: Codec, begins: bytes) -> bool:
    """Move to the next place where a member starts; False at the end of the file."""
    data = b""
    while True:
        more = raw.read()
        data += more
        last = max(len(data) - PROBE_BYTES, 0) if more else len(data)
        for match in codec.signature.finditer(data):
            if match.start() >= last:
                break
            if _survives(codec, data[match.start() : match.start() + PROBE_BYTES], begins):
                raw.unread(data[match.start() :])
                return True
        if not more:
            return False
        data = data[last:]


def _survives(codec: Codec, data: bytes, begins: bytes) -> bool:
    found = b""
    try:
        for piece in codec.member().feed(data):
            found += piece[: len(begins) - len(found)]  # no more: these bytes may be a bomb
    except ERRORS:
        return False
    return found == begins
