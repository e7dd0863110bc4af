"""The paper's tables of ablations: what their rows differ in, at each size.

    recipes/ablations/table-N.toml ──> Ablation ──a size, a row, --set──> Plan: the sections of one row's runs

The order: a row's settings lie over its size's, --set over both, for all rows alike. Then the row's `batch_factor`
multiplies the batch and divides the steps, so that passes over the data stay equal whatever is set; and warm-up is a
share of the steps, unless it is set.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from rbt.config import apply_settings, parse_tables, to_dataclass, to_table
from rbt.errors import ConfigError
from rbt.packing.config import PackConfig
from rbt.trainer.config import DataConfig, ModelConfig, RunConfig, ScheduleConfig, check_ranges

Tables = Mapping[str, Mapping[str, Any]]  # section -> key -> value
OWN_SECTIONS = ("pack", "model", "data", "schedule")  # which no recipe changes: an ablation has all of them


@dataclass(frozen=True)
class Row:
    """A row of a table: what is set for it, and the paper's figures, by what they measure."""

    name: str
    settings: Tables
    paper: Mapping[str, float]
    batch_factor: int = 1
    warmup_share: float | None = None  # of the steps; None = the size's


@dataclass(frozen=True)
class Size:
    """What all rows of a table share at one size."""

    settings: Tables
    warmup_share: float


@dataclass(frozen=True)
class Ablation:
    """A table of the paper."""

    name: str
    title: str
    notes: tuple[str, ...]
    sizes: Mapping[str, Size]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Plan:
    """The sections with which the runs of a row begin, but for their seed."""

    row: Row
    pack: PackConfig
    model: ModelConfig
    data: DataConfig
    schedule: ScheduleConfig
    run: RunConfig

    def settings(self) -> dict[str, Any]:
        """All keys but those of [run], as `section.key` -> value."""
        tables = {name: to_table(getattr(self, name)) for name in OWN_SECTIONS}
        return {f"{name}.{key}": value for name, table in tables.items() for key, value in table.items()}


def ablation_names() -> list[str]:
    """Names of the tables."""
    folder = resources.files("rbt") / "recipes" / "ablations"
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".toml"))


def load_ablation(name: str) -> Ablation:
    """A table by its name. Raises ConfigError where there is none."""
    if name not in ablation_names():
        raise ConfigError(f"expected a table, one of {', '.join(ablation_names())}", found=repr(name))
    text = (resources.files("rbt") / "recipes" / "ablations" / f"{name}.toml").read_text("utf-8")
    tables = parse_tables(text, name)
    sizes = {
        size: Size({key: value for key, value in table.items() if key != "warmup_share"}, table["warmup_share"])
        for size, table in tables["size"].items()
    }
    rows = tuple(Row(**row) for row in tables["row"])
    return Ablation(name, tables["title"], tuple(tables["notes"]), sizes, rows)


def make_plans(ablation: Ablation, size: str, settings: Sequence[str] = (), run: RunConfig | None = None) -> list[Plan]:
    """The plan of each row at a size, with --set `settings` over all of them; `run` is [run] of the recipe.

    Settings of other sections are for other commands. Raises ConfigError where one cannot be used, or makes two rows
    the same.
    """
    if size not in ablation.sizes:
        raise ConfigError(f"expected a size of {ablation.name}, one of {', '.join(ablation.sizes)}", found=repr(size))
    used = used_settings(settings)
    plans = [_plan(ablation.sizes[size], row, used, run or RunConfig()) for row in ablation.rows]
    for number, plan in enumerate(plans):
        for other in plans[:number]:
            if plan.settings() == other.settings():
                raise ConfigError(
                    f"expected rows of {ablation.name} that differ",
                    found=f"{other.row.name} and {plan.row.name} alike under {', '.join(settings)}",
                    cure="set a key in which the rows do not differ",
                )
    return plans


def used_settings(settings: Sequence[str]) -> list[str]:
    """The --set settings of sections that an ablation has."""
    return [setting for setting in settings if setting.partition(".")[0] in (*OWN_SECTIONS, "run")]


def _plan(size: Size, row: Row, settings: Sequence[str], run: RunConfig) -> Plan:
    tables: dict[str, Any] = {
        name: {**size.settings.get(name, {}), **row.settings.get(name, {})} for name in OWN_SECTIONS
    }
    tables["run"] = to_table(run)
    apply_settings(tables, settings)
    plan = Plan(
        row, to_dataclass(PackConfig, tables["pack"], "pack"), to_dataclass(ModelConfig, tables["model"], "model"),
        to_dataclass(DataConfig, tables["data"], "data"),
        to_dataclass(ScheduleConfig, tables["schedule"], "schedule"), to_dataclass(RunConfig, tables["run"], "run"),
    )
    steps, left = divmod(plan.schedule.max_steps, row.batch_factor)
    if left:
        raise ConfigError(
            f"[schedule] max_steps: expected a multiple of {row.batch_factor}, by which row {row.name} divides it",
            found=str(plan.schedule.max_steps),
        )
    schedule = dataclasses.replace(plan.schedule, max_steps=steps)
    if "warmup_steps" not in tables["schedule"]:
        share = size.warmup_share if row.warmup_share is None else row.warmup_share
        schedule = dataclasses.replace(schedule, warmup_steps=round(share * steps))
    data = dataclasses.replace(plan.data, global_batch=plan.data.global_batch * row.batch_factor)
    check_ranges(plan.model, data, schedule, plan.run)
    return dataclasses.replace(plan, data=data, schedule=schedule)


def varied_keys(plans: Sequence[Plan]) -> list[str]:
    """The keys, as `section.key`, in which the rows differ."""
    tables = [plan.settings() for plan in plans]
    return [key for key in tables[0] if any(table[key] != tables[0][key] for table in tables)]
