"""Nodes that are not fit to work, nodes and heads that are lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import cluster_functions as work
import pytest

from rbt import ray_head
from rbt.errors import RbtError
from rbt.ray_engine import RayEngine
from rbt.stage import Task, run_tasks

ROOT = Path(__file__).resolve().parents[2]
TASKS = [Task(f"t{number}", {"number": number}) for number in range(6)]


def shadow(folder: Path, code: str) -> Path:
    """A folder with an rbt whose modules are ours, and whose __init__ is not."""
    (folder / "rbt").mkdir(parents=True)
    for path in (ROOT / "rbt").iterdir():
        if path.name not in ("__init__.py", "__pycache__"):
            (folder / "rbt" / path.name).symlink_to(path)
    (folder / "rbt" / "__init__.py").write_text(code)
    return folder


def refusal(cluster: Any, out: Path, folder: Path) -> str:
    engine = RayEngine(0, cluster.address, out)
    try:
        with pytest.raises(RbtError) as caught:
            run_tasks("stage", 1, {}, TASKS, work.square, folder, engine)
    finally:
        engine.close()
    assert not (folder / "t0.txt").exists()
    return str(caught.value)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers look for modules in the driver's working folder first, which must not be the repository."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('__version__ = "0.0.9"', r"expected rbt .* on every node; found rbt 0\.0\.9 on .*\(127\.0\.0\.3\)"),
        ('raise ImportError("torn")\n', r"found no rbt that can be imported \(torn\) on .*\(127\.0\.0\.3\)"),
    ],
)
def test_a_node_with_another_rbt_or_none_is_refused_by_name(
    new_cluster: Callable[..., Any], tmp_path: Path, code: str, found: str
) -> None:
    cluster = new_cluster()
    cluster.add(paths=[shadow(tmp_path / "other", code)])
    assert re.search(found, refusal(cluster, tmp_path / "out", tmp_path / "work"))


def test_a_node_with_another_rbt_that_comes_late_writes_nothing(
    new_cluster: Callable[..., Any], tmp_path: Path
) -> None:
    cluster = new_cluster(head_cpus=0)
    engine = RayEngine(0, cluster.address, tmp_path / "out")
    code = '__version__ = "0.0.9"'
    try:
        engine._connect()
        engine._check_nodes = lambda place: cluster.add(paths=[shadow(tmp_path / "other", code)])  # type: ignore[method-assign]
        with pytest.raises(RbtError, match=r"found rbt 0\.0\.9 on"):
            run_tasks("stage", 1, {}, TASKS, work.square, tmp_path / "work", engine)
    finally:
        engine.close()
    assert not list((tmp_path / "work").glob("*.txt"))


def test_a_node_that_does_not_share_the_folder_is_refused_by_name(
    new_cluster: Callable[..., Any], tmp_path: Path
) -> None:
    """The node has a disk of its own, mounted where the others have OUT."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    out = tmp_path / "out"
    out.mkdir()
    cluster = new_cluster()
    script = 'mount -t tmpfs none "$0" && exec "$@"'
    cluster.add(under=["unshare", "--mount", "sh", "-c", script, str(out)])
    words = refusal(cluster, out, tmp_path / "work")
    assert words.startswith(f"{out}: expected every node to see the folder of the output; found a node that does not")
    assert "(127.0.0.3)" in words
    assert not list(out.iterdir())


def project(folder: Path) -> Path:
    words = [sys.executable, "-m", "rbt", "init", str(folder), "--recipe", "demo", "--quiet"]
    subprocess.run(words, check=True, env=environment())
    (folder / "raw").symlink_to(ROOT / "examples" / "raw")
    return folder


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def build(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rbt", "corpus", "build", "--set", "corpus.part_bytes=4_000", *words]
    return subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        stream.close()


def finish(folder: Path) -> None:
    process = build(folder)
    messages = process.communicate(timeout=240)[1]
    assert process.returncode == 0, messages


def content(folder: Path) -> dict[str, bytes]:
    """Every file that is promised to be the same."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "provenance.json" and "work" not in path.relative_to(folder).parts
    }


def kill_at_work(cluster: Any, node: Any, process: Any, condition: Callable[[], bool]) -> bool:
    """Kill a node while it runs a task: the task's process is stopped first, and is inside the task still."""

    def is_caught() -> bool:
        if not condition():
            return False
        for pid in node.at_work():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                if pid in node.at_work():
                    return True
                os.kill(pid, signal.SIGCONT)
        return False

    cluster.wait_until(lambda: process.poll() is not None or is_caught(), 120)
    was_at_work = bool(node.at_work())
    node.kill()
    return was_at_work


@pytest.mark.slow
def test_v12_a_cluster_that_loses_a_node_at_work_builds_the_same_bytes(
    new_cluster: Callable[..., Any], tmp_path: Path
) -> None:
    cluster = new_cluster()
    node = cluster.add()
    local, shared = project(tmp_path / "local"), project(tmp_path / "shared")
    finish(local)
    process = build(shared, "--engine", "ray", "--address", cluster.address)
    receipts = shared / "corpus" / "work" / "ingest" / "receipts"
    try:
        assert kill_at_work(cluster, node, process, lambda: len(list(receipts.glob("*.json"))) >= 3)
        assert process.poll() is None
        words, messages = process.communicate(timeout=120)
    finally:
        end(process)
    assert process.returncode == 0, messages
    assert "tasks lost with their workers and run again: " in messages
    assert "raylet" not in words
    expected, found = content(local / "corpus"), content(shared / "corpus")
    assert {"manifest.json", "removed.arrow", "ledger.json", "part-00000.arrow"} <= expected.keys()
    assert sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)) == []
    assert not list(shared.rglob(".tmp-*"))


@pytest.mark.slow
def test_a_head_that_is_lost_is_one_line_and_the_next_run_goes_on(
    new_cluster: Callable[..., Any], tmp_path: Path
) -> None:
    cluster = new_cluster()
    folder = project(tmp_path / "project")
    receipts = folder / "corpus" / "work" / "ingest" / "receipts"
    process = build(folder, "--engine", "ray", "--address", cluster.address)
    try:
        assert kill_at_work(cluster, cluster.head, process, lambda: len(list(receipts.glob("*.json"))) >= 3)
        words, messages = process.communicate(timeout=50)  # Ray itself would end it after a minute, without our word
    finally:
        end(process)
    assert process.returncode == 2
    line = messages.strip().splitlines()[-1]
    assert line.startswith(f"Error: {cluster.address}: expected a Ray cluster until the end; found no answer")
    assert "Traceback" not in messages
    assert words == ""
    kept = {path: path.stat().st_mtime_ns for path in receipts.glob("*.json")}
    assert kept
    finish(folder)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.slow
def test_a_cluster_without_a_cpu_left_is_one_clear_error(
    new_cluster: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_head, "NODE_SECONDS", 3.0)
    cluster = new_cluster(head_cpus=0)
    node = cluster.add()
    engine = RayEngine(0, cluster.address, tmp_path / "out")

    class KillsNode:
        def map(self, function: Any, tasks: Any, on_advance: Any) -> Any:
            for result in engine.map(function, tasks, on_advance):
                node.kill()
                yield result

    try:
        with pytest.raises(RbtError, match="expected a Ray cluster until the end; found no node with a CPU"):
            run_tasks("stage", 1, {}, TASKS, work.square, tmp_path / "work", KillsNode())
    finally:
        engine.close()
