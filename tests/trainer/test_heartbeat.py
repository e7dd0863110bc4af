"""A rank that waits in vain names those it misses, and nobody else."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from torch import distributed

from rbt.errors import RbtError
from rbt.trainer import heartbeat as module
from rbt.trainer.heartbeat import ALLOWANCE, LOOKERS, SILENT_BEATS, Heartbeat
from rbt.trainer.speaking import FAILED

PATIENCE = 8.0  # seconds of the tests' own clock; a beat is a second
BEAT = 1.0


class Ranks:
    """Three ranks in one process, whose clock the tests turn; all that are alive give a sign every second."""

    def __init__(self, size: int = 3, store: Any = None) -> None:
        self.now = 0.0
        self._store = store or distributed.HashStore()
        self.beats = [self.heartbeat(rank, size) for rank in range(size)]
        self.alive = set(range(size))

    def heartbeat(self, rank: int, size: int) -> Heartbeat:
        """One rank."""
        return Heartbeat(self._store, rank, size, PATIENCE, clock=lambda: self.now)

    def meet(self, *ranks: int) -> None:
        """Ranks come to a meeting."""
        for rank in ranks:
            self.beats[rank].mark()

    def complaints(self, rank: int, seconds: float) -> list[tuple[float, str]]:
        """What a rank says in some seconds since its last mark: (second, line)."""
        found, start = [], self.now
        while self.now < start + seconds:
            self.now += BEAT
            for other in self.alive:
                self.beats[other].beat()
            if line := self.beats[rank].complaint(self.now - start):
                found.append((self.now - start, line))
        return found


@pytest.fixture
def ranks() -> Ranks:
    """Three ranks in step 7, all of which have met twice."""
    ranks = Ranks()
    for _ in range(2):
        ranks.meet(0, 1, 2)
    for heartbeat in ranks.beats:
        heartbeat.reach(7)
    return ranks


def test_a_rank_that_does_not_come_is_named_when_patience_has_run_out(ranks: Ranks) -> None:
    ranks.meet(0, 2)
    found = ranks.complaints(0, PATIENCE + 3)
    assert found[0][0] in (PATIENCE, PATIENCE + 1)
    line = found[0][1]
    assert line.startswith("expected all 3 ranks to finish step 7 within ")
    assert "rank 1 (" in line and "in step 7)" in line
    assert "rank 0" not in line and "rank 2" not in line and "alive" in line


def test_a_rank_without_signs_is_named_wherever_it_stood(ranks: Ranks) -> None:
    """It came to the meeting, and was stopped or killed behind it."""
    ranks.meet(0, 1, 2)
    ranks.complaints(0, BEAT)
    ranks.alive.discard(2)
    ((second, line), *_) = ranks.complaints(0, PATIENCE)
    assert second == PATIENCE
    assert "rank 2 (" in line and "without a sign of life" in line and "rank 1" not in line


def test_a_rank_that_is_silent_for_a_while_is_not_named(ranks: Ranks) -> None:
    ranks.meet(0, 1, 2)
    ranks.alive.discard(2)
    assert not ranks.complaints(0, SILENT_BEATS * BEAT + 1)
    ranks.alive.add(2)
    ranks.meet(0, 1, 2)
    assert not ranks.complaints(0, PATIENCE + 1)


def test_work_of_one_rank_alone_has_more_patience(ranks: Ranks) -> None:
    ranks.meet(0, 2)
    with ranks.beats[1].working("saving a checkpoint"):
        assert not ranks.complaints(0, ALLOWANCE * PATIENCE - 1)
        assert ranks.beats[1].complaint(ALLOWANCE * PATIENCE + 1) == ""  # it waits for nobody
        found = ranks.complaints(0, ALLOWANCE * PATIENCE)
    assert found and "rank 1 (" in found[0][1] and "saving a checkpoint for " in found[0][1]


def test_patience_begins_anew_when_work_has_ended(ranks: Ranks) -> None:
    ranks.meet(0, 2)
    with ranks.beats[1].working("saving a checkpoint"):
        ranks.complaints(0, 2 * PATIENCE)
    start = ranks.now
    ranks.beats[1].beat()
    assert ranks.beats[0].complaint(2 * PATIENCE) == ""
    ranks.now = start + PATIENCE + 1
    for heartbeat in ranks.beats:
        heartbeat.beat()
    assert "rank 1 (" in ranks.beats[0].complaint(3 * PATIENCE)


def test_a_rank_that_works_in_silence_is_named(ranks: Ranks) -> None:
    """It was stopped while it saved."""
    ranks.meet(0, 2)
    with ranks.beats[1].working("saving a checkpoint"):
        ranks.complaints(0, BEAT)
        ranks.alive.discard(1)
        assert "without a sign of life" in ranks.complaints(0, PATIENCE)[0][1]


def test_what_takes_all_of_them_long_is_no_hang_of_one(ranks: Ranks) -> None:
    """A compilation, in front of which all have met; whoever does not end it is not known, so all are named."""
    ranks.meet(0, 1, 2)
    assert not ranks.complaints(0, ALLOWANCE * PATIENCE)
    ((_, line), *_) = ranks.complaints(0, ALLOWANCE * PATIENCE + 2)
    assert all(f"rank {rank} (" in line for rank in range(3))


def test_a_rank_that_has_not_joined_is_named(ranks: Ranks) -> None:
    ranks = Ranks()
    ranks.alive.discard(1)
    ranks.meet(0)
    ranks.meet(2)
    assert not ranks.complaints(0, ALLOWANCE * PATIENCE)
    line = ranks.complaints(0, ALLOWANCE * PATIENCE + 2)[0][1]
    assert "rank 1, which has not joined" in line and "rank 0" not in line and "rank 2" not in line


class CountingStore:
    """A store that counts the requests."""

    def __init__(self) -> None:
        self.requests = Counter[str]()
        self._store = distributed.HashStore()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def request(*arguments: Any) -> Any:
            self.requests[name] += 1
            return getattr(self._store, name)(*arguments)

        return request


def test_few_ranks_look_for_a_missing_one_and_in_few_requests() -> None:
    """One store serves them all: 1,600 ranks that each read all signs would ask it five million times a beat."""
    size, store = 8 * LOOKERS, CountingStore()
    ranks = Ranks(size, store)
    missing = size - 1
    ranks.alive.discard(missing)
    ranks.beats[missing].beat()
    ranks.meet(*range(size - 1))
    named = {}
    while not named:
        ranks.now += BEAT
        for rank in ranks.alive:
            ranks.beats[rank].beat()
        store.requests.clear()
        lines = {rank: ranks.beats[rank].complaint(ranks.now) for rank in ranks.alive}
        named = {rank: line for rank, line in lines.items() if line}
        assert sum(store.requests.values()) <= 2 * LOOKERS
    assert ranks.now == PATIENCE and set(named) == set(range(LOOKERS))
    assert all(f"rank {missing} (" in line and line.count("rank ") == 1 for line in named.values())


def test_where_the_first_ranks_are_missing_others_look_soon() -> None:
    size = 8 * LOOKERS
    ranks = Ranks(size)
    for rank in range(4 * LOOKERS):  # half of them
        ranks.alive.discard(rank)
        ranks.beats[rank].beat()
    ranks.meet(*range(size))
    ((second, line), *_) = ranks.complaints(4 * LOOKERS, 5 * PATIENCE)
    assert second <= PATIENCE + 4 * (SILENT_BEATS + 2) * BEAT
    assert all(f"rank {rank} (" in line for rank in range(4 * LOOKERS)) and f"rank {4 * LOOKERS} (" not in line


@pytest.mark.slow
def test_of_200_ranks_over_one_store_the_missing_one_is_named() -> None:
    """Each with a connection and a thread of its own; none of them takes another for silent."""
    size, missing, lines = 200, 137, list[str]()
    server = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)

    def make(rank: int) -> Heartbeat:
        store = distributed.TCPStore("127.0.0.1", server.port, is_master=False, wait_for_workers=False)
        return Heartbeat(store, rank, size, 12.0, end=lines.append)

    with ThreadPoolExecutor(50) as pool:  # a connection takes a while
        ranks = list(pool.map(make, range(size)))
    for rank, heartbeat in enumerate(ranks):
        if rank != missing:
            heartbeat.mark()
        heartbeat.start()
    for rank, heartbeat in enumerate(ranks):
        if rank != missing:
            heartbeat._thread.join(60)
            assert not heartbeat._thread.is_alive()
    ranks[missing].stop(failed=False)
    said = [line for line in lines if line]
    assert 1 <= len(said) <= LOOKERS and lines.count("") >= size - 1 - LOOKERS
    assert all(f"rank {missing} (" in line and line.count("rank ") == 1 for line in said)


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Heartbeat]]:
    """Two ranks with threads and a clock of their own, and little patience."""
    monkeypatch.setattr(module, "TURN_SECONDS", 0.0)
    store = distributed.HashStore()
    pair = [Heartbeat(store, rank, 2, 0.8, end=lambda line: None) for rank in range(2)]
    for heartbeat in pair:
        heartbeat.start()
    yield pair
    for heartbeat in pair:
        heartbeat.stop(failed=False)


def test_after_a_failed_meeting_the_rank_that_is_gone_is_named(pair: list[Heartbeat]) -> None:
    pair[1].stop(failed=False)
    with pytest.raises(RbtError, match=r"found rank 1 \(.*without a sign of life"):
        pair[0].explain(RuntimeError("connection closed"))


def test_a_rank_that_left_with_an_error_speaks_for_itself(pair: list[Heartbeat]) -> None:
    pair[1].stop(failed=True)
    with pytest.raises(SystemExit) as caught:
        pair[0].explain(RuntimeError("connection closed"))
    assert caught.value.code == 2


def test_a_failed_meeting_without_a_missing_rank_stays_the_error_it_was(pair: list[Heartbeat]) -> None:
    with pytest.raises(RuntimeError, match="no route"):
        pair[0].explain(RuntimeError("no route"))


def test_the_watch_ends_the_process_with_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    store, lines = distributed.HashStore(), list[str]()
    first = Heartbeat(store, 0, 2, 0.4, end=lines.append)
    Heartbeat(store, 1, 2, 0.4).beat()  # its last
    first.mark()
    first.start()
    first._thread.join(20)
    assert len(lines) == 1 and "rank 1 (" in lines[0]


def followed(heartbeat: Heartbeat, lines: list[str]) -> list[str]:
    """What ends a rank, and how, once its watch has seen the end of it."""
    heartbeat._thread.join(20)
    assert not heartbeat._thread.is_alive()
    return lines


@pytest.mark.parametrize(("host", "number", "is_said"), [("node1", 0, True), ("node1", 3, False), ("", 0, False)])
def test_an_error_of_a_rank_ends_the_others_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, host: str, number: int, is_said: bool
) -> None:
    """Whether or not it had joined; on another machine the first rank there says so."""
    monkeypatch.setattr(module, "TURN_SECONDS", 0.0)
    monkeypatch.setattr(module, "local_rank", lambda: number)
    store, lines = distributed.HashStore(), list[str]()
    patient = Heartbeat(store, 8, 16, 900.0, end=lines.append)
    patient._beat_seconds = 0.01
    patient.start()
    store.set(FAILED, json.dumps({"rank": 3, "host": host or socket.gethostname(), "pid": 42}))
    assert followed(patient, lines) == [""]
    assert ("rank 8: rank 3 (node1, process 42) ended with an error" in caplog.text) == is_said


def test_an_error_of_another_rank_lets_work_end_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint that is being saved is finished."""
    monkeypatch.setattr(module, "TURN_SECONDS", 0.01)
    store, lines = distributed.HashStore(), list[str]()
    heartbeat = Heartbeat(store, 0, 2, 900.0, end=lines.append)
    heartbeat._beat_seconds = 0.01
    heartbeat.start()
    with heartbeat.working("saving a checkpoint"):
        store.set(FAILED, json.dumps({"rank": 1, "host": "node1", "pid": 42}))
        heartbeat._thread.join(0.5)
        assert heartbeat._thread.is_alive() and not lines
    assert followed(heartbeat, lines) == [""]
