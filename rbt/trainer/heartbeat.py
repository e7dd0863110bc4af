"""Who is missing: every rank gives signs of life, and one that waits in vain for the others names those it misses.

    training thread ──mark, where all ranks meet──> Sign of this rank ──watch thread──> store, under the rank's number
    watch thread of a rank that waits too long ──signs of all──> one line that names who is missing ──> the end
    rank that ends with an error ──FAILED in the store──> watch threads of all others ──> the end

Marks count the meetings, so that who waits at one has more of them than those it waits for. Missing is a rank that has
fewer, or whose signs have ceased (stopped, killed, or cut off), when the patience has run out. Work that one rank has
alone, and what takes all of them long, has ALLOWANCE times the patience: a checkpoint on a slow disk is no hang, nor is
a compilation. The training thread writes to the process alone, so that marks cost it nothing.

One store serves all ranks, so that only the first LOOKERS of them read the signs of all; where those do not end the
job, since they are missing themselves, twice as many do, and so on.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from torch.distributed import DistError

from rbt.errors import RbtError
from rbt.trainer.speaking import (
    EXIT_CODE,
    FAILED,
    TURN_SECONDS,
    Store,
    as_failed,
    connect,
    connect_if_there,
    end_process,
    local_rank,
)

log = logging.getLogger(__name__)
ALLOWANCE = 4  # times the patience: for work of one rank alone, for what takes all long, and until all have joined
BEATS = 8  # signs of life within the patience, at least
LONGEST_BEAT = 2.0  # seconds
SILENT_BEATS = 4  # signs left out, after which a rank counts as stopped or dead
STOP_FILE = "RBT_STOP_FILE"  # environment: a file that ends the ranks once it is there; see `launch`
NOW = "now"  # in that file: without a checkpoint
LOOKERS = 8  # ranks that look for missing ones first
CURE = "see what that process says and how its machine is; start again to go on from the newest checkpoint"


@dataclass
class Sign:
    """What a rank lets the others know."""

    host: str
    pid: int
    step: int = 0  # the training step that it is in
    marks: int = 0  # meetings of all ranks that it has come to
    beats: int = 0  # signs given
    idle: float = 0.0  # seconds since the last mark, or since work began or ended
    work: str = ""  # what it does alone


@dataclass
class _Seen:
    sign: Sign
    since: float  # when this beat was first seen


class Heartbeat:
    """The signs of this rank, and its watch over the others."""

    def __init__(
        self, store: Store, rank: int, size: int, patience: float,
        end: Callable[[str], None] = end_process, clock: Callable[[], float] = time.monotonic,
        reconnect: Callable[[], Store | None] = connect_if_there,
    ) -> None:
        """`patience` in seconds. `end` is called in the watch thread, with the line that names the missing ranks, or
        with "" where another rank reports an error; `reconnect` is called where the store does not answer."""
        self.is_alone = False  # the store is gone, and so what started the ranks
        self.is_stop_asked = False  # by someone, who expects this rank to end
        self._clock, self._reconnect = clock, reconnect
        self._store, self._rank, self._size, self._patience, self._end = store, rank, size, patience, end
        self._beat_seconds = min(LONGEST_BEAT, patience / BEATS)
        self._turn = (rank // LOOKERS).bit_length() * (SILENT_BEATS + 2) * self._beat_seconds  # after those before it
        self._sign = Sign(socket.gethostname(), os.getpid())
        self._moved = self._clock()
        self._seen: dict[int, _Seen] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="heartbeat", daemon=True)

    def mark(self) -> None:
        """This rank has come to a point where all ranks meet."""
        self._sign.marks += 1
        self._moved = self._clock()

    def reach(self, step: int) -> None:
        """This rank is in this training step."""
        self._sign.step = step

    @contextmanager
    def working(self, work: str) -> Iterator[None]:
        """This rank has work of its own, for which the others wait longer."""
        self._sign.work, self._moved = work, self._clock()
        try:
            yield
        finally:
            self._sign.work, self._moved = "", self._clock()

    def start(self) -> None:
        """Give signs, and watch."""
        self.beat()
        self._thread.start()

    def stop(self, *, failed: bool) -> None:
        """No more of it. `failed`: this rank has an error of its own, which it will report itself."""
        self._stopped.set()
        self._thread.join(LONGEST_BEAT)
        if failed:
            try:
                self._store.set(FAILED, as_failed(self._rank))
            except DistError:  # nobody is left to know
                log.debug("the store of the ranks is gone")

    def explain(self, error: RuntimeError) -> NoReturn:
        """After a meeting that failed: raise RbtError naming the ranks that are gone, or `error` where none is.

        Ends this process without a word where a rank left with an error of its own, which it reports itself.
        """
        turn = self._clock() + self._turn
        with _undisturbed():
            while self._clock() < turn + (SILENT_BEATS + 2) * self._beat_seconds:
                try:
                    if self._failed():
                        break
                    seen = self._look() if self._clock() >= turn else []
                except DistError:  # the store went with the rank that kept it
                    raise error from None
                others = [(rank, found) for rank, found in enumerate(seen) if found and rank != self._rank]
                if gone := [rank for rank, found in others if self._is_silent(found)]:
                    raise self._error("", gone, seen) from error
                time.sleep(self._beat_seconds / 2)
            else:
                raise error
            self._stopped.set()
            time.sleep(TURN_SECONDS)
        raise SystemExit(EXIT_CODE) from error

    def beat(self) -> None:
        """Give a sign of life."""
        self._sign.beats += 1
        self._sign.idle = self._clock() - self._moved
        self._store.set(str(self._rank), json.dumps(vars(self._sign)))

    def _look(self) -> list[_Seen | None]:
        """The newest sign of each rank; None of one that has not joined."""
        keys = [str(rank) for rank in range(self._size)]
        there = keys if self._store.check(keys) else [key for key in keys if self._store.check([key])]
        for key, value in zip(there, self._store.multi_get(there), strict=True):
            sign, before = Sign(**json.loads(value)), self._seen.get(int(key))
            if before is None or before.sign.beats != sign.beats:
                self._seen[int(key)] = _Seen(sign, self._clock())
        return [self._seen.get(rank) for rank in range(self._size)]

    def _failed(self) -> dict[str, Any]:
        """The rank that has ended with an error: "rank", "host", "pid"; {} where none has."""
        found: dict[str, Any] = json.loads(self._store.get(FAILED)) if self._store.check([FAILED]) else {}
        return found

    def _is_silent(self, seen: _Seen) -> bool:
        return self._clock() - seen.since > SILENT_BEATS * self._beat_seconds

    def _is_missing(self, seen: _Seen | None, waited: float) -> bool:
        """Whether the patience with a rank has run out, where this one has waited so long."""
        if seen is None:
            return waited > ALLOWANCE * self._patience
        if self._is_silent(seen):
            return True
        limit = self._patience * (ALLOWANCE if seen.sign.work else 1)
        return seen.sign.marks < self._sign.marks and seen.sign.idle > limit

    def complaint(self, waited: float) -> str:
        """The line that names whom this rank has waited for in vain, "" where nobody is missing.

        It begins to look before the patience has run out, to know then who has been silent.
        """
        if waited <= self._patience + self._turn - (SILENT_BEATS + 2) * self._beat_seconds:
            return ""
        seen = self._look()
        if waited < self._patience + self._turn or self._sign.work:
            return ""
        missing = [rank for rank, found in enumerate(seen) if self._is_missing(found, waited)]
        if missing:
            return str(self._error(f" within {waited:.0f} s", missing, seen))
        if waited > ALLOWANCE * self._patience:
            return str(self._error(f" within {waited:.0f} s", range(self._size), seen))
        return ""

    def _error(self, when: str, ranks: Sequence[int], seen: Sequence[_Seen | None]) -> RbtError:
        found = ", ".join(self._describe(rank, seen[rank]) for rank in ranks)
        expected = f"expected all {self._size} ranks to finish step {self._sign.step}{when}"
        return RbtError(expected, found=found, cure=CURE)

    def _describe(self, rank: int, seen: _Seen | None) -> str:
        if seen is None:
            return f"rank {rank}, which has not joined"
        sign = seen.sign
        state = (
            "without a sign of life" if self._is_silent(seen)
            else f"{sign.work} for {sign.idle:.0f} s" if sign.work
            else f"alive, but at the same point for {sign.idle:.0f} s"
        )
        return f"rank {rank} ({sign.host}, process {sign.pid}, in step {sign.step}) {state}"

    def _watch(self) -> None:
        while not self._stopped.wait(self._beat_seconds):
            try:
                self.beat()
                if stop_file_says(NOW):
                    os._exit(EXIT_CODE)
                if failed := self._failed():
                    self._follow(**failed)
                    return
                if line := self.complaint(self._clock() - self._moved):
                    self._store.set(FAILED, as_failed(self._rank))
                    self._end(line)
                    return
            except DistError:
                if not self._connect_again():
                    self._end_alone()
                    return

    def _follow(self, rank: int, host: str, pid: int) -> None:
        """Another rank has ended with an error, which it reports itself: end, too, once work of this one is done."""
        while not self._stopped.wait(TURN_SECONDS):
            if not self._sign.work:
                if host != self._sign.host and local_rank() == 0:  # torchrun says nothing of it on other machines
                    log.error("rank %d: rank %d (%s, process %d) ended with an error", self._rank, rank, host, pid)
                self._end("")
                return

    def _connect_again(self) -> bool:
        """Whether the store is still there, and the connection alone was lost."""
        for _ in range(SILENT_BEATS):
            if self._stopped.wait(self._beat_seconds):
                return False
            if store := self._reconnect():
                self._store = store
                log.warning("rank %d: the connection to the store was lost, and made anew", self._rank)
                return True
        return False

    def _end_alone(self) -> None:
        """The store is gone, and whoever started the ranks with it: end after this step, or when patience runs out."""
        if self._stopped.is_set():
            return  # this rank has ended too
        self.is_alone = True
        if not self.is_stop_asked:
            log.error("rank %d: what started the ranks is gone; stopping after step %d", self._rank, self._sign.step)
        if not self._stopped.wait(self._patience):
            os._exit(EXIT_CODE)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let torchrun's SIGTERM, which comes as soon as a rank is gone, not end this one before it has said which."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def stop_file_says(words: str) -> bool:
    """Whether the launcher's file is there and holds these words ("" for any)."""
    path = os.environ.get(STOP_FILE)
    if path is None:
        return False
    try:
        return words in Path(path).read_text("utf-8")
    except FileNotFoundError:
        return False


@contextmanager
def watching(rank: int, size: int, patience: float) -> Iterator[Heartbeat]:
    """Give signs of life, and watch the other ranks, in a thread."""
    heartbeat = Heartbeat(connect(), rank, size, patience)
    heartbeat.start()
    failed = True
    try:
        yield heartbeat
        failed = False
    finally:
        heartbeat.stop(failed=failed)
