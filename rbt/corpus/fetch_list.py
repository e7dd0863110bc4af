"""The list of `rbt corpus fetch`: which URLs, under which names, with which checksums.

    LIST (file or URL, plain or gzip) ──lines──> Item(url, name, checksum)

Lines are of these forms, mixed as they come; empty ones and comments (#) are passed over:

    https://host/folder/file.gz                              any fsspec URL
    crawl-data/CC-NEWS/2018/01/x.warc.gz                     a path: below --prefix, else below the list's own URL
    https://host/file.gz sha256:9f86d0...                    with a checksum: md5, sha1, sha256, sha512, xxh3, blake2b
    d41d8cd98f00b204e9800998ecf8427e  file.xml.bz2           the lines of md5sum, sha1sum, sha256sum, sha512sum

A file keeps the path that its line gives, below the output folder; a URL its last name alone.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import unquote

from rbt.errors import InputError
from rbt.http_range import is_http
from rbt.storage import TEMPORARY, is_url, read_list

log = logging.getLogger(__name__)
PART, STATE = ".part", ".part.json"  # behind the name of a file that is not finished
BOOK = ".rbt-fetch.jsonl"  # lists the finished files of a folder
DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128, "xxh3": 32, "blake2b": 32}  # hexadecimal
_OF_DIGITS = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}
_SUM_LINE = re.compile(r"([0-9a-fA-F]{32,128})[ \t]+\*?(\S.*)")
_CHECKSUM = re.compile(r"([a-z0-9]+):([0-9a-fA-F]+)")


@dataclass(frozen=True)
class Item:
    """One file to fetch. `name`: below the output folder, with slashes; `checksum`: "algorithm:hex" or ""."""

    url: str
    name: str
    checksum: str = ""


def read_items(location: str, prefix: str = "", only: str = "", checksums: str = "") -> list[Item]:
    """The items of a list in its order, each URL once.

    `only`: a pattern (* and ?) that names or paths must match; `checksums`: a file or URL as md5sum writes it, whose
    names are looked up by path or last name. Raises InputError where a line is nonsense, or two files have one name.
    """
    base = prefix or (location.rpartition("/")[0] if is_url(location) else "")
    known = _known_checksums(checksums) if checksums else {}
    items: dict[str, Item] = {}
    for number, line in enumerate(read_list(location), 1):
        item = _item(line, base, f"{location}, entry {number}")
        if only and not (fnmatch(item.name, only) or fnmatch(item.name.rpartition("/")[2], only)):
            continue
        if known and not item.checksum:
            item = Item(item.url, item.name, known.get(item.name) or known.get(item.name.rpartition("/")[2], ""))
        items[item.name] = _joined(items.get(item.name, item), item, location)
    if not items:
        raise InputError("expected files to fetch", path=location, found=f"none that match {only}" if only else "none")
    if known and (without := [item.name for item in items.values() if not item.checksum]):
        log.warning("%s: no checksum for %d of %d files, such as %s", checksums, len(without), len(items), without[0])
    return list(items.values())


def _joined(first: Item, second: Item, location: str) -> Item:
    """Two items of one name as one. Raises InputError where they are different files."""
    if first.url != second.url:
        raise InputError(
            "expected a different name for each URL", path=location,
            found=f"{first.name} for {first.url} and {second.url}",
            cure="give paths below a --prefix instead of whole URLs, or fetch them into two folders",
        )
    if first.checksum and second.checksum not in ("", first.checksum):
        found = f"{first.checksum} and {second.checksum} for {first.url}"
        raise InputError("expected one checksum for each URL", path=location, found=found)
    return first if first.checksum else second


def _item(line: str, base: str, where: str) -> Item:
    checksum = ""
    if (found := _SUM_LINE.fullmatch(line)) and len(found[1]) in _OF_DIGITS:
        checksum, line = f"{_OF_DIGITS[len(found[1])]}:{found[1].lower()}", found[2].strip()
    elif (words := line.split()) and len(words) > 1 and (found := _CHECKSUM.fullmatch(words[-1])):
        if DIGITS.get(found[1]) != len(found[2]):
            expected = f"a checksum of {', '.join(DIGITS)}"
            raise InputError(f"expected {expected}", path=where, found=words[-1])
        checksum, line = f"{found[1]}:{found[2].lower()}", line[: line.rindex(words[-1])].strip()
    if is_url(line):
        path = line.partition("://")[2].partition("?")[0].partition("#")[0]
        return Item(line, safe_name(unquote(path.rpartition("/")[2]), where), checksum)
    if not base:
        raise InputError("expected a URL, or a --prefix for paths", path=where, found=repr(line))
    name = line.removeprefix("./")
    path = name.replace("#", "%23") if is_http(base) else name  # else what follows would be no part of the request
    return Item(f"{base.rstrip('/')}/{path.lstrip('/')}", safe_name(name, where), checksum)


def safe_name(name: str, where: str) -> str:
    """A relative path as it is. Raises InputError where it could lead out of a folder, or be taken for our own."""
    names = name.split("/")
    if (
        any(part in ("", ".", "..") or part.startswith(TEMPORARY) for part in names)
        or not name.isprintable() or "\\" in name or ":" in names[0] or name.endswith((PART, STATE)) or name == BOOK
    ):
        raise InputError("expected a name for a file below the output folder", path=where, found=repr(name))
    return name


def inside(folder: Path, name: str) -> Path:
    """Where a file of this name goes. Raises InputError where a link in the folder leads out of it."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError("expected a file below the output folder", path=path, found=f"a link to {path.resolve()}")
    return path


def _known_checksums(location: str) -> dict[str, str]:
    found = {}
    for number, line in enumerate(read_list(location), 1):
        match = _SUM_LINE.fullmatch(line)
        if match is None or len(match[1]) not in _OF_DIGITS:
            where = f"{location}, entry {number}"
            raise InputError("expected a checksum and a name, as md5sum writes them", path=where, found=repr(line[:80]))
        found[match[2].strip().removeprefix("./")] = f"{_OF_DIGITS[len(match[1])]}:{match[1].lower()}"
    return found
