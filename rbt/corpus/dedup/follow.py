"""Copies of a text go for the first document that has it or, where that one went itself, for what took its place.

    (first, copy)  ┐                        ┌ first is kept      -> for the first, similarity 1
    near           ├ ranges of `first` ──>  ┤ first was removed  -> for its best kept neighbor, among which are now the
    between        ┘                        └                       documents between the first and the copy

A copy has the neighbors of the first document with its text, so that only the first one goes through the bands. One
task a range; rows of the result are ordered by the copies, for `collect`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rbt.corpus.dedup.arrays import Int64, cut_ranges, open_array, read_range
from rbt.corpus.dedup.groups import Runs
from rbt.corpus.dedup.inputs import Numbering
from rbt.corpus.dedup.select import Float64
from rbt.engine import Engine
from rbt.formats.arrays import write_array
from rbt.kernels import kernel
from rbt.manifest import fingerprint
from rbt.stage import Receipt, Task, TaskOutput, run_tasks

STAGE, VERSION = "follow", 1
RANGE_COPIES = 1 << 22
EXACT, NEAR = 0, 1  # the last row of a result: did the first document with the text stay?


def follow(
    copies: Runs, near: Runs, between: Runs, removed: tuple[Path, str], numbering: Numbering, base: int, folder: Path,
    engine: Engine,
) -> list[Receipt]:
    """Follow all copies numbered `base` or more.

    `copies`: rows (first, copy); `near`: rows (number, kept, bits of the Jaccard similarity) in the order of numbers;
    `between`: rows (a, b, bits) by (a, b); `removed`: flags and their hash. Files: int64 (4, n), rows copy, kept, bits,
    EXACT or NEAR, by copy.
    """
    runs = {"copies": copies, "near": near, "between": between}
    payload: dict[str, Any] = {name: fingerprint([hash for _, hash in files]) for name, files in runs.items()}
    payload |= {"removed": removed[1], "base": base}
    context: dict[str, Any] = {name: [str(path) for path, _ in files] for name, files in runs.items()}
    context |= {"removed": str(removed[0]), "numbering": numbering.table()}
    ranges = cut_ranges([open_array(path)[0] for path, _ in copies], RANGE_COPIES)
    tasks = [
        Task(f"{number:05d}", {**payload, "low": low, "high": high}, context=context)
        for number, (low, high) in enumerate(ranges)
    ]
    return run_tasks(STAGE, VERSION, {}, tasks, follow_range, folder, engine, unit="range")


def follow_range(task: Task, folder: Path) -> TaskOutput:
    """The task: the copies of the texts whose first documents are in a range."""

    def read(name: str, rows: int) -> Int64:
        paths = [Path(path) for path in task.context[name]]
        return read_range(paths, task.payload["low"], task.payload["high"], rows)

    first, number = read("copies", 2)
    first, number = first[number >= task.payload["base"]], number[number >= task.payload["base"]]
    order = np.lexsort((number, first))
    first, number = first[order], number[order]
    flags = open_array(Path(task.context["removed"]))
    gone = np.array(flags[Numbering.from_table(task.context["numbering"]).positions(first)])
    kept, jaccard = first.copy(), np.ones(len(first), dtype=np.float64)
    near, between = read("near", 3), read("between", 3)
    place = np.searchsorted(near[0], first[gone])
    between = between[:, np.lexsort((between[1], between[0]))]
    kept[gone], jaccard[gone] = improve(
        number[gone], first[gone], near[1, place], near[2, place].view(np.float64),
        between[1], between[0], between[2].view(np.float64),
    )
    rows = np.stack([number, kept, jaccard.view(np.int64), np.where(gone, NEAR, EXACT)])
    name = f"{task.name}.npy"
    write_array(folder / name, rows[:, np.argsort(number)])
    return TaskOutput([name])


@kernel
def improve(
    number: Int64, first: Int64, kept: Int64, jaccard: Float64, b: Int64, a: Int64, similarity: Float64
) -> tuple[Int64, Float64]:
    """The best kept neighbor of each copy: (kept, jaccard), of the shape of `number`.

    Copies (number, and first of the text) come by (first, number) with what their first was removed for; edges of
    those firsts `a` to kept documents `b` behind them by (a, b). An edge serves the copies behind its b.
    """
    best_kept, best_jaccard = kept.copy(), jaccard.copy()
    edge = 0
    for copy in range(len(number)):
        if copy and first[copy] == first[copy - 1]:
            best_kept[copy], best_jaccard[copy] = best_kept[copy - 1], best_jaccard[copy - 1]
        while edge < len(b) and (a[edge] < first[copy] or (a[edge] == first[copy] and b[edge] < number[copy])):
            if a[edge] == first[copy] and similarity[edge] > best_jaccard[copy]:
                best_kept[copy], best_jaccard[copy] = b[edge], similarity[edge]
            edge += 1
    return best_kept, best_jaccard
