"""What keeps a run alive: the scale of float16 losses, and updates that are left out.

An update is left out where its loss or its gradients are not finite, and where its loss is a spike: more than
`spike_nats` above the median of the losses before it. Everything here is a function of losses that all ranks know, so
all ranks decide alike; it is saved in checkpoints, so that a resumed run decides as if it had not stopped.
Loss scale: fairseq optim/dynamic_loss_scaler.py.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from statistics import median
from typing import Any

from rbt.errors import RbtError
from rbt.trainer.config import ScheduleConfig

FIRST_SCALE, LEAST_SCALE = 2.0**7, 1e-4
SCALE_WINDOW = 1 << 14  # micro-batches without an overflow, after which the scale doubles


class LossScale:
    """The factor of a float16 loss: doubled after a while without overflow, halved at each one; else always 1."""

    def __init__(self, is_used: bool, micro_batches: int) -> None:
        """`micro_batches`: of a step, over all ranks."""
        self.is_used = is_used
        self.value = FIRST_SCALE if is_used else 1.0
        self._window = max(1, SCALE_WINDOW // micro_batches)
        self._good = 0

    def update(self, overflowed: bool) -> None:
        """After a step. Raises RbtError where no scale is small enough."""
        if not self.is_used:
            return
        if overflowed:
            self.value, self._good = self.value / 2, 0
            if self.value < LEAST_SCALE:
                raise RbtError(
                    "expected gradients that float16 holds at some scale of the loss", found="an overflow at each",
                    cure='lower schedule.peak_learning_rate, or set run.precision = "bfloat16"',
                )
        else:
            self._good += 1
            if self._good == self._window:
                self.value, self._good = self.value * 2, 0

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps; nothing of a scale that is not used, so that a run may go on in float16."""
        return {"value": self.value, "good": self._good} if self.is_used else {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        if self.is_used and state:
            self.value, self._good = float(state["value"]), int(state["good"])


class Watch:
    """Judges the loss of each update before it is made."""

    def __init__(self, schedule: ScheduleConfig) -> None:
        self._nats = schedule.spike_nats
        self._losses: deque[float] = deque(maxlen=max(1, schedule.spike_window))
        self.skipped = 0  # updates left out in a row

    def verdict(self, loss: float, norm: float) -> str:
        """Why an update is left out, "" where it is not; it counts for the ones behind it."""
        if not math.isfinite(loss):
            why = "the loss is not finite"
        elif not math.isfinite(norm):
            why = "the gradients are not finite"
        elif self._is_spike(loss):
            why = f"the loss is a spike: the median before is {median(self._losses):.3f}"
        else:
            self._losses.append(loss)
            self.skipped = 0
            return ""
        self.skipped += 1
        return why

    def _is_spike(self, loss: float) -> bool:
        is_full = len(self._losses) == self._losses.maxlen
        return self._nats > 0 and is_full and loss > median(self._losses) + self._nats

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"losses": list(self._losses), "skipped": self.skipped}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._losses.extend(state.get("losses", ()))
        self.skipped = int(state.get("skipped", 0))
