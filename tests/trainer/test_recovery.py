"""What goes wrong in a run costs little, and the cure that is named works."""

from __future__ import annotations

import dataclasses
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from rbt.errors import RbtError
from rbt.formats.checkpoint import best_checkpoint, checkpoints, latest_checkpoint, step_folder, step_of
from rbt.manifest import read_json
from rbt.stage import LOCK, WORK
from rbt.trainer import checkpointing
from rbt.trainer.checkpointing import Keep, Snapshot
from rbt.trainer.config import DataConfig, ModelConfig, RunConfig, ScheduleConfig, check_ranges
from rbt.trainer.pretrain import main
from rbt.trainer.stability import Watch
from rbt.trainer.training import Training

from .runs import DATA, MODEL, RUN, SCHEDULE, records, settings, tensors, train

write_checkpoint = checkpointing.write_checkpoint


def steps(out: Path) -> list[int]:
    """Of the checkpoints."""
    return [step_of(folder) for folder in checkpoints(out)]


def test_a_run_that_diverged_goes_on_by_the_cure_that_is_named(packed: Path, tmp_path: Path) -> None:
    wild, out = dataclasses.replace(SCHEDULE, peak_learning_rate=1e30, warmup_steps=0), tmp_path / "run"
    with pytest.raises(RbtError, match=r"lower schedule\.peak_learning_rate.*run\.new_schedule=true"):
        train(packed, out, schedule=wild, checkpoint_every=1, skipped_steps=2)
    shutil.rmtree(step_folder(out, 1))
    calm = dataclasses.replace(SCHEDULE, clip_norm=1.0)
    with pytest.raises(RbtError, match=r"expected schedule\.clip_norm = 0\.0.*or --set run\.new_schedule=true"):
        train(packed, out, schedule=calm)
    train(packed, out, schedule=calm, new_schedule=True)
    assert tensors(out) == tensors(train(packed, tmp_path / "calm", schedule=calm))


def test_a_changed_schedule_is_in_the_records_once(packed: Path, tmp_path: Path) -> None:
    out = train(packed, tmp_path / "run", stop_after=3)
    longer = dataclasses.replace(SCHEDULE, max_steps=20, clip_norm=0.5)
    train(packed, out, schedule=longer, new_schedule=True, stop_after=2)
    train(packed, out, schedule=longer)
    changes = [row for row in records(out) if "changed" in row]
    assert changes == [{"step": 3, "changed": {"schedule.clip_norm": 0.5, "schedule.max_steps": 20}}]
    assert records(out)[-1]["step"] == 20


def test_only_the_schedule_may_be_new(packed: Path, tmp_path: Path) -> None:
    out = train(packed, tmp_path / "run", stop_after=1)
    with pytest.raises(RbtError, match=r"expected data\.seed = 1.*or choose another --out"):
        train(packed, out, data=dataclasses.replace(DATA, seed=2), new_schedule=True)


