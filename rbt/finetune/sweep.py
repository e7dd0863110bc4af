"""Fine-tune with a grid of settings and with several seeds: `rbt finetune --sweep`, `--seeds`.

    seeds x batch sizes x learning rates ──finetune──> OUT/lr1e-05-batch16-seed1/, ...
        ──scores of all that are finished there──> OUT/sweep.json: medians of each configuration, and which is chosen;
            anew behind every run

Seeds are the outer loop: the whole grid is soon there to look at. What is finished is found and not done again, what
was stopped goes on, and more seeds or settings may be asked for later. Runs that are there and not asked for count as
well: asking for less forgets nothing. Of another task, start or other settings they are refused.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rbt.config import to_dataclass, to_table
from rbt.errors import ArtefactError, ConfigError, RbtError
from rbt.finetune.config import FinetuneConfig
from rbt.finetune.results import CONFIG, SELECTION, SWEEP, Result, choose, configurations, read_result
from rbt.finetune.run import SECTIONS, finetune
from rbt.finetune.scores import is_finished
from rbt.finetune.start import check_config, read_start
from rbt.manifest import to_json
from rbt.stage import WORK, exclusive
from rbt.storage import write_text
from rbt.tasks.task import Defaults
from rbt.trainer.config import RunConfig
from rbt.trainer.distributed import stop_on_signals
from rbt.trainer.launch import launch
from rbt.trainer.run_folder import Tables, check_run, to_toml
from rbt.trainer.speaking import is_rank

log = logging.getLogger(__name__)
VARIED = ("seed", "batch_size", "learning_rate", "batch_sizes", "learning_rates")  # among the runs of a sweep


@dataclass(frozen=True)
class Inputs:
    """What all runs of a sweep have in common: a task, where its files are, and the folder of a model."""

    task: str
    model: Path
    data: Path


@dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    folder: Path
    config: FinetuneConfig


def alone(config: FinetuneConfig, defaults: Defaults) -> FinetuneConfig:
    """The configuration of one run: its grid is itself, so that the grid of its sweep can grow."""
    batch_size = config.batch_size or defaults.batch_size
    learning_rate = config.learning_rate or defaults.learning_rate
    return replace(
        config, batch_size=batch_size, learning_rate=learning_rate, batch_sizes=(batch_size,),
        learning_rates=(learning_rate,),
    )


def grid(config: FinetuneConfig, defaults: Defaults) -> list[FinetuneConfig]:
    """Batch sizes x learning rates: the recipe's lists, else its one value, else the task's list."""
    batch_sizes = config.batch_sizes or ((config.batch_size,) if config.batch_size else defaults.batch_sizes)
    rates = config.learning_rates or ((config.learning_rate,) if config.learning_rate else defaults.learning_rates)
    if min(batch_sizes) < 1 or min(rates) <= 0:
        raise ConfigError(
            "[finetune]: expected batch_sizes of at least 1 and learning_rates above 0",
            found=f"{list(batch_sizes)}, {list(rates)}",
        )
    pairs = dict.fromkeys((batch_size, rate) for batch_size in batch_sizes for rate in rates)
    return [alone(replace(config, batch_size=size, learning_rate=rate), defaults) for size, rate in pairs]


def jobs(configs: Sequence[FinetuneConfig], seeds: int, out: Path) -> list[Job]:
    """All runs: every configuration with the first seed before any with the second.

    Raises ConfigError where two would have the same folder.
    """
    seeded = [replace(config, seed=config.seed + number) for number in range(seeds) for config in configs]
    found: dict[Path, Job] = {}
    for config in seeded:
        folder = out / f"lr{config.learning_rate:g}-batch{config.batch_size}-seed{config.seed}"
        if folder in found:
            raise ConfigError(
                "[finetune] learning_rates: expected rates that differ in their first six digits",
                found=f"{found[folder].config.learning_rate!r} and {config.learning_rate!r}",
            )
        found[folder] = Job(folder, config)
    return list(found.values())


def sweep(
    inputs: Inputs, out: Path, configs: Sequence[FinetuneConfig], run: RunConfig, seeds: int, gpus: int = 0
) -> bool:
    """Fine-tune with every configuration and `seeds` seeds, and write OUT/sweep.json; whether all of it is there.

    It ends early where a signal, or run.stop_after, stopped a run: the same call goes on. `gpus` processes of this
    machine train a run; 0 = this one. Raises RbtError.
    """
    if is_rank():
        raise ConfigError("expected one process, which starts those of each run", found="ranks", cure="use --gpus N")
    if (out / CONFIG).is_file():
        raise ArtefactError("expected a sweep, or a new folder", path=out, found="a run", cure="choose another --out")
    todo = jobs(configs, seeds, out)
    for job in todo:
        check_config(job.config)
    with exclusive(out, "sweep"), stop_on_signals() as request:
        tables = tables_of(inputs, todo, run)
        for job, table in zip(todo, tables, strict=True):
            check_run(job.folder, table, SECTIONS)
        write_sweep(out, *runs_of(out, todo, tables[0]))
        for number, job in enumerate(todo):
            if is_finished(job.folder):
                continue
            if request.is_asked:
                return False
            log.info("%s: run %d of %d", job.folder.name, number + 1, len(todo))
            fine_tune(job, inputs, run, gpus, out / WORK)
            if not is_finished(job.folder):
                return False
            write_sweep(out, *runs_of(out, todo, tables[0]))
    return True


def runs_of(out: Path, todo: Sequence[Job], table: Tables) -> tuple[list[Result], int]:
    """The finished runs of a sweep, and how many it will have: those asked for, and then what else is in `out`.

    `table`: of one of its runs; others may differ from it in VARIED alone. Raises ArtefactError where one differs more.
    """
    asked = [job.folder for job in todo]
    others = sorted(path for path in out.iterdir() if path not in asked)
    beside = [read_result(path) for path in others if is_finished(path) and (path / CONFIG).is_file()]
    shared = _what_is_shared(table)
    for result in beside:
        found = _what_is_shared(result.tables)
        if key := next((key for key in shared if found.get(key) != shared[key]), None):
            raise ArtefactError(
                f"expected runs of one sweep, with {key} = {shared[key]!r}", path=result.folder,
                found=repr(found.get(key)), cure="choose another --out",
            )
    return [*(read_result(folder) for folder in asked if is_finished(folder)), *beside], len(asked) + len(beside)


def _what_is_shared(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What all runs of a sweep have in common, by `section.key`."""
    settings = to_table(to_dataclass(FinetuneConfig, tables["finetune"], "finetune"))
    named = {"task": dict(tables["task"]), "finetune": {k: v for k, v in settings.items() if k not in VARIED}}
    return {f"{name}.{key}": value for name, table in named.items() for key, value in table.items()}


