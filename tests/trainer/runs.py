"""A small run that tests start, in this process or as ranks of torchrun, and what it leaves behind."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rbt.formats.checkpoint import latest_checkpoint
from rbt.trainer.config import DataConfig, ModelConfig, RunConfig, ScheduleConfig
from rbt.trainer.pretrain import MODULE, pretrain

MODEL = ModelConfig(layers=1, hidden=32, heads=2, feed_forward=48)
CALM = dataclasses.replace(MODEL, dropout=0.0, attention_dropout=0.0)
DATA = DataConfig(global_batch=8, micro_batch=3)
SCHEDULE = ScheduleConfig(max_steps=14, warmup_steps=3, peak_learning_rate=3e-3)
CLOCK = {"tokens_per_second", "loader_share", "other_share", "memory_bytes"}
RUN = RunConfig(log_every=2, checkpoint_every=5, validate_every=7, keep_checkpoints=2, device="cpu")


def train(
    packed: Path, out: Path, *, format: str = "doc-sentences", model: ModelConfig = MODEL, data: DataConfig = DATA,
    schedule: ScheduleConfig = SCHEDULE, init: Path | None = None, stage_to: Path | None = None, **run: Any,
) -> Path:
    """One invocation."""
    return pretrain(packed, format, out, model, data, schedule, dataclasses.replace(RUN, **run), init, stage_to)


def records(out: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without what depends on the clock."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in CLOCK} for row in rows]


def tensors(out: Path) -> tuple[bytes, bytes]:
    """The newest checkpoint's model and optimizer, as bytes."""
    folder = latest_checkpoint(out)
    assert folder is not None
    return (folder / "model.safetensors").read_bytes(), (folder / "optimizer.safetensors").read_bytes()


def settings(**changes: object) -> list[str]:
    """The run of these tests as command-line settings."""
    tables = {"model": MODEL, "data": DATA, "schedule": SCHEDULE, "run": RUN}
    pairs = {f"{name}.{k}": v for name, table in tables.items() for k, v in dataclasses.asdict(table).items()}  # type: ignore[call-overload]
    pairs |= {key.replace("__", "."): value for key, value in changes.items()}
    return [part for key, value in pairs.items() for part in ("--set", f"{key}={json.dumps(value)}")]


def torchrun(packed: Path, out: Path, ranks: int, arguments: list[str]) -> subprocess.Popen[str]:
    """Start `torchrun -m rbt.trainer.pretrain` on `ranks` processes."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}",
        "-m", MODULE, "--packed", str(packed), "--format", "doc-sentences", "--out", str(out), *arguments,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, cwd=out.parent)


def children(process: int) -> list[int]:
    """Process ids of a process's children."""
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def wait_until(condition: Any, seconds: float = 120) -> None:
    """Poll for something that must come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)
