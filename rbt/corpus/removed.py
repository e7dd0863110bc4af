"""Every document that was dropped, by name, and what was kept for it.

    filter's removals, deduplication's removals ──> removed.arrow (in document order of each ingested part)
    numbers of the kept documents that these name ──> ids, on disk

One part's removals are in memory at a time, and a byte a document.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from rbt.corpus.dedup.arrays import Int64, open_array
from rbt.corpus.dedup.collect import REMOVAL_SCHEMA
from rbt.corpus.dedup.inputs import Ingested, Known, Numbering
from rbt.corpus.dedup.pipeline import Deduplicated
from rbt.corpus.passed import Passed
from rbt.formats import document, removals, signatures
from rbt.formats.arrays import write_joined
from rbt.formats.parts import open_file, open_table, read_batches, rebatch, table_writer, write_table
from rbt.ledger import Ledger, Row

log = logging.getLogger(__name__)
STAGE = "deduplicate"
COUNTS = ("candidate_pairs", "verified_edges", "pairs_not_compared")  # of all sources together
NAME_SCHEMA = pa.schema([("id", pa.string()), ("corpus", pa.string())])


def write_removed(
    passed: Sequence[Passed], inputs: Sequence[Ingested], known: Known, selection: Deduplicated, work: Path,
    ledger: Ledger,
) -> None:
    """Write `work/removed.arrow` and the ledger's rows of deduplication."""
    for name in COUNTS:
        ledger.row(STAGE, "").count(name, selection.counts[name])
    names = KeptNames(inputs, known, selection, work)

    def batches() -> Iterator[pa.RecordBatch]:
        for part, (path, _) in zip(passed, selection.removals, strict=True):
            for earlier in part.removed:
                yield from read_batches(earlier, removals.SCHEMA)
            yield deduplication_rows(part, path, names, selection.threshold, ledger.row(STAGE, part.source))

    write_table(work / removals.NAME, rebatch(batches()), removals.SCHEMA)
    if repeated := selection.counts["duplicate_id"]:
        log.warning("%d documents have the id of an earlier one and are dropped (rule duplicate_id)", repeated)


def deduplication_rows(
    part: Passed, removals_path: Path, names: KeptNames, threshold: float, row: Row
) -> pa.RecordBatch:
    """What deduplication removed from one ingested part; counts the part in the ledger's row."""
    rows, sizes = np.load(part.rows), np.load(part.sizes)
    removed = open_table(removals_path, REMOVAL_SCHEMA)
    gone = removed.column("row").to_numpy()
    lost = sizes[np.searchsorted(rows, gone)]
    row.take(int(sizes.sum()), len(rows))
    row.keep(int(sizes.sum() - lost.sum()), len(rows) - len(gone))
    rules = removed.column("rule").to_pylist()
    for rule in sorted(set(rules)):
        chosen = lost[[place for place, found in enumerate(rules) if found == rule]]
        row.drop(rule, int(chosen.sum()), len(chosen))
    kept_ids, kept_in = names.of(removed.column("kept_number").to_numpy())
    jaccard = removed.column("jaccard").combine_chunks()
    values = ["" if value is None else f"{value:.6f}" for value in jaccard.to_pylist()]

    def same(text: str) -> pa.Array:
        return pa.array([text] * len(gone), pa.string())

    columns = [
        pa.array(read_ids(part.part, gone), pa.string()), same(part.source), same(STAGE),
        pa.array(rules, pa.string()), pa.array(values, pa.string()), same(f"{threshold:g}"),
        kept_ids, kept_in, jaccard, pa.array(lost, pa.int64()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=removals.SCHEMA)


def read_ids(path: Path, rows: Int64) -> list[str]:
    """The ids of some rows (ascending) of a part; only that column is decompressed."""
    field = document.SCHEMA.get_field_index("id")
    options = pa.ipc.IpcReadOptions(included_fields=[field])
    reader = pa.ipc.open_file(pa.memory_map(str(path)), options=options)
    ids: list[str] = []
    first = 0
    for number in range(reader.num_record_batches if len(rows) else 0):
        column = reader.get_batch(number).column(0)
        low, high = np.searchsorted(rows, [first, first + len(column)])
        ids += column.take(pa.array(rows[low:high] - first)).to_pylist()
        first += len(column)
    return ids


class KeptNames:
    """Ids of the documents that removals name, and the other corpora that hold them, by number: on disk, memory-mapped,
    in the order of numbers."""

    def __init__(self, inputs: Sequence[Ingested], known: Known, selection: Deduplicated, work: Path) -> None:
        numbering = Numbering.of(known, inputs)
        is_named = np.zeros(numbering.documents, dtype=np.bool_)
        for path, _ in selection.removals:
            kept = open_table(path, REMOVAL_SCHEMA).column("kept_number").to_numpy()
            is_named[numbering.positions(kept[kept >= 0])] = True
        self._starts = [0]
        numbers_path, ids_path = work / "names" / "numbers.npy", work / "names" / "ids.arrow"

        def pieces() -> Iterator[Int64]:
            for path, corpus, numbers, rows in _stretches(inputs, known):
                chosen = np.flatnonzero(is_named[numbering.positions(numbers)])
                ids = pa.array(read_ids(path, rows[chosen]), pa.string())
                column = pa.array([corpus] * len(ids), pa.string())
                writer.write_batch(pa.RecordBatch.from_arrays([ids, column], schema=NAME_SCHEMA))
                self._starts.append(self._starts[-1] + len(ids))
                yield numbers[chosen]

        with table_writer(ids_path, NAME_SCHEMA, compression=None) as writer:
            write_joined(numbers_path, pieces(), int(np.count_nonzero(is_named)), np.int64)
        self._numbers = open_array(numbers_path)
        self._ids = open_file(ids_path, NAME_SCHEMA)

    def of(self, numbers: Int64) -> tuple[pa.Array, pa.Array]:
        """(ids, names of the other corpora) of documents; both "" for the number -1."""
        is_named = numbers >= 0
        places = np.searchsorted(self._numbers, numbers[is_named])
        order = np.argsort(places, kind="stable")
        batches = np.searchsorted(self._starts, places[order], side="right") - 1
        found = [pa.RecordBatch.from_pylist([{"id": "", "corpus": ""}], schema=NAME_SCHEMA)]
        for number in np.unique(batches).tolist():
            chosen = places[order][batches == number] - self._starts[number]
            found.append(self._ids.get_batch(number).take(pa.array(chosen)))
        table = pa.concat_batches(found)
        index = np.zeros(len(numbers), dtype=np.int64)
        index[np.flatnonzero(is_named)[order]] = np.arange(1, len(order) + 1)
        rows = table.take(pa.array(index))
        return rows.column("id"), rows.column("corpus")


def _stretches(inputs: Sequence[Ingested], known: Known) -> Iterator[tuple[Path, str, Int64, Int64]]:
    """(part, other corpus, numbers, rows) of everything that may be named, in the order of numbers."""
    for part in known.parts:
        if part.path is not None:
            batches = read_batches(part.signatures, signatures.SCHEMA)
            columns = [batch.column("number").to_numpy() for batch in batches]
            numbers = np.concatenate([np.empty(0, np.int64), *columns]) + part.shift
            yield part.path, part.corpus, numbers, np.arange(len(numbers))
    for item in inputs:
        rows = np.load(item.rows_path)
        yield item.path, "", rows + item.first_number, rows
