"""Sweeps: the grid, the order of runs, what is found again, and what ends them."""

from __future__ import annotations

import json
import shutil
import signal
import tomllib
from pathlib import Path
from typing import Any

import pytest

from rbt.errors import ConfigError, InputError
from rbt.finetune import run as run_module
from rbt.finetune import sweep as module
from rbt.finetune.config import FinetuneConfig
from rbt.finetune.results import read_results
from rbt.finetune.scores import write_scores
from rbt.finetune.sweep import grid, jobs
from rbt.tasks.task import Defaults
from rbt.trainer import launch as launcher
from rbt.trainer.distributed import stop_on_signals

from .conftest import write_start_model
from .runs import invoke, line_of, must

GRID = ("finetune.epochs=1", "finetune.batch_sizes=[20]", "finetune.learning_rates=[3e-3, 1e-3]", "run.device=cpu")
FOLDERS = ["lr0.003-batch20-seed1", "lr0.001-batch20-seed1", "lr0.003-batch20-seed2", "lr0.001-batch20-seed2"]
Began = list[str]


@pytest.fixture
def began(monkeypatch: pytest.MonkeyPatch) -> Began:
    """Names of the runs that are begun or gone on with, from now on."""
    names: Began = []

    def finetune(name: str, model: Path, data: Path, out: Path, *rest: Any) -> Path:
        names.append(out.name)
        return original(name, model, data, out, *rest)

    original = module.finetune
    monkeypatch.setattr(module, "finetune", finetune)
    return names


def sweep(model: Path, data: Path, out: Path, *words: object, settings: tuple[str, ...] = GRID) -> Any:
    """The command."""
    given = ("finetune", "sst2", "--model", model, "--data", data, "--out", out, "--sweep", *words)
    return invoke(*given, settings=settings)


def test_the_grid_is_the_recipes_lists_else_its_value_else_the_tasks() -> None:
    def pairs(**changes: Any) -> list[tuple[int, float]]:
        return [(each.batch_size, each.learning_rate) for each in grid(FinetuneConfig(**changes), Defaults())]

    assert pairs() == [(16, 1e-5), (16, 2e-5), (16, 3e-5), (32, 1e-5), (32, 2e-5), (32, 3e-5)]
    assert pairs(batch_size=8) == [(8, 1e-5), (8, 2e-5), (8, 3e-5)]
    assert pairs(batch_sizes=(4, 4), learning_rates=(1e-3,), learning_rate=1.0) == [(4, 1e-3)]
    with pytest.raises(ConfigError, match="batch_sizes of at least 1"):
        pairs(batch_sizes=(0,))


def test_every_configuration_has_its_first_seed_before_any_has_its_second() -> None:
    config = FinetuneConfig(seed=3, learning_rates=(1.5e-5, 3e-5), batch_sizes=(48,))
    found = jobs(grid(config, Defaults()), 2, Path("out"))
    assert [job.folder.name for job in found] == [
        "lr1.5e-05-batch48-seed3", "lr3e-05-batch48-seed3", "lr1.5e-05-batch48-seed4", "lr3e-05-batch48-seed4"
    ]
    assert [job.config.seed for job in found] == [3, 3, 4, 4]


def test_a_sweep_is_run_found_again_and_grows(start_model: Path, sst2: Path, tmp_path: Path, began: Began) -> None:
    assert "finished" in must(sweep(start_model, sst2, tmp_path / "out", "--seeds", 1))
    assert began == FOLDERS[:2]
    must(sweep(start_model, sst2, tmp_path / "out", "--seeds", 1))
    assert began == FOLDERS[:2]
    output = must(sweep(start_model, sst2, tmp_path / "out", "--seeds", 2))
    assert began == FOLDERS
    found = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert [[run["run"] for run in each["runs"]] for each in found["configurations"]] == [FOLDERS[::2], FOLDERS[1::2]]
    assert output.count("lr 0.003, batch 20: dev accuracy ") == 1 and output.count("<- chosen") == 1
    for result in read_results(tmp_path / "out"):
        table = tomllib.loads((result.folder / "config.toml").read_text())["finetune"]
        assert result.folder.name == f"lr{table['learning_rate']:g}-batch20-seed{table['seed']}"


