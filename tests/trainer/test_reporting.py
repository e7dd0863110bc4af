"""What a run says of its pace."""

from __future__ import annotations

import pytest

from rbt.trainer.reporting import Pace


class Clock:
    """Seconds that go by when a test says so."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that a pace goes by."""
    clock = Clock()
    monkeypatch.setattr("rbt.trainer.reporting.time.perf_counter", clock)
    return clock


def take_steps(pace: Pace, clock: Clock, count: int) -> None:
    """Of 8 seconds and 100 tokens each, 2 seconds of which are waiting."""
    for _ in range(count):
        pace.start()
        clock.now += 2
        pace.loaded()
        clock.now += 6
        pace.stop(100)


def test_pace_is_that_of_steps_and_the_share_of_other_work_is_told_beside_it(clock: Clock) -> None:
    """Saving and validating behind a record are in the next one, whose tokens a second are the same."""
    pace = Pace()
    take_steps(pace, clock, 3)
    assert pace.take() == (12.5, 0.25, 0.0)
    clock.now += 24  # a validation, then a checkpoint
    take_steps(pace, clock, 1)
    assert pace.take() == (12.5, 0.25, pytest.approx(0.75))
    take_steps(pace, clock, 2)
    assert pace.take() == (12.5, 0.25, 0.0)


def test_a_pace_without_steps_divides_by_nothing(clock: Clock) -> None:
    pace = Pace()
    assert pace.take() == (0.0, 0.0, 0.0)
    clock.now += 5
    assert pace.take() == (0.0, 0.0, pytest.approx(1.0))
