"""Verified edges: the exact Jaccard similarity of every candidate pair, in buckets of bounded size.

    sorted runs of pairs ──range of b──> unique pairs of a bucket, documents it needs     (`pairs`, one task a bucket)
    documents ──> sorted sets of shingle hashes, laid out bucket by bucket                (`sets`, one task a part)
    pairs and sets of a bucket ──merge──> edges (b, a, jaccard >= threshold), by (b, a)   (`verify`, one task a bucket)

A bucket holds all pairs of a range of b, so that the edges of all buckets, one behind the other, are in the order in
which the selection reads them, and equal pairs of several bands meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rbt.corpus.dedup.arrays import Int64, bounds, chunk_ends, cut_ranges, gather, open_array, read_range
from rbt.corpus.dedup.groups import Runs, sorted_pairs
from rbt.corpus.dedup.inputs import Ingested, Known
from rbt.corpus.dedup.sets import write_sets
from rbt.corpus.dedup.shingles import UInt64
from rbt.engine import Engine
from rbt.formats.arrays import Array, write_array
from rbt.formats.parts import write_table
from rbt.kernels import kernel
from rbt.manifest import fingerprint
from rbt.stage import Receipt, Task, TaskOutput, run_tasks

VERSION = 2
BUCKET_PAIRS = 1 << 21  # candidate pairs, repeats in several bands included
SET_BYTES = 256 << 20  # of sets that a verifying task holds at a time
EDGE_SCHEMA = pa.schema([("b", pa.int64()), ("a", pa.int64()), ("jaccard", pa.float64())])


def verify(
    ingested: Sequence[Ingested], known: Known, known_receipts: Sequence[Receipt], pair_runs: Runs, ngram: int,
    threshold: float, work: Path, engine: Engine,
) -> list[Receipt]:
    """Verify all candidate pairs. Receipts in the order of b, with files `<bucket>.edges.arrow` in work/verify and
    results `candidates` (different pairs) and `edges`."""
    buckets = _bucket_tasks(pair_runs)
    pairs = run_tasks("pairs", VERSION, {}, buckets, gather_pairs, work / "pairs", engine, unit="bucket")
    sets = write_sets(ingested, known, known_receipts, pairs, ngram, work, engine)
    made_of = fingerprint([record.hash for receipt in sets for record in receipt.files])
    files = [[str(work / "sets" / record.path) for record in receipt.files] for receipt in sets]
    tasks = [
        Task(
            receipt.task, {"pairs": receipt.files[0].hash, "sets": made_of, "bucket": bucket},
            context={"pairs": str(work / "pairs" / receipt.files[0].path), "sets": files, "threshold": threshold},
        )
        for bucket, receipt in enumerate(pairs)
    ]
    config = {"threshold": threshold}
    return run_tasks("verify", VERSION, config, tasks, verify_bucket, work / "verify", engine, unit="bucket")


def _bucket_tasks(runs: Runs) -> list[Task]:
    ranges = cut_ranges([open_array(path)[0] for path, _ in runs], BUCKET_PAIRS)
    payload = {"runs": fingerprint([hash for _, hash in runs])}
    paths = [str(path) for path, _ in runs]
    return [
        Task(f"{number:05d}", {**payload, "low": low, "high": high}, context={"runs": paths})
        for number, (low, high) in enumerate(ranges)
    ]


def gather_pairs(task: Task, folder: Path) -> TaskOutput:
    """The task: the different pairs of a bucket, int64 (2, n), and the documents in them, int64 (1, m) ascending."""
    runs = [Path(path) for path in task.context["runs"]]
    pairs = sorted_pairs(read_range(runs, task.payload["low"], task.payload["high"], rows=2))
    names = [f"{task.name}.pairs.npy", f"{task.name}.documents.npy"]
    write_array(folder / names[0], pairs)
    write_array(folder / names[1], np.unique(pairs)[None, :])
    return TaskOutput(names)


def verify_bucket(task: Task, folder: Path) -> TaskOutput:
    """The task: the edges of a bucket."""
    pairs, threshold = open_array(Path(task.context["pairs"])), task.context["threshold"]
    sets = _BucketSets([(Path(index), Path(values)) for index, values in task.context["sets"]], task.payload["bucket"])
    places = np.searchsorted(sets.numbers, pairs)
    small, large = np.sort(sets.sizes[places], axis=0)
    possible = np.flatnonzero(small / large >= threshold)  # no Jaccard is above the ratio of the sizes
    found = []
    for start, stop in chunk_ends((small + large)[possible] * 8, SET_BYTES):
        chunk = possible[start:stop]
        needed, positions = np.unique(places[:, chunk], return_inverse=True)
        values, starts = sets.load(needed)
        jaccard = merge_jaccard(values, starts, *positions.reshape(2, -1))
        is_edge = jaccard >= threshold
        found.append((*pairs[:, chunk[is_edge]], jaccard[is_edge]))
    name = f"{task.name}.edges.arrow"
    batches = [pa.RecordBatch.from_arrays([pa.array(column) for column in part], schema=EDGE_SCHEMA) for part in found]
    write_table(folder / name, batches, EDGE_SCHEMA)
    edges = sum(batch.num_rows for batch in batches)
    return TaskOutput([name], result={"candidates": pairs.shape[1], "edges": edges})


class _BucketSets:
    """The sets that one bucket needs, found in the index of every part: numbers int64 (n,) ascending, sizes (n,)."""

    def __init__(self, files: Sequence[tuple[Path, Path]], bucket: int) -> None:
        numbers, starts, ends, sources = [], [], [], []
        self._values: list[Array] = []
        for index_path, values_path in files:
            index = open_array(index_path)
            low, high = bounds(index[0], bucket, bucket + 1)
            if low == high:
                continue
            numbers.append(index[1, low:high])
            ends.append(index[2, low:high])
            starts.append(np.concatenate([index[2, low - 1 : low] if low else [0], index[2, low : high - 1]]))
            sources.append(np.full(high - low, len(self._values)))
            self._values.append(np.asarray(open_array(values_path)))
        self.numbers: Int64 = np.concatenate(numbers)
        self._starts, self._ends = np.concatenate(starts).astype(np.int64), np.concatenate(ends)
        self._sources = np.concatenate(sources)
        self.sizes: Int64 = self._ends - self._starts

    def load(self, places: Int64) -> tuple[UInt64, Int64]:
        """The sets at `places` as (values uint64, starts int64 (n + 1,))."""
        starts = np.concatenate([[0], np.cumsum(self.sizes[places])]).astype(np.int64)
        values = np.empty(starts[-1], dtype=np.uint64)
        edges = np.searchsorted(self._sources[places], np.arange(len(self._values) + 1))
        for source, (low, high) in enumerate(pairwise(edges)):  # numbers ascend, so those of a part stand together
            chosen = places[low:high]
            gather(self._values[source], self._starts[chosen], self._ends[chosen], values[starts[low] : starts[high]])
        return values, starts


@kernel
def merge_jaccard(values: UInt64, starts: Int64, left: Int64, right: Int64) -> npt.NDArray[np.float64]:
    """Jaccard similarity of sorted sets values[starts[i]:starts[i + 1]], pair by pair: float64, of the shape of left.

    Both ends are never empty: a document has at least one shingle.
    """
    jaccard = np.empty(len(left), dtype=np.float64)
    for pair in range(len(left)):
        i, i_end = starts[left[pair]], starts[left[pair] + 1]
        j, j_end = starts[right[pair]], starts[right[pair] + 1]
        total = (i_end - i) + (j_end - j)
        common = 0
        while i < i_end and j < j_end:
            x, y = values[i], values[j]
            common += x == y
            i += x <= y
            j += y <= x
        jaccard[pair] = common / (total - common)
    return jaccard
