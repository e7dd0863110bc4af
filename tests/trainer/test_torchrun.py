"""Runs on several ranks, which torchrun starts: resumed on other numbers of them, killed, and stopped."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from rbt.formats.checkpoint import latest_checkpoint, read_checkpoint
from rbt.formats.tokenizer import FILES

from .hugging_face_models import their_model
from .runs import CALM, children, records, settings, torchrun, train, wait_until


@pytest.mark.slow
def test_v42_torchrun_resumes_on_another_number_of_ranks(packed: Path, tmp_path: Path) -> None:
    reference = records(train(packed, tmp_path / "reference", model=CALM))
    calm = {"model__dropout": 0.0, "model__attention_dropout": 0.0}
    for ranks, stop in ((2, 6), (1, 3), (4, 0)):
        process = torchrun(packed, tmp_path / "run", ranks, settings(**calm, run__stop_after=stop))
        errors = process.communicate(timeout=240)[1]
        assert process.returncode == 0, errors
    for row, expected in zip(records(tmp_path / "run"), reference, strict=True):
        assert row == pytest.approx(expected, rel=1e-3)


@pytest.mark.slow
def test_a_rank_that_dies_ends_the_job_and_the_run_goes_on(packed: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    long = settings(schedule__max_steps=100_000, run__checkpoint_every=5)
    process = torchrun(packed, out, 2, long)
    wait_until(lambda: latest_checkpoint(out) is not None)
    ranks = children(process.pid)
    os.kill(ranks[1], signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode != 0
    wait_until(lambda: not any(Path(f"/proc/{rank}").exists() for rank in ranks))
    stopped = latest_checkpoint(out)
    assert stopped is not None
    read_checkpoint(stopped)
    process = torchrun(packed, out, 2, settings(schedule__max_steps=100_000, run__stop_after=2))
    assert "going on after step" in process.communicate(timeout=120)[1]
    assert process.returncode == 0


@pytest.mark.slow
def test_a_signal_to_torchrun_leaves_a_checkpoint(packed: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = torchrun(packed, out, 2, settings(schedule__max_steps=100_000, run__checkpoint_every=10**6))
    wait_until(lambda: (out / "metrics.jsonl").exists() and (out / "metrics.jsonl").stat().st_size > 0)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert latest_checkpoint(out) is not None


@pytest.mark.slow
def test_ranks_start_from_a_model_and_go_on_without_its_folder_as_one_process_does(
    packed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    their_model(time=64, deviation=0.1).save_pretrained(folder)
    for name in FILES:
        shutil.copyfile(packed / name, folder / name)
    reference = records(train(packed, tmp_path / "reference", model=CALM, init=folder))
    calm = {"model__dropout": 0.0, "model__attention_dropout": 0.0}
    for ranks, stop, init in ((2, 6, ["--init", str(folder)]), (4, 0, [])):
        process = torchrun(packed, tmp_path / "run", ranks, [*settings(**calm, run__stop_after=stop), *init])
        errors = process.communicate(timeout=240)[1]
        assert process.returncode == 0, errors
        shutil.rmtree(folder, ignore_errors=True)
    for row, expected in zip(records(tmp_path / "run"), reference, strict=True):
        assert row == pytest.approx(expected, rel=1e-3)
