"""Run by test_checkpointing.py: saves that are killed, or that meet a full disk. Prints a JSON object."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from rbt.errors import RbtError
from rbt.formats.checkpoint import FOLDER, checkpoints, latest_checkpoint, read_checkpoint, step_of
from rbt.rng import rng
from rbt.storage import TEMPORARY, sweep
from rbt.trainer.checkpointing import Keep, Saver, load_checkpoint, take_snapshot
from rbt.trainer.config import ModelConfig, ScheduleConfig
from rbt.trainer.distributed import World
from rbt.trainer.model import Roberta, build_model
from rbt.trainer.optim import build_optimizer

KEEP = 2
ALONE = World(0, 1, torch.device("cpu"), False)


def build() -> tuple[Roberta, torch.optim.AdamW]:
    """A small model with an optimizer that has moments."""
    model = build_model(ModelConfig(layers=1, hidden=16, heads=2, feed_forward=24), 300, 16, 1)
    optimizer = build_optimizer(model, ScheduleConfig())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return model, optimizer


def fill(model: Roberta, optimizer: torch.optim.AdamW, step: int) -> None:
    """Write the step into every number."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(step)
            for name in ("exp_avg", "exp_avg_sq", "step"):
                optimizer.state[parameter][name].fill_(step)


def save(run: Path, step: int) -> None:
    """Save a checkpoint whose every number is its step."""
    model, optimizer = build()
    fill(model, optimizer, step)
    state = {"step": step, "position": 8 * step, "global_batch": 8, "epoch": 0, "config": {}}
    saver = Saver(run, Keep(KEEP))
    saver.save(lambda: take_snapshot(model, optimizer, state, {}))
    saver.wait()


def check(run: Path) -> int:
    """The step of the newest checkpoint, which must be whole and hold its own step everywhere."""
    newest = latest_checkpoint(run)
    if newest is None:
        return 0
    for folder in checkpoints(run):
        read_checkpoint(folder)
    model, optimizer = build()
    state = load_checkpoint(newest, model, optimizer, ALONE)
    assert state["step"] == step_of(newest)
    for parameter in model.parameters():
        tensors = [parameter, *optimizer.state[parameter].values()]
        assert all((tensor == state["step"]).all() for tensor in tensors)
    return step_of(newest)


def stop_inside_a_save(child: int, run: Path, generator: Any) -> None:
    """Let the child run for random moments until it stands still with a half-written checkpoint."""
    while True:
        time.sleep(float(generator.uniform(0.0, 0.01)))
        os.kill(child, signal.SIGSTOP)
        os.waitpid(child, os.WUNTRACED)
        if any((run / FOLDER).glob(f"{TEMPORARY}*")):
            return
        os.kill(child, signal.SIGCONT)


def kill_saves(run: Path, kills: int) -> dict[str, int]:
    """Kill a saving process `kills` times, at random moments, every other one surely inside a save.

    What it leaves is checked each time.
    """
    save(run, 1)  # also imports what torch imports late, before the first fork
    cut, steps, generator = 0, [1], rng(1, "kills")
    for kill in range(kills):
        child = os.fork()
        if child == 0:
            for step in range(steps[-1] + 1, steps[-1] + 1000):
                save(run, step)
            os._exit(0)
        time.sleep(float(generator.uniform(0.02, 0.12)))
        if kill % 2:
            stop_inside_a_save(child, run, generator)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        cut += any((run / FOLDER).glob(f"{TEMPORARY}*"))
        steps.append(check(run))
        assert steps[-1] >= steps[-2]
        sweep(run)
    return {"kills": kills, "cut": cut, "last": steps[-1], "kept": len(checkpoints(run))}


def fill_disk(run: Path) -> dict[str, str | int]:
    """Save under a limit on the size of files, which is how a full disk looks to the writer."""
    save(run, 1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        save(run, 2)
    except RbtError as error:
        left = len(list((run / FOLDER).glob(f"{TEMPORARY}*")))
        return {"error": str(error), "last": check(run), "left": left}
    return {"error": "", "last": check(run), "left": 0}


if __name__ == "__main__":
    torch.set_num_threads(1)
    fault, folder = sys.argv[1], Path(sys.argv[2])
    result = fill_disk(folder) if fault == "full" else kill_saves(folder, int(fault))
    sys.stdout.write(json.dumps(result))
