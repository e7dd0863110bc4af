"""Kept documents to final parts, their signatures beside them, and the table of removals.

    rows kept by the filter - rows removed by deduplication ──plan──> [(task, start, stop)] a part ──> part-NNNNN.arrow

Parts are filled in document order up to `part_bytes` of text, so that they do not depend on how files were cut into
tasks. One task a part; a task reads the stretch of ingested parts that its part is made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rbt.corpus.dedup.sign import SIGNATURE_SCHEMA
from rbt.engine import Engine
from rbt.formats.document import SCHEMA
from rbt.formats.parts import part_name, read_batches, rebatch, text_bytes, write_part, write_table
from rbt.ledger import Ledger
from rbt.stage import Receipt, Task, TaskOutput, run_tasks

STAGE, VERSION = "write", 1
SIGNATURES = "signatures"
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Selected:
    """What is left of one ingested part: paths and content hashes of the files that say so."""

    task: str
    source: str
    part: Path  # ingested documents
    rows: Path  # .npy, rows that passed the filter
    sizes: Path  # .npy, their text bytes
    signatures: Path  # one line a row of `rows`
    removals: Path  # column `row`: rows that deduplication removed
    hashes: tuple[str, ...]  # of part, rows, signatures, removals

    def kept(self) -> tuple[Int64, Int64]:
        """(places in `rows` that are kept, their text bytes), both int64 ascending by place."""
        rows, sizes = np.load(self.rows), np.load(self.sizes)
        removed = pa.ipc.open_file(pa.memory_map(str(self.removals))).read_all().column("row").to_numpy()
        places = np.flatnonzero(~np.isin(rows, removed)).astype(np.int64)
        return places, sizes[places]

    def table(self) -> dict[str, Any]:
        """As JSON, for a task's context."""
        texts = {key: str(value) for key, value in vars(self).items() if key != "hashes"}
        return {**texts, "hashes": list(self.hashes)}

    @classmethod
    def from_table(cls, table: dict[str, Any]) -> Selected:
        """Read back what `table` wrote."""
        paths = {key: Path(table[key]) for key in ("part", "rows", "sizes", "signatures", "removals")}
        return cls(table["task"], table["source"], hashes=tuple(table["hashes"]), **paths)


@dataclass(frozen=True)
class Stretch:
    """Kept documents `start` to `stop` (counted among the kept) of one ingested part."""

    selected: Selected
    start: int
    stop: int


def plan_parts(selected: Sequence[Selected], part_bytes: int) -> list[list[Stretch]]:
    """Cut the kept documents, in order, into parts of at least `part_bytes` (the last may be smaller)."""
    parts: list[list[Stretch]] = [[]]
    room = part_bytes
    for item in selected:
        _, sizes = item.kept()
        start = 0
        while start < len(sizes):
            ends = np.cumsum(sizes[start:])
            stop = start + int(np.searchsorted(ends, room)) + 1
            stop = min(stop, len(sizes))
            parts[-1].append(Stretch(item, start, stop))
            room -= int(ends[stop - start - 1])
            start = stop
            if room <= 0:
                parts.append([])
                room = part_bytes
    return [part for part in parts if part]


def write_parts(parts: Sequence[Sequence[Stretch]], out: Path, receipts: Path, engine: Engine) -> list[Receipt]:
    """Write all parts into OUT; receipts in part order, with results documents, bytes."""
    tasks = [_part_task(number, part) for number, part in enumerate(parts)]
    return run_tasks(STAGE, VERSION, {}, tasks, write_one, out, engine, unit="document", receipts_folder=receipts)


def _part_task(number: int, part: Sequence[Stretch]) -> Task:
    payload = [[*stretch.selected.hashes, stretch.start, stretch.stop] for stretch in part]
    context = [{**stretch.selected.table(), "start": stretch.start, "stop": stretch.stop} for stretch in part]
    documents = sum(stretch.stop - stretch.start for stretch in part)
    return Task(part_name(number), {"stretches": payload}, documents, context={"stretches": context})


def write_one(task: Task, out: Path) -> TaskOutput:
    """The task: write one part and its signatures."""
    stretches = [
        Stretch(Selected.from_table(table), table["start"], table["stop"]) for table in task.context["stretches"]
    ]
    ledger = Ledger()
    write_part(out / task.name, _documents(stretches, ledger))
    signatures = f"{SIGNATURES}/{task.name}"
    write_table(out / signatures, rebatch(_signatures(stretches)), SIGNATURE_SCHEMA)
    total = [row.outgoing for _, _, row in ledger]
    result = {"documents": sum(amount.documents for amount in total), "bytes": sum(amount.bytes for amount in total)}
    return TaskOutput([task.name, signatures], ledger, result)


def _documents(stretches: Sequence[Stretch], ledger: Ledger) -> Iterator[pa.RecordBatch]:
    for stretch in stretches:
        places, _ = stretch.selected.kept()
        rows = np.load(stretch.selected.rows)[places[stretch.start : stretch.stop]]
        for batch in take_rows(stretch.selected.part, rows):
            size = int(pa.compute.sum(text_bytes(batch.column("text"))).as_py())
            row = ledger.row("parts", stretch.selected.source)
            row.take(size, batch.num_rows)
            row.keep(size, batch.num_rows)
            yield batch


def take_rows(path: Path, rows: Int64, schema: pa.Schema = SCHEMA) -> Iterator[pa.RecordBatch]:
    """The given rows (ascending) of an Arrow file, batch by batch."""
    first = 0
    for batch in read_batches(path, schema):
        if not len(rows) or first > rows[-1]:
            return  # the parts of one large file would otherwise each read it to its end
        low, high = np.searchsorted(rows, [first, first + batch.num_rows])
        if low < high:
            yield batch.take(pa.array(rows[low:high] - first))
        first += batch.num_rows


def write_removed_signatures(selected: Sequence[Selected], path: Path) -> None:
    """Write the signatures of what deduplication removed: a band group counts these too among its first members, so
    that data added later meets the same documents as in one build."""

    def batches() -> Iterator[pa.RecordBatch]:
        for item in selected:
            places, _ = item.kept()
            gone = np.setdiff1d(np.arange(len(np.load(item.rows))), places)
            yield from take_rows(item.signatures, gone, SIGNATURE_SCHEMA)

    write_table(path, rebatch(batches()), SIGNATURE_SCHEMA)


def _signatures(stretches: Sequence[Stretch]) -> Iterator[pa.RecordBatch]:
    for stretch in stretches:
        places, _ = stretch.selected.kept()
        yield from take_rows(stretch.selected.signatures, places[stretch.start : stretch.stop], SIGNATURE_SCHEMA)
