"""Verified edges: the exact Jaccard similarity of every candidate pair, in buckets of bounded size.

    sorted runs of pairs ──range of b──> unique pairs of a bucket, documents it needs     (`pairs`, one task a bucket)
    documents ──> sorted sets of shingle hashes, laid out bucket by bucket                (`sets`, one task a part)
    pairs and sets of a bucket ──merge──> edges (b, a, jaccard >= threshold), by (b, a)   (`verify`, one task a bucket)

A bucket holds all pairs of a range of b, so that the edges of all buckets, one behind the other, are in the order in
which the selection reads them, and equal pairs of several bands meet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rbt.corpus.dedup.arrays import Int64, bounds, open_array, read_range
from rbt.corpus.dedup.exact import Runs
from rbt.corpus.dedup.lsh import sorted_pairs
from rbt.corpus.dedup.shingles import UInt64, shingle_sets, table_fingerprint
from rbt.corpus.dedup.sign import Ingested
from rbt.engine import Engine
from rbt.formats.arrays import Array, write_array, write_joined
from rbt.formats.parts import read_batches, write_table
from rbt.kernels import kernel
from rbt.manifest import fingerprint
from rbt.stage import Receipt, Task, TaskOutput, run_tasks

VERSION = 1
BUCKET_PAIRS = 1 << 21  # candidate pairs, repeats in several bands included
SAMPLES = 1 << 20  # pairs looked at to cut the buckets
SET_BYTES = 256 << 20  # of sets that a verifying task holds at a time
EDGE_SCHEMA = pa.schema([("b", pa.int64()), ("a", pa.int64()), ("jaccard", pa.float64())])


def verify(
    ingested: Sequence[Ingested], pair_runs: Runs, ngram: int, threshold: float, folder: Path, engine: Engine
) -> list[Receipt]:
    """Verify all candidate pairs. Receipts in the order of b, with files `<bucket>.edges.arrow` in folder/verify and
    results `candidates` (different pairs) and `edges`."""
    buckets = _bucket_tasks(pair_runs)
    pairs = run_tasks("pairs", VERSION, {}, buckets, gather_pairs, folder / "pairs", engine, unit="bucket")
    sets = _write_sets(ingested, pairs, ngram, folder, engine)
    made_of = fingerprint([record.hash for receipt in sets for record in receipt.files])
    files = [[str(folder / "sets" / record.path) for record in receipt.files] for receipt in sets]
    tasks = [
        Task(
            receipt.task, {"pairs": receipt.files[0].hash, "sets": made_of, "bucket": bucket},
            context={"pairs": str(folder / "pairs" / receipt.files[0].path), "sets": files, "threshold": threshold},
        )
        for bucket, receipt in enumerate(pairs)
    ]
    config = {"threshold": threshold}
    return run_tasks("verify", VERSION, config, tasks, verify_bucket, folder / "verify", engine, unit="bucket")


def _bucket_tasks(runs: Runs) -> list[Task]:
    edges = cut_buckets([open_array(path)[0] for path, _ in runs])
    payload = {"runs": fingerprint([hash for _, hash in runs])}
    paths = [str(path) for path, _ in runs]
    return [
        Task(f"{number:05d}", {**payload, "low": low, "high": high}, context={"runs": paths})
        for number, (low, high) in enumerate(pairwise(edges))
    ]


def cut_buckets(members: Sequence[Array]) -> list[int]:
    """Edges of ranges of b that hold about BUCKET_PAIRS pairs each, from the ascending b of every run."""
    total = sum(len(values) for values in members)
    if not total:
        return []
    stride = max(1, total // SAMPLES)
    sample = np.sort(np.concatenate([values[stride - 1 :: stride] for values in members]))
    inner = np.unique(sample[BUCKET_PAIRS // stride :: max(1, BUCKET_PAIRS // stride)])
    first = min(int(values[0]) for values in members if len(values))
    last = max(int(values[-1]) for values in members if len(values))
    return [first, *(int(edge) for edge in inner if edge > first), last + 1]  # an edge is some b: no range is empty


def gather_pairs(task: Task, folder: Path) -> TaskOutput:
    """The task: the different pairs of a bucket, int64 (2, n), and the documents in them, int64 (1, m) ascending."""
    runs = [Path(path) for path in task.context["runs"]]
    pairs = sorted_pairs(read_range(runs, task.payload["low"], task.payload["high"]))
    names = [f"{task.name}.pairs.npy", f"{task.name}.documents.npy"]
    write_array(folder / names[0], pairs)
    write_array(folder / names[1], np.unique(pairs)[None, :])
    return TaskOutput(names)


def _write_sets(
    ingested: Sequence[Ingested], pairs: Sequence[Receipt], ngram: int, folder: Path, engine: Engine
) -> list[Receipt]:
    needed = fingerprint([receipt.files[1].hash for receipt in pairs])
    buckets = [str(folder / "pairs" / receipt.files[1].path) for receipt in pairs]
    tasks = [
        Task(
            part.name, {"part": part.hash, "first_number": part.first_number, "needed": needed},
            context={"path": str(part.path), "buckets": buckets, "ngram": ngram, "documents": part.documents},
        )
        for part in ingested
    ]
    config = {"ngram": ngram, "words": table_fingerprint()}
    return run_tasks("sets", VERSION, config, tasks, write_part_sets, folder / "sets", engine, unit="part")


def write_part_sets(task: Task, folder: Path) -> TaskOutput:
    """The task: the shingle sets of a part's documents that occur in pairs, each in every bucket that needs it.

    Files: all sets one behind the other, uint64; the index int64 (3, n): bucket, number, end of the set.
    """
    low = task.payload["first_number"]
    needed = [read_range([Path(path)], low, low + task.context["documents"])[0] for path in task.context["buckets"]]
    numbers = np.unique(np.concatenate([*needed, np.empty(0, dtype=np.int64)]))
    names = [f"{task.name}.index.npy", f"{task.name}.sets.npy"]
    with TemporaryFile(dir=folder) as spool:  # in document order first: a set's size is known when it is made
        starts = [0]
        for values in _sets_of_rows(Path(task.context["path"]), numbers - low, task.context["ngram"]):
            values.tofile(spool)
            starts.append(starts[-1] + len(values))
        spool.flush()
        places = np.concatenate([np.searchsorted(numbers, part) for part in needed] or [np.empty(0, dtype=np.int64)])
        sizes = np.diff(np.array(starts, dtype=np.int64))[places]
        _copy_sets(spool, np.array(starts)[places], sizes, folder / names[1])
    buckets = np.repeat(np.arange(len(needed)), [len(part) for part in needed])
    write_array(folder / names[0], np.stack([buckets, numbers[places], np.cumsum(sizes)]).astype(np.int64))
    return TaskOutput(names)


def _sets_of_rows(path: Path, rows: Int64, ngram: int) -> Iterator[UInt64]:
    first = 0
    for batch in read_batches(path) if len(rows) else ():
        low, high = np.searchsorted(rows, [first, first + batch.num_rows])
        if low < high:
            yield from shingle_sets(batch.column("text").take(pa.array(rows[low:high] - first)), ngram)
        first += batch.num_rows


def _copy_sets(spool: Any, starts: Int64, sizes: Int64, path: Path) -> None:
    total = int(sizes.sum())
    if not total:
        write_array(path, np.empty(0, dtype=np.uint64))
        return
    source = np.memmap(spool, dtype=np.uint64, mode="r")
    pieces = (source[start : start + size] for start, size in zip(starts, sizes, strict=True))
    write_joined(path, pieces, total, np.uint64)


def verify_bucket(task: Task, folder: Path) -> TaskOutput:
    """The task: the edges of a bucket."""
    pairs, threshold = open_array(Path(task.context["pairs"])), task.context["threshold"]
    sets = _BucketSets([(Path(index), Path(values)) for index, values in task.context["sets"]], task.payload["bucket"])
    places = np.searchsorted(sets.numbers, pairs)
    small, large = np.sort(sets.sizes[places], axis=0)
    possible = np.flatnonzero(small / large >= threshold)  # no Jaccard is above the ratio of the sizes
    found = []
    for chunk in _chunks(possible, (small + large)[possible]):
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


def _chunks(places: Int64, sizes: Int64) -> Iterator[Int64]:
    """Cut `places` so that the sets of a chunk (`sizes` values a pair) stay within SET_BYTES, or are of one pair."""
    ends = np.cumsum(sizes * 8)
    start = 0
    while start < len(places):
        done = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, done + SET_BYTES, side="right")), start + 1)
        yield places[start:stop]
        start = stop


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
            self._values.append(open_array(values_path))
        self.numbers: Int64 = np.concatenate(numbers)
        self._starts, self._ends = np.concatenate(starts).astype(np.int64), np.concatenate(ends)
        self._sources = np.concatenate(sources)
        self.sizes: Int64 = self._ends - self._starts

    def load(self, places: Int64) -> tuple[UInt64, Int64]:
        """The sets at `places` as (values uint64, starts int64 (n + 1,))."""
        starts = np.concatenate([[0], np.cumsum(self.sizes[places])]).astype(np.int64)
        values = np.empty(starts[-1], dtype=np.uint64)
        for place, start, stop in zip(places, starts[:-1], starts[1:], strict=True):
            source = self._values[self._sources[place]]
            values[start:stop] = source[self._starts[place] : self._ends[place]]
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
