"""Remote files: one stream, however often the connection drops.

    location ──connect(at an offset)──> Connection ──drop: wait, connect again──> RemoteFile: bytes in order, and whole

http(s) is read by the standard library, in ranges; every other URL by its fsspec file system. A file that changes while
it is read (another size, ETag or date) is an error: two halves of two files are no file. What will not get better by
waiting (404, 403, a bad certificate) is an InputError at once; the rest is tried again, longer apart each time.
"""

from __future__ import annotations

import io
import logging
import secrets
import time
from collections.abc import Callable
from typing import Any

from rbt.errors import InputError
from rbt.http_range import Connection, Dropped, connect_http, is_http, stat_http

log = logging.getLogger(__name__)

ATTEMPTS = 8  # in a row that bring no byte
TOLD_FAILURES = 3  # in a row before the user hears of them
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.5, 60.0
READ_BYTES = 1 << 18
SKIP_BYTES = 1 << 20  # a seek forward of at most this reads on instead of connecting anew
HOPELESS = (FileNotFoundError, PermissionError, IsADirectoryError)  # waiting helps none of these
TAG_KEYS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "modified", "updated")


def connect(location: str, offset: int = 0, tag: str = "") -> Connection:
    """Open a remote file at an offset, or at 0 where the server does not do that or has another `tag` by now.

    Raises Dropped where trying again may help, InputError where not.
    """
    return connect_http(location, offset, tag) if is_http(location) else _connect_fsspec(location, offset)


