"""How much of the evaluation sets a corpus holds: the counts that growth needs, and the report.

    documents by n-gram ──> signatures/contamination.arrow (n-gram, documents), one line an n-gram that was found
                       └──> contamination.json, a table at the end of a build
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rbt.corpus.config import DecontaminateConfig
from rbt.corpus.dedup.arrays import Int64
from rbt.corpus.dedup.shingles import UInt64
from rbt.corpus.evaluation import Evaluation, example_scores, read_example_lines
from rbt.formats import signatures
from rbt.formats.arrays import Array
from rbt.formats.parts import open_table, write_table
from rbt.manifest import to_json
from rbt.stage import Receipt
from rbt.storage import atomic_path, write_text
from rbt.tasks.sets import TASKS

COUNTS, REPORT = "contamination.arrow", "contamination.json"
COUNT_SCHEMA = pa.schema([("ngram", pa.uint64()), ("documents", pa.int64())])
TENTHS, NAMED = 10, 20  # of scores; examples of a task that are named


def write_counts(path: Path, keys: UInt64, documents: Int64) -> None:
    """Write the documents (n,) of this build by n-gram key (n,), without those that none has."""
    found = np.flatnonzero(documents)
    columns = [pa.array(keys[found]), pa.array(documents[found])]
    write_table(path, [pa.RecordBatch.from_arrays(columns, schema=COUNT_SCHEMA)], COUNT_SCHEMA)


def read_counts(paths: Sequence[Path], keys: UInt64) -> Int64:
    """The documents of older generations by n-gram key (n,), summed: int64 (n,).

    An n-gram that an older generation did not look for has none there.
    """
    total = np.zeros(len(keys), np.int64)
    for path in paths:
        ngrams, documents = (column.to_numpy() for column in open_table(path, COUNT_SCHEMA).columns)
        places = np.searchsorted(keys, ngrams)
        known = keys[np.minimum(places, len(keys) - 1)] == ngrams
        np.add.at(total, places[known], documents[known])
    return total


def report(
    evaluation: Evaluation, identity: Sequence[Mapping[str, Any]], total: Int64, receipts: Sequence[Receipt],
    config: DecontaminateConfig,
) -> dict[str, Any]:
    """What was found, by task, as JSON.

    An example's score is the share of its words, over all its texts, that lie in n-grams which collide: which some
    document has, and no more documents than `maximum_documents`.
    """
    collides = (total > 0) & (total <= config.maximum_documents)
    scores, looked_for = example_scores(evaluation, collides)
    lines = read_example_lines(evaluation)
    names = lines.column("task").to_numpy(zero_copy_only=False)
    tasks = {}
    for place, task in enumerate(TASKS):
        mine = np.flatnonzero(names == task)
        if len(mine):
            own = (evaluation.tasks >> np.uint32(place)) & np.uint32(1) > 0
            tasks[task] = {
                "splits": [dict(item) for item in identity if item["task"] == task],
                **_examples(mine, scores, looked_for, lines),
                "ngrams": int(own.sum()),
                "ngrams_colliding": int((own & collides).sum()),
                "ngrams_common": int((own & (total > config.maximum_documents)).sum()),
                "documents_cut": sum(receipt.result["cut"].get(task, 0) for receipt in receipts),
                "documents_dropped": sum(receipt.result["dropped"].get(task, 0) for receipt in receipts),
            }
    whole = {name: sum(receipt.result[name] for receipt in receipts) for name in ("documents_cut", "documents_dropped")}
    return {"tasks": tasks, **whole}


def _examples(mine: Int64, scores: Array, looked_for: Array, lines: pa.Table) -> dict[str, Any]:
    """The examples of one task: how many there are, have a collision, are too short; their scores by tenths (above 0 up
    to .1, ..., above .9 up to 1); those with the highest."""
    own = scores[mine]
    colliding = own[own > 0]
    tenths = np.clip(np.ceil(colliding * TENTHS).astype(np.int64) - 1, 0, TENTHS - 1)
    highest = [place for place in np.argsort(-own, kind="stable")[:NAMED].tolist() if own[place] > 0]
    named = lines.take(pa.array(mine[highest], pa.int64())).select(["split", "id"]).to_pylist()
    return {
        "examples": len(mine),
        "examples_too_short": int((~looked_for[mine]).sum()),
        "examples_colliding": len(colliding),
        "scores": np.bincount(tenths, minlength=TENTHS).tolist(),
        "highest": [
            {**line, "score": round(float(own[place]), 6)} for place, line in zip(highest, named, strict=True)
        ],
    }


def write_report(path: Path, table: Mapping[str, Any]) -> None:
    """Write contamination.json."""
    write_text(path, to_json(table))


def keep_contamination(work: Path, out: Path) -> list[str]:
    """Copy the report and the counts of a build from WORK into OUT; their names there."""
    names = {REPORT: REPORT, COUNTS: f"{signatures.FOLDER}/{COUNTS}"}
    for source, name in names.items():
        with atomic_path(out / name) as temporary:
            shutil.copyfile(work / source, temporary)
    return list(names.values())


def contamination_table(table: Mapping[str, Any]) -> list[str]:
    """The report in lines for the terminal: one a task."""
    columns = ("examples", "examples_too_short", "examples_colliding", "ngrams_colliding", "ngrams_common",
               "documents_cut", "documents_dropped")  # fmt: skip
    heads = ("examples", "too short", "in corpus", "n-grams", "common", "docs cut", "dropped")
    lines = [f"{'evaluation':<14}" + "".join(f"{head:>11}" for head in heads)]
    for task, facts in table["tasks"].items():
        lines.append(f"{task:<14}" + "".join(f"{facts[column]:>11,}" for column in columns))
    return lines
