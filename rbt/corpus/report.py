"""What a build says at its end: every dropped document by name, every unreadable record, each source's share.

    filter's removals, deduplication's removals ──> removed.arrow (in document order of each ingested part)
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rbt.corpus.config import SourceConfig
from rbt.corpus.dedup.pipeline import Deduplicated, Ingested
from rbt.corpus.write import Selected
from rbt.errors import InputError
from rbt.formats import document, quarantine, removals
from rbt.formats.parts import BATCH_DOCUMENTS, open_file, read_batches, rebatch, write_table
from rbt.ledger import Ledger, Row
from rbt.storage import atomic_path

log = logging.getLogger(__name__)
STAGE = "deduplicate"
TEMPLATE, NAMED_TEMPLATES = "template:", 1000  # prefix of a count in the ledger; how many are named
Int64 = npt.NDArray[np.int64]
KEPT_SCHEMA = pa.schema([("id", pa.string())])


def write_removed(
    selected: Sequence[Selected], inputs: Sequence[Ingested], selection: Deduplicated, work: Path, ledger: Ledger
) -> None:
    """Write `work/removed.arrow` and the ledger's rows of deduplication."""
    for name, number in selection.counts.items():
        if name in ("candidate_pairs", "verified_edges", "pairs_not_compared"):
            ledger.row(STAGE, "").count(name, number)  # of all sources together
    names = KeptNames(inputs, selection, work / "kept_ids.arrow")

    def batches() -> Iterator[pa.RecordBatch]:
        for item, source in zip(inputs, selected, strict=True):
            yield from read_batches(work / "filter" / f"{item.name}.removed.arrow", removals.SCHEMA)
            rows = deduplication_rows(item, source, names, ledger.row(STAGE, source.source))
            for start in range(0, len(rows), BATCH_DOCUMENTS):
                yield pa.RecordBatch.from_pylist(rows[start : start + BATCH_DOCUMENTS], schema=removals.SCHEMA)

    write_table(work / removals.NAME, rebatch(batches()), removals.SCHEMA)
    if repeated := selection.counts["duplicate_id"]:
        log.warning("%d documents have the id of an earlier one and are dropped (rule duplicate_id)", repeated)


def deduplication_rows(item: Ingested, source: Selected, names: KeptNames, row: Row) -> list[dict[str, Any]]:
    """What deduplication removed from one ingested part; counts the part in the ledger's row."""
    rows, sizes = np.load(source.rows), np.load(source.sizes)
    row.take(int(sizes.sum()), len(rows))
    removed = pa.ipc.open_file(pa.memory_map(str(source.removals))).read_all()
    places = np.searchsorted(rows, removed.column("row").to_numpy())
    row.keep(int(sizes.sum() - sizes[places].sum()), len(rows) - len(places))
    ids = read_ids(item.path, removed.column("row").to_numpy())
    found = []
    columns = (removed.column(name).to_pylist() for name in ("rule", "kept_number", "jaccard"))
    for id, size, rule, kept, jaccard in zip(ids, sizes[places].tolist(), *columns, strict=True):
        row.drop(rule, size)
        kept_id = names.name(kept) if kept >= 0 else ""
        found.append(
            removals.removal(
                id, source.source, STAGE, rule, size=size, kept_id=kept_id, jaccard=jaccard,
                value="" if jaccard is None else f"{jaccard:.6f}", threshold=names.threshold,
            )
        )
    return found


def read_ids(path: Path, rows: Int64) -> list[str]:
    """The ids of some rows (ascending) of an ingested part; only that column is decompressed."""
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
    """Ids of the documents that removals name, by number: on disk, memory-mapped, in ascending order of number."""

    def __init__(self, inputs: Sequence[Ingested], selection: Deduplicated, path: Path) -> None:
        self.threshold = f"{selection.threshold:g}"
        numbers = [np.unique(self._kept_numbers(removed)) for removed, _ in selection.removals]
        self._numbers = np.unique(np.concatenate([np.empty(0, np.int64), *numbers]))
        with (
            atomic_path(path) as temporary, pa.OSFile(str(temporary), "wb") as sink,
            pa.ipc.new_file(sink, KEPT_SCHEMA) as writer,
        ):
            for item in inputs:
                low, high = np.searchsorted(self._numbers, [item.first_number, item.first_number + item.documents])
                ids = read_ids(item.path, self._numbers[low:high] - item.first_number)
                writer.write_table(pa.table({"id": pa.array(ids, pa.string())}))
        self._ids = open_file(path, KEPT_SCHEMA).read_all().column("id")

    @staticmethod
    def _kept_numbers(path: Path) -> Int64:
        numbers: Int64 = pa.ipc.open_file(pa.memory_map(str(path))).read_all().column("kept_number").to_numpy()
        return numbers[numbers >= 0]

    def name(self, number: int) -> str:
        """The id of a document."""
        return str(self._ids[int(np.searchsorted(self._numbers, number))].as_py())


def check_duplicates(sources: Sequence[SourceConfig], ledger: Ledger, work: Path) -> None:
    """Stop a build whose deduplication eats a source. Raises InputError, which says how to see pairs in `work`."""
    for source in sources:
        row = ledger.row(STAGE, source.label)
        lost = sum(amount.documents for amount in row.dropped.values())
        documents = max(row.incoming.documents, 1)
        if lost / documents > source.maximum_duplicates:
            rules = ", ".join(f"{rule} {amount.documents}" for rule, amount in sorted(row.dropped.items()))
            raise InputError(
                f"source {source.label!r}: expected deduplication to remove at most {source.maximum_duplicates:.0%}",
                found=f"{lost} of {documents} documents ({rules})",
                cure=f"`rbt corpus duplicates --corpus {work} --source {source.label}` shows some beside what is kept, "
                f"{removals.NAME} in that folder names each; if that is right, raise `maximum_duplicates` of this "
                "[[source]]",
            )


def write_quarantined(tasks: Sequence[str], ingested: Path, path: Path) -> None:
    """Join the tasks' quarantine tables."""
    batches = (
        batch for task in tasks for batch in read_batches(ingested / f"{task}.quarantine.arrow", quarantine.SCHEMA)
    )
    write_table(path, rebatch(batches), quarantine.SCHEMA)


def name_the_most_frequent(ledger: Ledger, sources: Sequence[str]) -> None:
    """Keep the counts of the most frequent dropped templates by name, and join those of the others."""
    for source in sources:
        counts = ledger.row("extract", source).other
        names = sorted((name for name in counts if name.startswith(TEMPLATE)), key=lambda name: (-counts[name], name))
        if others := sum(counts.pop(name) for name in names[NAMED_TEMPLATES:]):
            ledger.row("extract", source).count(f"{TEMPLATE}(other)", others)
