"""Tables are run, found again, and gone on with."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from rbt import cli
from rbt.ablation.run import _warn_of_masks, jobs, make_indices
from rbt.ablation.tables import load_ablation, make_plans
from rbt.formats.blocks import choose_index, open_index
from rbt.formats.checkpoint import checkpoints, latest_checkpoint, step_of
from rbt.runs import read_run
from rbt.trainer import evaluate as evaluation
from rbt.trainer import pretrain as trainer
from rbt.trainer.training import Training

from .small_tables import SMALL, Steps, ablate, must, read_losses, read_table


def test_what_is_finished_is_found_and_not_trained_or_evaluated_again(
    inputs: Path, formats: Path, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: Any) -> float:
        raise AssertionError("evaluated again")

    before = {path: path.read_bytes() for path in sorted(formats.glob("table-2.*"))}
    monkeypatch.setattr("rbt.trainer.evaluate.evaluate", never)
    must(ablate(inputs, formats, "table-2", "--seeds", "2"))
    assert steps == []
    assert {path: path.read_bytes() for path in sorted(formats.glob("table-2.*"))} == before


def test_another_seed_trains_the_new_runs_alone_and_a_packed_folder_is_enough(
    inputs: Path, formats: Path, tmp_path: Path, steps: Steps
) -> None:
    shutil.copytree(formats, tmp_path / "out", ignore=shutil.ignore_patterns("packed", "evaluations"))
    settings = [part for setting in SMALL for part in ("--set", setting)]
    arguments = ["ablate", "table-2", "--packed", str(formats / "packed"), "--out", str(tmp_path / "out"), *settings]
    must(CliRunner().invoke(cli.main, arguments))
    assert steps == [(3, number) for _ in range(4) for number in range(1, 5)]
    assert {row["seeds"] for row in read_table(tmp_path / "out" / "table-2.md")} == {"3"}
    assert not (tmp_path / "out" / "packed").exists()
    assert "75.0% for 3 seeds" in (tmp_path / "out" / "table-2.md").read_text()


def test_a_packed_folder_needs_neither_corpus_nor_what_reads_one(formats: Path, tmp_path: Path) -> None:
    """A machine that trains: torch, numpy, safetensors and click."""
    shutil.copytree(formats, tmp_path / "out", ignore=shutil.ignore_patterns("packed", "evaluations", "table-2.*"))
    settings = [part for setting in SMALL for part in ("--set", setting)]
    folders = ["--packed", str(formats / "packed"), "--out", str(tmp_path / "out")]
    arguments = ["ablate", "table-2", "--seeds", "2", "--quiet", *folders, *settings]
    absent = (
        "pyarrow", "polars", "numba", "scipy", "regex", "tokenizers", "lxml", "fsspec", "xxhash", "tqdm", "matplotlib",
    )
    code = (
        f"import sys\nfor name in {absent!r}: sys.modules[name] = None\n"
        f"import torch\ntorch.set_num_threads(1)\nfrom rbt.cli import main\nmain({arguments!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert read_losses(tmp_path / "out") == read_losses(formats)


def test_a_row_that_another_table_has_run_is_found(
    inputs: Path, formats: Path, tmp_path: Path, steps: Steps
) -> None:
    """`dynamic` of table 1 is `segment-pair` of table 2; the static masks do not come back in less than an epoch."""
    shutil.copytree(formats, tmp_path / "out", ignore=shutil.ignore_patterns("packed", "evaluations"))
    output = must(ablate(inputs, tmp_path / "out", "table-1", "--seeds", "1", "--packed", str(formats / "packed")))
    assert steps == [(1, number) for number in range(1, 5)]
    found = json.loads((tmp_path / "out" / "table-1.json").read_text())
    assert [line["runs"][0]["run"] for line in found["rows"]] == ["static-seed1", "segment-pair-seed1"]
    assert [line["settings"] for line in found["rows"]] == [{"data.static_masks": 10}, {"data.static_masks": 0}]
    assert [row["`data.static_masks`"] for row in read_table(tmp_path / "out" / "table-1.md")] == ["10", "0"]
    assert [name for name in read_table(tmp_path / "out" / "table-1.md")[0] if name.startswith("perplexity")] == [
        "perplexity on segment-pair"
    ]
    assert "none of its 10 masks of a block comes back" in output


def test_static_masks_come_back_where_a_run_is_long_enough(
    inputs: Path, formats: Path, tmp_path: Path, steps: Steps
) -> None:
    """Up to the first repeat both rows are one experiment; behind it they are not."""
    rows = open_index(choose_index(formats / "packed", "segment-pair"), "train").num_rows
    more = ("--seeds", "1", "--packed", str(formats / "packed"), "--set", f"data.global_batch={rows}", "--set",
            "schedule.max_steps=12", "--set", "schedule.warmup_steps=1", "--set", "model.layers=1")
    assert "none of its 10 masks" not in must(ablate(inputs, tmp_path / "out", "table-1", *more))
    losses = [
        [record["loss"] for record in read_run(tmp_path / "out" / "runs" / f"{name}-seed1", "").steps]
        for name in ("static", "dynamic")
    ]
    assert losses[0][:10] == losses[1][:10]
    assert losses[0][10:] != losses[1][10:]
    assert read_table(tmp_path / "out" / "table-1.md")[0]["epochs"] == "12"


def test_a_table_that_was_killed_between_rows_and_in_one_goes_on(
    inputs: Path, formats: Path, tmp_path: Path, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third row dies at its third step, behind a checkpoint; the fourth begins afterwards."""
    def killed(self: Training, number: int, *rest: Any) -> Any:
        if len(steps) == 10:
            raise KeyboardInterrupt
        return counted(self, number, *rest)

    counted: Callable[..., Any] = Training.step
    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", killed)
        result = ablate(inputs, tmp_path / "out", "table-2", "--seeds", "1", "--packed", str(formats / "packed"))
    assert (result.exit_code, result.output.splitlines()[-1]) == (
        130, "Error: interrupted; the same command, run again, keeps what is finished"
    )
    assert [row["row"] for row in read_table(tmp_path / "out" / "table-2.md")] == ["segment-pair", "sentence-pair"]
    half = tmp_path / "out" / "runs" / "full-sentences-seed1"
    assert [step_of(folder) for folder in checkpoints(half)] == [2]
    must(ablate(inputs, tmp_path / "out", "table-2", "--seeds", "1", "--packed", str(formats / "packed")))
    assert [number for _, number in steps] == [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4]
    found = read_losses(tmp_path / "out")
    assert found == {name: losses[:1] for name, losses in read_losses(formats).items()}


