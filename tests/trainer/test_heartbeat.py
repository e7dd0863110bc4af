"""A rank that waits in vain names those it misses, and nobody else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from torch import distributed

from rbt.errors import RbtError
from rbt.trainer import heartbeat as module
from rbt.trainer.heartbeat import ALLOWANCE, SILENT_BEATS, Heartbeat

PATIENCE = 8.0  # seconds of the tests' own clock; a beat is a second
BEAT = 1.0


class Ranks:
    """Three ranks in one process, whose clock the tests turn; all that are alive give a sign every second."""

    def __init__(self, size: int = 3) -> None:
        self.now = 0.0
        self._store = distributed.HashStore()
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
    assert "rank 2 (" in line and "without a sign of life for " in line and "rank 1" not in line


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


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Heartbeat]]:
    """Two ranks with threads and a clock of their own, and little patience."""
    monkeypatch.setattr(module, "TURN_SECONDS", 0.0)
    store = distributed.HashStore()
    pair = [Heartbeat(store, rank, 2, 0.8) for rank in range(2)]
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
