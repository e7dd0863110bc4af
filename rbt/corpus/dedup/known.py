"""What is known of older generations and of other corpora, as the runs that new documents' keys are shuffled with.

    signatures of a part ──> the runs that `sign` would write for its documents
    signatures of removed documents ──> the same, and <name>.near.npy: what each was removed for

A removed document takes part for three things: its id is taken, its text may come again, and its band group counts it
among its first members. One that was removed for a document of another corpus only has its id taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from rbt.corpus.dedup.arrays import Int64
from rbt.corpus.dedup.inputs import Known
from rbt.corpus.dedup.sign import Batch, RunWriter
from rbt.engine import Engine
from rbt.errors import ArtefactError
from rbt.formats import signatures
from rbt.formats.arrays import write_array
from rbt.formats.parts import read_batches
from rbt.stage import Receipt, Task, TaskOutput, run_tasks

STAGE, VERSION = "known", 1
NEAR = "near"


def shuffle_known(known: Known, bands: int, folder: Path, engine: Engine) -> list[Receipt]:
    """Write the runs of all known parts. Results `first` and `last`: the numbers between which a part's are."""
    tasks = [
        Task(
            part.name, {"signatures": part.signatures_hash, "shift": part.shift, "is_other": part.corpus != ""},
            size=max(part.documents, 1),
            context={"signatures": str(part.signatures), "is_removed": part.path is None, "bands": bands},
        )
        for part in known.parts
    ]
    return run_tasks(STAGE, VERSION, {"bands": bands}, tasks, shuffle_part, folder, engine, unit="document")


def shuffle_part(task: Task, folder: Path) -> TaskOutput:
    """The task: the runs of one known part."""
    kinds = ("texts", "bands") if task.payload["is_other"] else ("ids", "texts", "bands")
    runs, ids = RunWriter(folder, task.name, kinds), RunWriter(folder, f"{task.name}.ids", ("ids",))
    near, numbers = [np.empty((3, 0), np.int64)], [np.empty(0, np.int64)]
    for batch, removed in _known_batches(task):
        numbers.append(batch.numbers[[0, -1]])
        if not task.context["is_removed"]:
            runs.add(batch)
            continue
        is_here = removed[1] >= 0
        runs.add(_rows(batch, is_here))
        ids.add(_rows(batch, ~is_here))
        near.append(removed[:, is_here] + np.array([[0], [task.payload["shift"]], [0]]))
    names = [*runs.close(), *ids.close()]
    if task.context["is_removed"]:
        names.append(f"{task.name}.{NEAR}.npy")
        write_array(folder / names[-1], np.concatenate(near, axis=1))
    ends = np.concatenate(numbers)
    return TaskOutput(names, result={"first": int(ends[0]), "last": int(ends[-1])} if len(ends) else {})


def _known_batches(task: Task) -> Iterator[tuple[Batch, Int64]]:
    """Batches, each with int64 (3, n): number, number of the kept document as stored, bits of the Jaccard similarity.
    The last two are 0 for a document that was kept."""
    path, is_removed = Path(task.context["signatures"]), task.context["is_removed"]
    for lines in read_batches(path, signatures.REMOVED_SCHEMA if is_removed else signatures.SCHEMA):
        numbers = lines.column("number").to_numpy() + task.payload["shift"]
        columns = [numbers, np.zeros_like(numbers), np.zeros_like(numbers)]
        if is_removed:
            columns[1:] = lines.column("kept_number").to_numpy(), lines.column("jaccard").to_numpy().view(np.int64)
        yield _as_batch(lines, numbers, task.context["bands"], path), np.stack(columns)


def _as_batch(lines: pa.RecordBatch, numbers: Int64, bands: int, path: Path) -> Batch:
    keys = lines.column("band_keys").flatten().to_numpy()
    if len(keys) != bands * len(numbers):
        raise ArtefactError(
            f"expected {bands} band keys a document", path=path, found=f"{len(keys)} for {len(numbers)} documents",
            cure="its [deduplicate] must be the same: near, ngram, bands, rows",
        )
    texts = signatures.text_hashes(lines.column("text_hash"))
    return Batch(numbers, lines.column("id_hash").to_numpy(), texts, keys.reshape(len(numbers), bands))


def _rows(batch: Batch, chosen: np.ndarray) -> Batch:
    return Batch(batch.numbers[chosen], batch.ids[chosen], batch.texts[chosen], batch.bands[chosen])


def near_runs(receipts: Sequence[Receipt], folder: Path) -> list[tuple[Path, str]]:
    """(path, content hash) of what the known removed documents were removed for: int64 (3, n) by number."""
    return [
        (folder / record.path, record.hash)
        for receipt in receipts for record in receipt.files if record.path.endswith(f".{NEAR}.npy")
    ]