def test_asking_for_less_or_for_more_forgets_no_run(
    start_model: Path, sst2: Path, tmp_path: Path, began: Began
) -> None:
    def runs() -> tuple[list[str], int, int]:
        table = json.loads((out / "sweep.json").read_text())
        names = [run["run"] for each in table["configurations"] for run in each["runs"]]
        return names, table["finished_runs"], table["planned_runs"]

    out = tmp_path / "out"
    must(sweep(start_model, sst2, out))
    output = must(sweep(start_model, sst2, out, settings=(*GRID, "finetune.learning_rates=[1e-3]")))
    assert runs() == (FOLDERS[1::-1], 2, 2) and "runs of this sweep" not in output
    output = must(sweep(start_model, sst2, out, "--seeds", 2, settings=(*GRID, "run.stop_after=1")))
    assert runs() == (FOLDERS[:2], 2, 4) and "only 2 of the 4 runs of this sweep are finished" in output
    assert began == FOLDERS[:3]
    (out / "notes").mkdir()
    (out / "notes" / "scores.json").write_text("{}")  # another program's
    shutil.copytree(out / FOLDERS[0], out / "other")
    path = out / "other" / "config.toml"
    path.write_text(path.read_text().replace("warmup_fraction = 0.06", "warmup_fraction = 0.5"))
    line = line_of(sweep(start_model, sst2, out))
    assert "other: expected runs of one sweep, with finetune.warmup_fraction = 0.06; found 0.5 (choose" in line
    assert runs() == (FOLDERS[:2], 2, 4)


def test_settings_of_all_runs_are_looked_at_before_any_is_begun(
    start_model: Path, sst2: Path, tmp_path: Path, began: Began
) -> None:
    wrong = (*GRID, "finetune.learning_rates=[1e-3, nan]")
    assert "learning_rate: expected 0 to below inf; found nan" in line_of(
        sweep(start_model, sst2, tmp_path / "out", settings=wrong)
    )
    must(sweep(start_model, sst2, tmp_path / "out", settings=(*GRID, "finetune.learning_rates=[1e-3]")))
    path = tmp_path / "out" / FOLDERS[1] / "config.toml"
    path.write_text(path.read_text().replace("warmup_fraction = 0.06", "warmup_fraction = 0.5"))
    assert "finetune.warmup_fraction" in line_of(sweep(start_model, sst2, tmp_path / "out"))
    assert began == FOLDERS[1:2]


def test_learning_rates_that_would_share_a_folder_are_an_error() -> None:
    configs = grid(FinetuneConfig(batch_size=8, learning_rates=(1.0000001e-5, 1.0000002e-5)), Defaults())
    with pytest.raises(ConfigError, match=r"first six digits; found 1\.0000001e-05 and 1\.0000002e-05"):
        jobs(configs, 1, Path("out"))


def test_a_signal_in_the_last_step_of_a_run_ends_the_sweep_behind_it(
    start_model: Path, sst2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, began: Began
) -> None:
    def write_after_signal(*rest: Any) -> None:
        signal.raise_signal(signal.SIGTERM)
        write_scores(*rest)

    with monkeypatch.context() as patch:
        patch.setattr("rbt.finetune.run.write_scores", write_after_signal)
        output = must(sweep(start_model, sst2, tmp_path / "out"))
    assert began == FOLDERS[:1] and "not all of it yet: the same command goes on" in output
    assert [result.folder.name for result in read_results(tmp_path / "out")] == FOLDERS[:1]
    must(sweep(start_model, sst2, tmp_path / "out"))
    assert began == FOLDERS[:2]


def test_a_signal_in_the_middle_of_a_run_ends_the_sweep_and_the_run_goes_on(
    start_model: Path, sst2: Path, tmp_path: Path, began: Began
) -> None:
    stopped = (*GRID, "run.stop_after=1")
    assert "not all of it yet" in must(sweep(start_model, sst2, tmp_path / "out", settings=stopped))
    assert began == FOLDERS[:1] and not (tmp_path / "out" / "sweep.json").exists()
    must(sweep(start_model, sst2, tmp_path / "out"))
    assert began == [FOLDERS[0], *FOLDERS[:2]]


