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

from rbt.corpus.cuts import read_cut
from rbt.corpus.dedup.collect import DUPLICATE_ID, REMOVAL_SCHEMA
from rbt.engine import Engine
from rbt.formats import signatures
from rbt.formats.parts import open_table, part_name, read_batches, rebatch, text_bytes, write_part, write_table
from rbt.ledger import Ledger
from rbt.stage import Receipt, Task, TaskOutput, run_tasks

STAGE, VERSION = "write", 2
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
    cuts: tuple[Path, ...]  # what is cut out of the texts
    hashes: tuple[str, ...]  # of part, rows, cuts, signatures, removals

    def kept(self) -> tuple[Int64, Int64]:
        """(places in `rows` that are kept, their text bytes), both int64 ascending by place."""
        rows, sizes = np.load(self.rows), np.load(self.sizes)
        removed = open_table(self.removals, REMOVAL_SCHEMA).column("row").to_numpy()
        places = np.flatnonzero(~np.isin(rows, removed, assume_unique=True)).astype(np.int64)
        return places, sizes[places]

    def table(self) -> dict[str, Any]:
        """As JSON, for a task's context."""
        lists = ("hashes", "cuts")
        texts = {key: str(value) for key, value in vars(self).items() if key not in lists}
        return {**texts, "hashes": list(self.hashes), "cuts": [str(path) for path in self.cuts]}

    @classmethod
    def from_table(cls, table: dict[str, Any]) -> Selected:
        """Read back what `table` wrote."""
        paths = {key: Path(table[key]) for key in ("part", "rows", "sizes", "signatures", "removals")}
        cuts = tuple(Path(path) for path in table["cuts"])
        return cls(table["task"], table["source"], cuts=cuts, hashes=tuple(table["hashes"]), **paths)


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
    signed = f"{signatures.FOLDER}/{task.name}"
    write_table(out / signed, rebatch(_signatures(stretches)), signatures.SCHEMA)
    total = [row.outgoing for _, _, row in ledger]
    result = {"documents": sum(amount.documents for amount in total), "bytes": sum(amount.bytes for amount in total)}
    return TaskOutput([task.name, signed], ledger, result)


def _documents(stretches: Sequence[Stretch], ledger: Ledger) -> Iterator[pa.RecordBatch]:
    for stretch in stretches:
        places, _ = stretch.selected.kept()
        rows = np.load(stretch.selected.rows)[places[stretch.start : stretch.stop]]
        for batch in take_rows(read_cut(stretch.selected.part, stretch.selected.cuts), rows):
            size = int(pa.compute.sum(text_bytes(batch.column("text"))).as_py())
            row = ledger.row("parts", stretch.selected.source)
            row.take(size, batch.num_rows)
            row.keep(size, batch.num_rows)
            yield batch


def take_rows(batches: Iterator[pa.RecordBatch], rows: Int64) -> Iterator[pa.RecordBatch]:
    """The given rows (ascending) of an Arrow file, batch by batch."""
    first = 0
    for batch in batches:
        if not len(rows) or first > rows[-1]:
            return  # the parts of one large file would otherwise each read it to its end
        low, high = np.searchsorted(rows, [first, first + batch.num_rows])
        if low < high:
            yield batch.take(pa.array(rows[low:high] - first))
        first += batch.num_rows


def write_removed_signatures(selected: Sequence[Selected], others: int, path: Path) -> None:
    """Write the signatures of what deduplication removed as a duplicate, and for what: data added later finds its ids
    taken, its texts known, and the same first members in its band groups as in one build.

    `others`: how many numbers other corpora took in this run. A document that was dropped for its id is not there.
    """

    def batches() -> Iterator[pa.RecordBatch]:
        for item in selected:
            removed = open_table(item.removals, REMOVAL_SCHEMA)
            removed = removed.filter(pa.compute.not_equal(removed.column("rule"), DUPLICATE_ID))
            places = np.searchsorted(np.load(item.rows), removed.column("row").to_numpy())
            done = 0
            for lines in take_rows(read_batches(item.signatures, signatures.SCHEMA), places):
                part = removed.slice(done, lines.num_rows)
                done += lines.num_rows
                kept = np.maximum(part.column("kept_number").to_numpy() - others, -1)
                columns = [*lines.columns, pa.array(kept), part.column("jaccard").combine_chunks()]
                yield pa.RecordBatch.from_arrays(columns, schema=signatures.REMOVED_SCHEMA)

    write_table(path, rebatch(batches()), signatures.REMOVED_SCHEMA)


def _signatures(stretches: Sequence[Stretch]) -> Iterator[pa.RecordBatch]:
    for stretch in stretches:
        places, _ = stretch.selected.kept()
        lines = read_batches(stretch.selected.signatures, signatures.SCHEMA)
        yield from take_rows(lines, places[stretch.start : stretch.stop])
