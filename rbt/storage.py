"""Files: written atomically, hashed as one stream, read from anywhere.

A file under its final name is always whole: it is written to a temporary sibling, synced, and renamed.
"""

from __future__ import annotations

import glob
import gzip
import hashlib
import io
import os
import resource
import shutil
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import IO, Any

from rbt import remote
from rbt.errors import ConfigError, InputError
from rbt.http_range import is_http

CHUNK_BYTES = 1 << 20
STAMP_THREADS = 16  # asking a server about a file is waiting, mostly
LIST = "@"  # before the name of a file that lists inputs
LIST_BYTES = 1 << 30  # of a list, decompressed
TEMPORARY = ".tmp-"  # prefix of what a crash may leave behind; swept by the next run
SPARE_FILES = 256  # beside those that are asked for: libraries, sockets
STARTED = time.time_ns()  # with the process id, tells the writers of a shared disk apart


def allow_open_files(number: int) -> None:
    """Raise this process's limit so that `number` more files can be open. Raises ConfigError where it may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = sum(1 for _ in Path("/dev/fd").iterdir()) + number + SPARE_FILES
    if soft == resource.RLIM_INFINITY or wanted <= soft:
        return
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise ConfigError(
            f"expected a limit of {wanted} open files or more", found=str(hard),
            cure="raise the hard limit (ulimit -Hn), or build the corpus in fewer, larger parts",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def sync(path: Path) -> None:
    """Have a file or a folder's entries on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _temporary_sibling(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f"{TEMPORARY}{os.getpid()}{STARTED}-{path.name}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling (a file or a folder to be made) that becomes `path` if the block succeeds.

    Any error is raised again and leaves `path` as it was. A folder replaces nothing: it must not exist.
    """
    temporary = _temporary_sibling(path)
    _remove(temporary)
    try:
        yield temporary
        if temporary.is_dir():
            for entry in temporary.rglob("*"):
                sync(entry)
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except BaseException as error:
        _remove(temporary)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            raise OSError(error.errno, f"{error.strerror}, while this was written", str(path)) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Write a small UTF-8 text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sweep(folder: Path) -> None:
    """Delete what killed processes left under temporary names, anywhere below `folder`."""
    for leftover in list(folder.rglob(f"{TEMPORARY}*")):
        _remove(leftover)


def sweep_siblings(path: Path) -> None:
    """Delete what killed processes left beside `path` while they wrote it."""
    for leftover in list(path.parent.glob(f"{TEMPORARY}*-{path.name}")):
        if leftover.name.removeprefix(TEMPORARY).removesuffix(f"-{path.name}").isdigit():
            _remove(leftover)


def new_hash(algorithm: str) -> Any:
    """A running hash: "xxh3" (128 bits, needs xxhash), "blake2b" (128 bits), or another of hashlib by its name."""
    if algorithm == "blake2b":
        return hashlib.blake2b(digest_size=16)
    if algorithm != "xxh3":
        return hashlib.new(algorithm)
    import xxhash

    return xxhash.xxh3_128()


def hash_file(path: Path, algorithm: str = "xxh3") -> str:
    """Content hash of a local file as "algorithm:hex"."""
    digest = new_hash(algorithm)
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return f"{algorithm}:{digest.hexdigest()}"


def as_text(path: str) -> str:
    """A path in characters that UTF-8 can hold, for columns and JSON: file names on disk may be any bytes."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def is_url(location: str) -> bool:
    """Whether a location is an fsspec URL rather than a local path."""
    return "://" in location


def open_input(location: str) -> IO[bytes]:
    """Open a local path or any fsspec URL for reading bytes; a URL's dropped connections are taken up again.

    Raises InputError, also from a URL's `read`.
    """
    if is_url(location):
        return io.BufferedReader(remote.RemoteFile(location), CHUNK_BYTES)
    try:
        return Path(location).open("rb")
    except (OSError, ValueError) as error:
        raise InputError("expected a readable file", path=location, found=str(error)) from error


def read_list(location: str) -> list[str]:
    """The lines of a text file (path or URL, plain or gzip), save empty ones and comments (#). Raises InputError."""
    try:
        with open_input(location) as stream:
            data = stream.read(LIST_BYTES + 1)
        if data.startswith(b"\x1f\x8b"):
            with gzip.open(io.BytesIO(data)) as unpacked:
                data = unpacked.read(LIST_BYTES + 1)
        if len(data) > LIST_BYTES:
            raise ValueError(f"more than {LIST_BYTES} bytes")
        lines = [line.strip() for line in data.decode("utf-8-sig").split("\n")]
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise InputError("expected a list of names in UTF-8, plain or gzip", path=location, found=str(error)) from error
    return [line for line in lines if line and not line.startswith("#")]


def _listed(pattern: str, base: Path) -> tuple[str, list[str]]:
    """What "@LIST" or "@LIST PREFIX" stands for: the folder of the names in it ("" if they have none), and the names.

    Lines are URLs, or paths below PREFIX (a URL), or without one local paths, relative to the list's own folder.
    """
    location, _, prefix = pattern.removeprefix(LIST).rpartition(" ")
    if not location or not is_url(prefix):
        location, prefix = pattern.removeprefix(LIST), ""
    location = location.strip() if is_url(location) else str(base / location.strip())
    folder = prefix.rstrip("/") or (location.rpartition("/")[0] if is_url(location) else str(Path(location).parent))
    lines = read_list(location)
    whole = [is_url(line) or (line.startswith("/") and not is_url(folder)) for line in lines]
    names = [line if as_it_is else f"{folder}/{line.lstrip('/')}" for line, as_it_is in zip(lines, whole, strict=True)]
    return "" if any(whole) else folder, names


