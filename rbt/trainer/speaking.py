"""One rank speaks: what all would say is said once, by the first, and ends the job with exit code 2.

    error in a rank ──store of torchrun──> every rank's watch knows that this one is gone: see `heartbeat`
                    └─the first?──> its line, or silence ──> exit code 2
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from torch.distributed import DistError, PrefixStore, TCPStore  # type: ignore[attr-defined]

from rbt.errors import ConfigError, RbtError
from rbt.progress import is_shown

log = logging.getLogger(__name__)
SAID = "said"
FAILED = "failed"  # which rank has ended with an error
STORE_TIMEOUT = timedelta(seconds=30)
KNOCK_SECONDS = 2.0
TURN_SECONDS = 2.0  # a silent rank waits so long for the one that speaks: torchrun ends all as soon as one has ended
EXIT_CODE = 2
LAST_PORT = 65535


def is_rank() -> bool:
    """Whether torchrun, or someone by hand, started this process as one of several.

    Raises ConfigError where the environment says so, but not all that a rank must know.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return False
    size = _number("WORLD_SIZE", 1)
    _number("RANK", 0, size - 1)
    _number("MASTER_PORT", 1, LAST_PORT)
    if not os.environ.get("MASTER_ADDR"):
        raise _no_rank("MASTER_ADDR", "the host of the first rank", "none")
    return True


def local_rank() -> int:
    """The number of this rank on its node."""
    return _number("LOCAL_RANK", 0) if is_rank() and "LOCAL_RANK" in os.environ else 0


def _number(variable: str, least: int, most: int = sys.maxsize) -> int:
    text = os.environ.get(variable, "")
    if text.isdecimal() and least <= int(text) <= most:
        return int(text)
    limit = "on" if most == sys.maxsize else f"to {most}"
    raise _no_rank(variable, f"a number from {least} {limit}", repr(text) if text else "none")


def _no_rank(variable: str, expected: str, found: str) -> ConfigError:
    return ConfigError(
        f"expected {expected} in the environment's {variable}", found=found,
        cure="let torchrun start the ranks, or unset RANK and WORLD_SIZE to train in one process",
    )


class Store(Protocol):
    """What is used of a store of torch.distributed: bytes by name, shared by all ranks."""

    def set(self, key: str, value: str) -> None:
        """Write."""

    def get(self, key: str) -> bytes:
        """Read what is there."""

    def multi_get(self, keys: list[str]) -> list[bytes]:
        """Read several that are there, in one request."""

    def check(self, keys: list[str]) -> bool:
        """Whether all of them are there."""

    def add(self, key: str, amount: int) -> int:
        """Add to a number, which begins at 0, and read it."""


def connect() -> Store:
    """A new connection to the store of the ranks. Raises DistError."""
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=STORE_TIMEOUT)
    group = (os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), os.environ["WORLD_SIZE"])
    found: Store = PrefixStore("/".join(("rbt", *group)), store)
    return found


def connect_if_there() -> Store | None:
    """A new connection to the store of the ranks, None where nothing answers."""
    try:
        with socket.create_connection((os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])), KNOCK_SECONDS):
            pass  # TCPStore itself tries for long, and says much
        return connect()
    except (OSError, DistError):
        return None


def _store_of_torchrun() -> Store | None:
    """None where torchrun is gone, or did not start this rank: each speaks for itself then."""
    return connect_if_there() if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" else None


def as_failed(rank: int) -> str:
    """This rank, for those that it leaves: JSON."""
    return json.dumps({"rank": rank, "host": socket.gethostname(), "pid": os.getpid()})


def _is_first_to_speak() -> bool:
    store = _store_of_torchrun()
    try:
        return store is None or store.add(SAID, 1) == 1
    except DistError:  # torchrun has gone meanwhile
        return True


def end_process(line: str = "") -> None:
    """End this process, whose training thread cannot; say why first, where there is a line and no rank has spoken."""
    if line and _is_first_to_speak():
        sys.stderr.write(f"\nError: {line}\n" if is_shown() else f"Error: {line}\n")  # a bar stands in the line
        sys.stderr.flush()
    elif line:
        time.sleep(TURN_SECONDS)
    os._exit(EXIT_CODE)


def _tell_failure() -> None:
    if (store := _store_of_torchrun()) is None:
        return
    try:
        store.set(FAILED, as_failed(int(os.environ["RANK"])))
    except DistError:
        log.debug("the store of the ranks is gone")


@contextmanager
def saying_once() -> Iterator[None]:
    """Let an error that is no bug pass in one rank alone; the others end without a word. All learn that a rank failed.

    Raises ConfigError, see `is_rank`.
    """
    is_one_of_many = is_rank()
    try:
        yield
    except Exception as error:
        if is_one_of_many:
            _tell_failure()
            if isinstance(error, RbtError | OSError) and not _is_first_to_speak():
                time.sleep(TURN_SECONDS)
                raise SystemExit(EXIT_CODE) from error
        raise
