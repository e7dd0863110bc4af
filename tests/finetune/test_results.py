"""Runs of a sweep: which configuration is chosen, which run of it is used, and what diverged runs do to that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rbt.errors import ArtefactError, ConfigError
from rbt.finetune.config import FinetuneConfig
from rbt.finetune.results import best_runs, check_comparable, choose, chosen_run, configurations, read_results
from rbt.finetune.sweep import summary, write_sweep
from rbt.spread import Spread

from .runs import fake_run, fake_seeds

NAME = "dev accuracy"


def chosen(*groups: list[Path]) -> float:
    """The learning rate of the configuration that is chosen among runs."""
    found = [result for group in groups for run in group for result in read_results(run)]
    return choose(configurations(found)).config.learning_rate


def test_runs_that_differ_in_their_seed_alone_are_one_configuration(tmp_path: Path) -> None:
    runs = [
        *fake_seeds(tmp_path, "rte", NAME, [60, 70], rate=1e-5), *fake_seeds(tmp_path, "rte", NAME, [50], rate=2e-5)
    ]
    found = configurations([result for run in runs for result in read_results(run)])
    assert [[result.folder for result in each.results] for each in found] == [runs[:2], runs[2:]]


def test_runs_of_different_starts_are_different_configurations(tmp_path: Path) -> None:
    runs = [fake_run(tmp_path / name, "rte", {NAME: 60}, learned=["mnli"], start=name) for name in "ab"]
    found = [result for run in runs for result in read_results(run)]
    assert [len(each.results) for each in configurations(found)] == [1, 1]
    check_comparable(found)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"data": "others"}, r"with the same files and finetune\.dev_fraction; found .*one and .*two"),
        ({"config": FinetuneConfig(seed=2, dev_fraction=0.1)}, r"finetune\.dev_fraction; found .*one and .*two"),
        ({}, r"different seeds; found .*one and .*two, with the same settings and seed 1"),
    ],
)
def test_runs_of_different_dev_sets_or_the_same_seed_are_not_compared(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    runs = [fake_run(tmp_path / "one", "rte", {NAME: 60}), fake_run(tmp_path / "two", "rte", {NAME: 61}, **changes)]
    with pytest.raises(ConfigError, match=expected):
        check_comparable([result for run in runs for result in read_results(run)])


def test_the_best_median_over_seeds_is_chosen_not_the_best_run(tmp_path: Path) -> None:
    lucky = fake_seeds(tmp_path, "rte", NAME, [50, 51, 99], rate=1e-5)
    steady = fake_seeds(tmp_path, "rte", NAME, [60, 61, 62], rate=2e-5)
    assert chosen(lucky, steady) == 2e-5
    assert chosen(steady, lucky) == 2e-5


def test_of_equal_medians_the_first_is_chosen(tmp_path: Path) -> None:
    first = fake_seeds(tmp_path, "rte", NAME, [60, 61, 62], rate=1e-5)
    second = fake_seeds(tmp_path, "rte", NAME, [60, 61, 62], rate=2e-5)
    assert (chosen(first, second), chosen(second, first)) == (1e-5, 2e-5)


def test_configurations_without_diverged_runs_are_preferred_and_then_those_with_the_smallest_share(
    tmp_path: Path
) -> None:
    shaky = fake_seeds(tmp_path, "rte", NAME, [90, 91, 50], diverged=[3], rate=1e-5)
    steady = fake_seeds(tmp_path, "rte", NAME, [60, 61, 62], rate=2e-5)
    worse = fake_seeds(tmp_path, "rte", NAME, [95, 50, 50], diverged=[2, 3], rate=3e-5)
    assert chosen(shaky, steady) == 2e-5
    assert chosen(worse, shaky) == 1e-5


def test_medians_are_given_with_and_without_diverged_runs(tmp_path: Path) -> None:
    runs = fake_seeds(tmp_path, "rte", NAME, [64, 66, 50], diverged=[3])
    found = configurations([result for run in runs for result in read_results(run)])[0]
    assert found.spread(NAME) == Spread(64, 50, 66, 3)
    assert found.spread(NAME, with_diverged=False) == Spread(65, 64, 66, 2)
    table = found.table()
    assert table["diverged"] == 1
    assert table["scores"][NAME]["median"] == 64 and table["scores_without_diverged"][NAME]["median"] == 65
    assert "dev accuracy 64.00 [50.00, 66.00]; 1 of 3 runs diverged" in summary(found.results)[0]


def test_without_diverged_runs_nothing_is_said_of_them(tmp_path: Path) -> None:
    runs = fake_seeds(tmp_path, "rte", NAME, [64, 66])
    found = configurations([result for run in runs for result in read_results(run)])[0]
    assert "scores_without_diverged" not in found.table()
    assert "diverged" not in summary(found.results)[0]


def test_the_run_that_is_used_is_the_best_that_did_not_diverge(tmp_path: Path) -> None:
    runs = fake_seeds(tmp_path, "rte", NAME, [60, 65, 90], diverged=[3])
    results = [result for run in runs for result in read_results(run)]
    assert configurations(results)[0].best.folder == runs[1]
    assert [result.folder for result in best_runs(results, 5)] == [runs[1], runs[0]]


def test_a_sweep_is_read_back_as_its_runs(tmp_path: Path) -> None:
    runs = [
        *fake_seeds(tmp_path, "rte", NAME, [60, 61], rate=1e-5), *fake_seeds(tmp_path, "rte", NAME, [70, 72], rate=2e-5)
    ]
    write_sweep(tmp_path, [result for run in runs for result in read_results(run)], 6)
    assert [result.folder for result in read_results(tmp_path)] == runs
    assert chosen_run(tmp_path).folder == runs[3]
    found = json.loads((tmp_path / "sweep.json").read_text())
    assert found["chosen"] == {"learning_rate": 2e-5, "batch_size": 16, "best_run": runs[3].name}
    assert (found["planned_runs"], found["finished_runs"]) == (6, 4)


def test_what_is_no_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"expected a finished fine-tuning run; found no scores\.json"):
        read_results(tmp_path)
    with pytest.raises(ArtefactError, match="expected a fine-tuning run or a sweep; found no such folder"):
        read_results(tmp_path / "nowhere")
    (tmp_path / "sweep.json").write_text("[1]")
    with pytest.raises(ArtefactError, match="expected a sweep"):
        read_results(tmp_path)
    run = fake_run(tmp_path / "run", "rte", {NAME: 60})
    (run / "scores.json").write_text("{}")
    with pytest.raises(ArtefactError, match="expected a fine-tuning run"):
        read_results(run)
