"""What an exported model says in the place of each `<mask>`.

    ids (n,) ──model──> logits at the masks (masks, vocabulary) ──softmax──> the best few of each
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from rbt.errors import ArtefactError, InputError
from rbt.formats.foreign_tokenizer import read_foreign
from rbt.formats.tokenizer import MASK
from rbt.trainer.attention import Layout
from rbt.trainer.batches import FIRST_POSITION
from rbt.trainer.model import Roberta
from rbt.trainer.model_folder import CONFIG, load_model


def predict_masks(folder: Path, ids: Sequence[int], top: int) -> list[list[tuple[int, float]]]:
    """For each `<mask>` in `ids`, the `top` likeliest (id, probability), best first.

    `ids` is one text with its special tokens. Raises InputError for a text that is too long or has unknown ids,
    ArtefactError for a model that has not as many ids as the tokenizer in its folder.
    """
    model = load_model(folder).eval()
    mask = _mask_of(folder, model)
    if not 0 < len(ids) <= model.max_tokens:
        raise InputError(f"expected a text of 1 to {model.max_tokens} tokens", found=str(len(ids)))
    if not 0 <= min(ids) <= max(ids) < model.vocab_size:
        raise InputError(f"expected token ids below {model.vocab_size}", found=str(max(ids)), cure="use its tokenizer")
    tokens = torch.tensor(list(ids))  # (tokens,)
    masks = (tokens == mask).nonzero().squeeze(1)
    positions = torch.arange(FIRST_POSITION, FIRST_POSITION + len(ids))
    with torch.no_grad():
        logits, _ = model(tokens, positions, Layout(dense=len(ids)), masks)
    probabilities = logits.softmax(dim=-1)
    best = probabilities.topk(min(top, model.vocab_size), dim=-1)
    return [
        list(zip(numbers, shares, strict=True))
        for numbers, shares in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def _mask_of(folder: Path, model: Roberta) -> int:
    """The id of `<mask>`. Raises InputError, ArtefactError."""
    vocab = read_foreign(folder).vocab
    if len(vocab) != model.vocab_size:
        raise ArtefactError(
            f"expected a model of {len(vocab)} ids, as its tokenizer has", path=folder / CONFIG,
            found=str(model.vocab_size), cure=f"transformers' model.resize_token_embeddings({len(vocab)})",
        )
    if MASK not in vocab:
        raise InputError(f"expected a tokenizer with {MASK}", path=folder, found="none")
    return vocab[MASK]
