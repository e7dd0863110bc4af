"""Checkpoints are whole or absent."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from rbt.errors import ArtefactError, RbtError
from rbt.formats.checkpoint import FILES, best_checkpoint, checkpoints, latest_checkpoint, step_folder, step_of
from rbt.storage import TEMPORARY
from rbt.trainer import checkpointing
from rbt.trainer.checkpointing import Keep, Saver, discard, load_checkpoint, take_snapshot, write_checkpoint
from rbt.trainer.config import ModelConfig, ScheduleConfig
from rbt.trainer.distributed import World
from rbt.trainer.model import Roberta, build_model
from rbt.trainer.optim import build_optimizer

KEEP = Keep(3)
ALONE = World(0, 1, torch.device("cpu"), False)
SCRIPT = Path(__file__).with_name("checkpoint_faults.py")


def run_faults(fault: str, folder: Path) -> dict[str, Any]:
    """What the script found."""
    command = [sys.executable, str(SCRIPT), fault, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def build(seed: int = 1, decay_all: bool = True) -> tuple[Roberta, torch.optim.AdamW]:
    """A small model after one update."""
    model = build_model(ModelConfig(layers=1, hidden=16, heads=2, feed_forward=24), 300, 16, seed)
    optimizer = build_optimizer(model, ScheduleConfig(decay_all=decay_all))
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
    optimizer.step()
    return model, optimizer


def save(run: Path, step: int, keep: Keep = KEEP, decay_all: bool = True, validation_loss: float | None = None) -> Path:
    """Save a step."""
    state = {"step": step, "position": 8 * step, "global_batch": 8, "epoch": 2, "config": {"model": {"layers": 1}}}
    if validation_loss is not None:
        state["validation_loss"] = validation_loss
    return write_checkpoint(run, take_snapshot(*build(decay_all=decay_all), state, {"index": "abc"}), keep)


@pytest.mark.parametrize("decay_all", [True, False])
def test_what_is_loaded_is_what_was_saved(tmp_path: Path, decay_all: bool) -> None:
    folder = save(tmp_path, 7, decay_all=decay_all)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, "manifest.json", "provenance.json"])
    model, optimizer = build(decay_all=decay_all)
    other, other_optimizer = build(2, decay_all)
    state = load_checkpoint(folder, other, other_optimizer, ALONE)
    assert (state["step"], state["position"], state["global_batch"], state["epoch"]) == (7, 56, 8, 2)
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        for name, value in optimizer.state[ours].items():
            assert torch.equal(value, other_optimizer.state[theirs][name])


def test_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (10, 20, 30, 40):
        save(tmp_path, step, Keep(2))
    assert [step_of(folder) for folder in checkpoints(tmp_path)] == [30, 40]
    for step in (50, 60):
        save(tmp_path, step, Keep(0))
    assert [step_of(folder) for folder in checkpoints(tmp_path)] == [30, 40, 50, 60]
    assert not list(tmp_path.rglob(f"{TEMPORARY}*"))


def test_multiples_and_the_best_are_kept_besides(tmp_path: Path) -> None:
    losses = {10: 5.0, 20: 3.5, 30: 3.0, 40: None, 50: 3.0, 60: 3.2, 70: None}
    for step, loss in losses.items():
        save(tmp_path, step, Keep(2, every=20), validation_loss=loss)
    assert [step_of(folder) for folder in checkpoints(tmp_path)] == [20, 30, 40, 60, 70]
    assert best_checkpoint(tmp_path) == step_folder(tmp_path, 30)  # the older of two equals
    save(tmp_path, 80, Keep(1, best=False))
    assert [step_of(folder) for folder in checkpoints(tmp_path)] == [80]
    assert best_checkpoint(tmp_path) is None


def test_what_changes_while_a_checkpoint_is_written_is_not_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread starts to write when training has gone on."""
    changed = threading.Event()
    write = checkpointing.write_checkpoint
    monkeypatch.setattr(checkpointing, "write_checkpoint", lambda *all: changed.wait(10) and write(*all))
    model, optimizer = build()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    saver = Saver(tmp_path, KEEP)
    state = {"step": 1, "position": 8, "global_batch": 8, "epoch": 0, "config": {}}
    saver.save(lambda: take_snapshot(model, optimizer, state, {}))
    optimizer.param_groups[0]["lr"] = 1.0
    optimizer.step()
    changed.set()
    saver.wait()
    other = build(2)
    load_checkpoint(step_folder(tmp_path, 1), *other, ALONE)
    assert all(torch.equal(a, b) for a, b in zip(before, other[0].parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_checkpoint_that_could_not_be_written_is_an_error_of_the_thread_that_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpointing, "save_file", fail)
    saver = Saver(tmp_path, KEEP)
    state = {"step": 1, "position": 8, "global_batch": 8, "epoch": 0, "config": {}}
    saver.save(lambda: take_snapshot(*build(), state, {}))
    with pytest.raises(RbtError, match=r"expected room for a checkpoint; found .*No space left"):
        saver.wait()
    saver.wait()  # it is said once


def test_a_checkpoint_with_a_cut_file_is_passed_over_and_written_anew(tmp_path: Path) -> None:
    save(tmp_path, 1)
    file = save(tmp_path, 2) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert latest_checkpoint(tmp_path) == step_folder(tmp_path, 1)
    save(tmp_path, 2)
    assert latest_checkpoint(tmp_path) == step_folder(tmp_path, 2)
    load_checkpoint(step_folder(tmp_path, 2), *build(2), ALONE)


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_an_error_that_names_the_file(tmp_path: Path, name: str) -> None:
    file = save(tmp_path, 1) / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(ArtefactError, match=f"{name}.*expected the file as it was saved"):
        load_checkpoint(file.parent, *build(), ALONE)


def test_a_discarded_checkpoint_leaves_nothing(tmp_path: Path) -> None:
    discard(save(tmp_path, 1))
    discard(step_folder(tmp_path, 1))
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_v40_killed_saves_leave_a_valid_checkpoint(tmp_path: Path) -> None:
    result = run_faults("6", tmp_path / "run")
    assert result["kills"] == 6
    assert result["cut"] >= 3  # saves that were really cut
    assert result["last"] >= 1


@pytest.mark.slow
def test_v40_fifty_killed_saves_leave_a_valid_checkpoint_each(tmp_path: Path) -> None:
    result = run_faults("50", tmp_path / "run")
    assert result["kills"] == 50
    assert result["cut"] >= 25


def test_v41_a_full_disk_is_a_clear_error_and_keeps_the_old_checkpoint(tmp_path: Path) -> None:
    result = run_faults("full", tmp_path / "run")
    assert "expected room for a checkpoint" in result["error"]
    assert "step-00000002" in result["error"]
    assert (result["last"], result["left"]) == (1, 0)
