"""Zip archives of unknown origin: the standard library's reader behind bounds.

    seekable file ──open_zip──> infos ──member_pieces──> bytes | Damage

What a bomb needs is refused before a byte is decompressed: a directory of millions of members, more bytes than the
archive can hold, another compression than deflate. A member never yields more than its header promises; what does not
match its checksum is damage. No member is ever written to disk, so names cannot lead out of a folder.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from rbt.corpus.sources.compression import PIECE_BYTES, Damage

MAXIMUM_DIRECTORY_BYTES = 16 << 20  # an archive of 100,000 books has 10 MB
MAXIMUM_RATIO = 200  # decompressed to compressed bytes; prose takes 3, deflate's most is 1,032
FREE_BYTES = 16 << 20  # decompressed bytes that no ratio is asked of
ENCRYPTED, UTF8_NAME = 0x1, 0x800  # flag bits
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ERRORS = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError,
    OverflowError, LookupError,
)


@dataclass(frozen=True)
class Refused:
    """Why an archive or a file in it is not read: a reason for the quarantine, and what was found."""

    reason: str
    detail: str


class _Guarded:
    """A file that refuses to read as much at once as only a bomb's directory asks for."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1, /) -> bytes:
        if size > MAXIMUM_DIRECTORY_BYTES:
            raise _TooLarge(f"a directory of {size} bytes, more than {MAXIMUM_DIRECTORY_BYTES}")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True


class _TooLarge(ValueError):
    """A bomb by its directory."""


def open_zip(file: IO[bytes]) -> zipfile.ZipFile | Refused:
    """Open an archive; `file` must be seekable."""
    size = file.seek(0, 2)
    try:
        archive = zipfile.ZipFile(_Guarded(file))
    except _TooLarge as error:
        return Refused("too_large", str(error))
    except UnicodeDecodeError as error:
        return Refused("corrupt", f"a name in the directory that is no UTF-8, as it says it is: {error}")
    except ERRORS as error:
        return _no_directory(file, error)
    promised = sum(info.file_size for info in archive.infolist())
    if promised > FREE_BYTES + MAXIMUM_RATIO * size:
        return Refused("too_large", f"members of {promised} bytes in an archive of {size}")
    return archive


def _no_directory(file: IO[bytes], error: Exception) -> Refused:
    file.seek(0)
    head = file.read(4)
    if head.startswith(b"PK"):
        return Refused("truncated", f"a zip archive without a whole directory at its end: {error}")
    return Refused("unreadable", "expected a zip archive; found " + (repr(head) if head else "an empty file"))


def refusal(info: zipfile.ZipInfo, limit: int) -> Refused | None:
    """Why a member is not read, judged by its header, or None."""
    if info.flag_bits & ENCRYPTED:
        return Refused("encrypted", f"{info.filename}: encrypted")
    if info.compress_type not in COMPRESSIONS:
        return Refused("unsupported", f"{info.filename}: compression method {info.compress_type}")
    if info.file_size > limit:
        return Refused("too_large", f"{info.filename}: {info.file_size} bytes, more than {limit}")
    if info.file_size > FREE_BYTES + MAXIMUM_RATIO * info.compress_size:
        return Refused("too_large", f"{info.filename}: {info.file_size} bytes in {info.compress_size}")
    return None


def member_pieces(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes | Damage]:
    """The decompressed content of a member in pieces, and a Damage where it breaks."""
    recovered = 0
    try:
        with archive.open(info) as stream:
            while piece := stream.read(PIECE_BYTES):
                recovered += len(piece)
                yield piece
    except ERRORS as error:
        yield Damage("corrupt", info.header_offset, f"{info.filename}: {error}", recovered)


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes | Refused:
    """The whole content of a member."""
    if (refused := refusal(info, limit)) is not None:
        return refused
    parts: list[bytes] = []
    for piece in member_pieces(archive, info):
        if isinstance(piece, Damage):
            return Refused(piece.reason, piece.detail)
        parts.append(piece)
    return b"".join(parts)


def is_junk(name: str) -> bool:
    """Whether a member is what macOS adds to archives."""
    return name.startswith("__MACOSX/") or name.rpartition("/")[2].startswith("._")


def spellings(info: zipfile.ZipInfo) -> list[str]:
    """The names a member may be called by: as read, and as UTF-8 where the archive does not say that it is."""
    if info.flag_bits & UTF8_NAME or info.filename.isascii():
        return [info.filename]
    try:
        return [info.filename, info.filename.encode("cp437").decode("utf-8")]
    except UnicodeError:
        return [info.filename]
