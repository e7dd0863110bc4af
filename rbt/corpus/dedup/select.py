"""Selection: in the order of priority, a document goes if a verified neighbor of higher priority was kept.

    edges by (b, a) ──greedy──> near-*.npy     (b, what it is removed for), for `follow` and `collect`
                           ├──> between-*.npy  (a, b) of a removed a that has copies and a kept b behind it
                           └──> removed.npy    which documents go: one byte each, all that is held in memory

A removed document names the kept neighbor with the highest similarity, of equals the one of the highest priority.
Copies of a text and repeated ids are known to go before: they are among the flags from the start, and have no edges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rbt.corpus.dedup.arrays import Bool, Int64, open_array
from rbt.corpus.dedup.groups import Runs
from rbt.corpus.dedup.inputs import Numbering
from rbt.corpus.dedup.verify import EDGE_SCHEMA
from rbt.engine import Engine
from rbt.formats.arrays import Array, write_array
from rbt.formats.parts import read_batches
from rbt.kernels import kernel
from rbt.manifest import fingerprint
from rbt.stage import Receipt, Task, TaskOutput, run_tasks
from rbt.storage import hash_file

STAGE, VERSION = "select", 2
REMOVED = "removed.npy"
Float64 = npt.NDArray[np.float64]
Edges = tuple[Int64, Int64, Float64]  # (b, a, jaccard)


def select(
    edges: Runs, copies: Runs, gone: Path, numbering: Numbering, folder: Path, engine: Engine
) -> Receipt:
    """Select. `edges`: files of EDGE_SCHEMA in the order of b; `copies`: files of rows (first of a text, copy); `gone`:
    flags of the documents that are known to go."""
    payload = {
        "edges": fingerprint([hash for _, hash in edges]), "copies": fingerprint([hash for _, hash in copies]),
        "gone": hash_file(gone),
    }
    context = {
        "edges": [str(path) for path, _ in edges], "copies": [str(path) for path, _ in copies], "gone": str(gone),
        "numbering": numbering.table(),
    }
    task = Task("select", payload, context=context)
    return run_tasks(STAGE, VERSION, {}, [task], select_all, folder, engine)[0]


def runs_named(receipts: Sequence[Receipt], folder: Path, stem: str = "") -> list[tuple[Path, str]]:
    """(path, content hash) of the receipts' files whose names begin with `stem`."""
    return [
        (folder / record.path, record.hash)
        for receipt in receipts for record in receipt.files if record.path.startswith(stem)
    ]


def select_all(task: Task, folder: Path) -> TaskOutput:
    """The task: go through all edges."""
    numbering = Numbering.from_table(task.context["numbering"])
    is_removed: Bool = np.array(open_array(Path(task.context["gone"])))
    has_copies = np.zeros_like(is_removed)
    for path in task.context["copies"]:
        has_copies[numbering.positions(open_array(Path(path))[0])] = True
    names: list[str] = []

    def write(stem: str, number: int, columns: Sequence[Array]) -> None:
        if len(columns[0]):
            names.append(f"{stem}-{number:05d}.npy")
            write_array(folder / names[-1], np.stack([columns[0], columns[1], columns[2].view(np.int64)]))

    for number, path in enumerate(task.context["edges"]):
        for b, a, jaccard in _edge_columns(Path(path)):
            b_place, a_place = numbering.positions(b), numbering.positions(a)
            chosen = choose(b_place, a_place, jaccard, is_removed)
            write("near", number, (b[chosen], a[chosen], jaccard[chosen]))
            serves = np.flatnonzero(is_removed[a_place] & has_copies[a_place] & ~is_removed[b_place])
            serves = serves[np.lexsort((b[serves], a[serves]))]
            write("between", number, (a[serves], b[serves], jaccard[serves]))
    write_array(folder / REMOVED, is_removed)
    return TaskOutput([REMOVED, *names])


def _edge_columns(path: Path) -> Iterator[Edges]:
    """Columns of a whole file: a document's edges must be seen together, and a bucket is of bounded size."""
    batches = list(read_batches(path, EDGE_SCHEMA))
    if batches:
        yield tuple(  # type: ignore[misc]
            np.concatenate([batch.column(name).to_numpy() for batch in batches]) for name in EDGE_SCHEMA.names
        )


@kernel
def choose(b: Int64, a: Int64, jaccard: Float64, is_removed: Bool) -> Int64:
    """Go through edges sorted by (b, a), positions int64 (n,); set `is_removed` of each b that has a kept a.

    Returns for each removed b, in order, the place of its edge of highest Jaccard to a kept a (of equals the first).
    """
    chosen = np.empty(len(b), dtype=np.int64)
    count = 0
    start = 0
    while start < len(b):
        best = -1
        stop = start
        while stop < len(b) and b[stop] == b[start]:
            if not is_removed[a[stop]] and (best < 0 or jaccard[stop] > jaccard[best]):
                best = stop
            stop += 1
        if best >= 0:
            is_removed[b[start]] = True
            chosen[count] = best
            count += 1
        start = stop
    return chosen[:count]
