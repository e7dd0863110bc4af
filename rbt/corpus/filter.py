"""Ingested parts to the rows that pass the length and language rules: one task a part.

    <task>.arrow ──drop_reason──> <task>.rows.npy (int64, rows kept)  <task>.bytes.npy (int64, their text bytes)
                        └──> <task>.removed.arrow
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rbt.config import to_dataclass, to_table
from rbt.corpus.clean import drop_reason
from rbt.corpus.config import CleanConfig
from rbt.engine import Engine
from rbt.formats.parts import read_batches, text_bytes
from rbt.formats.removals import removal, write_removals
from rbt.ledger import Ledger
from rbt.stage import Receipt, Task, TaskOutput, run_tasks
from rbt.storage import atomic_path

STAGE, VERSION = "filter", 1


def filter_parts(
    ingested: Sequence[Receipt], sources: Sequence[str], ingest_folder: Path, config: CleanConfig, folder: Path,
    engine: Engine,
) -> list[Receipt]:
    """Filter all ingested parts (`sources`: the source of each); receipts in order, with result `documents`."""
    tasks = [
        Task(
            receipt.task, {"part": receipt.files[0].hash, "source": source}, size=max(receipt.result["bytes"], 1),
            context={"folder": str(ingest_folder)},
        )
        for receipt, source in zip(ingested, sources, strict=True)
    ]
    return run_tasks(STAGE, VERSION, to_table(config), [_with(task, config) for task in tasks], filter_part, folder,
                     engine, unit="B")


def _with(task: Task, config: CleanConfig) -> Task:
    return Task(task.name, {**task.payload, "clean": to_table(config)}, task.size, task.stamp, task.context)


def filter_part(task: Task, folder: Path) -> TaskOutput:
    """The task: filter one ingested part."""
    config = to_dataclass(CleanConfig, task.payload["clean"], "clean")
    source, ledger = task.payload["source"], Ledger()
    row = ledger.row(STAGE, source)
    kept: list[int] = []
    sizes: list[int] = []
    removed: list[dict[str, Any]] = []
    number = 0
    for batch in read_batches(Path(task.context["folder"]) / f"{task.name}.arrow"):
        columns = batch.select(["id", "language", "language_score", "text"]).to_pydict()
        lengths = text_bytes(batch.column("text")).to_pylist()
        for id, language, score, text, size in zip(*columns.values(), lengths, strict=True):
            row.take(size)
            if (reason := drop_reason(language, score, len(text), config)) is None:
                row.keep(size)
                kept.append(number)
                sizes.append(size)
            else:
                rule, value, threshold = reason
                row.drop(rule, size)
                removed.append(removal(id, source, STAGE, rule, size=size, value=value, threshold=threshold))
            number += 1
    names = [f"{task.name}.rows.npy", f"{task.name}.bytes.npy", f"{task.name}.removed.arrow"]
    save_array(folder / names[0], np.asarray(kept, dtype=np.int64))
    save_array(folder / names[1], np.asarray(sizes, dtype=np.int64))
    write_removals(folder / names[2], removed)
    return TaskOutput(names, ledger, {"documents": len(kept)})


def save_array(path: Path, array: np.ndarray[Any, Any]) -> None:
    """Write a .npy file atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)
