"""A RoBERTa folder, exported or Hugging Face's, as a model.

    config.json ──fields──> sizes ──┐
    model.safetensors, or its shards ──float32, names, shapes──> weights under our names ──> ModelFolder ──> Roberta

Folders of the whole RobertaForMaskedLM are read, and those of an encoder alone: RobertaModel, whose names lack
`roberta.`, or a classifier. These have no masked-language head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rbt.errors import ArtefactError
from rbt.formats.tokenizer import PAD
from rbt.manifest import fingerprint, read_json
from rbt.storage import hash_file
from rbt.trainer.batches import FIRST_POSITION
from rbt.trainer.config import ModelConfig
from rbt.trainer.hugging_face import COPIES, ENCODER, HEAD, OF_HEAD, TOKEN_TYPES, from_hugging_face, names
from rbt.trainer.model import NORM_EPSILON, Roberta, empty_model

CONFIG, WEIGHTS, SHARDS, PICKLE = (
    "config.json", "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
)
FIXED = {"model_type": "roberta", "hidden_act": "gelu", "type_vocab_size": 1, "layer_norm_eps": NORM_EPSILON}
ASSUMED = {"position_embedding_type": "absolute", "is_decoder": False, "pad_token_id": PAD}  # where they are absent
SIZES = {
    "layers": "num_hidden_layers", "hidden": "hidden_size", "heads": "num_attention_heads",
    "feed_forward": "intermediate_size",
}
VOCABULARY, POSITIONS = "vocab_size", "max_position_embeddings"
DROPOUTS = {"dropout": "hidden_dropout_prob", "attention_dropout": "attention_probs_dropout_prob"}


@dataclass(frozen=True)
class ModelFolder:
    """What a folder holds: sizes, and float32 weights by our names, without the head's where it has none."""

    config: ModelConfig
    vocab_size: int
    max_tokens: int
    tensors: Mapping[str, Tensor]
    weights: str  # hash of the files

    @property
    def has_head(self) -> bool:
        """Whether it has a masked-language head."""
        return OF_HEAD.keys() <= self.tensors.keys()


def read_model_folder(folder: Path) -> ModelFolder:
    """Read a folder. Raises ArtefactError where it is no RoBERTa, or its weights are not those of its config.json."""
    config, vocab_size, max_tokens = read_config(folder)
    files = weight_files(folder)
    tensors = _canonical(_read_weights(folder, files), folder)
    layers, has_head = config.shape.layers, any(name.startswith(HEAD) for name in tensors)
    with torch.device("meta"):
        model = Roberta(config, vocab_size, max_tokens)
    _check_weights(tensors, model, names(layers, has_head), folder)
    hashes = {path.name: hash_file(path, "blake2b") for path in files}
    weights = hashes[WEIGHTS] if list(hashes) == [WEIGHTS] else fingerprint(hashes)
    return ModelFolder(config, vocab_size, max_tokens, from_hugging_face(tensors, layers, has_head), weights)


def load_model(folder: Path) -> Roberta:
    """The masked-language model in a folder, on the CPU. Raises ArtefactError, also where it has no head."""
    found = read_model_folder(folder)
    if not found.has_head:
        raise ArtefactError("expected the weights of a masked-language model", path=folder, found=f"no {HEAD}*")
    model = empty_model(found.config, found.vocab_size, found.max_tokens)
    model.load_state_dict(found.tensors)
    return model


