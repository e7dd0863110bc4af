"""Candidate pairs: documents that share a band key, one range of keys a task.

    sorted runs of (band key, number) ──group──> pairs (b, a), a of higher priority ──> sorted runs of pairs

In a group every member meets the group's first `group_limit` members by priority, and the pairs beyond are counted.
Pairs are made at most CHUNK_PAIRS at a time, so that a huge group costs disk, not memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from rbt.corpus.dedup.arrays import Int64
from rbt.corpus.dedup.exact import Runs, first_of_groups, partition_tasks, read_partition
from rbt.engine import Engine
from rbt.formats.arrays import Array, write_array
from rbt.stage import Receipt, Task, TaskOutput, run_tasks

STAGE, VERSION = "bands", 1
CHUNK_PAIRS = 1 << 22


def find_candidates(runs: Runs, left_out: Path, group_limit: int, folder: Path, engine: Engine) -> list[Receipt]:
    """Candidate pairs of all documents but those of `left_out`; results `pairs` and `pairs_not_compared`."""
    tasks = partition_tasks(runs, left_out, {"group_limit": group_limit})
    return run_tasks(STAGE, VERSION, {"group_limit": group_limit}, tasks, pair_partition, folder, engine, unit="range")


def pair_partition(task: Task, folder: Path) -> TaskOutput:
    """The task: the pairs of one range of band keys, as files int64 (2, n): b and a, sorted and without repeats."""
    keys, numbers = read_partition(task)
    places, is_first = _groups(keys[0], numbers)
    limit = task.context["group_limit"]
    names: list[str] = []
    pairs = 0
    for chunk in _pair_chunks(places, is_first, limit):
        names.append(f"{task.name}-{len(names):05d}.npy")
        unique = sorted_pairs(chunk)
        write_array(folder / names[-1], unique)
        pairs += unique.shape[1]
    beyond = np.maximum(_ranks(is_first) - limit, 0)
    return TaskOutput(names, result={"pairs": pairs, "pairs_not_compared": int(beyond.sum())})


def _groups(keys: Array, numbers: Int64) -> tuple[Int64, Array]:
    """(numbers sorted by key and number, which of them begin a group), of the keys that occur more than once."""
    frame = pl.DataFrame({"key": keys, "number": numbers})
    shared = frame.filter(pl.col("key").is_duplicated()).sort("key", "number")
    return shared["number"].to_numpy(), first_of_groups(shared["key"].to_numpy()[None, :])


def _ranks(is_first: Array) -> Int64:
    places = np.arange(len(is_first), dtype=np.int64)
    return places - np.maximum.accumulate(np.where(is_first, places, 0))


def _pair_chunks(numbers: Int64, is_first: Array, limit: int) -> Iterator[Array]:
    """Pairs (2, n) of each member with the first `limit` of its group before it, cut at whole members."""
    ranks = _ranks(is_first)
    counts = np.minimum(ranks, limit)
    ends = np.cumsum(counts)
    start = 0
    while start < len(numbers):
        done = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, done + CHUNK_PAIRS, side="right")), start + 1)
        members = np.repeat(np.arange(start, stop), counts[start:stop])
        partners = np.arange(len(members)) - np.repeat(ends[start:stop] - counts[start:stop] - done, counts[start:stop])
        if len(members):
            yield np.stack([numbers[members], numbers[members - ranks[members] + partners]])
        start = stop


def sorted_pairs(pairs: Array) -> Array:
    """Pairs int64 (2, n) sorted by b, then a, each once."""
    frame = pl.DataFrame({"b": pairs[0], "a": pairs[1]}).unique().sort("b", "a")
    return np.stack([frame["b"].to_numpy(), frame["a"].to_numpy()])