def test_a_run_that_stops_early_ends_the_command_which_then_goes_on(
    inputs: Path, formats: Path, tmp_path: Path, steps: Steps
) -> None:
    arguments = (inputs, tmp_path / "out", "table-1", "--seeds", "1", "--packed", str(formats / "packed"))
    output = must(ablate(*arguments, "--set", "run.stop_after=3"))
    assert output.endswith("table-1.md: not all of it yet: the same command goes on\n")
    assert step_of(latest_checkpoint(tmp_path / "out" / "runs" / "static-seed1") or Path("step-0")) == 3
    must(ablate(*arguments))
    assert [number for _, number in steps] == [1, 2, 3, 4, 1, 2, 3, 4]


def test_table_3_reads_the_same_rows_in_fewer_larger_steps(
    inputs: Path, formats: Path, tmp_path: Path, steps: Steps
) -> None:
    more = ("--seeds", "1", "--packed", str(formats / "packed"), "--set", "data.global_batch=1", "--set",
            "schedule.max_steps=32", "--set", "model.layers=1")
    must(ablate(inputs, tmp_path / "out", "table-3", *more))
    assert [number for _, number in steps] == [*range(1, 33), *range(1, 5), 1]
    rows = read_table(tmp_path / "out" / "table-3.md")
    columns = ("row", "`data.global_batch`", "`schedule.max_steps`", "`schedule.peak_learning_rate`")
    assert [tuple(row[name] for name in columns) for row in rows] == [
        ("256", "1", "32", "0.0001"), ("2K", "8", "4", "0.0007"), ("8K", "32", "1", "0.001"),
    ]
    assert len({row["epochs"] for row in rows}) == 1
    assert [row["paper: perplexity"] for row in rows] == ["3.99", "3.68", "3.77"]
    assert "[" not in rows[0]["perplexity on full-sentences"]


