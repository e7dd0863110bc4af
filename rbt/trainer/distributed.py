"""Ranks: one process alone, or the processes that torchrun starts.

torchrun sets RANK, WORLD_SIZE and LOCAL_RANK; without them there is one rank and no process group. A rank that dies
ends the job: torchrun ends the others, and a collective that waits too long raises.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType

import torch
from torch import distributed

from rbt.errors import ConfigError

PATIENCE = timedelta(minutes=15)  # of a collective: longer than a checkpoint takes, shorter than a night


@dataclass(frozen=True)
class World:
    """This process among the ranks."""

    rank: int
    size: int
    device: torch.device
    is_launched: bool  # by torchrun: there is a process group

    @property
    def is_first(self) -> bool:
        """Whether this rank writes files and speaks."""
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sums over all ranks, in float64 (exact for integers below 2^53). Every rank must call it."""
        if not self.is_launched:
            return [float(value) for value in values]
        tensor = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        distributed.all_reduce(tensor)
        return [float(value) for value in tensor.tolist()]

    def least(self, value: int) -> int:
        """The smallest value of all ranks."""
        if not self.is_launched:
            return value
        tensor = torch.tensor(value, dtype=torch.int64, device=self.device)
        distributed.all_reduce(tensor, distributed.ReduceOp.MIN)
        return int(tensor)

    @property
    def device_name(self) -> str:
        """What the device is."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type

    def from_first(self, value: int) -> int:
        """Rank 0's value, on every rank; also a point that all ranks pass together."""
        return int(self.sum([value if self.is_first else 0])[0])


def choose_device(setting: str, local_rank: int) -> torch.device:
    """The device of a [run] device setting. Raises ConfigError where there is no such GPU."""
    if setting == "cpu" or (setting == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available() or local_rank >= torch.cuda.device_count():
        raise ConfigError(
            f"[run] device: expected a GPU for local rank {local_rank}",
            found=f"{torch.cuda.device_count()} GPUs", cure="start fewer processes, or --set run.device=cpu",
        )
    return torch.device("cuda", local_rank)


@contextmanager
def join(setting: str) -> Iterator[World]:
    """Join the ranks that torchrun started, or be the only one; leave them at the end."""
    is_launched = "RANK" in os.environ and "WORLD_SIZE" in os.environ
    device = choose_device(setting, int(os.environ.get("LOCAL_RANK", "0")) if is_launched else 0)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not is_launched:
        yield World(0, 1, device, False)
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield World(distributed.get_rank(), distributed.get_world_size(), device, True)
        distributed.barrier()  # gloo aborts in a rank whose peer has already left
    finally:
        distributed.destroy_process_group()


class StopRequest:
    """Whether SIGTERM or SIGINT has asked this process to end after the step it is in."""

    def __init__(self) -> None:
        self.is_asked = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.is_asked = True


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGTERM and SIGINT into a request; the handlers before are restored at the end."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield request
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, request._ask) for number in numbers]
    try:
        yield request
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
