"""Which tokens are predicted: the definition, block by block, in numpy alone (`device_masking` does batches in torch).

    ids of a block (n,) ──maskable──> (m,) ──k smallest (hash, position)──> selected ──80 / 10 / 10──> inputs (n,)

A mask is a pure function of (seed, epoch, block, ids). State = hash_keys(seed, epoch, block); every draw is
the upper 32 bits of a hash of the state, a tag of its own, and the position inside the block (`<s>` is position 0):

    u      = draw(state, COUNT)                    k = (fraction x m + u) >> 32, at least 1 where m > 0
    key    = draw(state, SELECT, position)         the k positions with the smallest (key, position) are selected
    action = draw(state, ACTION, position)         below `mask_below`: <mask>; else below `random_below`: a random
                                                   token; else the token stays
    token  = first_drawn + (draw(state, TOKEN, position) x drawn_tokens >> 32)

Probabilities are fixed-point numbers with 32 bits behind the point, so no floating point is involved anywhere.
The count follows fairseq (mask_tokens_dataset.py): exact, randomly rounded, not a coin a token.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rbt.errors import ConfigError
from rbt.formats.tokenizer import FIRST_ORDINARY_ID
from rbt.rng import UInt64, hash_keys, hash_text
from rbt.trainer.config import DataConfig

COUNT, SELECT, ACTION, TOKEN = 1, 2, 3, 4  # tags
ONE = 1 << 32  # 1.0 in fixed point
MAX_TOKENS = 1 << 15  # of a row: positions and block numbers inside a row share one 64-bit sort key on the device
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MaskingRule:
    """What masks depend on besides (epoch, block, ids); probabilities in units of 2^-32."""

    seed: int
    mask_id: int
    fraction: int
    mask_below: int
    random_below: int
    specials_maskable: bool
    first_drawn: int
    drawn_tokens: int

    def is_maskable(self, token: int) -> bool:
        """Whether a token may be selected."""
        return self.specials_maskable or FIRST_ORDINARY_ID <= token < self.mask_id


def _fixed_point(name: str, value: float) -> int:
    if not 0 <= value <= 1:
        raise ConfigError(f"[data] {name}: expected 0 to 1", found=repr(value))
    return round(value * ONE)


def masking_rule(data: DataConfig, vocab_size: int) -> MaskingRule:
    """The rule of a configuration. `<mask>` is the last id. Raises ConfigError for impossible probabilities."""
    mask = _fixed_point("replaced_by_mask", data.replaced_by_mask)
    random = _fixed_point("replaced_by_random", data.replaced_by_random)
    if mask + random > ONE:
        raise ConfigError(
            "[data] replaced_by_mask + replaced_by_random: expected at most 1",
            found=str(data.replaced_by_mask + data.replaced_by_random),
        )
    released = data.masking == "fairseq"
    mask_id = vocab_size - 1
    return MaskingRule(
        data.seed, mask_id, _fixed_point("masked_fraction", data.masked_fraction), mask, mask + random,
        released, FIRST_ORDINARY_ID, mask_id + released - FIRST_ORDINARY_ID,
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


def selected_count(rule: MaskingRule, maskable: int, state: UInt64) -> int:
    """How many of `maskable` positions are selected: floor(fraction x maskable + u), at least 1 if there are any."""
    return min(maskable, max(1, (rule.fraction * maskable + int(draw(state, COUNT))) >> 32))


def mask_block(ids: npt.NDArray[np.int64], rule: MaskingRule, epoch: int, block: int) -> tuple[Int64, Int64]:
    """Mask one block, slowly and obviously: (input ids (n,), selected positions (k,) ascending), both int64."""
    state = block_state(rule.seed, epoch, block)
    maskable = [position for position, token in enumerate(ids.tolist()) if rule.is_maskable(token)]
    ranked = sorted(maskable, key=lambda position: (int(draw(state, SELECT, position)), position))
    selected = sorted(ranked[: selected_count(rule, len(maskable), state)])
    inputs = ids.astype(np.int64)
    for position in selected:
        action = int(draw(state, ACTION, position))
        if action < rule.mask_below:
            inputs[position] = rule.mask_id
        elif action < rule.random_below:
            inputs[position] = rule.first_drawn + (int(draw(state, TOKEN, position)) * rule.drawn_tokens >> 32)
    return inputs, np.array(selected, dtype=np.int64)
