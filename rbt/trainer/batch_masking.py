"""Masks of whole batches: the definition of `masking`, bit for bit, for all blocks at a time.

    blocks of similar lengths ──hash of each place──> (blocks, width) ──low ones──> one sort key each ──one sort──>
        the first units of each block ──> selected tokens (selected,) ──> inputs (tokens,), labels (selected,)

A unit is what is selected together: a token, or a word. Its sort key is [block | 32-bit hash | place of its first
token]: sorted, the units of a block lie in the block's place, those that are selected first. Hashes are spread evenly,
so units whose hash is far above the share that is selected are left out; where too few remain, all are sorted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from rbt.errors import ConfigError
from rbt.rng import UInt64, finish, fold_spread, fold_unfinished, hash_keys, spread
from rbt.trainer.batches import Batch
from rbt.trainer.masking import ACTION, COUNT, MAX_TOKENS, ONE, SELECT, TOKEN, MaskingRule, block_state
from rbt.trainer.order import Int64

HALF = np.uint64(32)
ALL = np.uint64(ONE * ONE - 1)
PLACE_BITS = MAX_TOKENS.bit_length() - 1
HASH_BITS = 32
OWNER_SHIFT, LAST_PLACE = HASH_BITS + PLACE_BITS, MAX_TOKENS - 1
MAX_BLOCKS = 1 << (63 - HASH_BITS - PLACE_BITS)  # of a batch: what is left of a sort key, which has a sign
HASHES = 1 << 15  # made at a time: few enough for a core's cache, and enough to outweigh the calls
DEVIATIONS = 4  # of the number of units below a bound, which is about that of a Poisson distribution
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class MaskedBatch:
    """A batch, what the model reads of it and what it is to predict."""

    batch: Batch
    inputs: Int64  # (tokens,)
    selected: Int64  # (selected,): ascending places in the stream
    labels: Int64  # (selected,)


@cache
def _spread_places() -> UInt64:
    return spread(np.arange(MAX_TOKENS))


@cache
def _spread_tags() -> UInt64:
    return spread(np.array([[COUNT], [SELECT], [ACTION], [TOKEN]]))


def _counted(is_one: Bool, edges: Int64) -> Int64:
    """How many are true in each block."""
    false = np.flatnonzero(~is_one)  # fewer, as a rule
    return np.asarray(np.diff(edges) - np.diff(false.searchsorted(edges)))


def _first_of_words(ids: Int64, maskable: Bool, edges: Int64, rule: MaskingRule) -> Bool:
    """Which tokens begin a word: see `MaskingRule.begins_unit`."""
    assert rule.words is not None
    begins = np.ones(len(ids), dtype=bool)
    np.logical_or(~maskable[:-1], rule.words.ends_in_space[ids[:-1]], out=begins[1:])
    begins[edges[:-1]] = True
    begins |= rule.words.begins_with_space[ids]
    begins &= maskable
    return begins


def _bounds(counts: Int64, members: Int64) -> UInt64:
    """Hashes up to which the `counts` smallest of a block's surely are, nearly always; ALL: up to which all are.

    Their upper 32 bits are odd and the others ones, so that a hash can be compared before it is finished.
    """
    wanted = counts + DEVIATIONS * np.sqrt(counts) + DEVIATIONS
    upper = np.asarray(np.minimum(wanted / np.maximum(members, 1), 1.0) * (ONE - 1)).astype(np.uint64)
    return ((upper | np.uint64(1)) << HALF) | np.uint64(ONE - 1)


def _low_keys(states: UInt64, lengths: Int64, bounds: UInt64) -> Int64:
    """Sort keys of the places in each block whose hashes are up to its bound; blocks are numbered by length."""
    keys, first = list[Int64](), 0
    memory = np.empty((2, max(HASHES, int(lengths[0]))), dtype=np.uint64)
    while first < len(lengths):
        width = int(lengths[first])  # of the longest of these blocks
        count = min(max(1, HASHES // width), len(lengths) - first)
        group = slice(first, first + count)
        hashes, shifted = memory[:, : count * width].reshape(2, count, width)
        fold_unfinished(states[group, None], _spread_places()[:width], hashes, shifted)
        low = np.flatnonzero(hashes <= bounds[group, None])
        found, owners = (finish(hashes.ravel()[low]) >> HALF).view(np.int64), low // width
        found <<= PLACE_BITS
        found |= low - owners * width
        owners += first
        owners <<= OWNER_SHIFT
        found |= owners
        keys.append(found)
        first = group.stop
    return np.concatenate(keys)


def _chosen(batch: Batch, is_unit: Bool, states: UInt64, counts: Int64, members: Int64) -> Int64:
    """Places in the stream, in any order, of the `counts` of each block's units with the smallest hashes."""
    lengths = np.diff(batch.block_edges)
    order = np.argsort(-lengths, kind="stable")
    lengths, starts, counts, members = (each[order] for each in (lengths, batch.block_edges, counts, members))
    bounds = _bounds(counts, members)
    for up_to in (bounds, np.full_like(bounds, ALL)):
        keys = _low_keys(states[order], lengths, up_to)
        owners, columns = keys >> OWNER_SHIFT, keys & LAST_PLACE
        there = is_unit.take(starts[owners] + columns, mode="clip") & (columns < lengths[owners])
        keys = keys[there]
        keys.sort()
        edges = keys.searchsorted(np.arange(len(order) + 1) << OWNER_SHIFT)
        if (np.diff(edges) >= counts).all():
            break
    keys = keys[np.arange(len(keys)) < np.repeat(edges[:-1] + counts, np.diff(edges))]
    return np.asarray(starts[keys >> OWNER_SHIFT] + (keys & LAST_PLACE))