def _expand_url(pattern: str) -> list[str]:
    if is_http(pattern):
        if any(c in pattern for c in "*["):  # a question mark begins a query
            raise InputError(
                "expected a URL without wildcards: HTTP has no way to list files", path=pattern, found="a wildcard",
                cure=f'name a list of the files, paths = ["{LIST}warc.paths.gz https://..."], or `rbt corpus fetch` it',
            )
        return [pattern]
    system, path = remote.file_system(pattern)
    try:
        found = system.glob(path) if any(c in path for c in "*?[") else [path]
    except Exception as error:  # each file system has errors of its own
        words = f"{type(error).__name__}: {error}"
        raise InputError("expected a folder that can be listed", path=pattern, found=words) from error
    return [system.unstrip_protocol(name) for name in found]


def _expand(pattern: str, base: Path) -> list[str]:
    if pattern.startswith(LIST):
        names = _listed(pattern, base)[1]
        if missing := next((name for name in names if not is_url(name) and not Path(name).is_file()), None):
            raise InputError("expected a file that is there", path=pattern, found=f"{missing}, which is not")
        return names
    if is_url(pattern):
        return _expand_url(pattern)
    if (base / pattern).is_file():  # whatever brackets its name has
        return [str(base / pattern)]
    matches = [Path(name) for name in glob.glob(str(Path(glob.escape(str(base))) / pattern), recursive=True)]
    for match in matches:
        if match.is_symlink() and not match.exists():  # a disk that is not mounted must not go unseen
            raise InputError("expected a file behind the link", path=match, found="none", cure="mount or remove it")
    return [str(match) for match in matches if match.is_file()]


def expand_inputs(patterns: Sequence[str], base: Path) -> list[str]:
    """Sorted files behind globs, URLs or lists of them (@LIST), relative to `base`. Without a file: an InputError."""
    found: set[str] = set()
    for pattern in patterns:
        names = _expand(pattern, base)
        if not names:
            is_folder = not is_url(pattern) and (base / pattern).is_dir()
            raise InputError(
                "expected at least one file", path=pattern,
                found="a folder" if is_folder else "an empty list" if pattern.startswith(LIST) else "none",
                cure=f"name its files: {pattern.rstrip('/')}/**/*.txt, say" if is_folder
                else f"put the files there, or name others; looked from {base.resolve()}",
            )
        found.update(os.path.normpath(name) if not is_url(name) else name for name in names)
    return sorted(found)


def _fixed_folders(pattern: str, base: Path) -> list[str]:
    """The names of the folders above a pattern's first wildcard."""
    if pattern.startswith(LIST):
        folder = _listed(pattern, base)[0]
        return (folder if is_url(folder) else os.path.normpath(folder)).split("/") if folder else []
    if is_http(pattern):
        return pattern.partition("?")[0].split("/")[:-1]
    if is_url(pattern):
        system, path = remote.file_system(pattern)
        return list(takewhile(_is_fixed, system.unstrip_protocol(path).split("/")[:-1]))
    is_name = (base / pattern).is_file()
    fixed = Path(pattern).parent.parts if is_name else takewhile(_is_fixed, Path(pattern).parts[:-1])
    return os.path.normpath(base / Path(*fixed) / "file").split("/")[:-1]


def _is_fixed(name: str) -> bool:
    return not any(c in name for c in "*?[")


def common_folder(patterns: Sequence[str], base: Path) -> str:
    """The deepest folder (or URL) that all patterns share before their first wildcard; "" if they share none.

    Names relative to it are unique among the files of all patterns, and do not change when files come or go.
    """
    folders = [_fixed_folders(pattern, base) for pattern in patterns]
    shared = takewhile(lambda level: len(set(level)) == 1, zip(*folders, strict=False))
    return "/".join(level[0] for level in shared)


def input_stamp(location: str) -> dict[str, int | str]:
    """Size and modification time (or ETag) of a raw input: enough to see that it is the same as before.

    Raises InputError where a URL cannot be reached.
    """
    if is_url(location):
        size, tag = remote.stat(location)
        return {"size": max(size, 0), "tag": tag}
    status = Path(location).stat()
    return {"size": status.st_size, "tag": str(status.st_mtime_ns)}


def input_stamps(locations: Sequence[str]) -> list[dict[str, int | str]]:
    """`input_stamp` of each: many at once, since a server answers one request in a tenth of a second."""
    with ThreadPoolExecutor(STAMP_THREADS) as pool:
        return list(pool.map(input_stamp, locations))


class HashingReader:
    """Wrap a binary stream: every byte read through it is hashed and counted, once, in order."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = new_hash("xxh3")
        self.bytes_read = 0

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes."""
        chunk = self._stream.read(size)
        self._digest.update(chunk)
        self.bytes_read += len(chunk)
        return chunk

    def drain(self) -> str:
        """Read what is left and return the hash of the whole stream."""
        while self.read(CHUNK_BYTES):
            pass
        return self.hash

    @property
    def hash(self) -> str:
        """The hash of what was read, as "xxh3:hex"."""
        return f"xxh3:{self._digest.hexdigest()}"

    def readable(self) -> bool:
        """The stream can be read."""
        return True

    def close(self) -> None:
        """Close the stream underneath."""
        self._stream.close()
