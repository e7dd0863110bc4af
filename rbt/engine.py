"""Where tasks run: `map(function, tasks) -> results`, in order of completion; bulk data is never returned.

The local engine is a pool of spawned processes that die with their parent; with one worker it runs in place.
Another engine (ray_engine.py) needs the same `map` and nothing else: a task is a picklable value, the function is
importable by name, results are small, and files go through a shared file system.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rbt.errors import ConfigError, RbtError

TaskT = TypeVar("TaskT")
ResultT = TypeVar("ResultT")
POLL_SECONDS = 0.2

_counter: Any = None  # a shared 64-bit integer in a worker: the units of progress of all its tasks
_on_advance: Callable[[int], object] | None = None  # the parent's bar, where tasks run in place
_reported = 0  # units reported by the task that runs now


def advance(units: int) -> None:
    """Report progress from inside a task, in the unit of the stage's bar."""
    global _reported
    _reported += units
    if _counter is not None:
        with _counter.get_lock():
            _counter.value += units
    elif _on_advance is not None:
        _on_advance(units)


def advance_to(size: int) -> None:
    """Report what is left of a finished task of this size, and start counting anew."""
    global _reported
    advance(size - _reported)
    _reported = 0


@contextmanager
def reporting(on_advance: Callable[[int], object]) -> Iterator[None]:
    """Have what tasks report in this process passed on."""
    global _on_advance, _reported
    _on_advance, _reported = on_advance, 0
    try:
        yield
    finally:
        _on_advance = None


class Engine(Protocol):
    """What a stage asks of an engine."""

    def map(
        self, function: Callable[[TaskT], ResultT], tasks: Sequence[TaskT], on_advance: Callable[[int], object]
    ) -> Iterator[ResultT]:
        """Run the function on every task; yield results as they finish. The first error stops the rest."""


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_worker(counter: Any) -> None:
    global _counter
    _counter = counter
    os.environ.setdefault("POLARS_MAX_THREADS", "1")  # a worker is one core's share; read when polars is first imported
    parent = multiprocessing.parent_process()
    assert parent is not None

    def leave_with_parent() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Start processes that never see Ctrl-C, which goes to all of a terminal: they inherit what is blocked here.

    An interrupt in the meantime reaches this process at the end of the block.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class LocalEngine:
    """Spawned processes on this machine, kept from stage to stage. `workers` = 0 takes every core."""

    def __init__(self, workers: int = 0) -> None:
        self.workers = workers or available_cores()
        self._pool: ProcessPoolExecutor | None = None
        self._counter: Any = None

    def map(
        self, function: Callable[[TaskT], ResultT], tasks: Sequence[TaskT], on_advance: Callable[[int], object]
    ) -> Iterator[ResultT]:
        """See `Engine.map`. A worker that dies (killed, out of memory) is an RbtError."""
        if self.workers == 1 or len(tasks) <= 1:
            return self._in_place(function, tasks, on_advance)
        return self._in_processes(function, tasks, on_advance)

    def _in_place(
        self, function: Callable[[TaskT], ResultT], tasks: Sequence[TaskT], on_advance: Callable[[int], object]
    ) -> Iterator[ResultT]:
        with reporting(on_advance):
            for task in tasks:
                yield function(task)

    def _in_processes(
        self, function: Callable[[TaskT], ResultT], tasks: Sequence[TaskT], on_advance: Callable[[int], object]
    ) -> Iterator[ResultT]:
        pool = self._open_pool()
        seen = self._counter.value
        finished = False
        try:
            with _without_interrupts():
                running: set[Future[ResultT]] = {pool.submit(function, task) for task in tasks}
            while running:
                done, running = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                units = self._counter.value
                on_advance(units - seen)
                seen = units
                for future in done:
                    yield future.result()
            finished = True
        except BrokenProcessPool as error:
            raise RbtError(
                "expected every worker to finish", found="a worker that died (killed, or out of memory)",
                cure="run the same command again: finished tasks are kept; use fewer --workers if memory is short",
            ) from error
        except (KeyboardInterrupt, GeneratorExit):  # the latter where it struck the caller between two results
            for worker in multiprocessing.active_children():  # nothing is lost: a task without a receipt is done anew
                worker.terminate()
            raise
        finally:
            if not finished:  # what is at work ends, what waits is not begun
                self._pool = None
                pool.shutdown(wait=True, cancel_futures=True)

    def _open_pool(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._counter = context.Value("q", 0)
            self._pool = ProcessPoolExecutor(
                self.workers, mp_context=context, initializer=_start_worker, initargs=(self._counter,)
            )
        return self._pool


def make_engine(name: str, workers: int, address: str = "", out: Path | None = None) -> Engine:
    """The engine behind `--engine`. "ray" needs the head's `address`, and `out`, the folder that all nodes must see."""
    if workers < 0:
        raise ConfigError("expected --workers 0 (every core) or more", found=str(workers))
    if name == "local":
        if address:
            raise ConfigError("expected --address with --engine ray alone", found="--engine local")
        return LocalEngine(workers)
    if name != "ray":
        raise ConfigError("expected an engine, 'local' or 'ray'", found=repr(name))
    assert out is not None, "a cluster's nodes must be asked whether they see OUT"
    try:
        from rbt.ray_engine import RayEngine
    except ImportError as error:
        raise RbtError("expected Ray to be installed", found=str(error), cure="pip install rbt[cluster]") from error
    return RayEngine(workers, address, out)
