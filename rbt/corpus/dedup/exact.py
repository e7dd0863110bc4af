"""Repeats: documents whose id, or whose text, a document of higher priority had before.

    sorted runs of (hash, number) ──one range of hashes a task──> (member, first of its group) ──merge──> repeats.npy

Used twice: a repeated id leaves the corpus at once, and of the documents that remain a repeated text stands behind
the first one that has it (its copies have the same neighbours as it has, so only the first goes on to the bands).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rbt.corpus.dedup.arrays import Int64, is_member, key_ranges, open_array, read_range
from rbt.engine import Engine
from rbt.formats.arrays import Array, write_array
from rbt.manifest import fingerprint
from rbt.stage import Task, TaskOutput, run_tasks
from rbt.storage import hash_file

VERSION = 1
REPEATS = "repeats.npy"
PARTITION_BYTES = 64 << 20  # of runs, so that a task needs a few hundred megabytes
Runs = Sequence[tuple[Path, str]]  # (path, content hash), in the order of document numbers


def partition_tasks(runs: Runs, left_out: Path, context: dict[str, Any]) -> list[Task]:
    """One task a range of keys; as many ranges as keep the expected size of one below PARTITION_BYTES."""
    size = sum(path.stat().st_size for path, _ in runs)
    ranges = list(key_ranges(max(1, -(-size // PARTITION_BYTES))))
    payload = {"runs": fingerprint([hash for _, hash in runs]), "left_out": hash_file(left_out)}
    paths = [str(path) for path, _ in runs]
    return [
        Task(
            f"{number:05d}", {**payload, "low": low, "high": high},
            context={**context, "runs": paths, "left_out": str(left_out)},
        )
        for number, (low, high) in enumerate(ranges)
    ]


def read_partition(task: Task) -> tuple[Array, Int64]:
    """(keys uint64 (rows, n), numbers int64 (n,) ascending) of the task's range, without documents left out."""
    runs = [Path(path) for path in task.context["runs"]]
    columns = read_range(runs, task.payload["low"], task.payload["high"]) if runs else np.empty((2, 0), np.uint64)
    keys, numbers = columns[:-1], columns[-1].astype(np.int64)
    stays = ~is_member(numbers, open_array(Path(task.context["left_out"]))[0])
    return keys[:, stays], numbers[stays]


def find_repeats(stage: str, runs: Runs, left_out: Path, folder: Path, engine: Engine) -> Path:
    """Find all repeats but those of `left_out` (a .npy of that kind): int64 (2, n), member and first, by member."""
    tasks = partition_tasks(runs, left_out, {})
    receipts = run_tasks(stage, VERSION, {}, tasks, find_partition, folder, engine, unit="range")
    found = np.concatenate([np.load(folder / receipt.files[0].path) for receipt in receipts], axis=1)
    write_array(folder / REPEATS, found[:, np.argsort(found[0])])
    return folder / REPEATS


def no_repeats(folder: Path) -> Path:
    """An empty file of that kind."""
    write_array(folder / REPEATS, np.empty((2, 0), dtype=np.int64))
    return folder / REPEATS


def merge_repeats(first: Path, second: Path, path: Path) -> Path:
    """Both files' members in one, by member."""
    both = np.concatenate([open_array(first), open_array(second)], axis=1)
    write_array(path, both[:, np.argsort(both[0])])
    return path


def find_partition(task: Task, folder: Path) -> TaskOutput:
    """The task: the repeats of one range of hashes."""
    keys, numbers = read_partition(task)
    order = np.lexsort((numbers, *keys[::-1]))
    keys, numbers = keys[:, order], numbers[order]
    is_first = first_of_groups(keys)
    firsts = numbers[is_first][np.cumsum(is_first) - 1]
    name = f"{task.name}.npy"
    write_array(folder / name, np.stack([numbers, firsts])[:, ~is_first])
    return TaskOutput([name], result={"repeats": int(len(numbers) - np.count_nonzero(is_first))})


def first_of_groups(keys: Array) -> npt.NDArray[np.bool_]:
    """Which columns of sorted keys (rows, n) differ from the one before."""
    is_first = np.ones(keys.shape[1], dtype=np.bool_)
    is_first[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    return is_first