def test_a_validation_loss_that_is_not_finite_is_recorded_and_never_the_best(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([2.0, math.nan, math.inf])
    monkeypatch.setattr(Training, "validate", lambda *_: (next(losses), None))
    out = train(packed, tmp_path / "run", checkpoint_every=2, validate_every=2, stop_after=6, keep_checkpoints=0)
    assert [row["validation_loss"] for row in records(out) if "validation_loss" in row] == [2.0, "nan", "inf"]
    assert steps(out) == [2, 4, 6]
    assert best_checkpoint(out) == step_folder(out, 2)


def test_a_run_that_stops_before_its_first_update_goes_on(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No update has been made, so that the optimizer has nothing to keep."""
    verdict = Watch.verdict
    judged: list[float] = []

    def judge(watch: Watch, loss: float, norm: float) -> str:
        judged.append(loss)
        return "not yet" if len(judged) in (1, 2) else verdict(watch, loss, norm)

    monkeypatch.setattr(Watch, "verdict", judge)
    out = train(packed, tmp_path / "run", stop_after=2)
    assert steps(out) == [2]
    train(packed, out)
    judged.clear()
    assert tensors(out) == tensors(train(packed, tmp_path / "straight"))


class Disk:
    """Writes checkpoints but for the tries that are named, from 1."""

    def __init__(self, full_at: set[int]) -> None:
        self.full_at, self.tries = full_at, list[int]()

    def write(self, run: Path, snapshot: Snapshot, keep: Keep) -> Path:
        self.tries.append(int(snapshot.state["step"]))
        if len(self.tries) in self.full_at:
            raise RbtError("expected room for a checkpoint", found="none")
        return write_checkpoint(run, snapshot, keep)


def failing_disk(monkeypatch: pytest.MonkeyPatch, full_at: set[int]) -> Disk:
    """A disk whose failures are known before the next step."""
    disk = Disk(full_at)
    save = checkpointing.Saver.save

    def save_and_wait(saver: checkpointing.Saver, take: Any) -> None:
        save(saver, take)
        assert saver._thread is not None
        saver._thread.join()

    monkeypatch.setattr(checkpointing, "write_checkpoint", disk.write)
    monkeypatch.setattr(checkpointing.Saver, "save", save_and_wait)
    return disk


def test_a_save_that_failed_is_tried_again_at_the_next_step(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk = failing_disk(monkeypatch, {1})
    out = train(packed, tmp_path / "run")
    assert disk.tries == [5, 6, 10, 14]
    assert steps(out) == [10, 14]
    assert "expected room for a checkpoint; found none; trying once more" in caplog.text


def test_a_save_that_fails_twice_ends_the_run_at_once(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = failing_disk(monkeypatch, {1, 2})
    with pytest.raises(RbtError, match="expected room for a checkpoint"):
        train(packed, tmp_path / "run")
    assert disk.tries == [5, 6]


def test_a_checkpoint_that_was_due_in_a_bad_step_comes_at_the_next_good_one(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict, judged = Watch.verdict, list[float]()

    def judge(watch: Watch, loss: float, norm: float) -> str:
        judged.append(loss)
        if len(judged) in (5, 6):
            watch.skipped += 1
            return "bad"
        return verdict(watch, loss, norm)

    monkeypatch.setattr(Watch, "verdict", judge)
    out = train(packed, tmp_path / "run", keep_checkpoints=0)
    assert steps(out) == [7, 10, 14]


def test_copies_that_a_user_made_beside_the_checkpoints_are_left_alone(packed: Path, tmp_path: Path) -> None:
    out = train(packed, tmp_path / "run", stop_after=5)
    copy = out / "checkpoints" / "step-00000005-good"
    shutil.copytree(step_folder(out, 5), copy)
    train(packed, out, keep_checkpoints=1)
    assert copy.is_dir() and steps(out)[-1] == 14


def test_a_start_that_was_killed_before_its_configuration_was_whole_can_be_repeated(
    packed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    (out / WORK).mkdir(parents=True)
    (out / WORK / LOCK).touch()  # it held the folder
    (out / ".tmp-12-config.toml").write_text("[model]")
    train(packed, out, stop_after=1)
    assert latest_checkpoint(out) == step_folder(out, 1)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("model.layers=-1", "[model] layers: expected at least 0, finite; found -1"),
        ("model.dropout=1.5", "[model] dropout: expected at least 0, below 1; found 1.5"),
        ("data.seed=18446744073709551616", "[data] seed: expected at least 0, below 9,223,372,036,854,775,808"),
        ("data.micro_batch=0", "[data] micro_batch: expected at least 1"),
        ("schedule.beta2=1.0", "[schedule] beta2: expected at least 0, below 1; found 1.0"),
        ("schedule.spike_nats=inf", "[schedule] spike_nats: expected at least 0, finite; found inf"),
        ("schedule.peak_learning_rate=nan", "[schedule] peak_learning_rate: expected at least 0, finite; found nan"),
        ("run.keep_checkpoints=-1", "[run] keep_checkpoints: expected at least 0"),
        ("run.validation_rows=-1", "[run] validation_rows: expected at least 0"),
    ],
)
def test_a_number_out_of_its_range_is_one_line(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, expected: str
) -> None:
    out = tmp_path / "run"
    arguments = ["--packed", str(packed), "--format", "doc-sentences", "--out", str(out), *settings()]
    assert main([*arguments, "--set", setting]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"Error: {expected}") and error.count("\n") == 1
    assert not out.exists()


def test_the_defaults_are_in_their_ranges() -> None:
    check_ranges(ModelConfig(), DataConfig(), ScheduleConfig(), RunConfig())
    check_ranges(MODEL, DATA, SCHEDULE, RUN)


def test_the_newest_checkpoint_always_stays(packed: Path, tmp_path: Path) -> None:
    """Also by a rule that makes no sense."""
    out = train(packed, tmp_path / "run", stop_after=5)
    assert checkpointing.superfluous(out, Keep(-1, best=False)) == []
    assert read_json(step_folder(out, 5) / "state.json")["step"] == 5
