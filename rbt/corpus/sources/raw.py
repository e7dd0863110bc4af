"""One raw file, from its bytes to a stream that stops where it is damaged.

    location ──open_input, hash──> raw bytes ──decompress by suffix──> bytes | Damage ──> RawStream
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rbt.corpus.reading import Reading
from rbt.corpus.sources.compression import CODECS, PIECE_BYTES, Damage, RawInput, Readable, decompress
from rbt.corpus.sources.zstd import ZSTD
from rbt.errors import InputError
from rbt.storage import CHUNK_BYTES, HashingReader, is_url, open_input

COMPRESSIONS = {**CODECS, ".zst": ZSTD}


def suffix(name: str) -> str:
    """The compression suffix of a file name, or ""."""
    return next((ending for ending in COMPRESSIONS if name.lower().endswith(ending)), "")


def without_compression(name: str) -> str:
    """A file name without its compression suffix."""
    return name[: len(name) - len(suffix(name))]


class RawStream:
    """Decompressed bytes up to the next damage. Behind it reading goes on only after `resume`."""

    def __init__(self, pieces: Iterator[bytes | Damage], position: int = 0) -> None:
        self._pieces = pieces
        self._pending = memoryview(b"")
        self.damage: Damage | None = None  # what ended the stream, once `read` has returned b""
        self.position = position  # decompressed bytes read; in a span of a plain file, bytes from the file's start

    def read(self, size: int = -1, /) -> bytes:
        """Exactly `size` bytes, fewer only before the end or a damage; all of them with -1."""
        parts: list[memoryview] = []
        wanted = size
        while wanted and (self._pending or self._next_piece()):
            taken = self._pending if wanted < 0 else self._pending[:wanted]
            self._pending = self._pending[len(taken) :]
            parts.append(taken)
            wanted -= len(taken) if wanted > 0 else 0
        data = b"".join(parts)
        self.position += len(data)
        return data

    def read_some(self) -> bytes:
        """Some bytes, as they come; b"" only at the end or a damage."""
        if not self._pending:
            self._next_piece()
        data, self._pending = bytes(self._pending), memoryview(b"")
        self.position += len(data)
        return data

    def _next_piece(self) -> bool:
        if self.damage is not None:
            return False
        for piece in self._pieces:
            if isinstance(piece, Damage):
                self.damage = piece
                return False
            if piece:
                self._pending = memoryview(piece)
                return True
        return False

    def resume(self) -> None:
        """Go on behind the damage."""
        self.damage = None


class _Progress:
    """A raw file, or the span of it that is to be read, that reports how far it is read."""

    def __init__(self, stream: HashingReader, reading: Reading) -> None:
        self._stream, self._reading, self._unreported = stream, reading, 0
        self._left = reading.span.stop - reading.span.start if reading.span else sys.maxsize

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        self._unreported += len(data)
        if self._unreported >= CHUNK_BYTES or not data:
            self._reading.advance(self._unreported)
            self._unreported = 0
        return data


@contextmanager
def open_raw(location: str, reading: Reading, begins: bytes = b"") -> Iterator[RawStream]:
    """Open a raw file, decompressed by its suffix; at the end what was read is hashed into `reading`.

    With `reading.span`, only its bytes are read: it starts where a line, a page, or a compressed stream does.

    A local file that may not be opened is a stream that is damaged from the start. Raises InputError where reading
    fails half way (a disk, a network): that says nothing about the file, so nothing is counted as lost.
    """
    try:
        file = open_input(location)
    except InputError as error:
        if is_url(location) or not isinstance(error.__cause__, OSError):
            raise
        yield RawStream(iter([Damage("unreadable", 0, str(error.__cause__), 0)]))
        return
    hashing = HashingReader(file)
    start = reading.span.start if reading.span else 0
    try:
        if start:
            file.seek(start)
        progress = _Progress(hashing, reading)
        yield RawStream(decompressed(progress, location, begins, start), 0 if suffix(location) else start)
        while progress.read(CHUNK_BYTES):
            pass
        reading.raw_hash, reading.raw_bytes = hashing.hash, hashing.bytes_read
    except OSError as error:
        expected = "expected to read the whole file"
        raise InputError(expected, path=location, found=str(error), cure="run the same command again") from error
    finally:
        hashing.close()


def decompressed(stream: Readable, name: str, begins: bytes = b"", start: int = 0) -> Iterator[bytes | Damage]:
    """The pieces of a stream, decompressed as the suffix of `name` says; plain without one.

    `start`: where in the raw file the stream begins, for the offsets of damages.
    """
    ending = suffix(name)
    if ending:
        return decompress(RawInput(stream, start), COMPRESSIONS[ending], begins)
    return iter(lambda: stream.read(PIECE_BYTES), b"")
