"""One rank speaks: what all would say is said once, by the first, and ends the job with exit code 2.

    error in a rank ──store of torchrun: the first?──> its line, or silence ──> exit code 2
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from torch.distributed import DistError, PrefixStore, TCPStore  # type: ignore[attr-defined]

from rbt.errors import RbtError

SAID = "said"
STORE_TIMEOUT = timedelta(seconds=30)
TURN_SECONDS = 2.0  # a silent rank waits so long for the one that speaks: torchrun ends all as soon as one has ended
EXIT_CODE = 2


def is_rank() -> bool:
    """Whether torchrun, or someone by hand, started this process as one of several."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def local_rank() -> int:
    """The number of this rank on its node."""
    return int(os.environ.get("LOCAL_RANK", "0")) if is_rank() else 0


def is_first_to_speak() -> bool:
    """Whether no rank has reported an error yet. Ranks that were started by hand each speak for themselves."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return True
    try:
        return connect().add(SAID, 1) == 1
    except DistError:  # torchrun is gone
        return True


class Store(Protocol):
    """What is used of a store of torch.distributed: bytes by name, shared by all ranks."""

    def set(self, key: str, value: str) -> None:
        """Write."""

    def get(self, key: str) -> bytes:
        """Read what is there."""

    def check(self, keys: list[str]) -> bool:
        """Whether all of them are there."""

    def add(self, key: str, amount: int) -> int:
        """Add to a number, which begins at 0, and read it."""


def connect() -> Store:
    """A new connection to the store of the ranks."""
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=STORE_TIMEOUT)
    found: Store = PrefixStore(f"rbt/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    return found


def end_process(line: str) -> None:
    """Say why, unless another rank does, and end this process, whose training thread cannot."""
    if is_first_to_speak():
        sys.stderr.write(f"Error: {line}\n")
        sys.stderr.flush()
    else:
        time.sleep(TURN_SECONDS)
    os._exit(EXIT_CODE)


@contextmanager
def saying_once() -> Iterator[None]:
    """Let an error that is no bug pass in one rank alone; the others end without a word."""
    try:
        yield
    except (RbtError, OSError) as error:
        if is_rank() and not is_first_to_speak():
            time.sleep(TURN_SECONDS)
            raise SystemExit(EXIT_CODE) from error
        raise
