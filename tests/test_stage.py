"""The stage runner: receipts, restarts, engines, and what happens to an output folder."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from rbt.engine import LocalEngine, make_engine
from rbt.errors import ArtefactError, ConfigError, InputError, RbtError
from rbt.manifest import Manifest, fingerprint, load_manifest, record_files, write_manifest
from rbt.stage import WORK, Task, TaskOutput, exclusive, open_out, run_tasks
from rbt.storage import write_text

TASKS = [Task(f"t{number}", {"number": number}, size=10) for number in range(6)]


def square(task: Task, folder: Path) -> TaskOutput:
    """Writes the square of its number, and a line into a log of all calls."""
    number = task.payload["number"]
    write_text(folder / f"{task.name}.txt", str(number**2))
    with (folder / "calls").open("a") as log:
        log.write(f"{task.name}\n")
    output = TaskOutput([f"{task.name}.txt"], result={"square": number**2})
    output.ledger.row("square", "numbers").take(number)
    return output


def fail_on_three(task: Task, folder: Path) -> TaskOutput:
    if task.payload["number"] == 3:
        raise InputError("expected anything but a three", path="three")
    return square(task, folder)


def die_on_three(task: Task, folder: Path) -> TaskOutput:
    if task.payload["number"] == 3:
        os._exit(9)
    return square(task, folder)


def calls(folder: Path) -> list[str]:
    return sorted((folder / "calls").read_text().split())


class BackwardEngine:
    """Finishes the last task first."""

    def map(
        self, function: Callable[[Any], Any], tasks: Sequence[Any], on_advance: Callable[[int], object]
    ) -> Iterator[Any]:
        return (function(task) for task in reversed(tasks))


@pytest.mark.parametrize("receipt", ["{}", "[]", '{"task": "0", "files": 3}', '{"task": 1, "ledger": [[]]}'])
def test_a_receipt_of_another_layout_is_none(tmp_path: Path, receipt: str) -> None:
    """What an older version or another program left there costs the task once more, not the run."""
    run_tasks("square", 1, {}, TASKS[:2], square, tmp_path, LocalEngine(1))
    path = tmp_path / "receipts" / f"{TASKS[0].name}.json"
    table = json.loads(path.read_text())
    for content in (receipt, json.dumps({**table, "ledger": [{"stage": "x"}]}), json.dumps({**table, "files": [{}]})):
        path.write_text(content)
        receipts = run_tasks("square", 1, {}, TASKS[:2], square, tmp_path, LocalEngine(1))
        assert [receipt.result["square"] for receipt in receipts] == [0, 1]
        assert json.loads(path.read_text()).keys() == table.keys()


@pytest.mark.parametrize("engine", [LocalEngine(1), LocalEngine(2), BackwardEngine()])
def test_receipts_come_in_task_order_whatever_finishes_first(tmp_path: Path, engine: Any) -> None:
    receipts = run_tasks("square", 1, {}, TASKS, square, tmp_path, engine)
    assert [receipt.result["square"] for receipt in receipts] == [0, 1, 4, 9, 16, 25]
    assert [receipt.ledger.row("square", "numbers").incoming.bytes for receipt in receipts] == [0, 1, 2, 3, 4, 5]


def test_finished_tasks_are_not_run_again(tmp_path: Path) -> None:
    first = run_tasks("square", 1, {}, TASKS, square, tmp_path, LocalEngine(1))
    again = run_tasks("square", 1, {}, TASKS, square, tmp_path, LocalEngine(1))
    assert [receipt.table() for receipt in again] == [receipt.table() for receipt in first]
    assert len(calls(tmp_path)) == 6


@pytest.mark.parametrize(
    "change", [{"version": 2}, {"config": {"a": 1}}, {"stage": "cube"}, {"payload": 7}, {"stamp": {"size": 1}}]
)
def test_whatever_shapes_the_output_runs_the_task_again(tmp_path: Path, change: dict[str, Any]) -> None:
    run_tasks("square", 1, {}, TASKS, square, tmp_path, LocalEngine(1))
    tasks = list(TASKS)
    if "payload" in change:
        tasks[2] = Task("t2", {"number": change["payload"]})
    if "stamp" in change:
        tasks[2] = Task("t2", {"number": 2}, stamp=change["stamp"])
    run_tasks(
        change.get("stage", "square"), change.get("version", 1), change.get("config", {}), tasks, square, tmp_path,
        LocalEngine(1),
    )
    assert len(calls(tmp_path)) == (7 if change.keys() & {"payload", "stamp"} else 12)


def test_a_task_that_is_killed_while_it_overwrites_its_files_is_run_again(tmp_path: Path) -> None:
    """Files of another input under the same names and of the same sizes, and a receipt that fitted what was there."""

    def kill_between_files_and_receipt(task: Task, folder: Path) -> TaskOutput:
        write_text(folder / "t0.txt", "7")
        raise KeyboardInterrupt

    run_tasks("square", 1, {}, TASKS[:1], square, tmp_path, LocalEngine(1))
    with pytest.raises(KeyboardInterrupt):
        run_tasks("square", 2, {}, TASKS[:1], kill_between_files_and_receipt, tmp_path, LocalEngine(1))
    run_tasks("square", 1, {}, TASKS[:1], square, tmp_path, LocalEngine(1))
    assert (tmp_path / "t0.txt").read_text() == "0"


def test_v14_a_file_that_was_cut_is_found_and_recomputed(tmp_path: Path) -> None:
    run_tasks("square", 1, {}, TASKS, square, tmp_path, LocalEngine(1))
    (tmp_path / "t5.txt").write_text("2")
    run_tasks("square", 1, {}, TASKS, square, tmp_path, LocalEngine(1))
    assert (tmp_path / "t5.txt").read_text() == "25"
    assert calls(tmp_path).count("t5") == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_task_comes_out_as_it_is_and_keeps_what_was_done(tmp_path: Path, workers: int) -> None:
    with pytest.raises(InputError, match="three: expected anything but a three"):
        run_tasks("square", 1, {}, TASKS, fail_on_three, tmp_path, LocalEngine(workers))
    run_tasks("square", 1, {}, TASKS, square, tmp_path, LocalEngine(1))
    assert calls(tmp_path).count("t0") == 1


def test_a_worker_that_dies_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RbtError, match="a worker that died"):
        run_tasks("square", 1, {}, TASKS, die_on_three, tmp_path, LocalEngine(2))


def test_workers_are_kept_from_stage_to_stage_and_replaced_after_a_death(tmp_path: Path) -> None:
    engine = LocalEngine(2)
    run_tasks("square", 1, {}, TASKS, square, tmp_path / "a", engine)
    pool = engine._pool
    run_tasks("square", 1, {}, TASKS, square, tmp_path / "b", engine)
    assert engine._pool is pool
    with pytest.raises(RbtError, match="a worker that died"):
        run_tasks("square", 1, {}, TASKS, die_on_three, tmp_path / "c", engine)
    receipts = run_tasks("square", 1, {}, TASKS, square, tmp_path / "c", engine)
    assert [receipt.result["square"] for receipt in receipts] == [0, 1, 4, 9, 16, 25]


def test_an_unknown_engine_and_a_negative_number_of_workers_are_refused() -> None:
    with pytest.raises(ConfigError, match="found 'cloud'"):
        make_engine("cloud", 0)
    with pytest.raises(ConfigError, match="found -1"):
        make_engine("local", -1)


PARENT = """
import sys, time
from pathlib import Path
from rbt.engine import LocalEngine
from rbt.stage import Task, TaskOutput, run_tasks
sys.path.insert(0, sys.argv[2])
from sleeper import sleep
if __name__ == "__main__":
    tasks = [Task(f"t{n}", {}) for n in range(2)]
    run_tasks("sleep", 1, {}, tasks, sleep, Path(sys.argv[1]), LocalEngine(2))