def _selected(batch: Batch, rule: MaskingRule, draws: UInt64, of_select: UInt64) -> tuple[Int64, Int64]:
    """(selected tokens, first token of the unit of each), both ascending places in the stream."""
    edges = batch.block_edges
    maskable = rule.are_maskable(batch.ids)
    heads = maskable if rule.words is None else _first_of_words(batch.ids, maskable, edges, rule)
    members = _counted(heads, edges)
    counts = np.minimum(np.maximum((members * rule.fraction + draws.view(np.int64)) >> 32, 1), members)
    chosen = np.zeros(len(batch.ids), dtype=bool)
    chosen[_chosen(batch, heads, of_select, counts, members)] = True
    if rule.words is None:
        selected = np.flatnonzero(chosen)
        return selected, selected
    first = np.maximum.accumulate(np.where(heads, np.arange(len(heads)), 0))  # of the word that each token is in
    selected = np.flatnonzero(maskable & chosen[first])
    return selected, first[selected]


def _replaced(labels: Int64, actions: UInt64, rule: MaskingRule, states: UInt64, places: Int64) -> Int64:
    """What stands for the selected tokens: `states` are those of random tokens, `places` are in the block."""
    replaced = np.where(actions < rule.mask_below, rule.mask_id, labels)
    random = np.flatnonzero((actions >= rule.mask_below) & (actions < rule.random_below))
    draws = fold_spread(states[random], _spread_places()[places[random]]) >> HALF
    replaced[random] = rule.first_drawn + (draws * np.uint64(rule.drawn_tokens) >> HALF).astype(np.int64)
    return replaced


def _mask(batch: Batch, rule: MaskingRule, states: UInt64) -> MaskedBatch:
    draws, of_select, of_action, of_token = states
    selected, first = _selected(batch, rule, draws, of_select)
    in_block = np.diff(selected.searchsorted(batch.block_edges))  # (blocks,): selected tokens
    owners = np.repeat(np.arange(len(in_block)), in_block)
    starts = batch.block_edges[owners]
    actions = fold_spread(of_action[owners], _spread_places()[first - starts]) >> HALF
    labels, inputs = batch.ids[selected], batch.ids.copy()
    inputs[selected] = _replaced(labels, actions, rule, of_token[owners], selected - starts)
    return MaskedBatch(batch, inputs, selected, labels)


def mask_batches(batches: Sequence[Batch], rule: MaskingRule) -> list[MaskedBatch]:
    """Mask batches, such as those of a step; each is what `mask_block` makes of its blocks.

    Raises ConfigError for a batch of too many blocks.
    """
    if (most := max(len(batch.blocks) for batch in batches)) > MAX_BLOCKS:
        raise ConfigError(
            f"[data] micro_batch: expected at most {MAX_BLOCKS} blocks in its rows", found=str(most),
            cure="set a smaller data.micro_batch",
        )
    epochs, blocks = np.concatenate([[batch.block_epochs, batch.blocks] for batch in batches], axis=1)
    of_block = block_state(rule.seed, rule.mask_epoch(epochs), blocks)
    states = fold_spread(hash_keys(of_block), _spread_tags())  # (tags, blocks)
    states[0] = fold_spread(states[0], _spread_places()[0]) >> HALF
    edges = np.cumsum([len(batch.blocks) for batch in batches])
    return [
        _mask(batch, rule, of_batch)
        for batch, of_batch in zip(batches, np.split(states, edges[:-1], axis=1), strict=True)
    ]


def mask_batch(batch: Batch, rule: MaskingRule) -> MaskedBatch:
    """Mask one batch, as `mask_batches` does."""
    return mask_batches([batch], rule)[0]
