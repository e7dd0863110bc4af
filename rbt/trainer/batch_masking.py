"""Masks of whole batches: the definition of `masking`, bit for bit, for all blocks at a time.

    ids, block_edges ──units──> one sort key each ──one sort──> threshold of each block ──> selected units
        ──> selected tokens (selected,) ──> inputs (tokens,), labels (selected,)

A unit is what is selected together: a token, or a word. Its sort key is [block | 32-bit hash | place of its first
token]: sorted, the units of a block lie in the block's place, and the k-th of them is the largest that is selected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rbt.errors import ConfigError
from rbt.rng import UInt64, fold, hash_keys
from rbt.trainer.batches import Batch, places
from rbt.trainer.masking import ACTION, COUNT, MAX_TOKENS, SELECT, TOKEN, MaskingRule, block_state, draw
from rbt.trainer.order import Int64

HALF = np.uint64(32)
PLACE_BITS = MAX_TOKENS.bit_length() - 1
HASH_BITS = 32
MAX_BLOCKS = 1 << (64 - HASH_BITS - PLACE_BITS)  # of a batch: what is left of a sort key


@dataclass(frozen=True)
class MaskedBatch:
    """A batch, what the model reads of it and what it is to predict."""

    batch: Batch
    inputs: Int64  # (tokens,)
    selected: Int64  # (selected,): ascending places in the stream
    labels: Int64  # (selected,)


def _first_of_words(ids: Int64, maskable: npt.NDArray[np.bool_], columns: Int64, rule: MaskingRule) -> Any:
    """Which tokens begin a word: see `MaskingRule.begins_word`."""
    assert rule.words is not None
    behind = np.concatenate([[True], ~maskable[:-1] | rule.words.ends_in_space[ids[:-1]]])
    return maskable & (behind | (columns == 0) | rule.words.begins_with_space[ids])


def _selected(batch: Batch, rule: MaskingRule, states: UInt64, columns: Int64) -> tuple[Int64, Int64]:
    """(selected tokens, first token of the unit of each), both ascending places in the stream."""
    maskable = rule.are_maskable(batch.ids)
    heads = maskable if rule.words is None else _first_of_words(batch.ids, maskable, columns, rule)
    units = np.flatnonzero(heads)
    owners = np.repeat(np.arange(len(states)), np.diff(batch.block_edges))[units]
    members = np.bincount(owners, minlength=len(states)).astype(np.uint64)
    places_of_units = columns[units]
    hashes = fold(hash_keys(states, SELECT)[owners], places_of_units) >> np.uint64(HASH_BITS)
    keys = (owners.astype(np.uint64) << np.uint64(HASH_BITS + PLACE_BITS)) | (hashes << np.uint64(PLACE_BITS))
    keys |= places_of_units.astype(np.uint64)
    counts = (members * np.uint64(rule.fraction) + draw(states, COUNT)) >> HALF
    counts = np.minimum(np.maximum(counts, np.uint64(1)), members)
    last = np.cumsum(members) - members + np.maximum(counts, np.uint64(1)) - np.uint64(1)
    thresholds = np.append(np.sort(keys), np.uint64(0))[np.minimum(last, np.uint64(len(keys))).astype(np.int64)]
    chosen = units[keys <= thresholds[owners]]
    if rule.words is None:
        return chosen, chosen
    is_chosen = np.zeros(len(batch.ids), dtype=bool)
    is_chosen[chosen] = True
    first = np.maximum.accumulate(np.where(heads, np.arange(len(heads)), 0))  # of the word that each token is in
    selected = np.flatnonzero(maskable & is_chosen[first])
    return selected, first[selected]


def mask_batch(batch: Batch, rule: MaskingRule) -> MaskedBatch:
    """Mask a batch; equal to `mask_block` of each of its blocks. Raises ConfigError for one of too many blocks."""
    if len(batch.blocks) > MAX_BLOCKS:
        raise ConfigError(
            f"[data] micro_batch: expected at most {MAX_BLOCKS} blocks in its rows", found=str(len(batch.blocks)),
            cure="set a smaller data.micro_batch",
        )
    states = block_state(rule.seed, rule.mask_epoch(batch.block_epochs), batch.blocks)
    columns = places(batch.block_edges)
    selected, first = _selected(batch, rule, states, columns)
    owners = np.searchsorted(batch.block_edges, selected, side="right") - 1

    def draws(tag: int, where: Int64) -> UInt64:
        return fold(hash_keys(states, tag)[owners], columns[where]) >> HALF

    actions, labels = draws(ACTION, first), batch.ids[selected]
    tokens = rule.first_drawn + (draws(TOKEN, selected) * np.uint64(rule.drawn_tokens) >> HALF).astype(np.int64)
    inputs = batch.ids.copy()
    inputs[selected] = np.where(
        actions < rule.mask_below, rule.mask_id, np.where(actions < rule.random_below, tokens, labels)
    )
    return MaskedBatch(batch, inputs, selected, labels)