def test_the_trainer_is_called_in_one_place(
    inputs: Path, formats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []

    def pretrain(packed: Path, format: str, out: Path, *sections: Any) -> Path:
        called.append((format, out.name))
        return out

    monkeypatch.setattr(trainer, "pretrain", pretrain)
    must(ablate(inputs, tmp_path / "out", "table-2", "--packed", str(formats / "packed")))
    assert called == [("segment-pair-48-seed1", "segment-pair-seed1")]  # which has no checkpoint, so that it waits
    assert not (tmp_path / "out" / "table-2.md").exists()


def test_every_row_has_one_seed_before_any_has_two(formats: Path, tmp_path: Path) -> None:
    plans = make_plans(load_ablation("table-2"), "mini", SMALL)
    indices = make_indices(plans, formats / "packed", None)
    found = [job.folder.name for job in jobs(plans, 2, indices, tmp_path)]
    rows = ("segment-pair", "sentence-pair", "full-sentences", "doc-sentences")
    assert found == [f"{row}-seed{seed}" for seed in (1, 2) for row in rows]


@pytest.mark.parametrize("moment", ["last step", "validation", "save", "evaluation"])
def test_a_signal_at_the_end_of_a_run_ends_the_command_before_the_next_one(
    inputs: Path, formats: Path, tmp_path: Path, steps: Steps, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """In the last step, the last validation, the last save, or while the finished run is evaluated."""
    asked = []

    def signalled(function: Callable[..., Any], is_last: Callable[[], bool]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if is_last() and not asked:
                asked.append(os.kill(os.getpid(), signal.SIGUSR1))
            return function(*arguments, **options)
        return call

    owner, name, is_last = {
        "last step": (Training, "step", lambda: len(steps) == 3),
        "validation": (Training, "validate", lambda: len(steps) == 4),
        "save": (trainer.Saver, "wait", lambda: len(steps) == 4),
        "evaluation": (evaluation, "evaluate", lambda: True),
    }[moment]
    arguments = (inputs, tmp_path / "out", "table-1", "--seeds", "1", "--packed", str(formats / "packed"))
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, signalled(getattr(owner, name), is_last))
        output = must(ablate(*arguments))
    assert asked == [None]
    assert [number for _, number in steps] == [1, 2, 3, 4]
    assert output.endswith("table-1.md: not all of it yet: the same command goes on\n")
    must(ablate(*arguments))
    assert [number for _, number in steps] == [1, 2, 3, 4, 1, 2, 3, 4]


@pytest.mark.parametrize("quiet", [False, True])
def test_the_ranks_of_a_run_are_as_quiet_as_the_command(
    inputs: Path, formats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet: bool
) -> None:
    words: list[str] = []

    def launch(count: int, device: str, module: str, arguments: list[str]) -> int:
        words.extend(arguments)
        return 0

    monkeypatch.setattr("rbt.trainer.launch.launch", launch)
    more = ("--packed", str(formats / "packed"), "--gpus", "2", *(["--quiet"] if quiet else []))
    must(ablate(inputs, tmp_path / "out", "table-1", *more))
    assert ("--quiet" in words) == quiet
    assert trainer._parse(words).quiet == quiet


@pytest.mark.parametrize("key", ["run.precision", "run.deterministic"])
def test_a_run_of_another_precision_is_another_run(
    inputs: Path, formats: Path, steps: Steps, key: str
) -> None:
    """One that is found under settings of [run] which change results would be taken for what it is not."""
    value, before = {"run.precision": ("bfloat16", "'auto'"), "run.deterministic": ("true", "False")}[key]
    result = ablate(inputs, formats, "table-2", "--seeds", "1", "--set", f"{key}={value}")
    assert result.exit_code == 2
    assert f"segment-pair-seed1: expected {key} = {before}, with which this run began; found" in result.output
    assert steps == []


@pytest.mark.parametrize(
    ("steps_set", "words"),
    [
        (4, r"the paper's 40 epochs take \d{3,} steps$"),  # 16 rows read
        (10, r"the paper's 40 epochs take \d{3,} steps, or a corpus of 1 rows$"),
    ],
)
def test_a_corpus_that_would_be_small_enough_is_named_where_there_is_one(
    formats: Path, caplog: pytest.LogCaptureFixture, steps_set: int, words: str
) -> None:
    plans = make_plans(load_ablation("table-1"), "mini", [*SMALL, f"schedule.max_steps={steps_set}"])
    indices = make_indices(plans, formats / "packed", None)
    _warn_of_masks(plans, indices)
    (message,) = caplog.messages
    assert re.search(words, message), message
    assert "of 0" not in message


@pytest.mark.slow
def test_several_processes_train_what_one_does(inputs: Path, formats: Path, tmp_path: Path, steps: Steps) -> None:
    """Without dropout, and stopped once on the way."""
    more = ("--seeds", "1", "--packed", str(formats / "packed"), "--set", "model.dropout=0.0", "--set",
            "model.attention_dropout=0.0")
    must(ablate(inputs, tmp_path / "one", "table-1", *more))
    del steps[:]
    output = must(ablate(inputs, tmp_path / "two", "table-1", *more, "--gpus", "2", "--set", "run.stop_after=3"))
    assert output.endswith("not all of it yet: the same command goes on\n")
    must(ablate(inputs, tmp_path / "two", "table-1", *more, "--gpus", "2"))
    assert steps == []
    expected, found = (
        [row["runs"][0] for row in json.loads((tmp_path / out / "table-1.json").read_text())["rows"]]
        for out in ("one", "two")
    )
    for run, other in zip(found, expected, strict=True):
        assert run["losses"] == pytest.approx(other["losses"], rel=1e-3)
        assert run["steps"] == 4