def test_a_signal_before_the_first_step_ends_the_sweep_behind_it(
    start_model: Path, sst2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, began: Began
) -> None:
    """While files are read, or texts encoded, which may take minutes."""
    def begin(name: str) -> Any:
        function = getattr(run_module, name)

        def call(*rest: Any) -> Any:
            signal.raise_signal(signal.SIGTERM)
            return function(*rest)

        return call

    for name in ("read_start", "encode_start"):
        with monkeypatch.context() as patch:
            patch.setattr(run_module, name, begin(name))
            must(sweep(start_model, sst2, tmp_path / name, settings=(*GRID, "finetune.epochs=3")))
        (state,) = (tmp_path / name / FOLDERS[0] / "checkpoints").glob("*/state.json")
        assert json.loads(state.read_text())["step"] == 1
    assert began == [FOLDERS[0]] * 2


def test_a_request_inside_another_is_passed_on_to_it() -> None:
    with stop_on_signals() as outer:
        with stop_on_signals() as inner:
            signal.raise_signal(signal.SIGTERM)
            assert inner.is_asked and not outer.is_asked
        assert outer.is_asked
    with stop_on_signals() as outer:
        with stop_on_signals() as inner:
            assert not inner.is_asked
        assert not outer.is_asked
        signal.raise_signal(signal.SIGTERM)
        with stop_on_signals() as inner:
            assert inner.is_asked


def test_a_signal_to_ranks_is_passed_on_to_what_started_them(tmp_path: Path) -> None:
    with stop_on_signals() as outer:
        with launcher._signals_to(tmp_path / "stop"):
            signal.raise_signal(signal.SIGTERM)
            assert not outer.is_asked
        assert outer.is_asked


def test_a_run_that_fails_ends_the_sweep_in_one_line(
    start_model: Path, sst2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise InputError("expected something else", path="here")

    monkeypatch.setattr(module, "finetune", fail)
    assert line_of(sweep(start_model, sst2, tmp_path / "out")) == "Error: here: expected something else"


def test_a_finished_run_of_something_else_is_an_error_before_any_is_begun(
    start_model: Path, sst2: Path, tmp_path: Path, began: Began
) -> None:
    must(sweep(start_model, sst2, tmp_path / "out"))
    other = write_start_model(tmp_path / "other", seed=2)
    assert "task.weights" in line_of(sweep(other, sst2, tmp_path / "out"))
    changed = (*GRID, "finetune.warmup_fraction=0.5")
    assert "finetune.warmup_fraction" in line_of(sweep(start_model, sst2, tmp_path / "out", settings=changed))
    assert began == FOLDERS[:2]


def test_a_single_run_and_a_sweep_do_not_share_a_folder(start_model: Path, sst2: Path, tmp_path: Path) -> None:
    one = ("finetune", "sst2", "--model", start_model, "--data", sst2, "--out", tmp_path / "one")
    must(invoke(*one))
    assert (tmp_path / "one" / "scores.json").is_file()
    assert "expected a sweep, or a new folder; found a run" in line_of(sweep(start_model, sst2, tmp_path / "one"))
    must(sweep(start_model, sst2, tmp_path / "many"))
    assert "expected a new or empty folder, or a run" in line_of(invoke(*one[:-1], tmp_path / "many"))


def test_ranks_do_not_sweep(start_model: Path, sst2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "is_rank", lambda: True)
    assert "use --gpus N" in line_of(sweep(start_model, sst2, tmp_path / "out"))


@pytest.mark.slow
def test_each_run_of_a_sweep_may_be_of_several_processes(start_model: Path, sst2: Path, tmp_path: Path) -> None:
    settings = (*GRID, "finetune.dropout=0.0", "finetune.attention_dropout=0.0")
    must(sweep(start_model, sst2, tmp_path / "alone", settings=settings))
    must(sweep(start_model, sst2, tmp_path / "ranks", "--gpus", 2, settings=settings))
    alone, ranks = (read_results(tmp_path / name) for name in ("alone", "ranks"))
    assert [result.folder.name for result in ranks] == FOLDERS[:2]
    for first, second in zip(alone, ranks, strict=True):
        assert second.scores == pytest.approx(first.scores)
