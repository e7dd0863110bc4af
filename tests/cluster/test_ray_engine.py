"""The engine on a real Ray cluster of two nodes on this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cluster_functions as work
import pytest

from rbt import ray_engine, ray_head
from rbt.engine import LocalEngine, make_engine
from rbt.errors import ConfigError, InputError, RbtError
from rbt.ray_engine import RayEngine
from rbt.stage import Receipt, Task, run_tasks

ROOT = Path(__file__).resolve().parents[2]
TASKS = [Task(f"t{number}", {"number": number}, size=10) for number in range(6)]


@pytest.fixture(scope="module")
def engine(cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayEngine]:
    made = RayEngine(0, cluster.address, tmp_path_factory.mktemp("out"))
    yield made
    made.close()


def run(engine: Any, function: Any, folder: Path, tasks: Sequence[Task] = TASKS) -> list[Receipt]:
    return run_tasks("stage", 1, {}, tasks, function, folder, engine)


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_receipts_come_in_task_order_and_are_those_of_the_local_engine(engine: RayEngine, tmp_path: Path) -> None:
    def facts(receipts: list[Receipt]) -> list[Any]:
        return [(receipt.task, receipt.files, receipt.ledger.table(), receipt.result["square"]) for receipt in receipts]

    local = run(LocalEngine(1), work.square, tmp_path / "local")
    assert facts(run(engine, work.square, tmp_path / "ray")) == facts(local)
    assert not list(engine.out.iterdir())  # the probe is gone


def test_every_node_works_at_the_same_time(engine: RayEngine, tmp_path: Path) -> None:
    receipts = run(engine, work.meet, tmp_path, TASKS[:2])
    assert len({receipt.result["node"] for receipt in receipts}) == 2


def test_relative_folders_begin_where_the_driver_is(
    engine: RayEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(engine, work.square, Path("here"))
    assert (tmp_path / "here" / "t5.txt").read_text() == "25"


def test_workers_is_the_number_of_tasks_at_once(
    engine: RayEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "workers", 1)
    run(engine, work.alone, tmp_path)
    monkeypatch.setattr(engine, "workers", 2)
    with pytest.raises(FileExistsError, match="busy"):  # the test can fail: two meet
        run(engine, work.alone, tmp_path / "two", [Task(f"t{number}", {}) for number in range(100)])


def test_few_of_many_tasks_are_submitted_at_a_time(engine: RayEngine, tmp_path: Path) -> None:
    """Of any number of tasks, the cluster knows a few a CPU."""
    taken = []

    class Numbers(Sequence[int]):
        def __len__(self) -> int:
            return 400

        def __getitem__(self, index: Any) -> Any:
            taken.append(index)
            return index

    ahead, results = 0, []
    for result in engine.map(abs, Numbers(), lambda units: None):
        results.append(result)
        ahead = max(ahead, len(taken) - len(results))
    assert sorted(results) == list(range(400))
    assert 0 < ahead <= 2 * ray_engine.BACKLOG


def test_units_reach_the_bar_while_a_task_runs_and_add_up(engine: RayEngine, tmp_path: Path) -> None:
    seen: list[int] = []

    def on_advance(units: int) -> None:
        seen.append(units)
        if sum(seen) == 30:
            (tmp_path / "go").touch()

    class Engine:
        def map(self, function: Any, tasks: Any, _: Any) -> Any:
            return engine.map(function, tasks, on_advance)

    run(Engine(), work.report, tmp_path, [Task("t0", {}, size=100)])
    assert sum(seen) == 100
    assert min(seen) >= 0


def test_an_error_comes_as_it_is_and_ends_what_runs(
    engine: RayEngine, cluster: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError) as caught:
        run(engine, work.fail_or_sleep, tmp_path, TASKS[:2])
    assert str(caught.value) == "numbers: expected anything but zero; found zero (try one)"
    assert cluster.wait_until(lambda: not is_running(int((tmp_path / "pid").read_text())), 20)
    assert capfd.readouterr() == ("", "")
    run(engine, work.square, tmp_path / "after")


def test_an_error_of_the_system_comes_as_it_is(engine: RayEngine, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        run(engine, work.lack, tmp_path, TASKS[:1])
    assert caught.value.filename == str(tmp_path / "absent" / "file")


def test_a_bug_comes_with_the_traceback_of_the_node(engine: RayEngine, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError, match=r"cluster_functions\.py"):
        run(engine, work.bug, tmp_path, TASKS[:1])


def test_a_task_whose_worker_dies_is_run_again(
    engine: RayEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receipts = run(engine, work.die_once, tmp_path)
    assert [receipt.result["square"] for receipt in receipts] == [0, 1, 4, 9, 16, 25]
    assert "tasks lost with their workers and run again: 1 (" in caplog.text


def test_a_task_that_kills_its_workers_is_one_clear_error(
    engine: RayEngine, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RbtError, match=r"expected task t0 to finish; found 4 workers lost while it ran.*WorkerCrashed"):
        run(engine, work.die, tmp_path, TASKS[:1])
    assert (tmp_path / "deaths").read_text() == "x" * (ray_engine.RETRIES + 1)
    assert capfd.readouterr().out == ""


DRIVER = """
import sys
from pathlib import Path
import cluster_functions
from rbt.ray_engine import RayEngine
from rbt.stage import Task, run_tasks
folder = Path(sys.argv[2])
engine = RayEngine(0, sys.argv[1], folder)
run_tasks("sleep", 1, {}, [Task("t1", {})], cluster_functions.fail_or_sleep, folder, engine)
"""


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_v50_tasks_end_with_a_driver_that_is_stopped(cluster: Any, tmp_path: Path, stop: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(work.__file__).parent}"}
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, cluster.address, str(tmp_path)], env=environment, cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert cluster.wait_until(lambda: (tmp_path / "pid").exists() or driver.poll() is not None)
        pid = int((tmp_path / "pid").read_text())
        assert is_running(pid)
        driver.send_signal(stop)
        out, words = driver.communicate(timeout=30)
    finally:
        driver.kill()
    assert cluster.wait_until(lambda: not is_running(pid), 20)
    assert out == ""
    if stop == signal.SIGINT:
        assert words.count("Traceback") == 1
        assert words.rstrip().endswith("KeyboardInterrupt")
        assert not list(tmp_path.glob(".tmp-*"))


def test_ray_that_is_not_installed_is_an_error_that_says_how(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "rbt.ray_engine")
    with pytest.raises(RbtError, match=r"pip install rbt\[cluster\]"):
        make_engine("ray", 0, "127.0.0.2:6379", tmp_path)


@pytest.mark.parametrize("address", ["", "head", "auto", "head:", ":6379", "ray://head:10001", "head:port"])
def test_an_address_that_is_none_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected --address HOST:PORT"):
        make_engine("ray", 0, address, tmp_path)


def test_an_address_is_for_the_cluster_alone() -> None:
    with pytest.raises(ConfigError, match="--engine ray"):
        make_engine("local", 0, "head:6379")


def test_a_head_that_does_not_answer_is_one_clear_error(tmp_path: Path) -> None:
    engine = make_engine("ray", 0, "127.0.0.2:1", tmp_path)
    with pytest.raises(RbtError, match=r"127\.0\.0\.2:1: expected a Ray cluster; found no answer"):
        list(engine.map(abs, [1], lambda units: None))


def test_something_else_that_listens_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray would wait for it for ever."""
    monkeypatch.setattr(ray_head, "JOIN_SECONDS", 4.0)
    with socket.socket() as server:
        server.bind(("127.0.0.2", 0))
        server.listen()
        engine = make_engine("ray", 0, f"127.0.0.2:{server.getsockname()[1]}", tmp_path)
        with pytest.raises(RbtError, match="expected the head of a Ray cluster; found nothing that lets us in"):
            list(engine.map(abs, [1], lambda units: None))


def test_a_machine_that_is_no_node_is_told_what_ray_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_head, "JOIN", "raise RuntimeError('no node here')")
    with socket.socket() as server:
        server.bind(("127.0.0.2", 0))
        server.listen()
        engine = make_engine("ray", 0, f"127.0.0.2:{server.getsockname()[1]}", tmp_path)
        with pytest.raises(RbtError, match=r"with a node on this machine.*; found RuntimeError: no node here"):
            list(engine.map(abs, [1], lambda units: None))
