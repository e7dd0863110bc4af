"""Start from a model: `rbt pretrain --init MODEL` goes on from any RoBERTa folder, exported or Hugging Face's.

    MODEL/{config.json, model.safetensors} ──names──> Roberta, of MODEL's size and number of positions
    MODEL/{vocab.json, merges.txt} or tokenizer.json ──compared──> the packed folder's tokenizer
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from rbt.errors import ArtefactError
from rbt.formats.tokenizer import read_vocab
from rbt.manifest import read_json
from rbt.storage import hash_file
from rbt.trainer.config import ModelConfig
from rbt.trainer.export import WEIGHTS, load_model
from rbt.trainer.model import Roberta, build_model

Merges = list[tuple[str, str]]


@dataclass(frozen=True)
class Initial:
    """What a run starts from: the size of its model, its positions, and the hash of its weights."""

    model: ModelConfig
    max_tokens: int
    weights: str
    tensors: Mapping[str, Tensor]


def load_initial(folder: Path, packed: Path, max_tokens: int, dropouts: ModelConfig) -> Initial:
    """The model in `folder`, which must know the packed folder's tokenizer and rows of `max_tokens`.

    Dropout is that of `dropouts`. Raises ArtefactError.
    """
    network = load_model(folder)
    _check_tokenizer(folder, packed)
    if network.max_tokens < max_tokens:
        raise ArtefactError(
            f"expected a model with positions for rows of {max_tokens} tokens", path=folder,
            found=str(network.max_tokens), cure=f"`rbt pack --max-tokens {network.max_tokens}`",
        )
    shape = network.config.shape
    config = ModelConfig(
        dropouts.size, shape.layers, shape.hidden, shape.heads, shape.feed_forward, dropouts.dropout,
        dropouts.attention_dropout,
    )
    return Initial(config, network.max_tokens, hash_file(folder / WEIGHTS, "blake2b"), network.state_dict())


def start_model(initial: Initial, vocab_size: int, seed: int, next_sentence: bool) -> Roberta:
    """The model with these weights; a next-sentence head, which no folder has, is new."""
    model = build_model(initial.model, vocab_size, initial.max_tokens, seed, next_sentence)
    model.load_state_dict({**model.state_dict(), **initial.tensors})
    return model


def _tokenizer_of(folder: Path) -> tuple[dict[str, int], Merges]:
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        lines = (folder / "merges.txt").read_text("utf-8").splitlines()
        lines = lines[1:] if lines and lines[0].startswith("#version") else lines
        return read_vocab(folder), [_pair(line) for line in lines if line]
    if not (folder / "tokenizer.json").is_file():
        raise ArtefactError(
            "expected a model's tokenizer: vocab.json and merges.txt, or tokenizer.json", path=folder, found="neither"
        )
    table: dict[str, Any] = read_json(folder / "tokenizer.json")
    model = table.get("model", {})
    pairs = [_pair(pair) if isinstance(pair, str) else (pair[0], pair[1]) for pair in model.get("merges", ())]
    added = {token["content"]: token["id"] for token in table.get("added_tokens", ())}
    return {**model.get("vocab", {}), **added}, pairs


def _pair(line: str) -> tuple[str, str]:
    left, _, right = line.partition(" ")
    return left, right


def _check_tokenizer(folder: Path, packed: Path) -> None:
    """Raise ArtefactError where a model's ids are not those that the text was encoded to."""
    theirs, their_merges = _tokenizer_of(folder)
    ours, our_merges = _tokenizer_of(packed)
    cure = "pack with the model's own tokenizer: rbt pack --tokenizer"
    for token in sorted(ours.keys() | theirs.keys()):
        if ours.get(token) != theirs.get(token):
            raise ArtefactError(
                f"expected the packed folder's tokenizer, in which {token!r} is {ours.get(token, 'no token')}",
                path=folder, found=str(theirs.get(token, "no such token")), cure=cure,
            )
    for place, (mine, other) in enumerate(zip(our_merges, their_merges, strict=False)):
        if mine != other:
            raise ArtefactError(
                f"expected merge {place} of the packed folder's tokenizer, {' '.join(mine)!r}", path=folder,
                found=repr(" ".join(other)), cure=cure,
            )
    if len(our_merges) != len(their_merges):
        raise ArtefactError(
            f"expected {len(our_merges)} merges, as the packed folder's tokenizer has", path=folder,
            found=str(len(their_merges)), cure=cure,
        )
