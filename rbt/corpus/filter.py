"""Ingested parts to the rows that pass the rules of length, language and quality: one task a part.

    <task>.arrow, <task>.scores.arrow ──> <task>.rows.npy (int64, rows kept)  <task>.bytes.npy (int64, text bytes)
                                     └──> <task>.removed.arrow

A document is dropped by the first rule that it fails: of [clean], then of [quality] in the order of the statistics.
Only stored columns are read, so that changed thresholds neither extract nor compute statistics again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rbt.config import to_dataclass, to_table
from rbt.corpus.clean import drop_reason
from rbt.corpus.config import CleanConfig, QualityConfig
from rbt.corpus.dedup.arrays import Int64
from rbt.corpus.language import DIGITS
from rbt.corpus.score import bounds, read_scores
from rbt.engine import Engine
from rbt.formats import removals
from rbt.formats.arrays import write_array
from rbt.formats.parts import read_batches, text_bytes, write_table
from rbt.ledger import Ledger, Row
from rbt.stage import Receipt, Task, TaskOutput, run_tasks

STAGE, VERSION = "filter", 3
Reason = tuple[str, str, str]  # rule, what the document has, what was asked of it


def filter_parts(
    ingested: Sequence[Receipt], scored: Sequence[Receipt], sources: Sequence[str], work: Path, clean: CleanConfig,
    quality: QualityConfig, engine: Engine,
) -> list[Receipt]:
    """Filter all ingested parts in WORK/ingest (`sources`: the source of each); receipts in order, with result
    `documents`. `scored` is empty where no quality rule is on."""
    tasks = []
    for number, (receipt, source) in enumerate(zip(ingested, sources, strict=True)):
        payload = {"part": receipt.files[0].hash, "source": source, "clean": to_table(clean)}
        context = {"part": str(work / "ingest" / receipt.files[0].path)}
        if scored:
            scores = scored[number].files[0]
            payload |= {"scores": scores.hash, "quality": to_table(quality)}
            context["scores"] = str(work / "score" / scores.path)
        size = max(receipt.result["bytes"], 1)
        tasks.append(Task(receipt.task, payload, size=size, context=context))
    return run_tasks(STAGE, VERSION, {}, tasks, filter_part, work / "filter", engine, unit="B")


@dataclass
class Kept:
    """What passed, a batch an entry."""

    rows: list[Int64] = field(default_factory=list)
    sizes: list[Int64] = field(default_factory=list)


def filter_part(task: Task, folder: Path) -> TaskOutput:
    """The task: filter one ingested part."""
    ledger, kept = Ledger(), Kept()
    names = [f"{task.name}.rows.npy", f"{task.name}.bytes.npy", f"{task.name}.removed.arrow"]
    removed = _removed(task, ledger.row(STAGE, task.payload["source"]), kept)
    write_table(folder / names[2], removed, removals.SCHEMA)  # as they come: a raw file may be all but removed
    rows = np.concatenate([np.empty(0, np.int64), *kept.rows])
    write_array(folder / names[0], rows)
    write_array(folder / names[1], np.concatenate([np.empty(0, np.int64), *kept.sizes]))
    return TaskOutput(names, ledger, {"documents": len(rows)})


def _removed(task: Task, row: Row, kept: Kept) -> Iterator[pa.RecordBatch]:
    first = 0
    source = task.payload["source"]
    for batch, reasons in _judged(task):
        sizes = text_bytes(batch.column("text")).to_numpy()
        passed = np.array([reason is None for reason in reasons], dtype=np.bool_)
        row.take(int(sizes.sum()), len(sizes))
        row.keep(int(sizes[passed].sum()), int(passed.sum()))
        kept.rows.append(first + np.flatnonzero(passed))
        kept.sizes.append(sizes[passed])
        first += batch.num_rows
        removed = []
        for id, size, reason in zip(batch.column("id").to_pylist(), sizes.tolist(), reasons, strict=True):
            if reason is not None:
                rule, value, threshold = reason
                row.drop(rule, size)
                removed.append(removals.removal(id, source, STAGE, rule, size=size, value=value, threshold=threshold))
        if removed:
            yield pa.RecordBatch.from_pylist(removed, schema=removals.SCHEMA)


def _judged(task: Task) -> Iterator[tuple[pa.RecordBatch, list[Reason | None]]]:
    """The part's batches, with the reason to drop each document, or None."""
    clean = to_dataclass(CleanConfig, task.payload["clean"], "clean")
    batches = read_batches(Path(task.context["part"]))
    if "scores" not in task.payload:
        for batch in batches:
            yield batch, clean_reasons(batch, clean)
        return
    quality = to_dataclass(QualityConfig, task.payload["quality"], "quality")
    for batch, scores in zip(batches, read_scores(Path(task.context["scores"])), strict=True):
        reasons = zip(clean_reasons(batch, clean), quality_reasons(scores, quality), strict=True)
        yield batch, [first or second for first, second in reasons]


def clean_reasons(batch: pa.RecordBatch, config: CleanConfig) -> list[Reason | None]:
    """Why each document is dropped by its length or language, or None."""
    characters = pc.utf8_length(batch.column("text")).to_pylist()
    scores = batch.column("language_score").to_numpy().astype(np.float64).round(DIGITS)  # .65 is no float32
    languages = batch.column("language").to_pylist()
    return [
        drop_reason(language, score, length, config)
        for language, score, length in zip(languages, scores.tolist(), characters, strict=True)
    ]


def quality_reasons(scores: pa.RecordBatch, config: QualityConfig) -> list[Reason | None]:
    """Why each document is dropped by its statistics, or None."""
    reasons: list[Reason | None] = [None] * scores.num_rows
    for bound in bounds(config):
        values: Any = scores.column(bound.rule).to_numpy()
        for place in np.flatnonzero(bound.fails(values)).tolist():
            if reasons[place] is None:
                reasons[place] = bound.rule, f"{values[place]:.6g}", str(bound)
    return reasons
