"""From positions in the order of training to batches of token ids, read ahead by one thread.

    step ──order──> (epochs, rows) of this rank's share ──cut──> micro-batches ──index──> Batch (rows, time) ──queue──>

The global batch of step s (counted from 0) is positions [s x G, (s + 1) x G), whatever the number of ranks; rank r of
W takes the r-th of W equal chunks and cuts it into micro-batches. Nothing is dropped, padded with other rows, or
repeated at the end of an epoch: batches run on into the next one.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from rbt.errors import ArtefactError, ConfigError
from rbt.formats.blocks import Index
from rbt.formats.tokenizer import PAD
from rbt.trainer.order import Int64, rows_at, step_positions

FIRST_POSITION = PAD + 1  # position ids start behind the padding's, as in fairseq
TIME_MULTIPLE = 8  # widths that matrix kernels like
PREFETCHED_STEPS = 2
ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class Batch:
    """Rows of an index, padded to the longest. Tensors are int64 (rows, time); arrays stay on the CPU."""

    ids: Tensor  # <pad> where a row is shorter
    positions: Tensor  # position ids: FIRST_POSITION upwards in each block, <pad>'s where padded
    segments: Tensor  # number of the block inside its row, -1 where padded
    blocks: Int64  # (rows, blocks of a row): block numbers over all parts, -1 where a row has fewer
    rows: Int64  # (rows,): row numbers over all parts
    epochs: Int64  # (rows,)
    tokens: int  # without padding
    needs_isolation: bool  # some row has several blocks or padding

    @property
    def columns(self) -> Tensor:
        """Position inside the block, from 0; 0 where padded."""
        return (self.positions - FIRST_POSITION).clamp(min=0)

    def to(self, device: torch.device) -> Batch:
        """The same batch with its tensors on a device."""
        return replace(
            self, ids=self.ids.to(device), positions=self.positions.to(device), segments=self.segments.to(device)
        )


def _check(index: Index, row: int, blocks: list[tuple[int, Int64]]) -> None:
    length = sum(len(ids) for _, ids in blocks)
    if not 0 < length <= index.max_tokens:
        raise ArtefactError(
            f"expected 1 to {index.max_tokens} tokens in row {row} of the index", found=str(length), cure="pack again"
        )
    if (top := max(int(ids.max()) for _, ids in blocks)) >= index.vocab_size:
        raise ArtefactError(
            f"expected token ids below {index.vocab_size} in row {row} of the index", found=str(top), cure="pack again"
        )


def read_batch(index: Index, rows: Int64, epochs: Int64) -> Batch:
    """Read rows of an index, in the order given. Raises ArtefactError for a row that is no row of this index."""
    contents = [index.read_row(int(row)) for row in rows]
    for row, row_blocks in zip(rows, contents, strict=True):
        _check(index, int(row), row_blocks)
    lengths = [sum(len(ids) for _, ids in row_blocks) for row_blocks in contents]
    width = -(-max(lengths) // TIME_MULTIPLE) * TIME_MULTIPLE
    ids = np.full((len(rows), width), PAD, dtype=np.int64)
    positions, segments = np.full_like(ids, PAD), np.full_like(ids, -1)
    blocks = np.full((len(rows), max(len(row_blocks) for row_blocks in contents)), -1, dtype=np.int64)
    counting = np.arange(FIRST_POSITION, FIRST_POSITION + width)
    for line, row_blocks in enumerate(contents):
        start = 0
        for segment, (number, block) in enumerate(row_blocks):
            end = start + len(block)
            ids[line, start:end], positions[line, start:end] = block, counting[: len(block)]
            segments[line, start:end], blocks[line, segment] = segment, number
            start = end
    return Batch(
        torch.from_numpy(ids), torch.from_numpy(positions), torch.from_numpy(segments), blocks,
        np.asarray(rows, dtype=np.int64), np.asarray(epochs, dtype=np.int64),
        sum(lengths), blocks.shape[1] > 1 or min(lengths) < width,
    )


def rank_share(global_batch: int, world_size: int) -> int:
    """Rows a step and rank. Raises ConfigError where the ranks do not divide the global batch."""
    if global_batch < 1 or global_batch % world_size:
        raise ConfigError(
            f"[data] global_batch: expected a multiple of the {world_size} ranks", found=str(global_batch),
            cure="change data.global_batch or the number of processes",
        )
    return global_batch // world_size


@dataclass(frozen=True)
class Grid:
    """How a global batch is spread: which rank of how many, and rows a micro-batch."""

    rank: int
    world_size: int
    micro_batch: int

    def micro_batches(self, global_batch: int) -> int:
        """Micro-batches a step and rank; the last may be smaller."""
        return -(-rank_share(global_batch, self.world_size) // self.micro_batch)

    def step_rows(self, step: int, seed: int, global_batch: int, num_rows: int) -> list[tuple[Int64, Int64]]:
        """(epochs, rows) of each micro-batch of this rank in a step."""
        rank_share(global_batch, self.world_size)
        positions = step_positions(step, global_batch, self.rank, self.world_size)
        epochs, rows = rows_at(positions, seed, num_rows)
        cuts = np.arange(self.micro_batch, len(rows), self.micro_batch)
        return list(zip(np.split(epochs, cuts), np.split(rows, cuts), strict=True))


def read_steps(
    index: Index, grid: Grid, seed: int, global_batch: int, first_step: int, last_step: int
) -> Iterator[list[Batch]]:
    """This rank's micro-batches of the steps [first_step, last_step), counted from 0."""
    for step in range(first_step, last_step):
        parts = grid.step_rows(step, seed, global_batch, index.num_rows)
        yield [read_batch(index, rows, epochs) for epochs, rows in parts]


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
