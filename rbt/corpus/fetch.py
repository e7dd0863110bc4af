"""`rbt corpus fetch`: many files at once, each whole under its name or not there.

    Item ──connect, append, connect again──> NAME.part (+ NAME.part.json: url, tag) ──size, checksum──> NAME

A part is taken up again where it ends, by this run or the next, as long as the server has the same file: by its ETag
or date, else only where a checksum will tell. DIR/.rbt-fetch.jsonl has a line a finished file (name, url, size, tag,
checksum), so that a second run asks no server about them. Threads do the waiting; the caller's thread keeps the books.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from rbt import remote
from rbt.corpus.fetch_list import BOOK, PART, STATE, Item, inside
from rbt.errors import InputError, RbtError
from rbt.http_range import Connection, Dropped
from rbt.progress import progress
from rbt.stage import hold
from rbt.storage import hash_file, sync, write_text

log = logging.getLogger(__name__)
LAST_SECONDS = 0.5  # that an interrupted run gives its threads


@dataclass(frozen=True)
class FetchConfig:
    """The options of `rbt corpus fetch`."""

    parallel: int = 4  # connections
    attempts: int = remote.ATTEMPTS  # of one file in a row that bring nothing
    update: bool = False  # ask the server whether finished files have changed


@dataclass
class Report:
    """What came of a run: names of files, and for those that failed why."""

    fetched: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)  # that were there
    failed: dict[str, str] = field(default_factory=dict)
    bytes: int = 0  # that came over the network


class Stopped(Exception):
    """The run is over, whatever this thread was doing."""


@dataclass(frozen=True)
class Session:
    """What a thread needs: where files go, what is finished, and whom to tell of bytes that came."""

    folder: Path
    config: FetchConfig
    finished: dict[str, dict[str, Any]]  # the book, by name
    stop: threading.Event
    tell: Callable[[int], None]

    def rest(self, seconds: float) -> None:
        """Wait, unless the run ends meanwhile."""
        if self.stop.wait(seconds):
            raise Stopped

    def patience(self, url: str) -> remote.Patience:
        """How long to go on trying for one file."""
        return remote.Patience(url, self.config.attempts, self.rest)


@contextmanager
def _open_book(folder: Path) -> Iterator[tuple[dict[str, dict[str, Any]], IO[bytes]]]:
    """The finished files by name, and the file to append to; one process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / BOOK).open("a+b") as book:
        hold(book, folder)
        book.seek(0)
        *lines, rest = book.read().split(b"\n")
        if rest:  # a line without its end was cut by a crash
            book.truncate(sum(len(line) + 1 for line in lines))
        entries = [entry for line in lines if (entry := _entry(line)) is not None]
        if len(entries) < len(lines):
            found = len(lines) - len(entries)
            log.warning("%s: %d lines are unreadable; servers are asked about their files", folder / BOOK, found)
        yield {entry["name"]: entry for entry in entries}, book


def _entry(line: bytes) -> dict[str, Any] | None:
    """A line of the book; None where it is none."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and entry.keys() >= {"name", "url", "size", "tag", "checksum"} else None


def fetch(items: Sequence[Item], folder: Path, config: FetchConfig) -> Report:
    """Fetch what is missing; an error of one file does not stop the others. Raises ArtefactError."""
    waiting: queue.SimpleQueue[Item] = queue.SimpleQueue()
    events: queue.SimpleQueue[int | tuple[Item, dict[str, Any] | Exception | None]] = queue.SimpleQueue()
    for item in items:
        waiting.put(item)
    report, stop = Report(), threading.Event()
    with _open_book(folder) as (finished, book), progress("fetch", None, "B") as bar:
        session = Session(folder, config, finished, stop, events.put)
        threads = [
            threading.Thread(target=_work, args=(waiting, events, session), daemon=True)
            for _ in range(min(config.parallel, len(items)))
        ]
        for thread in threads:
            thread.start()
        try:
            left = len(items)
            while left:
                event = events.get()
                if isinstance(event, int):
                    report.bytes += max(event, 0)
                    bar.update(event)
                else:
                    left -= 1
                    _note(*event, report, book)
                    bar.set_postfix_str(f"{len(items) - left}/{len(items)} files, {len(report.failed)} failed")
        finally:
            stop.set()
            deadline = time.monotonic() + LAST_SECONDS
            for thread in threads:
                thread.join(max(deadline - time.monotonic(), 0))  # one that waits for a server ends with the process
    return report


def _work(waiting: queue.SimpleQueue[Item], events: queue.SimpleQueue[Any], session: Session) -> None:
    while not session.stop.is_set():
        try:
            item = waiting.get_nowait()
        except queue.Empty:
            return
        try:
            events.put((item, fetch_one(item, session)))
        except Stopped:
            return
        except Exception as error:  # the caller must hear of every file, or it would wait for ever
            events.put((item, error))


def _note(item: Item, outcome: dict[str, Any] | Exception | None, report: Report, book: IO[bytes]) -> None:
    if isinstance(outcome, Exception):
        if not isinstance(outcome, RbtError | OSError):
            log.error("%s: a bug, not the file's fault", item.url, exc_info=outcome)
        report.failed[item.name] = str(outcome)
    elif outcome is None:
        report.kept.append(item.name)
    else:
        (report.fetched if outcome.pop("is_new") else report.kept).append(item.name)
        book.write((json.dumps(outcome, sort_keys=True) + "\n").encode())
        book.flush()


def fetch_one(item: Item, session: Session) -> dict[str, Any] | None:
    """Fetch one file unless it is there; what to write into the book, None where that is known.

    Raises InputError, OSError, Stopped.
    """
    path = inside(session.folder, item.name)
    if path.is_file():
        size, entry = path.stat().st_size, session.finished.get(item.name)
        is_known = entry is not None and (entry["url"], entry["size"]) == (item.url, size)
        if not (is_known and session.config.update and _has_changed(entry or {}, item, session)):
            if is_known and entry is not None and item.checksum in ("", entry["checksum"]):
                return None
            return {**_check_present(path, item, session), "is_new": False}
    elif path.exists():
        raise InputError("expected a place for a file", path=path, found="a folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    part, state = path.with_name(path.name + PART), path.with_name(path.name + STATE)
    for is_last in (False, True):
        size, tag = _download(item, part, state, session)
        found = hash_file(part, item.checksum.partition(":")[0]) if item.checksum else ""
        if found == item.checksum:
            break
        part.unlink()
        state.unlink(missing_ok=True)
        if is_last:
            raise InputError(f"expected {item.checksum}", path=item.url, found=f"{found} of {size} bytes, twice")
    part.replace(path)
    sync(path.parent)
    state.unlink(missing_ok=True)
    return {"name": item.name, "url": item.url, "size": size, "tag": tag, "checksum": item.checksum, "is_new": True}


def _has_changed(entry: dict[str, Any], item: Item, session: Session) -> bool:
    size, tag = remote.stat(item.url, session.patience(item.url))
    return (size >= 0 and size != entry["size"]) or bool(tag and entry["tag"] and tag != entry["tag"])


def _check_present(path: Path, item: Item, session: Session) -> dict[str, Any]:
    """The book's entry of a file that is there without one. Raises InputError where it is another file."""
    size, tag = path.stat().st_size, ""
    cure = "delete it, or choose another --out"
    if item.checksum:
        if (found := hash_file(path, item.checksum.partition(":")[0])) != item.checksum:
            raise InputError(f"expected {item.checksum}", path=path, found=found, cure=cure)
    else:
        expected, tag = remote.stat(item.url, session.patience(item.url))
        if expected != size:
            what = f"{expected} bytes, as {item.url} has" if expected >= 0 else "a new name, since no size is known"
            raise InputError(f"expected {what}", path=path, found=f"{size} bytes", cure=cure)
    return {"name": item.name, "url": item.url, "size": size, "tag": tag, "checksum": item.checksum}


