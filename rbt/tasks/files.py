"""Where the files of a task are: in a folder, in a zip, in zips of a folder, or alone.

A place is a folder or a zip with the names of the files in it. What macOS and editors leave behind (`__MACOSX/`,
`._70.txt`, `.DS_Store`) is not listed.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath

from rbt.errors import InputError

JUNK = "__MACOSX"


@dataclass(frozen=True)
class TaskFile:
    """A file of a task's split: `member` is its name inside the folder or zip `location`.

    `held_out` names the member that lists the ids of the dev rows, where the rows of train and dev share a file.
    """

    task: str
    split: str
    location: Path
    member: str
    held_out: str = ""

    @property
    def path(self) -> Path:
        """For messages: the file, as if a zip were a folder."""
        return self.location / self.member


@dataclass(frozen=True)
class Place:
    """A folder or a zip, and its files in order of their names."""

    location: Path
    members: tuple[str, ...]


def list_places(path: Path, what: str) -> list[Place]:
    """The places behind a path: a folder and the zips directly in it, a zip, or the folder of a single file.

    `what` names the task for a message. Raises InputError where there is nothing.
    """
    if path.is_dir():
        names = [entry.relative_to(path).as_posix() for entry in path.rglob("*") if entry.is_file()]
        zips = [_zip_place(entry) for entry in sorted(path.glob("*.zip")) if not entry.name.startswith(".")]
        return [Place(path, _without_junk(names)), *zips]
    if not path.is_file():
        raise InputError(
            f"expected the files of {what}", path=path, found="no such folder or file",
            cure="put them there, or name another path",
        )
    return [_zip_place(path)] if zipfile.is_zipfile(path) else [Place(path.parent, (path.name,))]


def _zip_place(path: Path) -> Place:
    with _open_zip(path) as archive:
        return Place(path, _without_junk(name for name in archive.namelist() if not name.endswith("/")))


def _without_junk(names: Iterable[str]) -> tuple[str, ...]:
    """Sorted, without hidden files."""
    parts = {name: PurePosixPath(name).parts for name in names}
    return tuple(sorted(name for name in parts if JUNK not in parts[name] and parts[name][-1][:1] != "."))


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError("expected a zip", path=path, found=str(error), cure="download it again") from error


def read_member(location: Path, member: str) -> bytes:
    """The bytes of one file. Raises InputError."""
    if not location.is_file():
        return _read_plain(location / member)
    with _open_zip(location) as archive:
        return _read_packed(archive, member)


def read_all(files: Iterable[TaskFile]) -> Iterator[tuple[TaskFile, bytes]]:
    """Each file with its bytes; a zip is opened once. Raises InputError."""
    for location, group in groupby(files, key=lambda file: file.location):
        if location.is_file():
            with _open_zip(location) as archive:
                for file in group:
                    yield file, _read_packed(archive, file.member)
        else:
            for file in group:
                yield file, _read_plain(file.path)


def _read_plain(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError("expected a readable file", path=path, found=str(error)) from error


def _read_packed(archive: zipfile.ZipFile, member: str) -> bytes:
    try:
        return archive.read(member)
    except (OSError, zipfile.BadZipFile, KeyError, RuntimeError) as error:  # RuntimeError: it asks for a password
        raise InputError(
            "expected a readable file in the zip", path=f"{archive.filename}/{member}", found=str(error),
            cure="download it again",
        ) from error


def decode(data: bytes, path: Path) -> str:
    """UTF-8, with or without a byte order mark. Raises InputError with the line of the first bad byte."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(
            "expected UTF-8", path=f"{path}:{line}", found=f"byte {data[error.start]:#04x}",
            cure="take the file as it was published",
        ) from error
