"""Masked batches as tensors that a step takes: made on the CPU by the reading thread, moved by the training thread.

    MaskedBatch ──rounded sizes──> ids, positions (tokens,), selected, labels (selected,), layout ──> Inputs

A compiled model takes any size (`compiling`); its sizes are rounded up all the same, so that its kernels meet few, and
even ones: the stream is padded with segments of <pad>, the selected places with ones whose label is not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rbt.formats.tokenizer import PAD
from rbt.trainer.attention import Layout, dense_length, masked_layout
from rbt.trainer.batch_masking import MaskedBatch
from rbt.trainer.batches import Batch
from rbt.trainer.order import Int64

NOT_COUNTED = -100  # label of a place that is not predicted
SIZES = 32  # of a stream that a compiled model meets, at most


@dataclass(frozen=True)
class Rounding:
    """What sizes are multiples of. `by_edges`: whether attention takes segment edges, see `attention.varlen`."""

    tokens: int = 1
    selected: int = 1
    max_tokens: int = 0  # of a segment of padding
    by_edges: bool = False


def rounding_for(micro_batch: int, max_tokens: int, fraction: float, compiled: bool, by_edges: bool) -> Rounding:
    """The rounding of a run's micro-batches; none where nothing is compiled."""
    if not compiled:
        return Rounding(max_tokens=max_tokens, by_edges=by_edges)
    tokens = max(8, micro_batch * max_tokens // SIZES)
    return Rounding(tokens, max(8, int(tokens * fraction)), max_tokens, by_edges)


@dataclass(frozen=True)
class Inputs:
    """What one forward pass reads. Tensors are int64; counts are without padding."""

    ids: Tensor  # (tokens,)
    positions: Tensor  # (tokens,)
    layout: Layout
    selected: Tensor  # (selected,): places in the stream
    labels: Tensor  # (selected,): NOT_COUNTED where padded
    starts: Tensor | None  # (pairs,): places of each pair's <s>
    is_next: Tensor | None  # (pairs,)
    tokens: int
    masked_tokens: int
    pairs: int
    batch: Batch

    def to(self, device: torch.device) -> Inputs:
        """The same with its tensors on a device."""
        return self._each(lambda part: part.to(device, non_blocking=True)) if device.type != "cpu" else self

    def pinned(self) -> Inputs:
        """The same in memory that a GPU copies from while others work."""
        return self._each(lambda part: part.pin_memory())

    def _each(self, move: Callable[[Tensor], Tensor]) -> Inputs:
        return replace(
            self, ids=move(self.ids), positions=move(self.positions), layout=self.layout.each(move),
            selected=move(self.selected), labels=move(self.labels),
            starts=None if self.starts is None else move(self.starts),
            is_next=None if self.is_next is None else move(self.is_next),
        )


def _padded(values: Int64, multiple: int, fill: int) -> Tensor:
    if not (missing := -len(values) % multiple):
        return torch.from_numpy(values)
    padded = np.empty(len(values) + missing, dtype=np.int64)
    padded[: len(values)], padded[len(values) :] = values, fill
    return torch.from_numpy(padded)


def _with_padding(edges: Int64, end: int, longest: int) -> Int64:
    """The edges of segments, and of segments of padding up to `end`."""
    return np.concatenate([edges, np.arange(edges[-1] + longest, end, longest), [end]]) if end > edges[-1] else edges


def _by_edges(edges: Int64, longest: int, is_rounded: bool) -> Layout:
    count = 1 << int(len(edges) - 1).bit_length() if is_rounded else len(edges)
    padded = np.pad(edges, (0, count - len(edges)), mode="edge")  # segments of no token
    return Layout(edges=torch.from_numpy(padded.astype(np.int32)), longest=longest)


def _dense_length(segment_edges: Int64, rounding: Rounding) -> int | None:
    """The length of all segments, None where they differ, and where it would be compiled for this one micro-batch.

    A length is a constant of what is compiled, and so is it that there is one segment only, which is always dense.
    """
    length, is_rounded = dense_length(segment_edges), rounding.tokens > 1
    return None if is_rounded and (length != rounding.max_tokens or len(segment_edges) == 2) else length


def make_inputs(masked: MaskedBatch, rounding: Rounding) -> Inputs:
    """A masked batch as tensors on the CPU."""
    batch = masked.batch
    length = _dense_length(batch.segment_edges, rounding)
    multiple = rounding.tokens if length is None else 1
    ids = _padded(masked.inputs, multiple, PAD)
    edges = _with_padding(batch.segment_edges, len(ids), rounding.max_tokens)
    if length is not None:
        layout = Layout(dense=length)
    elif rounding.by_edges:
        layout = _by_edges(edges, rounding.max_tokens, rounding.tokens > 1)
    else:
        layout = masked_layout(edges, _with_padding(batch.row_edges, len(ids), rounding.max_tokens))
    is_pair = len(batch.is_next) > 0
    return Inputs(
        ids, _padded(batch.positions, multiple, PAD), layout,
        _padded(masked.selected, rounding.selected, 0), _padded(masked.labels, rounding.selected, NOT_COUNTED),
        torch.from_numpy(batch.block_edges[:-1]) if is_pair else None,
        torch.from_numpy(batch.is_next) if is_pair else None,
        len(batch.ids), len(masked.labels), len(batch.is_next), batch,
    )
