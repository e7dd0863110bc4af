"""Collect: what goes from each new part, and for what, checked against the rule.

    repeated ids, near duplicates, copies ──range of numbers of a part──> <part>.removals.arrow, by row
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rbt.corpus.dedup.arrays import Int64, open_array, read_range
from rbt.corpus.dedup.follow import EXACT
from rbt.corpus.dedup.groups import Runs
from rbt.corpus.dedup.inputs import Ingested, Known, Numbering
from rbt.corpus.dedup.select import Float64
from rbt.engine import Engine
from rbt.errors import ArtefactError
from rbt.formats.parts import write_table
from rbt.manifest import fingerprint
from rbt.stage import Receipt, Task, TaskOutput, run_tasks

STAGE, VERSION = "collect", 1
REMOVAL_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),  # in the ingested part
        ("rule", pa.string()),  # one of RULES
        ("kept_number", pa.int64()),  # of a kept document, in this run's numbers; -1 for a repeated id
        ("jaccard", pa.float64()),  # with it; null for a repeated id
    ]
)
DUPLICATE_ID, EXACT_DUPLICATE, NEAR_DUPLICATE = "duplicate_id", "exact_duplicate", "near_duplicate"
ELSEWHERE = "_elsewhere"  # behind the rule where the kept document is another corpus's
RULES = (
    DUPLICATE_ID, EXACT_DUPLICATE, NEAR_DUPLICATE, EXACT_DUPLICATE + ELSEWHERE, NEAR_DUPLICATE + ELSEWHERE,
)


@dataclass(frozen=True)
class _Removals:
    """Removed documents by ascending number: rule is a place in RULES; kept -1 and jaccard NaN for a repeated id."""

    number: Int64
    rule: Int64
    kept: Int64
    jaccard: Float64


def collect(
    ingested: Sequence[Ingested], known: Known, ids: Runs, near: Runs, copies: Runs, removed: tuple[Path, str],
    threshold: float, numbering: Numbering, folder: Path, engine: Engine,
) -> list[Receipt]:
    """Collect the removals of every part; results: removals by rule.

    `ids`: rows (number, first); `near`: rows (number, kept, bits of the Jaccard similarity); `copies`: rows (number,
    kept, bits, EXACT or NEAR); `removed`: flags and their hash.
    """
    runs = {"ids": ids, "near": near, "copies": copies}
    payload: dict[str, Any] = {name: fingerprint([hash for _, hash in files]) for name, files in runs.items()}
    payload |= {"removed": removed[1], "others": known.others}
    context: dict[str, Any] = {name: [str(path) for path, _ in files] for name, files in runs.items()}
    context |= {"removed": str(removed[0]), "numbering": numbering.table(), "threshold": threshold}
    tasks = [
        Task(
            part.name, {**payload, "low": part.first_number, "high": part.first_number + part.documents},
            context=context,
        )
        for part in ingested
    ]
    return run_tasks(STAGE, VERSION, {"threshold": threshold}, tasks, collect_part, folder, engine, unit="part")


def collect_part(task: Task, folder: Path) -> TaskOutput:
    """The task: the removals of one part."""
    removals = _read(task)
    _check(removals, task)
    jaccard: Any = removals.jaccard
    columns = [
        pa.array(removals.number - task.payload["low"]),
        pa.array([RULES[rule] for rule in removals.rule], pa.string()),
        pa.array(removals.kept),
        pa.array(jaccard, mask=np.isnan(jaccard)),
    ]
    name = f"{task.name}.removals.arrow"
    batches = [pa.RecordBatch.from_arrays(columns, schema=REMOVAL_SCHEMA)] if len(removals.number) else []
    write_table(folder / name, batches, REMOVAL_SCHEMA)
    counts = np.bincount(removals.rule, minlength=len(RULES)).tolist()
    return TaskOutput([name], result=dict(zip(RULES, counts, strict=True)))


def _read(task: Task) -> _Removals:
    def read(name: str, rows: int) -> Int64:
        paths = [Path(path) for path in task.context[name]]
        return read_range(paths, task.payload["low"], task.payload["high"], rows)

    ids, near, copies = read("ids", 2)[0], read("near", 3), read("copies", 4)
    number = np.concatenate([ids, near[0], copies[0]])
    kept = np.concatenate([np.full(len(ids), -1), near[1], copies[1]])
    rule = np.concatenate([
        np.full(len(ids), RULES.index(DUPLICATE_ID)), np.full(near.shape[1], RULES.index(NEAR_DUPLICATE)),
        np.where(copies[3] == EXACT, RULES.index(EXACT_DUPLICATE), RULES.index(NEAR_DUPLICATE)),
    ])
    is_elsewhere = (kept >= 0) & (kept < task.payload["others"])
    rule[is_elsewhere] += RULES.index(EXACT_DUPLICATE + ELSEWHERE) - RULES.index(EXACT_DUPLICATE)
    bits = np.concatenate([near[2], copies[2]])
    jaccard = np.concatenate([np.full(len(ids), np.nan), bits.view(np.float64)])
    order = np.argsort(number, kind="stable")
    return _Removals(number[order], rule[order], kept[order], jaccard[order])


def _check(removals: _Removals, task: Task) -> None:
    """The rule, asserted on the result of every run."""
    threshold = task.context["threshold"]
    numbering = Numbering.from_table(task.context["numbering"])
    flags = open_array(Path(task.context["removed"]))
    low = int(numbering.positions(np.array([task.payload["low"]]))[0])
    named = removals.rule != RULES.index(DUPLICATE_ID)
    broken = {
        "every removed document to be removed once":
            len(removals.number) != np.count_nonzero(flags[low : low + task.payload["high"] - task.payload["low"]])
            or bool((np.diff(removals.number) == 0).any()),
        "every removed document to name a kept one":
            bool(flags[numbering.positions(removals.kept[named])].any()),
        f"every removed document to be at least {threshold} similar": bool((removals.jaccard[named] < threshold).any()),
    }
    for expected, is_broken in broken.items():
        if is_broken:
            raise ArtefactError(
                f"deduplication: expected {expected}", path=task.name, found="otherwise",
                cure="delete work/ and run again; report this",
            )