def file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it. Raises InputError where there is none for its protocol."""
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        found = str(error).rstrip(".")
        raise InputError(
            "expected a URL that fsspec can open", path=url, found=found, cure="pip install that package beside rbt"
        ) from error
    except ValueError as error:
        raise InputError("expected a URL that fsspec can open", path=url, found=str(error)) from error
    return system, path


class _FsspecFile:
    def __init__(self, file: Any) -> None:
        self._file = file

    def read(self, size: int, /) -> bytes:
        try:
            return bytes(self._file.read(size))
        except Exception as error:  # each file system has errors of its own
            raise Dropped(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        self._file.close()


def _connect_fsspec(url: str, offset: int) -> Connection:
    size, tag = stat_once(url)
    system, path = file_system(url)
    try:
        file = system.open(path, "rb")
    except HOPELESS as error:
        raise InputError("expected a readable file", path=url, found=f"{type(error).__name__}: {error}") from error
    except Exception as error:  # as above
        raise Dropped(f"{type(error).__name__}: {error}") from error
    try:
        file.seek(offset)
    except Exception as error:  # as above
        file.close()
        raise Dropped(f"{type(error).__name__}: {error}") from error
    return Connection(_FsspecFile(file), offset, size, tag)


def stat_once(location: str) -> tuple[int, str]:
    """(size or -1, tag or "") of a remote file, in one attempt. Raises Dropped, InputError."""
    if is_http(location):
        return stat_http(location)
    system, path = file_system(location)
    try:
        system.invalidate_cache(path)
        info = system.info(path)
    except HOPELESS as error:
        raise InputError("expected a readable file", path=location, found=f"{type(error).__name__}: {error}") from error
    except Exception as error:  # each file system has errors of its own
        raise Dropped(f"{type(error).__name__}: {error}") from error
    if info.get("type") == "directory":
        raise InputError("expected a file", path=location, found="a folder", cure="name files, or a pattern: .../*")
    size = info.get("size")
    return -1 if size is None else int(size), str(next((info[key] for key in TAG_KEYS if info.get(key)), ""))


class Patience:
    """How long to go on trying: `ATTEMPTS` in a row that bring nothing, with waits that double, give or take a half."""

    def __init__(self, location: str, attempts: int = 0, sleep: Callable[[float], object] = time.sleep) -> None:
        self._location, self._attempts, self._sleep = location, attempts or ATTEMPTS, sleep
        self._failures = 0

    def progress(self) -> None:
        """Something came: the count starts anew."""
        self._failures = 0

    def wait(self, error: Dropped) -> None:
        """Wait before the next attempt. Raises InputError when there were enough."""
        self._failures += 1
        if self._failures >= self._attempts:
            raise InputError(
                f"expected an answer in {self._attempts} attempts", path=self._location, found=str(error),
                cure="run the same command again when the network is there",
            ) from error
        pause = min(FIRST_WAIT_SECONDS * 2 ** (self._failures - 1), LONGEST_WAIT_SECONDS)
        jitter = secrets.SystemRandom().uniform(0.5, 1.5)  # many workers are dropped at once, and must not return so
        pause = max(pause * jitter, error.wait)
        level = logging.DEBUG if self._failures < TOLD_FAILURES else logging.INFO  # one is no news, silence is worse
        log.log(level, "%s: %s; trying again in %.1f s", self._location, error, pause)
        self._sleep(pause)


def stat(location: str, patience: Patience | None = None) -> tuple[int, str]:
    """(size or -1, tag or "") of a remote file: ETag or date. Raises InputError."""
    patience = patience or Patience(location)
    while True:
        try:
            return stat_once(location)
        except Dropped as error:
            patience.wait(error)


class RemoteFile(io.RawIOBase):
    """A remote file as one seekable stream. Raises InputError where it cannot be read, or changes meanwhile."""

    def __init__(self, location: str) -> None:
        super().__init__()
        self._location = location
        self._position = 0  # of the byte that is read next
        self._reached = 0  # of the connection
        self._patience = Patience(location)
        self._connection: Connection | None = None
        self.size, self._tag, self._is_known = -1, "", False
        while self._connection is None:
            try:
                self._connect()
            except Dropped as error:
                self._patience.wait(error)

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be read from anywhere."""
        return True

    def tell(self) -> int:
        """Position of the byte that is read next."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; nothing is sent before the next read."""
        if whence == io.SEEK_END and self.size < 0:
            raise io.UnsupportedOperation(f"{self._location}: the server does not say how large it is")
        origin = (0, self._position, self.size)[whence]
        self._position = max(origin + offset, 0)
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Some bytes; 0 at the end alone."""
        while len(buffer) and (self.size < 0 or self._position < self.size):
            try:
                data = self._read(min(len(buffer), READ_BYTES))
            except Dropped as error:
                self._hang_up()
                self._patience.wait(error)
                continue
            buffer[: len(data)] = data
            return len(data)
        return 0

    def _read(self, size: int) -> bytes:
        if self._connection is not None and not 0 <= self._position - self._reached <= SKIP_BYTES:
            self._hang_up()
        if self._connection is None:
            self._connect()
        while (ahead := self._position - self._reached) > 0:
            if not self._take(min(ahead, READ_BYTES)):
                return b""
        if data := self._take(size):
            self._position += len(data)
            self._patience.progress()  # not before: what is skipped again is no progress
        return data

    def _take(self, size: int) -> bytes:
        assert self._connection is not None
        data = self._connection.stream.read(size)
        if not data and self._reached < self.size:
            raise Dropped(f"the connection was closed after {self._reached} of {self.size} bytes")
        self._reached += len(data)
        return data

    def _connect(self) -> None:
        connection = connect(self._location, self._position, self._tag)
        self._connection, self._reached = connection, connection.start
        if not self._is_known:
            self.size, self._tag, self._is_known = connection.size, connection.tag, True
        was, now = (self.size, self._tag), (connection.size, connection.tag)
        if any(a not in (b, -1, "") and b not in (-1, "") for a, b in zip(was, now, strict=True)):
            raise InputError(
                "expected the file to stay as it is while it is read", path=self._location,
                found=f"{now[0]} bytes, {now[1] or 'no tag'} instead of {was[0]} bytes, {was[1] or 'no tag'}",
                cure="run the same command again",
            )

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.stream.close()
            self._connection = None

    def close(self) -> None:
        """Close the connection."""
        self._hang_up()
        super().close()
