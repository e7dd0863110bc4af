"""Ranks that are started, stopped, hung and killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from torch.distributed import TCPStore

from rbt.errors import ConfigError, RbtError
from rbt.formats.checkpoint import checkpoints, latest_checkpoint, read_checkpoint, step_of
from rbt.trainer.checkpointing import Saver, Snapshot
from rbt.trainer.distributed import World, stop_on_signals
from rbt.trainer.launch import _signals_to, launch
from rbt.trainer.pretrain import MODULE, main

from .runs import train
from .test_gradients import free_port

RANKS = Path(__file__).with_name("waiting_ranks.py")
PATIENCE = 2
SETTINGS = (
    "run.device=cpu", "model.layers=1", "model.hidden=16", "model.heads=2", "model.feed_forward=24",
    "data.global_batch=8", "schedule.warmup_steps=1", "run.log_every=1",
)
ENDLESS = ("schedule.max_steps=1000000", "run.checkpoint_every=1000000", "run.validate_every=0")


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Poll for something that must come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def two_ranks(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Two processes that meet all the time, started by hand; their standard error is a file each."""
    shared = {
        **os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(RANKS), str(PATIENCE), str(tmp_path)]
    processes = []
    for rank in range(2):
        environment = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        with (tmp_path / f"errors-{rank}").open("w") as errors:
            processes.append(subprocess.Popen(command, env=environment, stderr=errors, text=True))
    wait_until(lambda: all((tmp_path / f"meeting-{rank}").exists() for rank in range(2)))
    yield processes
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_rank_that_hangs_or_dies_is_named_and_ends_the_other(
    two_ranks: list[subprocess.Popen[str]], tmp_path: Path, number: signal.Signals
) -> None:
    two_ranks[1].send_signal(number)
    assert two_ranks[0].wait(60) == 2
    (line,) = (tmp_path / "errors-0").read_text().splitlines()
    assert line.startswith("Error: expected all 2 ranks to finish step ")
    assert f"rank 1 ({socket.gethostname()}, process {two_ranks[1].pid}, in step " in line
    assert "without a sign of life" in line and "rank 0" not in line


class Ranks:
    """Two ranks of a training, whose store this process keeps in place of torchrun's agent."""

    def __init__(self, packed: Path, folder: Path) -> None:
        self._store: TCPStore | None = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self.out, self._folder, self._packed = folder / "run", folder, packed
        self.processes: list[subprocess.Popen[bytes]] = []
        self._shared = {
            **os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(self._store.port),
            "OMP_NUM_THREADS": "1", "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0",
        }

    def start(self, *options: str) -> None:
        """The next rank, as if it were on another machine."""
        rank = str(len(self.processes))
        settings = [part for setting in (*SETTINGS, *ENDLESS) for part in ("--set", setting)]
        command = [sys.executable, "-m", MODULE, "--packed", str(self._packed), "--format", "doc-sentences"]
        with (self._folder / f"errors-{rank}").open("w") as errors:
            self.processes.append(subprocess.Popen(
                [*command, "--out", str(self.out), *settings, *options],
                env={**self._shared, "RANK": rank, "LOCAL_RANK": "0"}, stderr=errors,
            ))

    def errors(self, rank: int) -> str:
        """What a rank has said."""
        return (self._folder / f"errors-{rank}").read_text()

    def lose_store(self) -> None:
        """End the store, and with it all connections."""
        self._store = None

    def end(self) -> list[int]:
        """The exit codes."""
        return [process.wait(60) for process in self.processes]


@pytest.fixture
def agentless(packed: Path, tmp_path: Path) -> Iterator[Ranks]:
    """Ranks that the test starts."""
    ranks = Ranks(packed, tmp_path)
    yield ranks
    for process in ranks.processes:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("is_asked", [False, True])
def test_ranks_whose_store_is_gone_end_with_a_checkpoint_and_code_2_unless_they_were_asked_to(
    agentless: Ranks, is_asked: bool
) -> None:
    """So that a job whose torchrun died does not pass for finished. One rank misses the store first, and stops all."""
    for _ in range(2):
        agentless.start("--set", f"run.patience={PATIENCE * 10}")
    metrics = agentless.out / "metrics.jsonl"
    wait_until(lambda: metrics.exists() and metrics.stat().st_size > 0)
    if is_asked:
        for process in agentless.processes:
            process.send_signal(signal.SIGUSR1)
    agentless.lose_store()
    codes, said = agentless.end(), agentless.errors(0) + agentless.errors(1)
    assert set(codes) <= {0, 2} and (2 in codes) is not is_asked, said
    found = checkpoints(agentless.out)
    assert len(found) == 1, said
    read_checkpoint(found[0])
    assert ("what started the ranks is gone" in said) is not is_asked


