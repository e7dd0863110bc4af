"""The folder of a run: what it was started with, and what it reports.

    RUN/config.toml      [model] [data] [schedule] [run], [packed], the index that is read, and [init], the model that
                         it started from, where there was one
    RUN/metrics.jsonl    one JSON object a logged step or validation
    RUN/checkpoints/     tensorboard/     the tokenizer's files

A resumed run may change [run], micro_batch, the number of ranks and the device; any other difference is an error, but
for [schedule] with run.new_schedule: then the records say what was changed, and at which step.
"""

from __future__ import annotations

import json
import logging
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rbt.config import to_dataclass, to_table
from rbt.errors import ArtefactError
from rbt.formats import tokenizer
from rbt.formats.blocks import Index
from rbt.stage import WORK, exclusive
from rbt.storage import TEMPORARY, atomic_path, write_text
from rbt.trainer.config import DataConfig, ModelConfig, RunConfig, ScheduleConfig
from rbt.trainer.distributed import World
from rbt.trainer.initial import Initial

log = logging.getLogger(__name__)
CONFIG, METRICS, TENSORBOARD = "config.toml", "metrics.jsonl", "tensorboard"
FREE = frozenset({("data", "micro_batch")})  # keys outside [run] that a resumed run may change
SECTIONS: dict[str, type[Any]] = {"model": ModelConfig, "data": DataConfig, "schedule": ScheduleConfig}
Tables = dict[str, dict[str, Any]]


def describe(
    packed: Path, folder: Path, index: Index, initial: Initial | None, model: ModelConfig, data: DataConfig,
    schedule: ScheduleConfig, run: RunConfig,
) -> Tables:
    """The tables of config.toml: the four sections, and what identifies index, tokenizer and a model to start from."""
    identity = {
        "index": folder.name, "format": index.manifest.config["format"], "fingerprint": index.manifest.fingerprint,
        "tokenizer": tokenizer.files_fingerprint(packed, "pack again"), "vocab_size": index.vocab_size,
        "max_tokens": index.max_tokens, "rows": index.num_rows,
    }
    sections = {"model": model, "data": data, "schedule": schedule, "run": run}
    tables = {**{name: to_table(section) for name, section in sections.items()}, "packed": identity}
    if initial is not None:
        tables["init"] = initial.table()
    return tables


def to_toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Tables of strings, numbers and truth values as TOML."""
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in table.items())
        for name, table in tables.items()
    )


def identity_of(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What a resumed run may not change, as `section.key` -> value."""
    return {
        f"{name}.{key}": value
        for name, table in tables.items() if name != "run"
        for key, value in table.items() if (name, key) not in FREE
    }


def _with_defaults(tables: Tables, kinds: Mapping[str, type[Any]]) -> Tables:
    """A run that began before a key existed had the key's default."""
    sections = {name: to_dataclass(kind, tables.get(name, {}), name) for name, kind in kinds.items()}
    return {**tables, **{name: to_table(section) for name, section in sections.items()}}


def check_run(out: Path, tables: Tables, kinds: Mapping[str, type[Any]] = SECTIONS) -> dict[str, Any]:
    """Raise ArtefactError where `out` holds another run, or something that is no run; return what changed, by key.

    Only keys of [schedule] may, and only if `run.new_schedule` says so. `kinds`: the sections of a recipe in `tables`.
    """
    path = out / CONFIG
    if not path.is_file():
        if out.is_dir() and any(entry.name != WORK and not entry.name.startswith(TEMPORARY) for entry in out.iterdir()):
            raise ArtefactError(
                "expected a new or empty folder, or a run", path=out, found=f"other files and no {CONFIG}",
                cure="choose another --out",
            )
        return {}
    try:
        before = identity_of(_with_defaults(tomllib.loads(path.read_text("utf-8")), kinds))
    except tomllib.TOMLDecodeError as error:
        raise ArtefactError("expected the configuration of a run", path=path, found=str(error)) from error
    now = identity_of(tables)
    keys = sorted(before.keys() | now.keys(), key=lambda key: (not key.endswith(".name"), key))  # what it is, first
    changed = {key: now.get(key) for key in keys if before.get(key) != now.get(key)}
    for key, value in changed.items():
        is_schedule = key.startswith("schedule.")
        if not (is_schedule and tables["run"]["new_schedule"]):
            other = "--set run.new_schedule=true" if is_schedule else "choose another --out"
            raise ArtefactError(
                f"expected {key} = {before.get(key)!r}, with which this run began", path=out, found=repr(value),
                cure=f"give it the same value, or {other}",
            )
    return changed


@contextmanager
def open_run(
    out: Path, packed: Path, tables: Tables, world: World, kinds: Mapping[str, type[Any]] = SECTIONS
) -> Iterator[dict[str, Any]]:
    """Hold a new or a resumed run's folder. Every rank calls it; all check, the first writes. Yields what changed.

    `packed`: the folder whose tokenizer is the run's; `kinds`: see `check_run`.
    """
    changed = check_run(out, tables, kinds)
    world.from_first(0)  # nobody writes before all have checked
    if not world.is_first:
        world.from_first(0)
        yield changed
        return
    with exclusive(out, "run"):
        write_text(out / CONFIG, to_toml(tables))  # first: what is written before it would be taken for other files
        for name in tokenizer.FILES:
            with atomic_path(out / name) as temporary:
                shutil.copyfile(packed / name, temporary)
        world.from_first(0)
        yield changed


def _step_of(path: Path, line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError) as error:
        raise ArtefactError("expected a JSON object with a step in each line", path=path, found=line.strip()) from error


def _kept_lines(path: Path, step: int) -> Iterator[str]:
    if path.is_file():
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                if line.endswith("\n") and _step_of(path, line) <= step:  # a cut line is a killed run's last
                    yield line


class Metrics:
    """metrics.jsonl and TensorBoard (where it is installed) of the first rank; the other ranks write nothing."""

    def __init__(self, out: Path, step: int, world: World) -> None:
        """Go on after `step` steps: records of later ones, which will be made again, are dropped; after 0, all are."""
        self._path = out / METRICS if world.is_first else None
        self._board: Any = None
        if self._path is None:
            return
        write_text(self._path, "".join(_kept_lines(self._path, step) if step else ()))
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:  # the package is optional on a training image
            log.info("%s: no TensorBoard here; %s has the same numbers", out, METRICS)
            return
        self._board = SummaryWriter(str(out / TENSORBOARD), purge_step=step + 1 if step else 0)

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a record, which has a `step`; its numbers go to TensorBoard, too."""
        if self._path is None:
            return
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record, allow_nan=False) + "\n")
        if self._board is not None:
            for key, value in record.items():
                if key != "step" and isinstance(value, int | float):
                    self._board.add_scalar(key, value, record["step"])

    def close(self) -> None:
        """End TensorBoard's writer."""
        if self._board is not None:
            self._board.close()
