"""Tasks that run on the nodes of the tests' clusters."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from rbt import engine
from rbt.errors import InputError
from rbt.stage import Task, TaskOutput
from rbt.storage import write_text

SECONDS = 60


def wait_for(*paths: Path) -> None:
    end = time.monotonic() + SECONDS
    while not all(path.exists() for path in paths):
        assert time.monotonic() < end, paths
        time.sleep(0.01)


def square(task: Task, folder: Path) -> TaskOutput:
    """Writes the square of its number, and says on which node."""
    number = task.payload["number"]
    write_text(folder / f"{task.name}.txt", str(number**2))
    output = TaskOutput([f"{task.name}.txt"], result={"square": number**2, "node": os.getppid()})
    output.ledger.row("square", "numbers").take(number)
    return output


def meet(task: Task, folder: Path) -> TaskOutput:
    """Ends when both tasks have begun."""
    (folder / task.name).touch()
    wait_for(folder / "t0", folder / "t1")
    return TaskOutput(result={"node": os.getppid()})


def alone(task: Task, folder: Path) -> TaskOutput:
    """Fails where another of its kind is at work."""
    (folder / "busy").mkdir()
    time.sleep(0.05)
    (folder / "busy").rmdir()
    return TaskOutput()


def report(task: Task, folder: Path) -> TaskOutput:
    """Reports 30 of its units, then waits to be told to go on."""
    end = time.monotonic() + SECONDS
    done = 0
    while not (folder / "go").exists():
        assert time.monotonic() < end
        more = int(done < 30)
        engine.advance(more)
        done += more
        time.sleep(0.05)
    return TaskOutput()


def fail_or_sleep(task: Task, folder: Path) -> TaskOutput:
    """t0 fails when t1 is at work; t1 sleeps."""
    if task.name == "t0":
        wait_for(folder / "pid")
        raise InputError("expected anything but zero", path="numbers", found="zero", cure="try one")
    write_text(folder / "pid", str(os.getpid()))
    time.sleep(SECONDS)
    return TaskOutput()


def lack(task: Task, folder: Path) -> TaskOutput:
    """Fails as the system fails."""
    (folder / "absent" / "file").read_text()
    return TaskOutput()


def bug(task: Task, folder: Path) -> TaskOutput:
    """Fails as nothing should."""
    raise ZeroDivisionError("a bug")


def die_once(task: Task, folder: Path) -> TaskOutput:
    """Kills its worker when it is run first."""
    mark = folder / f"died-{task.name}"
    if task.name == "t1" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return square(task, folder)


def die(task: Task, folder: Path) -> TaskOutput:
    """Kills its worker, always."""
    with (folder / "deaths").open("a") as log:
        log.write("x")
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError

