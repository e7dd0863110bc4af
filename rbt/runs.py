"""Runs, read back: what the folders that `rbt pretrain` writes say of themselves. Needs no torch.

    RUN/config.toml    ──defaults of missing keys──> settings, `section.key` -> value
    RUN/metrics.jsonl  ──> records of steps, of validations, of updates that were left out ──> series
"""

from __future__ import annotations

import json
import logging
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from rbt.config import to_table
from rbt.errors import ArtefactError, ConfigError
from rbt.trainer.config import DataConfig, ModelConfig, RunConfig, ScheduleConfig

log = logging.getLogger(__name__)
CONFIG, METRICS = "config.toml", "metrics.jsonl"  # = those of rbt.trainer.run_folder, whose module needs torch
MADE_BY = "rbt pretrain"
SECTIONS: dict[str, type[Any]] = {
    "model": ModelConfig, "data": DataConfig, "schedule": ScheduleConfig, "run": RunConfig,
}
Record = Mapping[str, Any]
Series = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Run:
    """A run's configuration and its records, each kind by ascending step."""

    name: str
    folder: Path
    settings: Mapping[str, Any]  # `section.key` -> value
    steps: tuple[Record, ...]
    validations: tuple[Record, ...]
    skipped: tuple[Record, ...]

    @property
    def last_step(self) -> int:
        """The last step of which there is a record."""
        return max(int(record["step"]) for record in (*self.steps, *self.validations, *self.skipped))

    @property
    def best_validation(self) -> Record | None:
        """The validation of the lowest loss, the earlier one of equals."""
        return min(self.validations, key=lambda record: record["validation_loss"], default=None)

    def series(self, name: str) -> Series:
        """Steps and values of a number in the records of steps, or of validations where its name says so."""
        records = self.validations if name.startswith("validation_") else self.steps
        found = [(record["step"], record[name]) for record in records if name in record]
        steps, values = zip(*found, strict=True) if found else ((), ())
        return np.array(steps, dtype=np.int64), np.array(values, dtype=np.float64)

    def typical(self, name: str) -> float | None:
        """The median of a number over the records of steps; None where none has it."""
        values = [record[name] for record in self.steps if name in record]
        return float(median(values)) if values else None


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs in some folders, named after as much of their paths as tells them apart.

    Raises ArtefactError where a folder holds no run or no records, ConfigError where one is given twice.
    """
    resolved = [folder.resolve() for folder in folders]
    for number, folder in enumerate(resolved):
        if folder in resolved[:number]:
            raise ConfigError("expected different runs", found=f"{folders[number]} twice")
    return [read_run(folder, name) for folder, name in zip(folders, distinct_names(resolved), strict=True)]


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """The last parts of different absolute paths, as few as tell them all apart."""
    for count in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = [str(Path(*folder.parts[-count:])) for folder in folders]
        if len(set(names)) == len(names):
            break
    return names


def read_run(folder: Path, name: str) -> Run:
    """The run in a folder. Raises ArtefactError where there is none, or it has no records yet."""
    settings = read_settings(folder / CONFIG)
    records = read_records(folder / METRICS)
    if not records:
        raise ArtefactError(
            "expected the record of a step", path=folder / METRICS, found="none",
            cure="wait for it, or log more often: --set run.log_every=1",
        )
    return Run(
        name, folder, settings, tuple(record for record in records if "loss" in record),
        tuple(record for record in records if "validation_loss" in record),
        tuple(record for record in records if "skipped" in record),
    )


def read_settings(path: Path) -> dict[str, Any]:
    """All keys of a run; one that it does not have, since it began before the key existed, had its default."""
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
        defaults = {name: to_table(kind()) for name, kind in SECTIONS.items()}
        whole = {name: {**defaults.get(name, {}), **tables.get(name, {})} for name in {**defaults, **tables}}
    except (FileNotFoundError, NotADirectoryError) as error:
        cure = f"run `{MADE_BY}`"
        raise ArtefactError(f"expected a run, with its {CONFIG}", path=path, found="none", cure=cure) from error
    except (ValueError, TypeError) as error:  # TOMLDecodeError and UnicodeDecodeError are of the first kind
        raise ArtefactError("expected the configuration of a run", path=path, found=str(error)) from error
    return {f"{name}.{key}": value for name, table in whole.items() for key, value in table.items()}


def read_records(path: Path) -> list[Record]:
    """The records of metrics.jsonl; a last line that was cut, by a kill or because it is being written, is left out.

    Raises ArtefactError where there is no such file, or a line of it is no record.
    """
    if not path.is_file():
        raise ArtefactError(f"expected a run with its {METRICS}", path=path, found="none", cure=f"run `{MADE_BY}`")
    lines = path.read_text("utf-8", errors="replace").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        log.warning("%s: the last line is cut, and left out", path)
        lines.pop()
    return [_record(path, number, line) for number, line in enumerate(lines, 1)]


def _record(path: Path, number: int, line: str) -> Record:
    try:
        record = json.loads(line)
        if not isinstance(record, dict) or not isinstance(record["step"], int):
            raise ValueError(line.strip())
    except (ValueError, KeyError) as error:
        raise ArtefactError(
            "expected a JSON object with a step in each line", path=path, found=f"line {number}: {line.strip()[:80]}"
        ) from error
    return record


def differences(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """The keys in which runs differ, each with every run's value, in order; None where a run has no such key."""
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    values = {key: [run.settings.get(key) for run in runs] for key in keys}
    return {key: found for key, found in values.items() if any(value != found[0] for value in found)}
