"""Self-attention over a stream of segments, each of which sees itself alone.

    query, key, value (tokens, heads, head) ──how the stream is laid out──> mixed values (tokens, heads, head)

    dense     segments of one length: (segments, heads, length, head), no mask
    varlen    flash attention by segment edges, on a GPU in half precision: no padding, no mask
    masked    elsewhere: rows side by side, padded to the longest, under a mask of who is in whose segment

All three give the same values; which one a batch takes is a matter of speed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rbt.trainer.order import Int64

log = logging.getLogger(__name__)


class Layout(NamedTuple):
    """How a stream of tokens is laid out; what is not None says which way attention goes."""

    dense: int | None = None  # length of every segment
    edges: Tensor | None = None  # varlen: int32 (segments + 1,)
    longest: int = 0  # varlen: most tokens of a segment, or a bound on it
    gather: Tensor | None = None  # masked: int64 (rows, width), place in the stream; any where padded
    scatter: Tensor | None = None  # masked: int64 (tokens,), place in the flattened (rows x width)
    segments: Tensor | None = None  # masked: int32 (rows, width), number of the segment; -1 where padded
    visible: Tensor | None = None  # masked, while a pass lasts: bool (rows, 1, width, width), who sees whom

    def each(self, move: Callable[[Tensor], Tensor]) -> Layout:
        """The same with every tensor moved, between passes."""
        edges, gather, scatter, segments = (
            None if part is None else move(part) for part in (self.edges, self.gather, self.scatter, self.segments)
        )
        return Layout(self.dense, edges, self.longest, gather, scatter, segments)

    def with_visible(self) -> Layout:
        """The layout of a pass: under a mask, with who sees whom, which is too large to be made ahead for a step."""
        if self.segments is None:
            return self
        # padding sees padding, so that no softmax is of nothing
        visible = self.segments[:, None, :, None] == self.segments[:, None, None, :]
        return Layout(None, None, 0, self.gather, self.scatter, self.segments, visible)

    def to(self, device: torch.device) -> Layout:
        """The same on a device."""
        return self.each(lambda part: part.to(device))


def dense_length(segment_edges: Int64) -> int | None:
    """The length of all segments, None where they differ."""
    lengths = np.diff(segment_edges)
    return int(lengths[0]) if len(lengths) and (lengths == lengths[0]).all() else None


def masked_layout(segment_edges: Int64, row_edges: Int64) -> Layout:
    """The layout of rows under a mask. Rows begin where segments begin."""
    widths = np.diff(row_edges)
    inside = np.arange(widths.max(initial=0))
    is_token = inside < widths[:, None]  # (rows, width)
    gather = np.where(is_token, row_edges[:-1, None] + inside, 0)
    segments = np.repeat(np.arange(len(segment_edges) - 1), np.diff(segment_edges))
    in_rows = np.where(is_token, segments[gather], -1).astype(np.int32)
    return Layout(
        gather=torch.from_numpy(gather), scatter=torch.from_numpy(np.flatnonzero(is_token)),
        segments=torch.from_numpy(in_rows),
    )


def attend(query: Tensor, key: Tensor, value: Tensor, layout: Layout, dropout: float) -> Tensor:
    """Mixed values, (tokens, heads, head) as all three inputs; `layout` is that of a pass."""
    if layout.dense is not None:
        return _dense(query, key, value, layout.dense, dropout)
    if layout.edges is not None:
        return varlen(query, key, value, layout.edges, layout.longest, dropout)
    assert layout.gather is not None and layout.scatter is not None and layout.visible is not None
    shape, places = (*layout.gather.shape, *query.shape[1:]), layout.gather.flatten()
    queries, keys, values = (
        part.index_select(0, places).view(shape).transpose(1, 2) for part in (query, key, value)
    )  # (rows, heads, width, head)
    mixed = functional.scaled_dot_product_attention(queries, keys, values, layout.visible, dropout)
    return mixed.transpose(1, 2).flatten(0, 1).index_select(0, layout.scatter)


def _dense(query: Tensor, key: Tensor, value: Tensor, length: int, dropout: float) -> Tensor:
    shape = (-1, length, *query.shape[1:])
    queries, keys, values = (part.reshape(shape).transpose(1, 2) for part in (query, key, value))
    mixed = functional.scaled_dot_product_attention(queries, keys, values, None, dropout)
    return mixed.transpose(1, 2).flatten(0, 1)


def varlen(query: Tensor, key: Tensor, value: Tensor, edges: Tensor, longest: int, dropout: float) -> Tensor:
    """Flash attention by edges, on a GPU in half precision.

    torch's public `varlen_attn` has no dropout; this is the operation that it, and nested tensors, are made of.
    """
    flash = torch.ops.aten._flash_attention_forward
    mixed: Tensor = flash(query, key, value, edges, edges, longest, longest, dropout, False, False)[0]
    return mixed


def has_varlen(device: torch.device, dtype: torch.dtype, head: int) -> bool:
    """Whether `varlen` works here: values and gradients of a small stream agree with those under a mask."""
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return False
    edges = np.array([0, 5, 6, 23, 40, 40])  # the last segment has no token, as in compiled runs
    generator = torch.Generator().manual_seed(0)
    query, key, value, weights = torch.randn(4, 40, 2, head, generator=generator).to(device, dtype).unbind()
    parts = [part.clone().requires_grad_() for part in (query, key, value)]
    masked = masked_layout(edges, np.array([0, 23, 40])).to(device).with_visible()
    by_edges = Layout(edges=torch.from_numpy(edges.astype(np.int32)).to(device), longest=17)
    found = []
    try:
        for layout in (by_edges, masked):
            mixed = attend(parts[0], parts[1], parts[2], layout, 0.0)
            found.append([mixed, *torch.autograd.grad((mixed * weights).sum(), parts)])
    except (RuntimeError, TypeError) as error:  # a torch or a GPU without it; another torch may take other arguments
        log.warning("attention by segment edges: %s", error)
        return False
    return all(torch.allclose(a, b, rtol=0.05, atol=0.05) for a, b in zip(*found, strict=True))
