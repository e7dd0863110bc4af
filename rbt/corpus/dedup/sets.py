"""Shingle sets of the documents that stand in candidate pairs, laid out for the buckets that verify them.

    documents in the pairs of every bucket ──part──> its texts, read once ──> sorted sets of shingle hashes, by bucket

One task a part, new or known. The text of a known part is read where one of its documents is in a pair, and only then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pyarrow as pa

from rbt.corpus.cuts import read_cut
from rbt.corpus.dedup.arrays import Int64, chunk_ends, gather, read_range
from rbt.corpus.dedup.inputs import Ingested, Known
from rbt.corpus.dedup.shingles import UInt64, joined_shingle_sets, table_fingerprint
from rbt.engine import Engine
from rbt.formats import signatures
from rbt.formats.arrays import write_array, write_joined
from rbt.formats.parts import read_batches
from rbt.manifest import fingerprint
from rbt.stage import Receipt, Task, TaskOutput, run_tasks

STAGE, VERSION = "sets", 2
COPY_VALUES = 1 << 22  # shingle hashes that are copied at a time


def write_sets(
    ingested: Sequence[Ingested], known: Known, known_receipts: Sequence[Receipt], pairs: Sequence[Receipt],
    ngram: int, work: Path, engine: Engine,
) -> list[Receipt]:
    """Write the sets that the buckets (receipts of `pairs`, whose second file lists documents) need, a part a task."""
    needed = fingerprint([receipt.files[1].hash for receipt in pairs])
    common = {"buckets": [str(work / "pairs" / receipt.files[1].path) for receipt in pairs], "ngram": ngram}
    tasks = [
        Task(
            part.name,
            {"part": part.hash, "signatures": part.signatures_hash, "shift": part.shift, "needed": needed},
            context={
                **common, "path": str(part.path), "cuts": [], "signatures": str(part.signatures),
                "low": receipt.result["first"], "high": receipt.result["last"] + 1,
            },
        )
        for part, receipt in zip(known.parts, known_receipts, strict=True) if part.path is not None and receipt.result
    ]
    tasks += [
        Task(
            part.name,
            {"part": part.hash, "cuts": part.cut_hashes, "first_number": part.first_number, "needed": needed},
            context={
                **common, "path": str(part.path), "cuts": part.cut_paths,
                "low": part.first_number, "high": part.first_number + part.documents,
            },
        )
        for part in ingested
    ]
    config = {"ngram": ngram, "words": table_fingerprint()}
    return run_tasks(STAGE, VERSION, config, tasks, write_part_sets, work / "sets", engine, unit="part")


def write_part_sets(task: Task, folder: Path) -> TaskOutput:
    """The task: the shingle sets of a part's documents that occur in pairs, each in every bucket that needs it.

    Files: the index int64 (3, n): bucket, number, end of the set; and all sets one behind the other, uint64.
    """
    edges = task.context["low"], task.context["high"]
    needed = [read_range([Path(path)], *edges, rows=1)[0] for path in task.context["buckets"]]
    numbers = np.unique(np.concatenate([*needed, np.empty(0, dtype=np.int64)]))
    names = [f"{task.name}.index.npy", f"{task.name}.sets.npy"]
    with TemporaryFile(dir=folder) as spool:  # in document order first: a set's size is known when it is made
        sizes = [np.empty(0, dtype=np.int64)]
        for values, ends in _sets_of_rows(task, _rows(task, numbers)):
            values.tofile(spool)
            sizes.append(np.diff(ends, prepend=0))
        spool.flush()
        stops = np.cumsum(np.concatenate(sizes))
        places = np.concatenate([np.searchsorted(numbers, part) for part in needed] or [np.empty(0, dtype=np.int64)])
        starts, stops = np.concatenate([[0], stops])[places], stops[places]
        _copy_sets(spool, starts, stops, folder / names[1])
    buckets = np.repeat(np.arange(len(needed)), [len(part) for part in needed])
    write_array(folder / names[0], np.stack([buckets, numbers[places], np.cumsum(stops - starts)]).astype(np.int64))
    return TaskOutput(names)


def _rows(task: Task, numbers: Int64) -> Int64:
    """Rows of numbers in the part. A known part's are as its signatures say; the removed documents, whose numbers lie
    between those of the kept ones, are in no pair."""
    if "signatures" not in task.context or not len(numbers):
        first: int = task.context["low"]
        return numbers - first
    batches = read_batches(Path(task.context["signatures"]), signatures.SCHEMA)
    stored = np.concatenate([batch.column("number").to_numpy() for batch in batches]) + task.payload["shift"]
    rows: Int64 = np.searchsorted(stored, numbers)
    return rows


def _sets_of_rows(task: Task, rows: Int64) -> Iterator[tuple[UInt64, Int64]]:
    first = 0
    cuts = [Path(path) for path in task.context["cuts"]]
    for batch in read_cut(Path(task.context["path"]), cuts) if len(rows) else ():
        low, high = np.searchsorted(rows, [first, first + batch.num_rows])
        if low < high:
            texts = batch.column("text").take(pa.array(rows[low:high] - first))
            yield joined_shingle_sets(texts, task.context["ngram"])
        first += batch.num_rows


def _copy_sets(spool: Any, starts: Int64, stops: Int64, path: Path) -> None:
    total = int((stops - starts).sum())
    source = np.memmap(spool, dtype=np.uint64, mode="r") if total else np.empty(0, dtype=np.uint64)

    def pieces() -> Iterator[UInt64]:
        for first, last in chunk_ends(stops - starts, COPY_VALUES):
            piece = np.empty(int((stops[first:last] - starts[first:last]).sum()), dtype=np.uint64)
            gather(np.asarray(source), starts[first:last], stops[first:last], piece)
            yield piece

    write_joined(path, pieces(), total, np.uint64)
