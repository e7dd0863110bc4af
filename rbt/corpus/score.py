"""Ingested parts to quality statistics, where a rule of [quality] is on: one task a part. And the thresholds on them.

    <task>.arrow ──score_texts──> <task>.scores.arrow: one row a document, one column a statistic

All statistics of both rule sets are stored, so that a changed threshold or set computes none of them again. A column
has the name of the rule that judges it; a rule's bounds are the keys of `QualityConfig` that share its name:
`gopher_mean_word_length` is held to `gopher_minimum_mean_word_length` and `gopher_maximum_mean_word_length`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rbt.corpus.config import QualityConfig
from rbt.corpus.quality import COLUMNS, score_texts
from rbt.engine import Engine
from rbt.formats.parts import open_file, read_batches, write_table
from rbt.stage import Receipt, Task, TaskOutput, run_tasks

STAGE, VERSION = "score", 1
COUNTS = ("gopher_words", "gopher_stop_words", "c4_sentences", "c4_curly_brackets", "c4_lorem_ipsum")
SCHEMA = pa.schema([(name, pa.int64() if name in COUNTS else pa.float64()) for name in COLUMNS])


@dataclass(frozen=True)
class Bound:
    """One threshold: documents whose statistic `rule` is below `limit` (above it, if `is_maximum`) are dropped."""

    rule: str
    limit: float
    is_maximum: bool

    def fails(self, values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Which values are beyond the limit: bool, of the shape of `values`."""
        beyond: npt.NDArray[np.bool_] = values > self.limit if self.is_maximum else values < self.limit
        return beyond

    def __str__(self) -> str:
        return f"{'<=' if self.is_maximum else '>='} {self.limit:g}"


def bounds(config: QualityConfig) -> list[Bound]:
    """The thresholds that are in force, in the order in which they are tried."""
    found = []
    for rule in COLUMNS:
        rules, _, name = rule.partition("_")
        for word in ("minimum", "maximum"):
            limit = getattr(config, f"{rules}_{word}_{name}", None)
            if rules in config.rules and limit is not None:
                found.append(Bound(rule, limit, word == "maximum"))
    return found


def effective(config: QualityConfig) -> dict[str, Any]:
    """What of the configuration shapes a corpus: the rule sets, and the bounds of those that are on."""
    return {"rules": sorted(config.rules), "bounds": [f"{bound.rule} {bound}" for bound in bounds(config)]}


def score_parts(ingested: Sequence[Receipt], ingest_folder: Path, folder: Path, engine: Engine) -> list[Receipt]:
    """Compute the statistics of all ingested parts; receipts in order."""
    tasks = [
        Task(
            receipt.task, {"part": receipt.files[0].hash}, size=max(receipt.result["bytes"], 1),
            context={"path": str(ingest_folder / receipt.files[0].path)},
        )
        for receipt in ingested
    ]
    return run_tasks(STAGE, VERSION, {}, tasks, score_part, folder, engine, unit="B")


def score_part(task: Task, folder: Path) -> TaskOutput:
    """The task: compute the statistics of one ingested part."""
    name = f"{task.name}.scores.arrow"
    write_table(folder / name, _scores(Path(task.context["path"])), SCHEMA)
    return TaskOutput([name])


def _scores(path: Path) -> Iterator[pa.RecordBatch]:
    for batch in read_batches(path):
        scores = score_texts(batch.column("text"))
        yield pa.RecordBatch.from_arrays(
            [pa.array(scores[:, place].astype(field.type.to_pandas_dtype())) for place, field in enumerate(SCHEMA)],
            schema=SCHEMA,
        )


def read_scores(path: Path) -> Iterator[pa.RecordBatch]:
    """The stored statistics of an ingested part, in the batches of the part."""
    reader = open_file(path, SCHEMA)
    for number in range(reader.num_record_batches):
        yield reader.get_batch(number)
