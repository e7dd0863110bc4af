"""The sum over all runs: one URL, its submissions and their karma, bucket by bucket of its hash.

    batches of a bucket ──hash, karma──> sums ──>= minimum──> wanted hashes uint64 (urls,), ascending
                        ──url──> of each wanted hash the spelling of its best submission ──> urls-NNN.tsv.gz

Memory is that of one bucket, a 256th of all links: 24 bytes a link, and the URLs of those that are kept.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rbt.corpus.urls_dumps import BUCKETS, SCHEMA, SOURCE
from rbt.formats.arrays import write_array
from rbt.formats.parts import open_file
from rbt.formats.urls import UInt64, part_name
from rbt.ledger import Ledger, Row
from rbt.stage import Task, TaskOutput
from rbt.storage import atomic_path

SUM = "sum"  # the ledger's stage
OPEN_FILES = 400  # two for each run
PART_LINKS = 4 << 20  # submissions behind one part of the list, about

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sums:
    """The URLs of one bucket that are wanted, by ascending hash."""

    hashes: UInt64
    karma: Int64
    submissions: Int64


class Runs:
    """All runs, bucket by bucket."""

    def __init__(self, paths: Sequence[Path]) -> None:
        for path in paths:
            open_file(path, SCHEMA)  # another table would be taken for links
        self._paths = paths
        self._open = lru_cache(OPEN_FILES)(_reader)  # all of them would be more than a process may have open

    def sums(self, bucket: int) -> Iterator[pa.RecordBatch]:
        """Batches of hash, karma, size."""
        return self._batches(bucket, (0, 1, 2))

    def urls(self, bucket: int) -> Iterator[pa.RecordBatch]:
        """Batches of hash, karma, url."""
        return self._batches(bucket, (0, 1, 3))

    def _batches(self, bucket: int, columns: tuple[int, ...]) -> Iterator[pa.RecordBatch]:
        for path in self._paths:
            reader = self._open(path, columns)
            for number in range(bucket, reader.num_record_batches, BUCKETS):
                yield reader.get_batch(number)


def _reader(path: Path, columns: tuple[int, ...]) -> pa.ipc.RecordBatchFileReader:
    options = pa.ipc.IpcReadOptions(included_fields=list(columns), use_threads=False)  # the batches are small
    return pa.ipc.open_file(pa.OSFile(str(path)), options=options)  # batches of a memory map would keep it open


def number_of_parts(links: int) -> int:
    """Parts of the list, a power of two: so that a part has whole buckets."""
    return min(BUCKETS, 1 << max((links - 1) // PART_LINKS, 0).bit_length())


def sum_part(task: Task, folder: Path) -> TaskOutput:
    """The task: buckets `first` to `stop` of all runs to one part of the list and its hashes (wanted-NNN.npy)."""
    number, minimum = task.payload["part"], task.payload["minimum_karma"]
    runs = Runs([Path(task.context["runs"]) / record["path"] for record in task.payload["runs"]])
    wanted: list[UInt64] = []
    ledger = Ledger()
    row = ledger.row(SUM, SOURCE)
    listed = part_name(number)
    with (
        atomic_path(folder / listed) as temporary, temporary.open("wb") as file,
        gzip.GzipFile("", "wb", 6, file, mtime=0) as stream,
    ):
        for bucket in range(task.payload["first"], task.payload["stop"]):
            sums = sum_bucket(runs, bucket, minimum, row)
            wanted.append(sums.hashes)
            for url, karma, submissions in best_spellings(runs, bucket, sums):
                row.keep(len(url.encode()))
                stream.write(f"{url}\t{karma}\t{submissions}\n".encode())
    row.drop("same_url", row.incoming.bytes - row.outgoing.bytes - row.dropped["karma"].bytes, _merged(row))
    hashes = f"wanted-{number:03d}.npy"
    write_array(folder / hashes, np.concatenate(wanted))
    return TaskOutput([listed, hashes], ledger, {"urls": row.outgoing.documents})


def _merged(row: Row) -> int:
    return row.incoming.documents - row.outgoing.documents - row.dropped["karma"].documents


def sum_bucket(runs: Runs, bucket: int, minimum: int, row: Row) -> Sums:
    """Sum the karma of each URL of a bucket; counts what comes in, and what is under the minimum."""
    batches = list(runs.sums(bucket))
    hashes, karma, sizes = (_column(batches, number) for number in range(3))
    order = np.argsort(hashes, kind="stable")
    unique, starts = np.unique(hashes[order], return_index=True)
    if not len(unique):
        row.drop("karma", 0, 0)
        return Sums(unique, np.empty(0, np.int64), np.empty(0, np.int64))
    sums = np.add.reduceat(karma[order].astype(np.int64), starts)
    total_sizes = np.add.reduceat(sizes[order].astype(np.int64), starts)
    submissions = np.diff(np.append(starts, len(hashes))).astype(np.int64)
    kept = sums >= minimum
    row.take(int(total_sizes.sum()), len(hashes))
    row.drop("karma", int(total_sizes[~kept].sum()), int(submissions[~kept].sum()))
    return Sums(unique[kept], sums[kept], submissions[kept])


def best_spellings(runs: Runs, bucket: int, sums: Sums) -> Iterator[tuple[str, int, int]]:
    """(url, karma, submissions) of each wanted URL, in order of hash.

    Of several spellings that of the submission with the most karma stands, then the first in order of bytes.
    """
    if not len(sums.hashes):
        return
    kept = [batch.filter(pa.array(np.isin(batch.column(0).to_numpy(), sums.hashes))) for batch in runs.urls(bucket)]
    table = pa.Table.from_batches(kept).combine_chunks()
    table = table.sort_by([("hash", "ascending"), ("karma", "descending"), ("url", "ascending")])
    _, firsts = np.unique(table.column("hash").to_numpy(), return_index=True)
    urls = table.column("url").take(pa.array(firsts)).to_pylist()
    yield from zip(urls, sums.karma.tolist(), sums.submissions.tolist(), strict=True)


def _column(batches: list[pa.RecordBatch], number: int) -> npt.NDArray[Any]:
    empty = np.empty(0, SCHEMA.field(number).type.to_pandas_dtype())
    return np.concatenate([empty, *(batch.column(number).to_numpy() for batch in batches)])
