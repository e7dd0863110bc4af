"""Sorted files of word counts merged into one stream, a small batch of each in memory.

    runs ──next batch of each──> rows up to the least of their last words ──sort, sum──> (word, count), each word once
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from rbt.formats.parts import read_batches
from rbt.formats.word_counts import BATCH_BYTES, SCHEMA, write_counts

BYTES_A_RUN = 6 * BATCH_BYTES  # a batch as it is read, what is left of the one before, and their sums
RUN = ".run.arrow"  # end of the names of files that go when a task ends
FEWEST_RUNS, MOST_RUNS = 8, 256  # merged at once, whatever the memory: each is an open file


class _Run:
    """One file: what was read of it and not yet taken."""

    def __init__(self, path: Path) -> None:
        self._batches = read_batches(path, SCHEMA)
        self._rows = pl.DataFrame(schema={"word": pl.Binary, "count": pl.Int64})

    def has_rows(self) -> bool:
        """Whether there is more, reading the next batch where need be."""
        while self._rows.is_empty():
            batch = next(self._batches, None)
            if batch is None:
                return False
            self._rows = as_frame(batch)
        return True

    def last(self) -> bytes:
        """The last word of the rows at hand."""
        word: bytes = self._rows.item(-1, "word")
        return word

    def take(self, bound: bytes) -> pl.DataFrame:
        """The rows up to a word, which are gone then."""
        if self.last() <= bound:
            rows, self._rows = self._rows, self._rows.clear()
            return rows
        rows = self._rows.filter(pl.col("word") <= pl.lit(bound))
        self._rows = self._rows.slice(len(rows))
        return rows


def as_frame(batch: pa.RecordBatch) -> pl.DataFrame:
    """Rows of word counts as a polars frame."""
    frame = pl.from_arrow(pa.Table.from_batches([batch]))
    assert isinstance(frame, pl.DataFrame)
    return frame


def as_batch(frame: pl.DataFrame) -> pa.RecordBatch:
    """A polars frame as rows of word counts."""
    batches = frame.to_arrow().cast(SCHEMA).combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=SCHEMA)  # a table of no rows has no batch


def merge_runs(paths: Sequence[Path], memory_bytes: int, scratch: Path) -> Iterator[pa.RecordBatch]:
    """Words of all files with the sums of their counts, by word.

    Files that are too many for the memory are merged in several passes, through files named after `scratch`.
    """
    most = min(max(FEWEST_RUNS, memory_bytes // BYTES_A_RUN), MOST_RUNS)
    waiting, made = list(paths), list[Path]()
    try:
        while len(waiting) > most:
            made.append(scratch.with_name(f"{scratch.name}.merged-{len(made):05d}{RUN}"))
            write_counts(made[-1], _merge(waiting[:most]))
            waiting = [*waiting[most:], made[-1]]
        yield from _merge(waiting)
    finally:
        for path in made:
            path.unlink(missing_ok=True)


def _merge(paths: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    runs = [_Run(path) for path in paths]
    while runs := [run for run in runs if run.has_rows()]:
        bound = min(run.last() for run in runs)
        heads = pl.concat([run.take(bound) for run in runs])
        yield as_batch(heads if len(runs) == 1 else _summed(heads.sort("word")))


def _summed(rows: pl.DataFrame) -> pl.DataFrame:
    """Sorted rows, some at least, with each word once; grouping would look every word up again."""
    is_first = rows.select(pl.col("word").ne_missing(pl.col("word").shift())).to_series()
    counts = np.add.reduceat(rows["count"].to_numpy(), is_first.arg_true().to_numpy())
    return rows.filter(is_first).with_columns(pl.Series("count", counts))
