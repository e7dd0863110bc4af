"""Checkpoints are whole or absent."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rbt.errors import ArtefactError
from rbt.formats.checkpoint import FILES, checkpoints, latest_checkpoint, step_folder, step_of
from rbt.storage import TEMPORARY
from rbt.trainer.checkpointing import discard, load_checkpoint, save_checkpoint
from rbt.trainer.config import ModelConfig, ScheduleConfig
from rbt.trainer.model import Roberta, build_model
from rbt.trainer.optim import build_optimizer

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


def save(run: Path, step: int, keep: int = 3, decay_all: bool = True) -> Path:
    """Save a step."""
    state = {"step": step, "position": 8 * step, "global_batch": 8, "epoch": 2, "config": {"model": {"layers": 1}}}
    return save_checkpoint(run, *build(decay_all=decay_all), state, {"index": "abc"}, keep)


@pytest.mark.parametrize("decay_all", [True, False])
def test_what_is_loaded_is_what_was_saved(tmp_path: Path, decay_all: bool) -> None:
    folder = save(tmp_path, 7, decay_all=decay_all)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, "manifest.json", "provenance.json"])
    model, optimizer = build(decay_all=decay_all)
    other, other_optimizer = build(2, decay_all)
    state = load_checkpoint(folder, other, other_optimizer)
    assert (state["step"], state["position"], state["global_batch"], state["epoch"]) == (7, 56, 8, 2)
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        for name, value in optimizer.state[ours].items():
            assert torch.equal(value, other_optimizer.state[theirs][name])


def test_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (10, 20, 30, 40):
        save(tmp_path, step, keep=2)
    assert [step_of(folder) for folder in checkpoints(tmp_path)] == [30, 40]
    for step in (50, 60):
        save(tmp_path, step, keep=0)
    assert [step_of(folder) for folder in checkpoints(tmp_path)] == [30, 40, 50, 60]
    assert not list(tmp_path.rglob(f"{TEMPORARY}*"))


def test_a_checkpoint_with_a_cut_file_is_passed_over_and_written_anew(tmp_path: Path) -> None:
    save(tmp_path, 1)
    file = save(tmp_path, 2) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert latest_checkpoint(tmp_path) == step_folder(tmp_path, 1)
    save(tmp_path, 2)
    assert latest_checkpoint(tmp_path) == step_folder(tmp_path, 2)
    load_checkpoint(step_folder(tmp_path, 2), *build(2))


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_an_error_that_names_the_file(tmp_path: Path, name: str) -> None:
    file = save(tmp_path, 1) / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(ArtefactError, match=f"{name}.*expected the file as it was saved"):
        load_checkpoint(file.parent, *build())


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
