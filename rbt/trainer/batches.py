"""From positions in the order of training to masked batches of token ids, made ahead by one thread.

    step ──order──> (epochs, rows) of this rank's share ──cut──> micro-batches ──index──> Batch ──mask──> MaskedBatch
        ──queue──> the training thread

A batch is a stream: the blocks of its rows one behind the other, without padding. The global batch of step s (counted
from 0) is positions [s x G, (s + 1) x G), whatever the number of ranks; rank r of W takes the r-th of W chunks, which
differ by one row at most, and cuts it into micro-batches. Nothing is dropped, padded with other rows, or repeated at
the end of an epoch: batches run on into the next one. Needs numpy alone.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np

from rbt.errors import ConfigError
from rbt.formats.block_stream import RowBlocks, locate_rows, read_stream, will_read
from rbt.formats.blocks import Index
from rbt.formats.tokenizer import PAD
from rbt.trainer.order import Int64, rows_at, step_positions

FIRST_POSITION = PAD + 1  # position ids start behind the padding's, as in fairseq
PREFETCHED_STEPS = 2
ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class Batch:
    """The blocks of some rows, one behind the other. Arrays are int64.

    A segment is what attends to itself alone, and where positions start anew: a block, or a document of it.
    """

    ids: Int64  # (tokens,)
    block_edges: Int64  # (blocks + 1,): block b is ids[block_edges[b]:block_edges[b + 1]]
    segment_edges: Int64  # (segments + 1,): the edges of blocks, and of documents where they are isolated
    row_edges: Int64  # (rows + 1,)
    blocks: Int64  # (blocks,): numbers over all parts
    block_epochs: Int64  # (blocks,)
    is_next: Int64  # (blocks,) of pair formats, else (0,)
    rows: Int64  # (rows,): numbers over all parts
    epochs: Int64  # (rows,)

    @property
    def positions(self) -> Int64:
        """Position ids, (tokens,): FIRST_POSITION upwards in each segment."""
        return places(self.segment_edges) + FIRST_POSITION


def places(edges: Int64) -> Int64:
    """The place of each token in its stretch, from 0, (tokens,)."""
    return np.asarray(np.arange(edges[-1]) - np.repeat(edges[:-1], np.diff(edges)))


def read_batch(index: Index, rows: Int64, epochs: Int64, isolate_documents: bool = False) -> Batch:
    """Read rows of an index, in the order given. Raises ArtefactError for a row that is no row of this index."""
    return _read_batch(index, locate_rows(index, rows), rows, epochs, isolate_documents)


def _read_batch(
    index: Index, located: list[RowBlocks], rows: Int64, epochs: Int64, isolate_documents: bool
) -> Batch:
    stream = read_stream(index, located)
    edges = stream.block_edges
    segment_edges = np.union1d(edges, stream.document_starts) if isolate_documents else edges
    in_row = np.searchsorted(stream.row_edges, edges[:-1], side="right") - 1
    epochs = np.asarray(epochs, dtype=np.int64)
    return Batch(
        stream.ids, edges, segment_edges, stream.row_edges, stream.blocks, epochs[in_row], stream.is_next,
        np.asarray(rows, dtype=np.int64), epochs,
    )


def check_ranks(global_batch: int, world_size: int) -> None:
    """Raise ConfigError where a step has no row for some rank."""
    if global_batch < world_size:
        raise ConfigError(
            f"[data] global_batch: expected a row for each of {world_size} ranks", found=str(global_batch),
            cure="change data.global_batch or the number of processes",
        )


@dataclass(frozen=True)
class Grid:
    """How a global batch is spread: which rank of how many, and rows a micro-batch."""

    rank: int
    world_size: int
    micro_batch: int

    def micro_batches(self, global_batch: int) -> list[int]:
        """Micro-batches a step of each rank; the last of a rank may be smaller."""
        edges = [rank * global_batch // self.world_size for rank in range(self.world_size + 1)]
        return [-(-(end - start) // self.micro_batch) for start, end in pairwise(edges)]

    def step_rows(self, step: int, seed: int, global_batch: int, num_rows: int) -> list[tuple[Int64, Int64]]:
        """(epochs, rows) of each micro-batch of this rank in a step."""
        positions = step_positions(step, global_batch, self.rank, self.world_size)
        epochs, rows = rows_at(positions, seed, num_rows)
        cuts = np.arange(self.micro_batch, len(rows), self.micro_batch)
        return list(zip(np.split(epochs, cuts), np.split(rows, cuts), strict=True))


def read_steps(
    index: Index, grid: Grid, seed: int, global_batch: int, first_step: int, last_step: int,
    isolate_documents: bool = False,
) -> Iterator[list[Batch]]:
    """This rank's micro-batches of the steps [first_step, last_step), counted from 0.

    The system is told a step ahead which bytes will be read, so that a disk looks for many of them at a time.
    """
    def rows_of(step: int) -> list[tuple[list[RowBlocks], Int64, Int64]]:
        parts = grid.step_rows(step, seed, global_batch, index.num_rows) if step < last_step else []
        located = [(locate_rows(index, rows), rows, epochs) for epochs, rows in parts]
        for rows_to_read, _, _ in located:
            will_read(rows_to_read)
        return located

    ahead = rows_of(first_step)
    for step in range(first_step, last_step):
        parts, ahead = ahead, rows_of(step + 1)
        yield [_read_batch(index, *part, isolate_documents) for part in parts]


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


@contextmanager
def prefetched(items: Iterator[ItemT], depth: int = PREFETCHED_STEPS) -> Iterator[Iterator[ItemT]]:
    """Run an iterator in a thread that stays at most `depth` items ahead; the thread has ended when the block ends.

    An error of the iterator is raised where its item would have come.
    """
    ready: queue.Queue[ItemT | _Failure | None] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def offer(item: ItemT | _Failure | None) -> None:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def fill() -> None:
        try:
            for item in items:
                offer(item)
                if stopped.is_set():
                    return
            offer(None)
        except BaseException as error:  # it belongs to the thread that waits
            offer(_Failure(error))

    def take() -> Iterator[ItemT]:
        while (item := ready.get()) is not None:
            if isinstance(item, _Failure):
                raise item.error
            yield item

    thread = threading.Thread(target=fill, name="prefetch", daemon=True)
    thread.start()
    try:
        yield take()
    finally:
        stopped.set()
        thread.join()
