"""Which updates are left out, and the scale of float16 losses."""

from __future__ import annotations

import math

import pytest

from rbt.errors import RbtError
from rbt.trainer.config import ScheduleConfig
from rbt.trainer.stability import FIRST_SCALE, SCALE_WINDOW, LossScale, Watch

SCHEDULE = ScheduleConfig(spike_nats=1.0, spike_window=5)


def watched(losses: list[float], schedule: ScheduleConfig = SCHEDULE) -> tuple[Watch, list[str]]:
    """A watch, and its verdicts on losses with gradients of norm 1."""
    watch = Watch(schedule)
    return watch, [watch.verdict(loss, 1.0) for loss in losses]


def test_a_loss_far_above_the_median_before_it_is_a_spike() -> None:
    calm = [5.0, 4.0, 3.0, 2.0, 2.5]  # median 3
    assert watched([*calm, 4.0])[1] == [""] * 6
    assert watched([*calm, 4.01])[1][-1] == "the loss is a spike: the median before is 3.000"
    assert watched([*calm[:4], 40.0])[1] == [""] * 5  # too few to tell
    assert watched([*calm, 40.0], ScheduleConfig(spike_nats=0.0, spike_window=5))[1] == [""] * 6


def test_what_was_left_out_does_not_move_the_median() -> None:
    watch, verdicts = watched([3.0] * 5 + [9.0] * 20)
    assert verdicts[:5] == [""] * 5 and all("spike" in verdict for verdict in verdicts[5:])
    assert watch.skipped == 20
    assert watch.verdict(3.5, 1.0) == "" and watch.skipped == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_left_out_from_the_first_step_on(value: float) -> None:
    watch = Watch(SCHEDULE)
    assert watch.verdict(value, 1.0) == "the loss is not finite"
    assert watch.verdict(1.0, abs(value)) == "the gradients are not finite"
    assert watch.skipped == 2


def test_a_watch_goes_on_as_if_it_had_not_stopped() -> None:
    losses = [5.0, 4.5, 4.0, 3.5, 3.0, 2.9, 9.0, 2.8, 4.2, 2.7, 8.0, 2.6]
    straight = watched(losses)[1]
    for stop in range(len(losses)):
        before, verdicts = watched(losses[:stop])
        after = Watch(SCHEDULE)
        after.restore(before.state())
        assert verdicts + [after.verdict(loss, 1.0) for loss in losses[stop:]] == straight
    assert sum(map(bool, straight)) == 3


def test_the_scale_doubles_after_a_window_and_halves_at_an_overflow() -> None:
    scale = LossScale(True, SCALE_WINDOW // 4)
    values = []
    for overflowed in (False, False, False, False, True, False, False, False, False):
        scale.update(overflowed)
        values.append(scale.value / FIRST_SCALE)
    assert values == [1, 1, 1, 2, 1, 1, 1, 1, 2]
    for stop in range(4):
        first, second = LossScale(True, SCALE_WINDOW // 4), LossScale(True, SCALE_WINDOW // 4)
        for _ in range(stop):
            first.update(False)
        second.restore(first.state())
        for _ in range(4 - stop):
            second.update(False)
        assert second.value == 2 * FIRST_SCALE


def test_a_scale_that_nothing_helps_is_an_error() -> None:
    scale = LossScale(True, 1)
    with pytest.raises(RbtError, match="expected gradients that float16 holds"):
        for _ in range(30):
            scale.update(True)


def test_other_precisions_have_no_scale() -> None:
    scale = LossScale(False, 1)
    for _ in range(SCALE_WINDOW + 1):
        scale.update(False)
    scale.update(True)
    scale.restore({"value": 8.0, "good": 1})
    assert scale.value == 1.0
