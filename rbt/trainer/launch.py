"""Start the ranks of one machine: `rbt pretrain --gpus N` runs itself N times under torchrun.

    this process ──torchrun's agent, in a thread──> N processes with the same options ──> exit code
    Ctrl-C, SIGTERM, SIGUSR1 ──a file──> the ranks end after the step they are in, with a checkpoint

torchrun itself passes signals on, but kills after half a minute, which may be shorter than a step and a checkpoint; so
signals stay here and the ranks look for the file. It is the one that RBT_STOP_FILE names, so that a script may make it,
too, or one of this process alone. A second Ctrl-C ends them at once. Should this process be killed, the ranks miss its
store and end after their step, too.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from rbt.errors import ConfigError, RbtError
from rbt.trainer.distributed import pass_on
from rbt.trainer.heartbeat import NOW, STOP_FILE
from rbt.trainer.speaking import EXIT_CODE

LOOPBACK = "127.0.0.1"
THREADS = "OMP_NUM_THREADS"


def launch(count: int, device: str, module: str, arguments: Sequence[str]) -> int:
    """Run `python -m module arguments` as `count` ranks and return their exit code.

    Raises ConfigError where this machine has not so many GPUs and the device is not "cpu", RbtError naming a rank that
    was killed.
    """
    if device != "cpu" and count > (found := torch.cuda.device_count()):
        raise ConfigError(
            f"--gpus {count}: expected {count} GPUs", found=str(found),
            cure="start fewer, or train on CPUs with --set run.device=cpu",
        )
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # what it says, a rank or we say shorter
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = os.environ.get(THREADS, str(max(1, cores // count)))
    with tempfile.TemporaryDirectory(prefix="rbt-ranks-") as folder:
        stop_file = Path(os.environ.get(STOP_FILE) or Path(folder, "stop"))
        config = LaunchConfig(
            min_nodes=1, max_nodes=1, nproc_per_node=count, run_id=uuid.uuid4().hex, max_restarts=0,
            rdzv_backend="c10d", rdzv_endpoint=f"{LOOPBACK}:0", local_addr=LOOPBACK,
            logs_specs=DefaultLogsSpecs(log_dir=folder), monitor_interval=0.1,
        )
        with _signals_to(stop_file), _environment({STOP_FILE: str(stop_file), THREADS: threads}):
            return _run(config, ["-u", "-m", module, *arguments])


def _run(config: LaunchConfig, arguments: Sequence[str]) -> int:
    """Run the agent in a thread, where it installs no handlers of its own."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            elastic_launch(config, sys.executable)(*arguments)
        except BaseException as error:  # it belongs to the thread that waits
            errors.append(error)

    thread = threading.Thread(target=work, name="torchrun", daemon=True)
    thread.start()
    thread.join()
    if not errors:
        return 0
    if isinstance(errors[0], ChildFailedError):
        return _exit_code(errors[0], config.nproc_per_node)
    raise errors[0]


def _exit_code(error: ChildFailedError, count: int) -> int:
    """The exit code of the first rank that failed. Raises RbtError where a signal ended it and no rank has said so."""
    codes = [failure.exitcode for failure in error.failures.values()]
    if EXIT_CODE in codes:  # it has spoken
        return EXIT_CODE
    rank, failure = next(iter(error.failures.items()))
    if failure.exitcode >= 0:
        return int(failure.exitcode)  # its traceback is above
    raise RbtError(
        f"expected {count} ranks to go on",
        found=f"rank {rank} (process {failure.pid}) ended by {signal.Signals(-failure.exitcode).name}",
        cure="SIGKILL may mean that memory ran out; start again to go on from the newest checkpoint",
    )


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Variables that the ranks inherit."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _signals_to(stop_file: Path) -> Iterator[None]:
    """Turn signals into the file that asks the ranks to stop, a second Ctrl-C into one that asks for it at once."""
    def ask(number: int, frame: FrameType | None) -> None:
        is_second = number == signal.SIGINT and stop_file.exists()
        stop_file.write_text(NOW if is_second else signal.Signals(number).name, encoding="utf-8")

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = [signal.signal(number, ask) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        if stop_file.exists():
            pass_on(before[0])
