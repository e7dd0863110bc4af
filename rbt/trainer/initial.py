"""Start from a model: `rbt pretrain --init MODEL` goes on from any RoBERTa folder, exported or Hugging Face's.

    MODEL/{config.json, model.safetensors} ──names──> Roberta, of MODEL's size and number of positions
    MODEL/tokenizer.json, or vocab.json + merges.txt ──compared──> the packed folder's tokenizer

The run keeps in [init] of its config.toml what it began from, and in [model] MODEL's size, so that it is resumed
without --init once it has a checkpoint.
"""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from rbt.config import to_dataclass
from rbt.errors import ArtefactError, ConfigError
from rbt.formats.foreign_tokenizer import read_foreign
from rbt.trainer.config import ModelConfig
from rbt.trainer.model import Roberta, build_model
from rbt.trainer.model_folder import CONFIG, ModelFolder, read_model_folder

log = logging.getLogger(__name__)
RUN_CONFIG, SECTION = "config.toml", "init"
TOKENIZER_CURE = "`rbt bpe train --from MODEL`, then pack with that tokenizer"


@dataclass(frozen=True)
class Initial:
    """What a run starts from, or began from: sizes and the run's dropouts, positions, and the hash of the weights."""

    model: ModelConfig
    max_tokens: int
    weights: str
    tensors: Mapping[str, Tensor] | None = None  # by our names, float32; None where the run goes on without the folder

    def table(self) -> dict[str, Any]:
        """[init] of config.toml."""
        return {"weights": self.weights, "max_tokens": self.max_tokens}


def initial_of(
    init: Path | None, out: Path, packed: Path, vocab_size: int, max_tokens: int, dropouts: ModelConfig
) -> Initial | None:
    """What the run in `out` starts from: the folder that is given, else what it began from, else nothing.

    Raises ArtefactError, InputError for a folder that does not fit, ConfigError for one that the run did not begin
    from.
    """
    tables = _tables_of(out)
    if init is None:
        return None if tables is None or SECTION not in tables else _began_from(out, tables, dropouts)
    if tables is not None and SECTION not in tables:
        raise ConfigError(
            f"expected no --init: the run in {out} began without one", found=str(init), cure="choose another --out"
        )
    initial = load_initial(init, packed, vocab_size, max_tokens, dropouts)
    if tables is not None and (began := _began_from(out, tables, dropouts)).weights != initial.weights:
        raise ConfigError(
            f"expected --init of the model that the run in {out} began from, with weights {began.weights}",
            found=f"{init}, with {initial.weights}", cure="choose another --out",
        )
    return initial


def _tables_of(out: Path) -> dict[str, Any] | None:
    path = out / RUN_CONFIG
    try:
        return tomllib.loads(path.read_text("utf-8")) if path.is_file() else None
    except ValueError as error:
        raise ArtefactError("expected the configuration of a run", path=path, found=str(error)) from error


def _began_from(out: Path, tables: Mapping[str, Any], dropouts: ModelConfig) -> Initial:
    try:
        model = _with_dropouts(to_dataclass(ModelConfig, tables["model"], "model"), dropouts)
        return Initial(model, tables[SECTION]["max_tokens"], tables[SECTION]["weights"])
    except (KeyError, TypeError, ConfigError) as error:
        raise ArtefactError(
            f"expected what the run began from, in [model] and [{SECTION}]", path=out / RUN_CONFIG, found=str(error)
        ) from error


def _with_dropouts(model: ModelConfig, dropouts: ModelConfig) -> ModelConfig:
    return replace(model, dropout=dropouts.dropout, attention_dropout=dropouts.attention_dropout)


def load_initial(folder: Path, packed: Path, vocab_size: int, max_tokens: int, dropouts: ModelConfig) -> Initial:
    """The model in `folder`, which must know the packed folder's tokenizer, and rows of `max_tokens`.

    Raises ArtefactError, InputError.
    """
    found = read_model_folder(folder)
    check_tokenizer(folder, packed)
    if found.vocab_size != vocab_size:
        raise ArtefactError(
            f"expected a model of {vocab_size} ids, as its tokenizer has", path=folder / CONFIG,
            found=str(found.vocab_size), cure=f"transformers' model.resize_token_embeddings({vocab_size})",
        )
    if found.max_tokens < max_tokens:
        raise ArtefactError(
            f"expected a model with positions for rows of {max_tokens} tokens", path=folder,
            found=str(found.max_tokens), cure=f"`rbt pack --max-tokens {found.max_tokens}`",
        )
    _describe(folder, found)
    model = _with_dropouts(found.config, dropouts)
    return Initial(model, found.max_tokens, found.weights, found.tensors)


def _describe(folder: Path, found: ModelFolder) -> None:
    shape = found.config.shape
    log.info(
        "%s: %d layers, hidden %d, heads %d, feed-forward %d, %d positions; these are the run's, whatever [model] says",
        folder, shape.layers, shape.hidden, shape.heads, shape.feed_forward, found.max_tokens,
    )
    if not found.has_head:
        log.warning("%s: no masked-language head in it, so that the run begins with a fresh one", folder)


def start_model(initial: Initial, out: Path, vocab_size: int, seed: int, next_sentence: bool, is_new: bool) -> Roberta:
    """The model of a run that starts from another; what that does not have (a head, is_next's) is fresh.

    `is_new`: the run has no checkpoint, which would fill it. Raises ArtefactError where the folder is then not given.
    """
    model = build_model(initial.model, vocab_size, initial.max_tokens, seed, next_sentence)
    if initial.tensors is not None:
        model.load_state_dict({**model.state_dict(), **initial.tensors})
    elif is_new:
        raise ArtefactError(
            "expected --init MODEL again, of a run that has no checkpoint yet", path=out, found="none",
            cure=f"give the folder whose weights are {initial.weights}",
        )
    return model


def check_tokenizer(folder: Path, packed: Path) -> None:
    """Raise ArtefactError, InputError where a model's ids are not those that the text was encoded to."""
    ours, theirs = read_foreign(packed), read_foreign(folder)
    for mine, other in zip(ours.vocab, theirs.vocab, strict=False):
        if mine != other:
            number = ours.vocab[mine]
            raise ArtefactError(
                f"expected the packed folder's tokenizer, in which id {number} is {mine!r}", path=folder,
                found=repr(other), cure=TOKENIZER_CURE,
            )
    for place, (pair, other_pair) in enumerate(zip(ours.merges, theirs.merges, strict=False)):
        if pair != other_pair:
            raise ArtefactError(
                f"expected merge {place} of the packed folder's tokenizer, {' '.join(pair)!r}", path=folder,
                found=repr(" ".join(other_pair)), cure=TOKENIZER_CURE,
            )
    for what, expected, found in (
        ("ids", len(ours.vocab), len(theirs.vocab)), ("merges", len(ours.merges), len(theirs.merges)),
    ):
        if expected != found:
            raise ArtefactError(
                f"expected {expected} {what}, as the packed folder's tokenizer has", path=folder, found=str(found),
                cure=TOKENIZER_CURE,
            )