"""
SLEEPER = """
import os, time
from rbt.stage import TaskOutput
def sleep(task, folder):
    (folder / f"pid-{os.getpid()}").touch()
    time.sleep(60)
    return TaskOutput()
"""


def is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_v50_workers_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    (tmp_path / "parent.py").write_text(PARENT)
    folder = tmp_path / "out"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).resolve().parents[1]}"}
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "parent.py"), str(folder), str(tmp_path)], env=environment
    )
    assert wait_until(lambda: len(list(folder.glob("pid-*"))) == 2)
    workers = [int(path.name.removeprefix("pid-")) for path in folder.glob("pid-*")]
    assert all(is_running(pid) for pid in workers)
    parent.kill()
    parent.wait()
    assert wait_until(lambda: not any(is_running(pid) for pid in workers))


@pytest.mark.parametrize("to_all", [True, False])  # a terminal interrupts the workers too, a scheduler the parent
def test_v50_an_interrupt_ends_the_workers_at_once_and_they_say_nothing(tmp_path: Path, to_all: bool) -> None:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    (tmp_path / "parent.py").write_text(PARENT)
    folder = tmp_path / "out"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).resolve().parents[1]}"}
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "parent.py"), str(folder), str(tmp_path)], env=environment,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert wait_until(lambda: len(list(folder.glob("pid-*"))) == 2)
    workers = [int(path.name.removeprefix("pid-")) for path in folder.glob("pid-*")]
    (os.killpg if to_all else os.kill)(parent.pid, signal.SIGINT)
    _, words = parent.communicate(timeout=30)  # the sleepers would take 60 seconds
    assert words.count("Traceback") == 1  # the parent's own, which the command line turns into one line
    assert "Process Spawn" not in words
    assert wait_until(lambda: not any(is_running(pid) for pid in workers))


def finished(out: Path, config: dict[str, Any]) -> Manifest:
    out.mkdir(exist_ok=True)
    (out / "file").write_text("content")
    manifest = Manifest("thing", 1, "make", 1, config, {}, record_files(out, ["file"]))
    return write_manifest(out, manifest)


def wanted(config: dict[str, Any]) -> Manifest:
    return Manifest("thing", 1, "make", 1, config, {}, ())


def test_a_finished_output_of_the_same_recipe_is_returned(tmp_path: Path) -> None:
    made = finished(tmp_path / "out", {"a": {"b": 1}})
    found = open_out(tmp_path / "out", wanted({"a": {"b": 1}}), replace=False)
    assert found is not None
    assert found.table() == made.table()


def test_an_output_made_from_another_recipe_is_an_error_that_names_the_key_and_replace(tmp_path: Path) -> None:
    finished(tmp_path / "out", {"a": {"b": 1}})
    with pytest.raises(ArtefactError, match=r"config a\.b = 1 instead of 2 .*--replace"):
        open_out(tmp_path / "out", wanted({"a": {"b": 2}}), replace=False)
    assert (tmp_path / "out" / "file").exists()


def test_replace_clears_all_but_the_work(tmp_path: Path) -> None:
    finished(tmp_path / "out", {"a": 1})
    (tmp_path / "out" / WORK).mkdir()
    assert open_out(tmp_path / "out", wanted({"a": 2}), replace=True) is None
    assert [path.name for path in (tmp_path / "out").iterdir()] == [WORK]


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("chapter 1")
    with pytest.raises(ArtefactError, match="a folder with other files"):
        open_out(tmp_path, wanted({}), replace=True)


def test_a_folder_of_somebody_else_that_has_a_work_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / WORK).mkdir()
    (tmp_path / "thesis.doc").write_text("chapter 1")
    with pytest.raises(ArtefactError, match="a folder with other files"), exclusive(tmp_path, "corpus"):
        pass


def test_a_run_that_was_killed_before_it_took_the_lock_is_taken_up(tmp_path: Path) -> None:
    (tmp_path / WORK).mkdir()
    with exclusive(tmp_path, "corpus"):
        assert open_out(tmp_path, wanted({}), replace=False) is None


def test_two_runs_on_one_folder_are_refused(tmp_path: Path) -> None:
    with exclusive(tmp_path, "a"), pytest.raises(ArtefactError, match="one at work"), exclusive(tmp_path, "a"):
        pass


@pytest.mark.parametrize(
    ("kind", "other", "message"),
    [
        ("corpus", "tokenizer", "expected a tokenizer, or a new folder; found a corpus ("),
        ("ablation", "urls", "expected urls, or a new folder; found an ablation ("),
    ],
)
def test_an_unfinished_output_of_another_kind_is_refused(tmp_path: Path, kind: str, other: str, message: str) -> None:
    with exclusive(tmp_path / "out", kind):
        pass
    with pytest.raises(ArtefactError, match=re.escape(message)), exclusive(tmp_path / "out", other):
        pass
    with exclusive(tmp_path / "out", kind):
        pass


def test_an_edited_manifest_is_noticed(tmp_path: Path) -> None:
    finished(tmp_path, {"a": 1})
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace('"a": 1', '"a": 2'))
    with pytest.raises(ArtefactError, match="the manifest was edited"):
        load_manifest(tmp_path)


def test_the_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 1.5})