def _download(item: Item, part: Path, state: Path, session: Session) -> tuple[int, str]:
    """Bring `part` to the whole file; its (size, tag)."""
    size, tag = _resumable(item, part, state)
    patience = session.patience(item.url)
    with _nothing_empty(part), part.open("ab") as file:
        furthest = file.tell()
        while True:
            try:
                connection = _connect(item.url, file, size, tag, session)
                try:
                    size, tag = connection.size, connection.tag
                    write_text(state, json.dumps({"url": item.url, "tag": tag, "size": size}))
                    for _ in _append(connection, file, session):
                        if file.tell() > furthest:  # what comes a second time is no progress
                            furthest = file.tell()
                            patience.progress()
                finally:
                    connection.stream.close()
                break
            except Dropped as error:
                patience.wait(error)
        file.flush()
        os.fsync(file.fileno())
        return file.tell(), tag


@contextmanager
def _nothing_empty(part: Path) -> Iterator[None]:
    """Leave no part without a byte where a file cannot be had at all."""
    try:
        yield
    except (InputError, OSError):
        if part.is_file() and not part.stat().st_size:
            part.unlink()
        raise


def _resumable(item: Item, part: Path, state: Path) -> tuple[int, str]:
    """(size, tag) of the file that `part` is a part of; a part that cannot be taken up again is deleted."""
    if part.is_file() and state.is_file():
        known = json.loads(state.read_text("utf-8"))
        if known["url"] == item.url and (known["tag"] or item.checksum):
            return int(known["size"]), str(known["tag"])
    part.unlink(missing_ok=True)
    return -1, ""


def _connect(url: str, file: IO[bytes], size: int, tag: str, session: Session) -> Connection:
    """A connection at the end of the part, which is emptied where the server has another file, or starts anew."""
    if session.stop.is_set():
        raise Stopped
    offset = file.tell()
    connection = remote.connect(url, offset, tag)
    is_other = (tag and connection.tag and connection.tag != tag) or (size >= 0 and connection.size not in (size, -1))
    if offset and connection.start == offset and (is_other or 0 <= connection.size < offset):
        connection.stream.close()
        connection = remote.connect(url)
    if connection.start != offset:
        session.tell(-offset)
        file.truncate(0)
        file.seek(0)
        return connection
    size = connection.size if connection.size >= 0 else size  # the answer to a range may leave out what is known
    return replace(connection, size=size, tag=connection.tag or tag)


def _append(connection: Connection, file: IO[bytes], session: Session) -> Iterator[None]:
    """Write what comes, a step a chunk. Raises Dropped where it ends too early."""
    while data := connection.stream.read(remote.READ_BYTES):
        file.write(data)
        session.tell(len(data))
        yield
        if session.stop.is_set():
            raise Stopped
    if connection.size >= 0 and file.tell() != connection.size:
        raise Dropped(f"the connection was closed after {file.tell()} of {connection.size} bytes")
