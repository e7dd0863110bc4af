"""Tar archives as a stream: files in order, and an archive that is cut or broken says so.

The standard library's reader takes a broken header for the end of the archive, so headers are walked here; its
TarInfo parses them.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from rbt.corpus.sources.compression import PIECE_BYTES, Damage, Readable

BLOCK = tarfile.BLOCKSIZE
LONG_NAME, EXTENDED = (tarfile.GNUTYPE_LONGNAME,), (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
MAXIMUM_HEADER_BYTES = 1 << 20
MAXIMUM_MEMBER_BYTES = 1 << 44  # a header that announces more, or less than nothing, is broken


@dataclass
class Member:
    """One regular file of an archive; `read` gives its bytes."""

    name: str
    size: int
    offset: int  # of its header in the decompressed archive
    stream: Readable
    unread: int

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes; fewer than the header promised only where the archive is cut."""
        data = self.stream.read(self.unread if size < 0 else min(size, self.unread))
        self.unread -= len(data)
        return data

    def read_up_to(self, limit: int) -> bytes | None:
        """The whole content, or None (and the content passed over) where it is larger than `limit`."""
        return self.read() if self.size <= limit else None

    def skip(self) -> bool:
        """Pass over what was not read; False where the archive ends before."""
        while self.unread and self.read(min(self.unread, PIECE_BYTES)):
            pass
        return self.unread == 0


def read_members(stream: Readable) -> Iterator[Member | Damage]:
    """Regular files in order. Each must be read before the next is asked for.

    A Damage comes last where the archive ends without its end mark or a header is broken; where the stream itself is
    damaged, the caller knows more than this Damage does.
    """
    offset, name = 0, ""
    while True:
        header = stream.read(BLOCK)
        if len(header) < BLOCK:
            yield Damage("truncated", offset, "the archive ends without its end mark", 0)
            return
        if not any(header):
            return
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "replace")
            if not 0 <= info.size <= MAXIMUM_MEMBER_BYTES:
                raise tarfile.HeaderError(f"a file of {info.size} bytes")
        except tarfile.HeaderError as error:
            yield Damage("corrupt" if offset else "unreadable", offset, f"tar header: {error}", 0)
            return
        start, size = offset, info.size if info.isreg() or info.type in LONG_NAME + EXTENDED else _other_size(info)
        member = Member(name or info.name, size, start, stream, size)
        offset += BLOCK + size + (-size % BLOCK)
        if info.type in LONG_NAME + EXTENDED and size <= MAXIMUM_HEADER_BYTES:
            name = _name_in(member.read(), info.type) or name
        elif info.isreg():
            name = ""
            yield member
        else:
            name = ""
        if not member.skip() or len(stream.read(-size % BLOCK)) < -size % BLOCK:
            yield Damage("truncated", start, f"the archive ends inside {member.name}", size - member.unread)
            return


def _other_size(info: tarfile.TarInfo) -> int:
    """Content bytes behind the header of something that is no file (links and folders have none)."""
    return 0 if info.type in tarfile.SUPPORTED_TYPES and info.type != tarfile.XGLTYPE else info.size


def _name_in(data: bytes, type: bytes) -> str:
    if type in LONG_NAME:
        return data.rstrip(b"\0").decode("utf-8", "replace")
    while data:
        length, _, _ = data.partition(b" ")
        if not length.isdigit() or not 0 < int(length) <= len(data):
            return ""
        record, data = data[len(length) + 1 : int(length) - 1], data[int(length) :]
        if record.startswith(b"path="):
            return record[5:].decode("utf-8", "replace")
    return ""
