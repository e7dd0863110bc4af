"""What a table refuses: one line, and before any training."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from rbt import cli

from .small_tables import Steps, ablate


def test_mistakes_are_one_line_and_come_before_any_training(
    inputs: Path, formats: Path, tmp_path: Path, steps: Steps
) -> None:
    packed = ["--packed", str(formats / "packed")]
    for words, message in (
        (["--seeds", "0"], "0 is not in the range x>=1"),
        (["--size", "huge"], "'huge' is not one of 'paper', 'mini'"),
        (["--set", "data.static_masks=1"], "expected rows of table-1 that differ"),
        (["--set", "pack.validation_fraction=0.0"], "expected held-out rows to compare runs on"),
        ([*packed, "--set", "run.validation_rows=0"], "expected held-out rows to compare runs on"),
    ):
        result = ablate(inputs, tmp_path / "out", "table-1", *words)
        assert result.exit_code == 2 and message in result.output.splitlines()[-1], result.output
    for words, message in (
        (["--corpus", "x"], "expected --corpus and --tokenizer together; found one of them"),
        (packed, "expected an index of segment-pair, 128 tokens a row; found"),
        (["table-1"], "Got unexpected extra argument (table-1)"),
    ):
        result = CliRunner().invoke(cli.main, ["ablate", "table-1", "--out", str(tmp_path / "other"), *words])
        assert result.exit_code == 2 and message in result.output.splitlines()[-1], result.output
    result = CliRunner().invoke(cli.main, ["ablate", "--out", str(tmp_path / "other")])
    assert (result.exit_code, result.output) == (
        2, "Error: expected a table, one of table-1, table-2, table-3; found none\n"
    )
    assert steps == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["run.patience=0"], "[run] patience: expected at least 1"),
        (["schedule.beta2=1.0"], "[schedule] beta2: expected at least 0, below 1"),
        (["data.global_batch=0"], "[data] global_batch: expected at least 1"),
        (["schedule.max_steps=0"], "[schedule] max_steps: expected at least 1"),
        (["schedule.warmup_steps=4"], "[schedule] warmup_steps: expected 0 to 3"),
    ],
)
@pytest.mark.parametrize("gpus", ["0", "2"])
def test_numbers_outside_their_range_come_before_packing_and_before_what_is_found(
    inputs: Path, formats: Path, tmp_path: Path, settings: list[str], message: str, gpus: str
) -> None:
    more = [part for setting in settings for part in ("--set", setting)]
    for out in (tmp_path / "out", formats):
        result = ablate(inputs, out, "table-2", "--seeds", "1", "--gpus", gpus, *more)
        assert (result.exit_code, result.output.count("\n")) == (2, 1), result.output
        assert f"Error: {message}" in result.output
    assert not (tmp_path / "out").exists()


def test_another_size_in_the_same_folder_is_an_error_that_names_the_key(
    inputs: Path, formats: Path, steps: Steps
) -> None:
    result = ablate(inputs, formats, "table-2", "--seeds", "1", "--set", "model.hidden=32")
    assert result.exit_code == 2 and "expected model.hidden = 16, with which this run began" in result.output
    assert steps == []


@pytest.mark.slow
def test_a_run_that_several_processes_cannot_train_is_one_line(inputs: Path, formats: Path, tmp_path: Path) -> None:
    more = ("--seeds", "1", "--packed", str(formats / "packed"), "--gpus", "2", "--set", "data.global_batch=1")
    result = ablate(inputs, tmp_path / "out", "table-1", *more)
    assert result.exit_code == 2
    assert "static-seed1: expected 2 processes to train this run; found exit code 2" in result.output.splitlines()[-1]