def tables_of(inputs: Inputs, todo: Sequence[Job], run: RunConfig) -> list[Tables]:
    """The tables of each run's config.toml. Raises what a run would, before any is begun."""
    start = read_start(inputs.task, inputs.model, inputs.data, todo[0].config)
    first = {**start.tables, "run": to_table(run)}
    filled = start.asked.config
    configs = [replace(filled, **{key: getattr(job.config, key) for key in VARIED}) for job in todo]
    return [{**first, "finetune": to_table(config)} for config in configs]


def fine_tune(job: Job, inputs: Inputs, run: RunConfig, gpus: int, work: Path) -> None:
    """Begin a run, or go on with it: in this process, or in `gpus` others, which read its recipe in `work`."""
    if not gpus:
        finetune(inputs.task, inputs.model, inputs.data, job.folder, job.config, run)
        return
    recipe = work / f"{job.folder.name}.toml"
    write_text(recipe, to_toml({"finetune": to_table(job.config), "run": to_table(run)}))
    options = {"--model": inputs.model, "--data": inputs.data, "--out": job.folder, "--recipe": recipe}
    words = [str(word) for option in options.items() for word in option]
    if code := launch(gpus, run.device, "rbt", ["finetune", inputs.task, *words]):
        raise RbtError(
            f"expected {gpus} processes to fine-tune this run", path=job.folder, found=f"exit code {code}: see above",
            cure="the same command goes on from its newest checkpoint",
        )


def write_sweep(out: Path, results: Sequence[Result], planned: int) -> None:
    """Write OUT/sweep.json of the runs that are finished, if there is one."""
    if not results:
        return
    found = configurations(results)
    chosen = choose(found)
    write_text(out / SWEEP, to_json({
        "task": results[0].task, "planned_runs": planned, "finished_runs": len(results),
        "chosen": {
            "learning_rate": chosen.config.learning_rate, "batch_size": chosen.config.batch_size,
            "best_run": chosen.best.folder.name,
        },
        "configurations": [each.table() for each in found],
    }))


def summary(results: Sequence[Result]) -> list[str]:
    """A line a configuration, and what is chosen."""
    found = configurations(results)
    chosen, lines = choose(found), []
    for each in found:
        names = [name for name in each.results[0].scores if name != SELECTION]
        spreads = {name: spread for name in names if (spread := each.spread(name)) is not None}
        words = ", ".join(f"{name} {spread.show('.2f')}" for name, spread in spreads.items())
        diverged = f"; {each.num_diverged} of {len(each.results)} runs diverged" if each.num_diverged else ""
        mark = "  <- chosen" if each == chosen and len(found) > 1 else ""
        lines.append(f"lr {each.config.learning_rate:g}, batch {each.config.batch_size}: {words}{diverged}{mark}")
    return lines
