"""Ranks: one process alone, or the processes that torchrun starts.

torchrun sets RANK, WORLD_SIZE and LOCAL_RANK; without them there is one rank and no process group. A rank that hangs or
dies ends the job, and is named: see `heartbeat`.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any

import torch
from torch import Tensor, distributed

from rbt.errors import ConfigError, RbtError
from rbt.trainer.config import RunConfig
from rbt.trainer.heartbeat import ALLOWANCE, Heartbeat, stop_file_says, watching
from rbt.trainer.speaking import EXIT_CODE, is_rank, local_rank


@dataclass(frozen=True)
class World:
    """This process among the ranks."""

    rank: int
    size: int
    device: torch.device
    is_launched: bool  # by torchrun: there is a process group
    heartbeat: Heartbeat | None = None

    @property
    def is_first(self) -> bool:
        """Whether this rank writes files and speaks."""
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sums over all ranks, in float64 (exact for integers below 2^53). Every rank must call it."""
        if not self.is_launched:
            return [float(value) for value in values]
        self._meet()
        tensor = torch.tensor(list(values), dtype=torch.float64, device=self.device)
        distributed.all_reduce(tensor)
        return [float(value) for value in tensor.tolist()]

    def least(self, value: int) -> int:
        """The smallest value of all ranks."""
        if not self.is_launched:
            return value
        self._meet()
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

    def spread(self, tensor: Tensor | None, like: Tensor) -> Tensor:
        """The first rank's tensor on every rank, of the shape, type and device of `like`; the others have None."""
        if not self.is_launched:
            assert tensor is not None
            return tensor
        self._meet()
        device = self.device  # that the ranks exchange tensors on
        sent = torch.empty_like(like, device=device) if tensor is None else tensor.to(device, like.dtype)
        distributed.broadcast(sent, 0)
        return sent.to(like.device)

    def _meet(self) -> None:
        if self.heartbeat is not None:
            self.heartbeat.mark()

    def reach(self, step: int) -> None:
        """Let the other ranks know which step this one is in."""
        if self.heartbeat is not None:
            self.heartbeat.reach(step)

    def working(self, work: str) -> AbstractContextManager[None]:
        """While this rank alone has work, the others wait longer for it."""
        return nullcontext() if self.heartbeat is None else self.heartbeat.working(work)


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
def join(setting: str, patience: float = RunConfig.patience) -> Iterator[World]:
    """Join the ranks that torchrun started, or be the only one; leave them at the end.

    A rank that is missing for `patience` seconds ends the job with a line that names it. Raises RbtError for one that
    is gone, or where the store of the ranks is not there, ConfigError (see `is_rank`). Exits with EXIT_CODE at the end
    where nobody asked this rank to stop, but what started it was gone.
    """
    device = choose_device(setting, local_rank())
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not is_rank():
        yield World(0, 1, device, False)
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    timeout = timedelta(seconds=(ALLOWANCE + 1) * patience)  # the watch over the others is the first to speak
    try:
        store, rank, size = next(distributed.rendezvous("env://", timeout=timeout))  # type: ignore[attr-defined]
    except distributed.DistError as error:
        address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise RbtError(
            f"expected the store of the ranks at {address}", found=str(error).partition("\n")[0],
            cure="see MASTER_ADDR and MASTER_PORT: the first rank's host, and a free port of it",
        ) from error
    with watching(rank, size, patience) as heartbeat:
        heartbeat.mark()
        try:
            distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
            yield World(rank, size, device, True, heartbeat)
            heartbeat.mark()
            distributed.barrier()  # gloo aborts in a rank whose peer has already left
        except RuntimeError as error:
            if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
                raise
            heartbeat.explain(error)
        finally:
            if distributed.is_initialized():
                distributed.destroy_process_group()
    if heartbeat.is_alone and not heartbeat.is_stop_asked:
        raise SystemExit(EXIT_CODE)


class StopRequest:
    """Whether a signal, or the launcher's file, has asked this process to end after the step it is in.

    A rank that has lost what started it asks itself.
    """

    def __init__(self, heartbeat: Heartbeat | None = None) -> None:
        self._is_asked, self._heartbeat = False, heartbeat

    @property
    def is_asked(self) -> bool:
        """Once asked, always asked."""
        if stop_file_says(""):
            self._ask()
        return self._is_asked or (self._heartbeat is not None and self._heartbeat.is_alone)

    def _ask(self, number: int = 0, frame: FrameType | None = None) -> None:
        self._is_asked = True
        if self._heartbeat is not None:
            self._heartbeat.is_stop_asked = True


@contextmanager
def stop_on_signals(heartbeat: Heartbeat | None = None) -> Iterator[StopRequest]:
    """Turn SIGTERM, SIGINT and SIGUSR1 into a request; the handlers before are restored at the end.

    Inside another request it asks that one too, and begins asked where that one was.
    """
    request = StopRequest(heartbeat)
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield request
        return
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = [signal.signal(number, request._ask) for number in numbers]
    if (around := _request_of(before[0])) is not None and around.is_asked:
        request._ask()
    try:
        yield request
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        if request.is_asked:
            pass_on(before[0])


def pass_on(handler: Any) -> None:
    """Ask the request around one that was asked, if the handler before was one's: that of a command of several runs."""
    if _request_of(handler) is not None:
        handler(signal.SIGTERM, None)


def _request_of(handler: Any) -> StopRequest | None:
    """The request that a signal's handler asks."""
    owner = getattr(handler, "__self__", None)
    return owner if isinstance(owner, StopRequest) else None
