"""Real Ray clusters on the loopback addresses of this machine, and functions that their nodes can import."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = Path(__file__).resolve().parent / "functions"
STARTED = "Ray runtime started."


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def members(session: int) -> list[int]:
    """Living processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


class Node:
    """`ray start --block` in a session of its own."""

    def __init__(self, folder: Path, name: str, words: Sequence[str], paths: Sequence[Path], under: Sequence[str]):
        log = folder / f"{name}.log"
        command = [
            *under, sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats",
            "--object-store-memory", "80000000", "--min-worker-port", "0", "--max-worker-port", "0",
            "--include-log-monitor", "false", *words,
        ]
        environment = {
            **os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*paths, ROOT, FUNCTIONS])),
            "RAY_health_check_period_ms": "500", "RAY_health_check_initial_delay_ms": "500",
        }
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, cwd=folder,
                start_new_session=True,
            )
        self.log = log

    def is_up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return STARTED in self.log.read_text()

    def at_work(self) -> list[int]:
        """Processes that are running a task now: Ray puts it into their titles."""
        found = []
        for pid in members(self.process.pid):
            with suppress(FileNotFoundError, ProcessLookupError):
                if (Path("/proc") / str(pid) / "cmdline").read_bytes().startswith(b"ray::run_task"):
                    found.append(pid)
        return found

    def kill(self) -> None:
        """SIGKILL to every process of the node."""

        def is_empty() -> bool:
            for pid in members(self.process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not members(self.process.pid)

        assert wait_until(is_empty, 30)
        self.process.wait()


class Cluster:
    """A head and nodes, one CPU each; all of it is gone after `close`."""

    wait_until = staticmethod(wait_until)

    def __init__(self, head_cpus: int = 1) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rbt-", dir="/tmp"))  # the names of sockets must stay short
        self.nodes: list[Node] = []
        with socket.socket() as head, socket.socket() as client:
            head.bind(("127.0.0.2", 0))
            client.bind(("127.0.0.2", 0))
            port, client_port = (str(free.getsockname()[1]) for free in (head, client))
        self.address = f"127.0.0.2:{port}"
        words = ["--head", "--port", port, "--temp-dir", str(self.folder / "t")]
        words += ["--include-dashboard", "false", "--ray-client-server-port", client_port]
        try:
            self.head = self._start("head", [*words, "--node-ip-address", "127.0.0.2", "--num-cpus", str(head_cpus)])
        except BaseException:
            self.close()
            raise

    def add(self, paths: Sequence[Path] = (), under: Sequence[str] = ()) -> Node:
        """Another node, whose Python looks into `paths` first; `under`: a command that starts it."""
        number = len(self.nodes)
        words = ["--address", self.address, "--node-ip-address", f"127.0.0.{number + 2}", "--num-cpus", "1"]
        return self._start(f"node{number}", words, paths, under)

    def _start(
        self, name: str, words: Sequence[str], paths: Sequence[Path] = (), under: Sequence[str] = ()
    ) -> Node:
        node = Node(self.folder, name, words, paths, under)
        self.nodes.append(node)
        assert wait_until(node.is_up), node.log.read_text()
        return node

    def close(self) -> None:
        for node in reversed(self.nodes):
            node.kill()
        shutil.rmtree(self.folder)


@pytest.fixture
def new_cluster() -> Iterator[Callable[..., Cluster]]:
    """Makes clusters that end with the test."""
    made: list[Cluster] = []

    def make(head_cpus: int = 1) -> Cluster:
        made.append(Cluster(head_cpus))
        return made[-1]

    yield make
    for cluster in made:
        cluster.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes of one CPU each, which no test kills."""
    made = Cluster()
    try:
        made.add()
        yield made
    finally:
        made.close()
