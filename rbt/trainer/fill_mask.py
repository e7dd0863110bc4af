"""What an exported model says in the place of each `<mask>`.

    ids (n,) ──model──> logits at the masks (masks, vocabulary) ──softmax──> the best few of each
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from rbt.errors import InputError
from rbt.trainer.attention import Layout
from rbt.trainer.batches import FIRST_POSITION
from rbt.trainer.model_folder import load_model


def predict_masks(folder: Path, ids: Sequence[int], top: int) -> list[list[tuple[int, float]]]:
    """For each `<mask>` (the last id) in `ids`, the `top` likeliest (id, probability), best first.

    `ids` is one text with its special tokens. Raises InputError for a text that is too long or has unknown ids.
    """
    model = load_model(folder).eval()
    if not 0 < len(ids) <= model.max_tokens:
        raise InputError(f"expected a text of 1 to {model.max_tokens} tokens", found=str(len(ids)))
    if not 0 <= min(ids) <= max(ids) < model.vocab_size:
        raise InputError(f"expected token ids below {model.vocab_size}", found=str(max(ids)), cure="use its tokenizer")
    tokens = torch.tensor(list(ids))  # (tokens,)
    masks = (tokens == model.vocab_size - 1).nonzero().squeeze(1)
    positions = torch.arange(FIRST_POSITION, FIRST_POSITION + len(ids))
    with torch.no_grad():
        logits, _ = model(tokens, positions, Layout(dense=len(ids)), masks)
    probabilities = logits.softmax(dim=-1)
    best = probabilities.topk(min(top, model.vocab_size), dim=-1)
    return [
        list(zip(numbers, shares, strict=True))
        for numbers, shares in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