@pytest.mark.slow
def test_a_rank_that_fails_before_it_joins_ends_the_waiting_ones_at_once(agentless: Ranks, tmp_path: Path) -> None:
    """The patience is a quarter of an hour."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    agentless.start()
    agentless.start("--stage-to", str(tmp_path / "other"))
    assert agentless.end() == [2, 2]
    assert "Error: " in agentless.errors(1) and "Error: " not in agentless.errors(0)


def test_more_gpus_than_there_are_is_an_error_before_anything_starts() -> None:
    with pytest.raises(ConfigError, match=r"--gpus 999: expected 999 GPUs.*--set run.device=cpu"):
        launch(999, "auto", "rbt", ["pretrain"])


def test_a_request_around_another_is_asked_with_it(tmp_path: Path) -> None:
    """A command of several runs must not begin the next one, whichever way a run is trained."""
    with stop_on_signals() as outer:
        with stop_on_signals():
            pass
        with _signals_to(tmp_path / "first"):
            pass
        assert not outer.is_asked
        with stop_on_signals() as inner:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert inner.is_asked and not outer.is_asked
        assert outer.is_asked
    with stop_on_signals() as outer:
        with _signals_to(tmp_path / "stop"):
            os.kill(os.getpid(), signal.SIGTERM)
        assert outer.is_asked and (tmp_path / "stop").read_text() == "SIGTERM"


def test_a_run_says_which_step_it_is_in_and_when_it_saves(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the others name the step, and wait longer for a checkpoint, and for the one before it."""
    steps, work, saved = list[int](), list[str](), list[str]()

    @contextmanager
    def working(self: World, words: str) -> Iterator[None]:
        work.append(words)
        yield
        work.pop()

    def save(self: Saver, take: Callable[[], Snapshot]) -> None:
        saved.append(f"save {work}")

    def wait(self: Saver) -> None:
        saved.append(f"wait {work}")

    monkeypatch.setattr(World, "reach", lambda self, step: steps.append(step))
    monkeypatch.setattr(World, "working", working)
    monkeypatch.setattr(Saver, "save", save)
    monkeypatch.setattr(Saver, "wait", wait)
    train(packed, tmp_path / "run", stop_after=3)
    assert steps == [1, 2, 3]
    assert saved == ["save ['saving a checkpoint']", "wait ['saving a checkpoint']"]


