"""The head of a Ray cluster and its nodes: whether they answer, asked in ways that end."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from typing import Any

import ray

from rbt.errors import ConfigError, RbtError

HEALTH_SECONDS = 2.0  # between looks at the head and the nodes
HEAD_SECONDS = 20.0  # without an answer of the head, after which it is gone
NODE_SECONDS = 60.0  # without a CPU, after which no node is expected to come any more
CONNECT_SECONDS = 5.0
JOIN_SECONDS = 90.0  # Ray itself looks for a node on this machine for 60
JOIN = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='CRITICAL')"
RESUME = "run the same command again: finished tasks are kept"


def split_address(address: str) -> tuple[str, int]:
    """Host and port of a cluster's head. Raises ConfigError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise ConfigError(
            "expected --address HOST:PORT, the head of a Ray cluster", found=repr(address),
            cure="`ray start --head` prints it",
        )
    return host.strip("[]"), int(port)


def answers(address: str) -> bool:
    """Whether something listens there."""
    try:
        socket.create_connection(split_address(address), CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def check_head(address: str) -> None:
    """Join from a process that can be ended: Ray waits for ever where something else than a head listens."""
    if not answers(address):
        raise RbtError("expected a Ray cluster", path=address, found="no answer", cure="start it, or wait")
    try:
        done = subprocess.run(
            [sys.executable, "-c", JOIN, address], capture_output=True, text=True, check=False, timeout=JOIN_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise RbtError(
            "expected the head of a Ray cluster", path=address,
            found=f"nothing that lets us in for {JOIN_SECONDS:.0f} s", cure="use the address `ray start --head` prints",
        ) from error
    if done.returncode:
        raise RbtError(
            "expected a Ray cluster with a node on this machine, all of one version", path=address,
            found=(done.stderr.strip().splitlines() or ["no reason"])[-1][:300],
        )


def working_nodes() -> list[dict[str, Any]]:
    """Living nodes with a CPU, as Ray describes them. Waits for the head."""
    nodes: Any = ray.nodes
    return [node for node in nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]


class Health:
    """Whether the head answers and nodes are there, looked at every HEALTH_SECONDS."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.cpus = 0
        now = time.monotonic()
        self.looked, self.answered, self.had_cpus = now - HEALTH_SECONDS, now, now

    def look(self) -> None:
        """Count the CPUs. Raises RbtError where the head is gone, or no node came back in time."""
        now = time.monotonic()
        if now - self.looked < HEALTH_SECONDS:
            return
        self.looked = now
        if answers(self.address):  # else Ray itself would wait for it
            self.answered = now
            self.cpus = sum(int(node["Resources"]["CPU"]) for node in working_nodes())
        if self.cpus:
            self.had_cpus = now
        if now - self.answered > HEAD_SECONDS:
            self._give_up("no answer of its head")
        if now - self.had_cpus > NODE_SECONDS:
            self._give_up("no node with a CPU")

    def _give_up(self, found: str) -> None:
        raise RbtError(
            "expected a Ray cluster until the end", path=self.address, found=found,
            cure=f"start the cluster, then {RESUME}",
        )