def read_config(folder: Path) -> tuple[ModelConfig, int, int]:
    """(sizes and dropouts, vocabulary size, positions for tokens) of config.json. Raises ArtefactError."""
    path = folder / CONFIG
    if not path.is_file():
        raise ArtefactError(f"expected the folder of a model, with {CONFIG}", path=folder, found="none")
    settings = read_json(path)
    if not isinstance(settings, dict):
        raise ArtefactError("expected the settings of a model", path=path, found=f"a JSON {type(settings).__name__}")
    for key, value in {**FIXED, **ASSUMED}.items():
        if (found := settings.get(key, ASSUMED.get(key))) != value:
            raise ArtefactError(f"expected a RoBERTa with {key} = {value!r}", path=path, found=repr(found))
    for key in (*SIZES.values(), VOCABULARY, POSITIONS):
        least = 1 + FIRST_POSITION if key == POSITIONS else 1
        if type(found := settings.get(key)) is not int or found < least:
            raise ArtefactError(f"expected {key}, a whole number from {least}", path=path, found=repr(found))
    for key in DROPOUTS.values():
        if not isinstance(found := settings.get(key), int | float) or not 0 <= found < 1:
            raise ArtefactError(f"expected {key}, from 0 to below 1", path=path, found=repr(found))
    if settings["hidden_size"] % settings["num_attention_heads"]:
        raise ArtefactError(
            f"expected hidden_size, a multiple of {settings['num_attention_heads']} heads", path=path,
            found=str(settings["hidden_size"]),
        )
    fields: dict[str, Any] = {ours: settings[theirs] for ours, theirs in {**SIZES, **DROPOUTS}.items()}
    return ModelConfig(**fields), settings[VOCABULARY], settings[POSITIONS] - FIRST_POSITION


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, by name. Raises ArtefactError where there is none, or a shard is missing."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / SHARDS).is_file():
        if not (folder / PICKLE).is_file():
            raise ArtefactError(f"expected {WEIGHTS}", path=folder, found="none", cure="name the folder of a model")
        raise ArtefactError(
            f"expected {WEIGHTS}", path=folder, found=f"{PICKLE} alone, a pickle, which can run any code",
            cure="convert it where you trust it: transformers' AutoModelForMaskedLM.from_pretrained(FOLDER)"
            ".save_pretrained(NEW)",
        )
    index = read_json(folder / SHARDS)
    table = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
        raise ArtefactError("expected a weight_map of names and files", path=folder / SHARDS, found="none")
    files = [folder / name for name in sorted(set(table.values()))]
    for path in files:
        if path.parent != folder or not path.is_file():
            raise ArtefactError(f"expected the shards of {SHARDS}", path=path, found="none")
    return files


def _read_weights(folder: Path, files: list[Path]) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for path in files:
        try:
            tensors.update(load_file(path))
        except SafetensorError as error:
            raise ArtefactError("expected a safetensors file", path=path, found=str(error)) from error
    if not tensors:
        raise ArtefactError("expected weights", path=folder, found="none")
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def _canonical(tensors: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """Tensors under RobertaForMaskedLM's names, without copies. Raises ArtefactError where a tied copy differs."""
    if not any(name.startswith(ENCODER) for name in tensors):
        tensors = {name if name.startswith(HEAD) else ENCODER + name: tensor for name, tensor in tensors.items()}
    for copy, original in COPIES.items():
        if (found := tensors.pop(copy, None)) is None:
            continue
        if not torch.equal(tensors.setdefault(original, found), found):
            raise ArtefactError(
                f"expected {copy} to be the same numbers as {original}", path=folder, found="others",
                cure="rbt ties them, as RoBERTa does",
            )
    return tensors


def _check_weights(
    tensors: Mapping[str, Tensor], model: Roberta, table: Mapping[str, list[str]], folder: Path
) -> None:
    """Raise ArtefactError where a weight is missing, not finite, or of another shape than config.json says."""
    state = model.state_dict()
    shapes = {TOKEN_TYPES: (1, model.config.shape.hidden)}
    for ours, theirs in table.items():
        first, *rest = state[ours].shape
        shapes.update({name: (first // len(theirs), *rest) for name in theirs})
    for name, shape in shapes.items():
        if name not in tensors:
            raise ArtefactError("expected the weights of a RoBERTa", path=folder, found=f"no {name}")
        if (found := tuple(tensors[name].shape)) != shape or not tensors[name].is_floating_point():
            raise ArtefactError(
                f"expected {name} of shape {shape}, by {CONFIG}", path=folder,
                found=f"{found}, {tensors[name].dtype}",
            )
        if count := int((~torch.isfinite(tensors[name])).sum()):
            raise ArtefactError(
                f"expected finite numbers in {name}", path=folder,
                found=f"{count:,} of {tensors[name].numel():,} that are not",
                cure="the model diverged, or its numbers did not fit their type: take another",
            )