class Job:
    """`rbt pretrain --gpus 2` on CPUs."""

    def __init__(self, packed: Path, folder: Path, *settings: str, out: str = "run", format: str = "doc-sentences"):
        options = [part for setting in (*SETTINGS, *settings) for part in ("--set", setting)]
        self.out = folder / out
        self._errors = folder / f"{out}-errors"
        command = [sys.executable, "-m", "rbt", "pretrain", "--gpus", "2", "--packed", str(packed), "--format", format]
        environment = {**os.environ, "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "3"}  # of a process that was stopped
        with self._errors.open("w") as errors:
            self.process = subprocess.Popen(
                [*command, "--out", str(self.out), *options], cwd=folder, env=environment, stderr=errors,
                stdout=subprocess.DEVNULL, start_new_session=True,
            )

    def training(self) -> bool:
        """Whether a step has been recorded."""
        assert self.process.poll() is None, self.errors()
        metrics = self.out / "metrics.jsonl"
        return metrics.exists() and metrics.stat().st_size > 0

    def ranks(self) -> list[int]:
        """Process ids by rank."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
                words = (path / "environ").read_bytes().split(b"\0") if parent == self.process.pid else []
            except OSError:
                continue
            rank = [word for word in words if word.startswith(b"RANK=")]
            if rank:
                found[int(rank[0][5:])] = int(path.name)
        return [found[rank] for rank in sorted(found)]

    def errors(self) -> list[str]:
        """Lines that report an error, and any of a traceback."""
        lines = self._errors.read_text().splitlines()
        assert not any("Traceback" in line or "torch/distributed" in line for line in lines), lines
        return [line for line in lines if line.startswith("Error: ")]

    def end(self) -> int:
        """The exit code."""
        return self.process.wait(120)


StartJob = Callable[..., Job]


@pytest.fixture
def start(packed: Path, tmp_path: Path) -> Iterator[StartJob]:
    """Starts jobs; what is left of them at the end is killed."""
    jobs = []

    def start(*settings: str, **options: str) -> Job:
        jobs.append(Job(packed, tmp_path, *settings, **options))
        return jobs[-1]

    yield start
    for job in jobs:
        for process in (*job.ranks(), job.process.pid) if job.process.poll() is None else ():
            os.kill(process, signal.SIGKILL)
        job.process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_the_launcher_ends_the_ranks_with_a_checkpoint_and_code_0(
    start: StartJob, number: signal.Signals
) -> None:
    job = start(*ENDLESS)
    wait_until(job.training)
    job.process.send_signal(number)
    assert job.end() == 0
    (checkpoint,) = checkpoints(job.out)
    read_checkpoint(checkpoint)
    job = start(*ENDLESS, "run.stop_after=2")
    assert job.end() == 0
    newest = latest_checkpoint(job.out)
    assert newest is not None and step_of(newest) == step_of(checkpoint) + 2


@pytest.mark.slow
def test_a_second_ctrl_c_ends_the_ranks_at_once(start: StartJob) -> None:
    """Here one that hangs, with which the others would wait."""
    job = start(*ENDLESS)
    wait_until(job.training)
    ranks = job.ranks()
    os.kill(ranks[1], signal.SIGSTOP)
    for _ in range(2):
        job.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    assert job.end() != 0
    assert not checkpoints(job.out)
    wait_until(lambda: not any(Path(f"/proc/{rank}").exists() for rank in ranks))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_a_rank_of_a_job_that_hangs_or_dies_is_named_in_one_line(
    start: StartJob, number: signal.Signals
) -> None:
    job = start(*ENDLESS, f"run.patience={PATIENCE}")
    wait_until(job.training)
    ranks = job.ranks()
    os.kill(ranks[1], number)
    assert job.end() == 2
    (line,) = job.errors()
    assert f"rank 1 ({socket.gethostname()}, process {ranks[1]}, in step " in line
    wait_until(lambda: not any(Path(f"/proc/{rank}").exists() for rank in ranks))


@pytest.mark.slow
def test_ranks_whose_launcher_is_killed_end_with_a_checkpoint(start: StartJob) -> None:
    job = start(*ENDLESS, f"run.patience={PATIENCE}")
    wait_until(job.training)
    ranks = job.ranks()
    assert len(ranks) == 2
    job.process.kill()
    wait_until(lambda: not any(Path(f"/proc/{rank}").exists() for rank in ranks))
    (checkpoint,) = checkpoints(job.out)
    read_checkpoint(checkpoint)
    job.end()


@pytest.mark.slow
def test_a_mistake_is_one_line_whatever_the_ranks(start: StartJob) -> None:
    for format, settings, words in (
        ("segment-pair", (), "expected an index of format 'segment-pair'"),  # before the ranks have joined
        ("doc-sentences", ("data.global_batch=1",), "expected a row for each of 2 ranks"),  # and after
    ):
        job = start("schedule.max_steps=2", *settings, out=format, format=format)
        assert job.end() == 2
        (line,) = job.errors()
        assert words in line


def test_a_rank_that_a_signal_ended_is_named_where_no_rank_could(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dying.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(RbtError, match=r"found rank 0 \(process \d+\) ended by SIGKILL"):
        launch(1, "cpu", "dying", [])


def test_the_exit_code_is_that_of_the_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ending.py").write_text("import sys; sys.exit(int(sys.argv[1]))")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert [launch(1, "cpu", "ending", [code]) for code in ("0", "3")] == [0, 3]


def test_fewer_than_no_gpus_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--packed", "packed", "--out", "run", "--gpus", "-1"])
    assert caught.value.code == 2 and "expected a number from 0 on; found -1" in capsys.readouterr().err


def test_the_file_that_stops_the_ranks_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a script, which makes it; where it is not named, each launch has its own."""
    (tmp_path / "asking.py").write_text("import os, sys; sys.exit(os.environ['RBT_STOP_FILE'] == sys.argv[1])")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    named = str(tmp_path / "stop")
    assert launch(1, "cpu", "asking", [named]) == 0
    monkeypatch.setenv("RBT_STOP_FILE", named)
    assert launch(1, "cpu", "asking", [named]) == 1
