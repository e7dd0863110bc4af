"""What runs on the nodes of a cluster: one task, with a check of the node before a process's first.

Nothing here imports Ray. What is not by name (`inspection`) is sent as code, so that a node without rbt can answer too.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rbt
from rbt.engine import reporting
from rbt.errors import RbtError

REPORT_SECONDS = 1.0  # between two reports of a task's progress


@dataclass(frozen=True)
class Place:
    """Where a run's tasks work: what a process must find before its first one."""

    version: str
    folder: str  # the driver's working folder, which relative paths begin at
    probe: str  # a file in OUT
    token: str  # what is in it

    def problem(self) -> str:
        """What this process lacks, or "" when it is ready; its working folder is the driver's then."""
        if rbt.__version__ != self.version:
            return f"rbt {rbt.__version__}"
        try:
            os.chdir(self.folder)
            seen = Path(self.probe).read_text(encoding="utf-8")
        except OSError as error:
            return f"a node that does not see it: {error.strerror} ({error.filename})"
        return "" if seen == self.token else "a node with another folder of that name"


@dataclass(frozen=True)
class Outcome:
    """What a task sends back: its units of progress, and a result or an error that is no bug."""

    units: int
    result: Any = None
    error: RbtError | OSError | None = None


class Units:
    """An actor: the units that each running attempt has reported so far."""

    def __init__(self) -> None:
        self._units: dict[int, int] = {}

    def report(self, attempt: int, units: int) -> None:
        """Note what an attempt has done in all."""
        self._units[attempt] = units

    def of(self, running: Sequence[int]) -> dict[int, int]:
        """What these attempts have done; the others are forgotten."""
        self._units = {attempt: self._units.get(attempt, 0) for attempt in running}
        return self._units


_ready_for = ""  # the token of the run that this worker process was checked for


def _enter(place: Place) -> None:
    global _ready_for
    if _ready_for == place.token:
        return
    if problem := place.problem():
        raise unfit(place, socket.gethostname(), problem)
    _ready_for = place.token


def unfit(place: Place, node: str, problem: str) -> RbtError:
    """The error that names a node which cannot work."""
    if problem.startswith(("rbt ", "no rbt")):
        return RbtError(
            f"expected rbt {place.version}, as here, on every node", found=f"{problem} on {node}",
            cure="install the same version on all nodes",
        )
    return RbtError(
        "expected every node to see the folder of the output", path=Path(place.probe).parent,
        found=f"{problem}, on {node}", cure="put --out on a disk that all nodes share, under the same path",
    )


def run_task(function: Callable[[Any], Any], task: Any, attempt: int, place: Place, units: Any) -> Outcome:
    """In a worker: run one task and tell how far it is."""
    done, reported_at = 0, time.monotonic()

    def on_advance(more: int) -> None:
        nonlocal done, reported_at
        done += more
        if time.monotonic() - reported_at >= REPORT_SECONDS:
            reported_at = time.monotonic()
            units.report.remote(attempt, done)

    try:
        _enter(place)
        with reporting(on_advance):
            result = function(task)
    except (RbtError, OSError) as error:  # to arrive as they are; anything else is a bug, and comes with its traceback
        return Outcome(done, error=error)
    return Outcome(done, result)


def inspection() -> Callable[[Mapping[str, str], str], str]:
    """A function that says what its node lacks, and leaves an answer file beside the probe."""

    def inspect(place: Mapping[str, str], answer: str) -> str:
        from pathlib import Path

        try:
            from rbt.cluster_task import Place as OfThisNode
        except ImportError as error:
            return f"no rbt that can be imported ({error})"
        problem = OfThisNode(**place).problem()
        if not problem:
            try:
                Path(answer).write_text(place["token"], encoding="utf-8")
            except OSError as error:
                return f"a node that cannot write there: {error.strerror}"
        return problem

    return inspect
