"""Units in batches: shuffled, shared by ranks, and cut by length, so that little is padded.

    order(seed, epoch) ──a step's units──> a rank's share ──by length──> micro-batches of at most so many tokens

A step has `batch_size` units, whatever the ranks; the last one of an epoch has what is left. Nothing is dropped or
repeated. Evaluation reads all units once, by length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rbt.finetune.features import Features
from rbt.trainer.attention import Layout, dense_length, masked_layout
from rbt.trainer.batches import FIRST_POSITION, places
from rbt.trainer.order import Int64, permute


@dataclass(frozen=True)
class UnitBatch:
    """The sequences of some units, one behind the other. Tensors are int64 where nothing else is said."""

    units: Int64  # (units,): numbers in the split
    unit_edges: Int64  # (units + 1,): unit u is the sequences [unit_edges[u], unit_edges[u + 1]) of the batch
    sequences: Int64  # (sequences,): numbers in the split
    edges: Int64  # (sequences + 1,)
    ids: Tensor  # (tokens,)
    positions: Tensor  # (tokens,)
    layout: Layout
    starts: Tensor  # (sequences,): place of each <s>
    targets: Tensor  # (units, n) float64

    def to(self, device: torch.device) -> UnitBatch:
        """The same with its tensors on a device."""
        if device.type == "cpu":
            return self
        ids, positions, starts, targets = (
            part.to(device, non_blocking=True) for part in (self.ids, self.positions, self.starts, self.targets)
        )
        layout = self.layout.each(lambda part: part.to(device, non_blocking=True))
        return replace(self, ids=ids, positions=positions, layout=layout, starts=starts, targets=targets)


def read_units(features: Features, units: Int64, by_edges: bool = False) -> UnitBatch:
    """The batch of some units. `by_edges`: whether attention takes segment edges, see `attention.has_varlen`."""
    counts = features.unit_edges[units + 1] - features.unit_edges[units]
    unit_edges = np.cumsum([0, *counts])
    sequences = np.repeat(features.unit_edges[units] - unit_edges[:-1], counts) + np.arange(unit_edges[-1])
    lengths = features.edges[sequences + 1] - features.edges[sequences]
    edges = np.cumsum([0, *lengths])
    inside = places(edges)
    ids = features.ids[np.repeat(features.edges[sequences], lengths) + inside]
    if (length := dense_length(edges)) is not None:
        layout = Layout(dense=length)
    elif by_edges:
        layout = Layout(edges=torch.from_numpy(edges.astype(np.int32)), longest=int(lengths.max()))
    else:
        layout = masked_layout(edges, edges)
    return UnitBatch(
        units, unit_edges, sequences, edges, torch.from_numpy(ids), torch.from_numpy(inside + FIRST_POSITION), layout,
        torch.from_numpy(edges[:-1]), torch.from_numpy(features.targets[units]),
    )


def steps_an_epoch(num_units: int, batch_size: int) -> int:
    """Steps in which all units are read once."""
    return -(-num_units // batch_size)


def step_units(step: int, seed: int, num_units: int, batch_size: int) -> Int64:
    """The units of a step, counted from 0 over all epochs."""
    epoch, inside = divmod(step, steps_an_epoch(num_units, batch_size))
    positions = np.arange(inside * batch_size, min((inside + 1) * batch_size, num_units))
    return permute(positions, seed, epoch, num_units)


def rank_units(units: Int64, costs: Int64, rank: int, world_size: int) -> Int64:
    """The share of a rank: every `world_size`-th by length, so that ranks have alike to do."""
    return np.asarray(units[np.argsort(-costs[units], kind="stable")][rank::world_size])


def cut_by_tokens(units: Int64, features: Features, budget: int) -> Iterator[Int64]:
    """Units, longest first, cut so that none of the parts has more tokens than `budget` with padding, but for one unit.
    """
    longest, counts = features.longest, features.counts
    ordered = units[np.argsort(-longest[units], kind="stable")]
    first, sequences = 0, 0
    for place, unit in enumerate(ordered):
        if place > first and (sequences + counts[unit]) * longest[ordered[first]] > budget:
            yield ordered[first:place]
            first, sequences = place, 0
        sequences += counts[unit]
    if first < len(ordered):
        yield ordered[first:]
