"""What runs and sweeps found, read back: for tables, predictions, and runs that start from others.

    RUN/{scores.json, config.toml} ──> Result       SWEEP/sweep.json ──> the results of its runs
    results ──same task, files, start and settings, not the seed──> Configuration: medians over seeds
        ──choose──> one of them, its best run
"""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rbt.config import to_dataclass
from rbt.errors import ArtefactError, ConfigError
from rbt.finetune.config import FinetuneConfig
from rbt.finetune.scores import SCORES, is_of_a_run, read_scores
from rbt.manifest import read_json
from rbt.spread import Spread

log = logging.getLogger(__name__)
SWEEP, CONFIG = "sweep.json", "config.toml"
SELECTION = "selection"
MADE_BY = "run `rbt finetune`"
SETTINGS = ("task", "finetune")  # tables of config.toml
NOT_SETTINGS = frozenset({"finetune.seed", "finetune.batch_sizes", "finetune.learning_rates"})


@dataclass(frozen=True)
class Result:
    """A finished run."""

    folder: Path
    facts: Mapping[str, Any]  # scores.json
    tables: Mapping[str, Mapping[str, Any]]  # config.toml

    @property
    def task(self) -> str:
        """Name of the task."""
        return str(self.facts["task"])

    @property
    def config(self) -> FinetuneConfig:
        """[finetune], with the task's own values filled in."""
        return to_dataclass(FinetuneConfig, self.tables["finetune"], "finetune")

    @property
    def scores(self) -> Mapping[str, float]:
        """Of the best epoch, by `split metric`, and SELECTION."""
        found: Mapping[str, float] = self.facts["scores"]
        return found

    @property
    def has_diverged(self) -> bool:
        """Whether it says the same of all examples."""
        return bool(self.facts["diverged"])

    @property
    def settings(self) -> tuple[tuple[str, Any], ...]:
        """What runs of one configuration have in common: task, files, start weights, and [finetune] but the seed."""
        found = [(f"{name}.{key}", value) for name in SETTINGS for key, value in sorted(self.tables[name].items())]
        return tuple((key, value) for key, value in found if key not in NOT_SETTINGS)

    @property
    def dev_set(self) -> tuple[Any, ...]:
        """What its scores on dev are of: task, files, and what is held out of train."""
        return self.task, self.tables["task"].get("data"), self.config.dev_fraction

    def row(self) -> dict[str, Any]:
        """As a line of sweep.json."""
        return {
            "run": self.folder.name, "seed": self.config.seed, "diverged": self.has_diverged,
            "best_epoch": self.facts["best_epoch"], "scores": dict(self.scores),
        }


@dataclass(frozen=True)
class Configuration:
    """Runs that differ in their seeds alone."""

    results: tuple[Result, ...]

    @property
    def config(self) -> FinetuneConfig:
        """That of its first run."""
        return self.results[0].config

    @property
    def num_diverged(self) -> int:
        """Runs that say the same of all examples."""
        return sum(result.has_diverged for result in self.results)

    def spread(self, name: str, *, with_diverged: bool = True) -> Spread | None:
        """Of a score over seeds; None where no run has it."""
        values = [
            result.scores[name] for result in self.results
            if name in result.scores and (with_diverged or not result.has_diverged)
        ]
        return Spread.of(values) if values else None

    @property
    def best(self) -> Result:
        """The run that is used: of those that did not diverge, the one that is best on dev, the first of equals."""
        return min(self.results, key=_rank)

    def table(self) -> dict[str, Any]:
        """As an entry of sweep.json."""
        found: dict[str, Any] = {
            "learning_rate": self.config.learning_rate, "batch_size": self.config.batch_size,
            "diverged": self.num_diverged, "scores": self._spreads(True), "runs": [each.row() for each in self.results],
        }
        if self.num_diverged:
            found["scores_without_diverged"] = self._spreads(False)
        return found

    def _spreads(self, with_diverged: bool) -> dict[str, Any]:
        names = dict.fromkeys(name for result in self.results for name in result.scores)
        spreads = {name: self.spread(name, with_diverged=with_diverged) for name in names}
        return {name: spread.table() for name, spread in spreads.items() if spread is not None}


