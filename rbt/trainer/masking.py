"""Which tokens are predicted: the definition, block by block (`batch_masking` does whole batches).

    ids of a block (n,) ──units──> (m,) ──k smallest (hash, position)──> selected ──80 / 10 / 10──> inputs (n,)

A mask is a pure function of (seed, epoch, block, ids). State = hash_keys(seed, epoch, block); every draw is
the upper 32 bits of a hash of the state, a tag of its own, and the position inside the block (`<s>` is position 0):

    u      = draw(state, COUNT)                    k = (fraction x m + u) >> 32, at least 1 where m > 0
    key    = draw(state, SELECT, first)            the k units with the smallest (key, first) are selected
    action = draw(state, ACTION, first)            below `mask_below`: <mask>; else below `random_below`: a random
                                                   token; else the token stays
    token  = first_drawn + (draw(state, TOKEN, position) x drawn_tokens >> 32)

A unit is a maskable token; with `whole_words`, a word: maskable tokens one behind the other, each of which but the
first neither begins with a space nor stands behind one. `first` is the position of its first token. With
`static_masks` = n, epoch is epoch mod n.

Probabilities are fixed-point numbers with 32 bits behind the point, so no floating point is involved anywhere.
The count follows fairseq (mask_tokens_dataset.py): exact, randomly rounded, not a coin a token; and so do words,
except that there a word without a space before it is one with the special token that it follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rbt.errors import ConfigError
from rbt.formats.tokenizer import FIRST_ORDINARY_ID, MASK, unspell
from rbt.rng import UInt64, hash_keys, hash_text
from rbt.trainer.config import DataConfig

COUNT, SELECT, ACTION, TOKEN = 1, 2, 3, 4  # tags
ONE = 1 << 32  # 1.0 in fixed point
MAX_TOKENS = 1 << 15  # of a row: a position shares a 64-bit sort key with a hash and a block's number
SPACES = b" \t\n\v\f\r"
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class WordEdges:
    """Which tokens, by id, begin with white space and which end in it, special tokens both: bool (vocabulary,) each."""

    begins_with_space: npt.NDArray[np.bool_]
    ends_in_space: npt.NDArray[np.bool_]


def word_edges(vocab: Mapping[str, int]) -> WordEdges:
    """The edges of a vocabulary's tokens, which are spelled in byte symbols."""
    edges = WordEdges(*(np.ones(max(vocab.values()) + 1, dtype=bool) for _ in range(2)))
    for token, number in vocab.items():
        if number >= FIRST_ORDINARY_ID and token != MASK:
            data = unspell(token)
            edges.begins_with_space[number], edges.ends_in_space[number] = data[0] in SPACES, data[-1] in SPACES
    return edges


@dataclass(frozen=True)
class MaskingRule:
    """What masks depend on besides (epoch, block, ids); probabilities in units of 2^-32. `words`: of whole words."""

    seed: int
    mask_id: int
    fraction: int
    mask_below: int
    random_below: int
    specials_maskable: bool
    first_drawn: int
    drawn_tokens: int
    static_masks: int = 0
    words: WordEdges | None = None

    def are_maskable(self, ids: Int64) -> npt.NDArray[np.bool_]:
        """Which tokens may be selected, bool of the shape of `ids`."""
        if self.specials_maskable:
            return np.ones(ids.shape, dtype=bool)
        return (ids >= FIRST_ORDINARY_ID) & (ids < self.mask_id)

    def mask_epoch(self, epochs: Int64) -> Int64:
        """The epoch that masks are drawn for."""
        return epochs % self.static_masks if self.static_masks else epochs

    def begins_unit(self, ids: Int64, position: int) -> bool:
        """Whether a token of a block is the first of what is selected together."""
        maskable = self.are_maskable(ids)
        if self.words is None or not maskable[position]:
            return bool(maskable[position])
        if position == 0 or not maskable[position - 1]:
            return True
        return bool(self.words.begins_with_space[ids[position]] or self.words.ends_in_space[ids[position - 1]])


def _fixed_point(name: str, value: float) -> int:
    if not 0 <= value <= 1:
        raise ConfigError(f"[data] {name}: expected 0 to 1", found=repr(value))
    return round(value * ONE)


def masking_rule(data: DataConfig, vocab: Mapping[str, int]) -> MaskingRule:
    """The rule of a configuration over a vocabulary, whose last id is `<mask>`.

    Raises ConfigError for impossible probabilities.
    """
    mask = _fixed_point("replaced_by_mask", data.replaced_by_mask)
    random = _fixed_point("replaced_by_random", data.replaced_by_random)
    if mask + random > ONE:
        raise ConfigError(
            "[data] replaced_by_mask + replaced_by_random: expected at most 1",
            found=str(data.replaced_by_mask + data.replaced_by_random),
        )
    if data.static_masks < 0:
        raise ConfigError("[data] static_masks: expected 0 or more", found=str(data.static_masks))
    released = data.masking == "fairseq"
    mask_id = max(vocab.values())
    return MaskingRule(
        data.seed, mask_id, _fixed_point("masked_fraction", data.masked_fraction), mask, mask + random,
        released, FIRST_ORDINARY_ID, mask_id + released - FIRST_ORDINARY_ID, data.static_masks,
        word_edges(vocab) if data.whole_words else None,
    )


def validation_seed(seed: int) -> int:
    """Another seed, for the fixed masks and order of validation."""
    return int(hash_keys(hash_text("validation"), seed))


def block_state(seed: int, epochs: Int64 | int, blocks: Int64 | int) -> UInt64:
    """The state that every draw of a block starts from, uint64, broadcast over arrays."""
    return hash_keys(seed, epochs, blocks)


def draw(state: UInt64, tag: int, position: Int64 | int = 0) -> UInt64:
    """32 random bits (as uint64)."""
    return hash_keys(state, tag, position) >> np.uint64(32)


def selected_count(rule: MaskingRule, units: int, state: UInt64) -> int:
    """How many of `units` are selected: floor(fraction x units + u), at least 1 if there are any."""
    return min(units, max(1, (rule.fraction * units + int(draw(state, COUNT))) >> 32))


def mask_block(ids: Int64, rule: MaskingRule, epoch: int, block: int) -> tuple[Int64, Int64]:
    """Mask one block, slowly and obviously: (input ids (n,), selected positions (k,) ascending), both int64."""
    state = block_state(rule.seed, rule.mask_epoch(np.asarray(epoch)), block)
    maskable = rule.are_maskable(ids)
    units: dict[int, list[int]] = {}  # positions by the first one
    for position in np.flatnonzero(maskable).tolist():
        if rule.begins_unit(ids, position):
            first = position
        units.setdefault(first, []).append(position)
    ranked = sorted(units, key=lambda first: (int(draw(state, SELECT, first)), first))
    inputs, selected = ids.astype(np.int64), list[int]()
    for first in ranked[: selected_count(rule, len(units), state)]:
        selected += units[first]
        action = int(draw(state, ACTION, first))
        for position in units[first]:
            if action < rule.mask_below:
                inputs[position] = rule.mask_id
            elif action < rule.random_below:
                inputs[position] = rule.first_drawn + (int(draw(state, TOKEN, position)) * rule.drawn_tokens >> 32)
    return inputs, np.array(sorted(selected), dtype=np.int64)
