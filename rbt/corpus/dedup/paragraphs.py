"""Paragraphs that documents share: boilerplate is cut from all but the first document that has it.

    texts ──split──> runs of (128-bit hash of the words, paragraph number)                       one task a part
    runs, those of older generations too ──groups──> (paragraph, first with its words)           one task a range
    a part's repeated paragraphs ──> cuts, unless they are more than half of their document      one task a part

A paragraph stands between blank lines; a short one is never cut. It goes where an earlier document has one of the same
words; repeats inside a document stay. A document that repeats others for the most part stays whole, for document
deduplication to judge: so a copy is removed as one, and named with what it copies. The number of a paragraph is
document << PLACE_BITS | place, with the number of a document as it is stored.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rbt import engine as engines
from rbt.corpus.config import DeduplicateConfig
from rbt.corpus.cuts import cut_sizes, read_cut
from rbt.corpus.dedup.arrays import Int64, read_range, write_run
from rbt.corpus.dedup.groups import Runs, find_groups
from rbt.corpus.dedup.inputs import NO_NUMBERING
from rbt.corpus.dedup.paragraph_spans import DOCUMENT, PLACE, cut_spans, hash_paragraphs, split_paragraphs
from rbt.corpus.dedup.select import runs_named
from rbt.corpus.dedup.shingles import UInt8, character_table, table_fingerprint
from rbt.corpus.passed import Passed
from rbt.engine import Engine
from rbt.formats import signatures
from rbt.formats.arrays import write_array
from rbt.formats.parts import string_buffers
from rbt.ledger import Ledger
from rbt.manifest import fingerprint
from rbt.stage import Receipt, Task, TaskOutput, run_tasks
from rbt.storage import atomic_path

STAGE, VERSION = "paragraphs", 1
RULE = "repeated_paragraphs"
PLACE_BITS = 24
RUN_PARAGRAPHS = 1 << 21  # paragraphs a run: 50 MB
LARGEST_SHARE = 0.5  # of a document's bytes that may be cut


def cut_paragraphs(
    passed: Sequence[Passed], first_number: int, known: Runs, config: DeduplicateConfig, work: Path, engine: Engine
) -> tuple[list[Passed], list[tuple[Path, str]], Ledger]:
    """Cut shared paragraphs. `first_number`: stored number of the first document; `known`: older generations' runs.

    Returns (what passes, the runs of the new paragraphs for later generations, the ledger's rows).
    """
    firsts = [first_number]
    for part in passed:
        firsts.append(firsts[-1] + part.documents)
    hashed = _hash(passed, firsts, config, work, engine)
    runs = runs_named(hashed, work / "paragraphs")
    base = first_number << PLACE_BITS
    groups = find_groups(
        "paragraph groups", [*known, *runs], 1, NO_NUMBERING, base, {}, work / "paragraph_groups", engine
    )
    repeats = runs_named(groups, work / "paragraph_groups")
    receipts = _cut(passed, firsts, repeats, config, work, engine)
    ledger = Ledger()
    for receipt in receipts:
        ledger.merge(receipt.ledger)
    folder = work / "paragraph_cuts"
    cut = [
        replace(
            part, sizes=folder / receipt.files[0].path, sizes_hash=receipt.files[0].hash,
            cuts=(*part.cuts, (folder / receipt.files[1].path, receipt.files[1].hash)),
        )
        for part, receipt in zip(passed, receipts, strict=True)
    ]
    return cut, runs, ledger


def keep_paragraphs(runs: Runs, out: Path) -> list[str]:
    """Keep the runs of a corpus for later generations: signatures/paragraphs-*.npy; their names."""
    names: list[str] = []
    for path, _ in runs:
        names.append(f"{signatures.FOLDER}/{signatures.PARAGRAPHS}{len(names):05d}.npy")
        with atomic_path(out / names[-1]) as temporary:
            shutil.copyfile(path, temporary)
    return names


def _tasks(
    passed: Sequence[Passed], firsts: Sequence[int], payload: dict[str, Any], context: dict[str, Any]
) -> list[Task]:
    return [
        Task(
            part.name, {"texts": part.hashes, "first_number": first, "source": part.source, **payload},
            size=max(part.bytes, 1),
            context={
                "path": str(part.part), "rows": str(part.rows), "sizes": str(part.sizes), "cuts": part.cut_paths,
                "documents": part.documents, **context,
            },
        )
        for part, first in zip(passed, firsts, strict=False)
    ]


def _hash(
    passed: Sequence[Passed], firsts: Sequence[int], config: DeduplicateConfig, work: Path, engine: Engine
) -> list[Receipt]:
    shape = {"minimum_words": config.paragraph_words, "words": table_fingerprint()}
    tasks = _tasks(passed, firsts, {}, {"minimum_words": config.paragraph_words})
    return run_tasks(STAGE, VERSION, shape, tasks, hash_part, work / "paragraphs", engine, unit="B")


def _cut(
    passed: Sequence[Passed], firsts: Sequence[int], repeats: Runs, config: DeduplicateConfig, work: Path,
    engine: Engine,
) -> list[Receipt]:
    payload = {"repeats": fingerprint([hash for _, hash in repeats])}
    context = {"repeats": [str(path) for path, _ in repeats], "minimum_words": config.paragraph_words}
    tasks = _tasks(passed, firsts, payload, context)
    return run_tasks("paragraph cuts", VERSION, {}, tasks, cut_part, work / "paragraph_cuts", engine, unit="B")


def hash_part(task: Task, folder: Path) -> TaskOutput:
    """The task: the runs of a part's paragraphs."""
    names: list[str] = []
    pending: list[tuple[np.ndarray[Any, Any], Int64]] = []

    def flush() -> None:
        hashes, numbers = (np.concatenate(part) for part in zip(*pending, strict=True))
        names.append(f"{task.name}-{len(names):05d}.npy")
        write_run(folder / names[-1], (hashes[:, 0], hashes[:, 1]), numbers)
        pending.clear()

    for batch in _paragraphs(task):
        hashes, words = hash_paragraphs(batch.data, batch.starts, batch.spans, character_table())
        counts = (words >= task.context["minimum_words"]) & (batch.spans[PLACE] < 1 << PLACE_BITS)
        pending.append((hashes[counts], batch.numbers[counts]))
        if sum(len(numbers) for _, numbers in pending) >= RUN_PARAGRAPHS:
            flush()
    if pending:
        flush()
    return TaskOutput(names)


def cut_part(task: Task, folder: Path) -> TaskOutput:
    """The task: what to cut from a part, and what its documents have left."""
    first = task.payload["first_number"]
    edges = first << PLACE_BITS, (first + task.context["documents"]) << PLACE_BITS
    pairs = read_range([Path(path) for path in task.context["repeats"]], *edges, rows=2)
    repeated = np.sort(pairs[0, pairs[0] >> PLACE_BITS != pairs[1] >> PLACE_BITS])
    rows, sizes = np.load(task.context["rows"]), np.load(task.context["sizes"])
    found = [np.empty((3, 0), dtype=np.int64)]
    ledger = Ledger()
    row = ledger.row(STAGE, task.payload["source"])
    for batch in _paragraphs(task) if len(repeated) else ():
        goes = np.isin(batch.numbers, repeated)
        cuts, whole, gone = cut_spans(batch.spans, goes, LARGEST_SHARE)
        row.count("paragraphs_cut", int(gone[0]))
        row.count("documents_left_whole", len(whole))
        cuts[0] = batch.rows[cuts[0]]
        found.append(cuts)
    cuts = np.concatenate(found, axis=1)
    left = cut_sizes(sizes, np.searchsorted(rows, cuts[0]), cuts[1:])
    row.take(int(sizes.sum()), len(rows))
    row.keep(int(left.sum()), len(rows))
    row.shrink(RULE, int(sizes.sum() - left.sum()))
    names = [f"{task.name}.bytes.npy", f"{task.name}.cuts.npy"]
    write_array(folder / names[0], left)
    write_array(folder / names[1], cuts)
    return TaskOutput(names, ledger)


@dataclass(frozen=True)
class _Paragraphs:
    """Of one batch: bytes, where documents start in them, their rows in the part, spans, paragraph numbers."""

    data: UInt8
    starts: Int64
    rows: Int64
    spans: Int64
    numbers: Int64


def _paragraphs(task: Task) -> Iterator[_Paragraphs]:
    rows: Int64 = np.load(task.context["rows"])
    first = 0
    for batch in read_cut(Path(task.context["path"]), [Path(path) for path in task.context["cuts"]]):
        low, high = np.searchsorted(rows, [first, first + batch.num_rows])
        if low < high:
            yield _of_batch(batch, rows[low:high], first, task.payload["first_number"])
        first += batch.num_rows
        _, offsets = string_buffers(batch.column("text"))
        engines.advance(int(offsets[-1] - offsets[0]))


def _of_batch(batch: pa.RecordBatch, rows: Int64, first: int, first_number: int) -> _Paragraphs:
    data, offsets = string_buffers(batch.column("text"))
    starts, stops = (offsets[rows - first + edge].astype(np.int64) for edge in (0, 1))
    spans = split_paragraphs(data, starts, stops)
    numbers = ((rows[spans[DOCUMENT]] + first_number) << PLACE_BITS) + spans[PLACE]
    return _Paragraphs(data, starts, rows, spans, numbers)