def _rank(result: Result) -> tuple[bool, float]:
    return result.has_diverged, -result.scores[SELECTION]


def configurations(results: Sequence[Result]) -> list[Configuration]:
    """Results by their settings, in the order of the first run of each."""
    found: dict[tuple[tuple[str, Any], ...], list[Result]] = {}
    for result in results:
        found.setdefault(_hashable(result.settings), []).append(result)
    return [Configuration(tuple(group)) for group in found.values()]


def _hashable(settings: tuple[tuple[str, Any], ...]) -> tuple[tuple[str, Any], ...]:
    return tuple((key, tuple(value) if isinstance(value, list) else value) for key, value in settings)


def check_comparable(results: Sequence[Result]) -> None:
    """Raise ConfigError where scores of runs cannot be compared, or one would be counted twice.

    So it is where their dev sets differ, a folder comes twice, or two runs have the same settings and seed.
    """
    places: dict[Path, Result] = {}
    seeds: dict[tuple[Any, ...], Result] = {}
    for result in results:
        place, seed = result.folder.resolve(), (_hashable(result.settings), result.config.seed)
        if place in places:
            raise ConfigError("expected different runs", found=f"{place} twice", cure="name it once")
        if result.dev_set != results[0].dev_set:
            raise ConfigError(
                f"expected runs of {results[0].task} with the same files and finetune.dev_fraction",
                found=f"{results[0].folder} and {result.folder}", cure="take those of one data set at a time",
            )
        if seed in seeds:
            raise ConfigError(
                "expected runs of different seeds", cure="name one of them",
                found=f"{seeds[seed].folder} and {result.folder}, with the same settings and seed {seed[1]}",
            )
        places[place] = seeds[seed] = result


def choose(found: Sequence[Configuration]) -> Configuration:
    """The configuration that is used: first the smallest share of diverged runs, then the best median over all seeds.

    The median is of the mean of those metrics that the task selects by, on its first dev split. Of equals, the first.
    """
    def rank(each: Configuration) -> tuple[float, float]:
        spread = each.spread(SELECTION)
        assert spread is not None  # every run has it
        return each.num_diverged / len(each.results), -spread.median

    return min(found, key=rank)


def best_runs(results: Sequence[Result], count: int) -> list[Result]:
    """The `count` best of runs, whatever their configuration; those that diverged are never among them."""
    return sorted((each for each in results if not each.has_diverged), key=_rank)[:count]


def read_result(run: Path) -> Result:
    """A finished run. Raises ArtefactError."""
    facts = read_scores(run)
    try:
        tables = tomllib.loads((run / CONFIG).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ArtefactError("expected the configuration of a run", path=run / CONFIG, found=str(error)) from error
    if not is_of_a_run(facts) or not tables.keys() >= set(SETTINGS):
        raise ArtefactError("expected a fine-tuning run", path=run, found=f"another {SCORES}, or another {CONFIG}")
    return Result(run, facts, tables)


def read_results(folder: Path) -> list[Result]:
    """The results of a run, or of all runs of a sweep that are finished; a warning where some are not.

    Raises ArtefactError where there is none.
    """
    if not folder.is_dir():
        raise ArtefactError("expected a fine-tuning run or a sweep", path=folder, found="no such folder", cure=MADE_BY)
    if not (folder / SWEEP).is_file():
        return [read_result(folder)]
    try:
        table = read_json(folder / SWEEP)
        names = [row["run"] for each in table["configurations"] for row in each["runs"]]
        finished, planned = table["finished_runs"], table["planned_runs"]
    except (KeyError, TypeError) as error:
        raise ArtefactError("expected a sweep", path=folder / SWEEP, found="something else", cure=MADE_BY) from error
    if finished < planned:
        log.warning("%s: only %d of the %d runs of this sweep are finished", folder, finished, planned)
    return [read_result(folder / name) for name in names]


def chosen_run(folder: Path) -> Result:
    """A run, or the best run of a sweep's chosen configuration. Raises ArtefactError, ConfigError."""
    results = read_results(folder)
    check_comparable(results)
    return choose(configurations(results)).best
