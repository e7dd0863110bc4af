"""Contenders of a benchmark, each in a process of its own on one core: how they are started, timed and asked back.

    table script ──job.json──> contenders script, pinned to one core ──warm up, then timed──> result.json ──> Measured

Where that says so (`one_core`), contenders have all cores, one contender at a time.

A contenders script maps names to `Contender`s and ends in `serve(CONTENDERS)`; it imports what it compares inside the
contenders alone, so that peers can live in another interpreter's packages. A contender is called twice, with the
fields `warm` and `timed` of the job, and puts what is to be timed into `with clock:`. This module needs the standard
library alone.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECONDS = 7200  # for one run of one contender
ONE_THREAD = {  # of every pool that a contender may have; the core is one in any case
    "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1", "HF_HUB_OFFLINE": "1",
}
Job = Mapping[str, Any]  # fields of the benchmark's own, and `work`, an empty folder


class Clock:
    """Times the block that it is entered for; the memory before it and the peak at its end."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.cpu_seconds = 0.0  # of all threads of the process
        self.before_megabytes = 0.0
        self.megabytes = 0.0
        self._started = self._cpu_started = 0.0

    def __enter__(self) -> None:
        self.before_megabytes = peak_megabytes()
        self._started, self._cpu_started = time.perf_counter(), time.process_time()

    def __exit__(self, *error: object) -> None:
        self.seconds += time.perf_counter() - self._started
        self.cpu_seconds += time.process_time() - self._cpu_started
        self.megabytes = peak_megabytes()


@dataclass(frozen=True)
class Contender:
    """A row of the table: what runs and returns facts for it, the modules it needs, packages whose versions matter."""

    run: Callable[[Job, Clock], dict[str, Any]]
    modules: tuple[str, ...]
    packages: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """Medians of a contender's runs, the facts of the first, or why there are none."""

    seconds: float = 0.0
    megabytes: float = 0.0  # peak memory at the end of the timed block
    before_megabytes: float = 0.0  # peak memory when it begins: interpreter, imports, the warm run, inputs
    facts: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    cpu_seconds: float = 0.0


def peak_megabytes() -> float:
    """The larger of this process's peak resident memory and that of its largest child.

    Its own is VmHWM, since ru_maxrss starts from the peak of the process that started it.
    """
    own = int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0])
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) * 1024 / 1e6


def serve(contenders: Mapping[str, Contender]) -> None:
    """The main function of a contenders script: without an argument what can be imported, else the job's contender."""
    if len(sys.argv) == 1:
        with contextlib.redirect_stdout(sys.stderr):
            facts = {"python": platform.python_version(), "contenders": _available(contenders)}
        print(json.dumps(facts))
        return
    job = json.loads(Path(sys.argv[1]).read_text())
    if job["one_core"]:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    run, clock = contenders[job["contender"]].run, Clock()
    if job["warm"] is not None:
        run(job["warm"], Clock())
    facts = run(job["timed"], clock)
    result = {
        "seconds": clock.seconds, "cpu_seconds": clock.cpu_seconds, "megabytes": clock.megabytes,
        "before_megabytes": clock.before_megabytes, "facts": facts,
    }
    Path(job["result"]).write_text(json.dumps(result))


def _available(contenders: Mapping[str, Contender]) -> dict[str, dict[str, str]]:
    found = {}
    for name, contender in contenders.items():
        try:
            for module in contender.modules:
                importlib.import_module(module)
            found[name] = {package: importlib.metadata.version(package) for package in contender.packages}
        except Exception as error:  # what a peer raises while it is imported is its own
            found[name] = {"error": f"{type(error).__name__}: {error}"}
    return found


@dataclass(frozen=True)
class Contest:
    """A contenders script, the interpreter of its peers, and a folder for temporary files ("": the system's)."""

    script: Path
    peer_python: str
    work: str | None = None
    one_core: bool = True
    seconds: float = SECONDS  # for one run

    def python(self, name: str) -> str:
        """rbt runs with this interpreter, whatever the peers' is."""
        return sys.executable if name.startswith("rbt") else self.peer_python

    def versions(self) -> dict[str, dict[str, str]]:
        """By contender: {"error": why it cannot be imported}, or versions by package, and the interpreter's."""
        found: dict[str, dict[str, str]] = {}
        for python in dict.fromkeys((sys.executable, self.peer_python)):
            answer = subprocess.run([python, str(self.script)], capture_output=True, text=True, check=False)
            if answer.returncode:
                sys.exit(f"{python} {self.script.name}: {answer.stderr.strip().splitlines()[-1]}")
            facts = json.loads(answer.stdout.splitlines()[-1])
            for name, packages in facts["contenders"].items():
                if self.python(name) == python:
                    found[name] = packages if "error" in packages else {"Python": facts["python"], **packages}
        return found

    def introduce(self, contenders: Sequence[str], only: Sequence[str] | None, runs: int) -> list[str]:
        """The contenders that are wanted and installed; says the machine, versions, and what is not installed."""
        versions = self.versions()
        wanted = [name for name in contenders if not only or name in only]
        names = [name for name in wanted if "error" not in versions[name]]
        cores = f"One of {os.cpu_count()} cores" if self.one_core else f"{os.cpu_count()} cores"
        print(f"{cores}, {platform.machine()}; medians of {runs}. "
              + describe_versions({name: versions[name] for name in names}))
        for name in set(wanted) - set(names):
            print(f"not installed: {name}: {versions[name]['error']}")
        return names

    def measure(self, name: str, timed: Job, *, warm: Job | None = None, runs: int = 3) -> Measured:
        """Run a contender so many times, each in a new process and in empty folders. `warm`: None for no warm run."""
        results = []
        for _ in range(runs):
            answer = self._run_once(name, timed, warm)
            if isinstance(answer, str):
                return Measured(error=answer)
            results.append(answer)
        seconds, megabytes, before, cpu = (
            statistics.median(result[key] for result in results)
            for key in ("seconds", "megabytes", "before_megabytes", "cpu_seconds")
        )
        return Measured(seconds, megabytes, before, results[0]["facts"], cpu_seconds=cpu)

    def _run_once(self, name: str, timed: Job, warm: Job | None) -> dict[str, Any] | str:
        """The result of one process, or the last line that it said."""
        with tempfile.TemporaryDirectory(dir=self.work) as folder:
            root = Path(folder)
            for stage in ("warm", "timed"):
                (root / stage).mkdir()
            job = {
                "contender": name, "result": str(root / "result.json"), "one_core": self.one_core,
                "warm": None if warm is None else {**warm, "work": str(root / "warm")},
                "timed": {**timed, "work": str(root / "timed")},
            }
            (root / "job.json").write_text(json.dumps(job))
            command = [self.python(name), str(self.script), str(root / "job.json")]
            environment = {**os.environ, **(ONE_THREAD if self.one_core else {}), "HF_HOME": folder}
            try:
                answer = subprocess.run(
                    command, capture_output=True, text=True, check=False, timeout=self.seconds, env=environment
                )
            except subprocess.TimeoutExpired:
                return f"not finished after {self.seconds:.0f} s"
            if answer.returncode:
                return (answer.stderr.strip().splitlines() or [f"exit status {answer.returncode}"])[-1]
            result: dict[str, Any] = json.loads((root / "result.json").read_text())
            return result


def describe_versions(versions: Mapping[str, Mapping[str, str]]) -> str:
    """The interpreters' and packages' versions, once each."""
    known = (facts for facts in versions.values() if "error" not in facts)
    found = {f"{name} {number}" for facts in known for name, number in facts.items()}
    return ", ".join(sorted(found, key=str.lower))
