"""Masks of whole batches in torch: the definition of `masking`, bit for bit, on any device.

    ids, segments, columns (rows, time) ──one sort key a position──> one sort a row ──> threshold of its block
        ──> selected (rows, time) bool ──> flat indices (selected,) ──> inputs (rows, time), labels (selected,)

The sort key of a position is [segment | not maskable | 32-bit hash | position], a non-negative int64: sorted, the
maskable positions of each block come first in its place, so the k-th of them is the largest that is selected. torch
has no unsigned 64-bit arithmetic everywhere, so hashes are int64 with wrap-around and logical shifts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rbt.formats.tokenizer import FIRST_ORDINARY_ID
from rbt.rng import UInt64, hash_keys
from rbt.trainer.batches import Batch
from rbt.trainer.masking import ACTION, COUNT, SELECT, TOKEN, MaskingRule, block_state, draw


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_FIRST, _SECOND = _signed(0xBF58476D1CE4E5B9), _signed(0x94D049BB133111EB)


def _shift(values: Tensor, bits: int) -> Tensor:
    return (values >> bits) & ((1 << (64 - bits)) - 1)


def mix64(values: Tensor) -> Tensor:
    """`rbt.rng.mix64` on int64."""
    values = (values ^ _shift(values, 30)) * _FIRST
    values = (values ^ _shift(values, 27)) * _SECOND
    return values ^ _shift(values, 31)


def _fold(states: Tensor, keys: Tensor) -> Tensor:
    """One more key in `rbt.rng.hash_keys`."""
    return mix64((states + _GOLDEN) ^ mix64(keys + _GOLDEN))


def _tensor(values: UInt64, device: torch.device) -> Tensor:
    return torch.from_numpy(values.view(np.int64)).to(device, non_blocking=True)


@dataclass(frozen=True)
class MaskedBatch:
    """What the model reads and predicts. `selected` indexes the flattened (rows x time); int64 all."""

    inputs: Tensor  # (rows, time)
    selected: Tensor  # (selected,)
    labels: Tensor  # (selected,)


def _spread(values: Tensor, segments: Tensor) -> Tensor:
    """Values a block (rows, blocks of a row) to every position of the block (rows, time)."""
    return values.gather(1, segments) if values.shape[1] > 1 else values.expand_as(segments)


def _sorted(keys: Tensor) -> Tensor:
    """Each row ascending; numpy's sort of int64 is several times as fast as torch's on a CPU."""
    return torch.from_numpy(np.sort(keys.numpy(), axis=1)) if keys.device.type == "cpu" else keys.sort(dim=1).values


def _maskable(batch: Batch, rule: MaskingRule) -> Tensor:
    real = batch.segments >= 0
    if rule.specials_maskable:
        return real
    return real & (batch.ids >= FIRST_ORDINARY_ID) & (batch.ids < rule.mask_id)


def select(batch: Batch, rule: MaskingRule, states: UInt64) -> Tensor:
    """Which positions are selected, bool (rows, time). `states` (rows, blocks of a row): see `block_state`."""
    device = batch.ids.device
    segments, columns = batch.segments.clamp(min=0), batch.columns
    maskable = _maskable(batch, rule)
    hashes = _fold(_spread(_tensor(hash_keys(states, SELECT), device), segments), columns)
    groups = torch.where(batch.segments >= 0, batch.segments, (1 << 14) - 1)
    keys = (groups << 49) | ((~maskable).long() << 48) | (_shift(hashes, 32) << 16) | columns
    members = torch.zeros(states.shape, dtype=torch.int64, device=device).scatter_add_(1, segments, maskable.long())
    counts = (members * rule.fraction + _tensor(draw(states, COUNT), device)) >> 32
    counts = torch.minimum(counts.clamp(min=1), members)
    starts = torch.arange(keys.shape[1], device=device) - columns
    last = (starts + _spread(counts, segments) - 1).clamp(0, keys.shape[1] - 1)  # padding may point anywhere
    return maskable & (keys <= _sorted(keys).gather(1, last))


def mask_batch(batch: Batch, rule: MaskingRule) -> MaskedBatch:
    """Mask a batch on the device where it lies; equal to `mask_block` of each of its blocks."""
    device = batch.ids.device
    states = block_state(rule.seed, batch.epochs[:, None], batch.blocks)
    chosen = select(batch, rule, states).flatten().nonzero().squeeze(1)
    labels = batch.ids.flatten()[chosen]
    columns = batch.columns.flatten()[chosen]
    owners = torch.div(chosen, batch.ids.shape[1], rounding_mode="floor") * states.shape[1]
    owners = owners + batch.segments.flatten()[chosen]

    def draws(tag: int) -> Tensor:
        return _shift(_fold(_tensor(hash_keys(states, tag), device).flatten()[owners], columns), 32)

    actions, tokens = draws(ACTION), rule.first_drawn + (draws(TOKEN) * rule.drawn_tokens >> 32)
    replaced = torch.where(actions < rule.random_below, tokens, labels)
    replaced = torch.where(actions < rule.mask_below, rule.mask_id, replaced)
    inputs = batch.ids.flatten().scatter(0, chosen, replaced).view_as(batch.ids)
    return MaskedBatch(inputs, chosen, labels)
