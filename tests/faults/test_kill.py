"""Invariant 3: kill -9 at any moment, run again, and the result is what it would have been; no process is left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = (
    "corpus.part_bytes=4_000", "bpe.vocab_size=600", "schedule.max_steps=30", "schedule.warmup_steps=3",
    "data.global_batch=8", "run.checkpoint_every=5", "run.keep_checkpoints=0", "run.validate_every=10",
    "run.log_every=1", "model.layers=1", "model.hidden=32", "model.heads=2", "model.feed_forward=64",
)


def command(*words: str) -> list[str]:
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    return [sys.executable, "-m", "rbt", *words, "--quiet", *settings]


def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command(*words), cwd=folder, env=environment, start_new_session=True)


def finish(folder: Path, *words: str) -> None:
    assert start(folder, *words).wait() == 0


def session_members(session: int) -> list[int]:
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


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False


def kill_when(folder: Path, words: tuple[str, ...], condition: Callable[[], bool]) -> bool:
    """Start a command, kill its parent process when the condition holds; whether it was still at work then."""
    process = start(folder, *words)
    wait_until(lambda: condition() or process.poll() is not None, 120)
    was_running = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert wait_until(lambda: not session_members(process.pid), 30), "orphans are left"
    return was_running


def project(folder: Path) -> Path:
    folder.mkdir()
    subprocess.run([sys.executable, "-m", "rbt", "init", str(folder), "--recipe", "demo", "--quiet"], check=True)
    (folder / "raw").symlink_to(ROOT / "examples" / "raw")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """Every file that is promised to be the same."""
    skipped = {"provenance.json"}
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in skipped
        and not {"work", "tensorboard"} & set(path.relative_to(folder).parts)
    }


def steady_metrics(path: Path) -> list[dict[str, object]]:
    """Metrics without what the clock decides."""
    import json

    lines = [json.loads(line) for line in path.read_text().splitlines()]
    clock = ("tokens_per_second", "loader_share", "other_share", "memory_bytes")
    return [{key: value for key, value in line.items() if key not in clock} for line in lines]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was never interrupted."""
    folder = project(tmp_path_factory.mktemp("reference") / "project")
    for words in (("corpus", "build"), ("bpe", "train"), ("pack",), ("pretrain",)):
        finish(folder, *words)
    return folder


def receipts(work: Path) -> list[Path]:
    return [path for path in work.rglob("*.json") if not path.name.startswith(".tmp-")]


@pytest.mark.slow
@pytest.mark.parametrize("finished", [0, 1, 5, 25, 60, 90])
def test_v5_corpus_build_killed_with_so_many_tasks_done(tmp_path: Path, reference: Path, finished: int) -> None:
    folder = project(tmp_path / "project")
    words = ("corpus", "build", "--workers", "2")
    work = folder / "corpus" / "work"
    assert kill_when(folder, words, lambda: work.exists() and len(receipts(work)) >= finished)
    assert not (folder / "corpus" / "manifest.json").exists()
    done = {path: path.stat().st_mtime_ns for path in receipts(work)}
    finish(folder, *words)
    assert content(folder / "corpus") == content(reference / "corpus")
    assert {path: path.stat().st_mtime_ns for path in done} == done, "finished tasks were run again"


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose corpus was built without its last two sources; `more.toml` has these."""
    folder = project(tmp_path_factory.mktemp("grown") / "project")
    head, *sources = (folder / "rbt.toml").read_text().split("[[source]]")
    tail = "[bpe]" + sources[-1].partition("[bpe]")[2]
    sources[-1] = sources[-1].partition("[bpe]")[0]
    (folder / "rbt.toml").write_text(head + "".join("[[source]]" + source for source in sources[:-2]) + tail)
    (folder / "more.toml").write_text(head + "".join("[[source]]" + source for source in sources[-2:]) + tail)
    finish(folder, "corpus", "build")
    shutil.copytree(folder / "corpus", folder / "before")
    finish(folder, "corpus", "add", "--recipe", "more.toml", "--workers", "1")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("finished", [0, 1, 9, 30])
def test_v5_corpus_add_killed_with_so_many_tasks_done(tmp_path: Path, grown: Path, finished: int) -> None:
    folder = project(tmp_path / "project")
    shutil.copytree(grown / "before", folder / "corpus")
    shutil.copyfile(grown / "more.toml", folder / "more.toml")
    words = ("corpus", "add", "--recipe", "more.toml", "--workers", "2")
    work = folder / "corpus" / "generation-0001" / "work"
    assert kill_when(folder, words, lambda: work.exists() and len(receipts(work)) >= finished)
    assert not (folder / "corpus" / "generation-0001" / "manifest.json").exists()
    finish(folder, "verify", "corpus")
    finish(folder, *words)
    assert content(folder / "corpus") == content(grown / "corpus")
    finish(folder, "verify", "corpus")


@pytest.mark.slow
@pytest.mark.parametrize("finished", [0, 1, 20, 45, 70])
def test_pack_killed_with_so_many_tasks_done(tmp_path: Path, reference: Path, finished: int) -> None:
    inputs = ("--corpus", str(reference / "corpus"), "--tokenizer", str(reference / "tokenizer"))
    words = ("pack", "--workers", "2", *inputs)
    folder = project(tmp_path / "project")
    packed = folder / "packed"
    work = packed / "work"
    assert kill_when(folder, words, lambda: work.exists() and len(receipts(work)) >= finished)
    finish(folder, *words)
    assert content(packed) == content(reference / "packed")


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 7, 13, 24])
def test_v42_pretrain_killed_after_so_many_steps(tmp_path: Path, reference: Path, steps: int) -> None:
    words = ("pretrain", "--packed", str(reference / "packed"))
    folder = project(tmp_path / "project")
    metrics = folder / "run" / "metrics.jsonl"
    assert kill_when(folder, words, lambda: metrics.exists() and len(metrics.read_text().splitlines()) >= steps)
    finish(folder, *words)
    last = "step-00000030"
    mine, other = (path / "run" / "checkpoints" / last for path in (folder, reference))
    assert (mine / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert (mine / "optimizer.safetensors").read_bytes() == (other / "optimizer.safetensors").read_bytes()
    assert steady_metrics(metrics) == steady_metrics(reference / "run" / "metrics.jsonl")
