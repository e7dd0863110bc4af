"""Checkpoints as Hugging Face folders, and such folders as models.

    RUN/checkpoints/newest ──names──> MODEL/{config.json, model.safetensors, the tokenizer's files, manifest.json}
    MODEL, or any RoBERTa folder ──names──> Roberta

Names follow transformers' RobertaForMaskedLM. There is one token-type row of zeros, and no copy of the tied output
embedding, so that the file holds each number once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rbt.config import to_dataclass
from rbt.errors import ArtefactError, RbtError
from rbt.formats import tokenizer
from rbt.formats.checkpoint import HASH, MODEL, STATE, latest_checkpoint, read_checkpoint
from rbt.manifest import Manifest, is_artefact, read_json, record_files, to_json, write_manifest
from rbt.stage import clear, finished
from rbt.storage import atomic_path, sweep_siblings
from rbt.trainer.batches import FIRST_POSITION
from rbt.trainer.config import ModelConfig
from rbt.trainer.model import INITIAL_DEVIATION, NORM_EPSILON, Roberta, empty_model

KIND, VERSION = "model", 1
STAGE, STAGE_VERSION = "export", 1
MADE_BY = "rbt export"
CONFIG, WEIGHTS, TOKENIZER_CONFIG = "config.json", "model.safetensors", "tokenizer_config.json"
TOKEN_TYPES = "roberta.embeddings.token_type_embeddings.weight"
TOP = {
    "token_embedding.weight": "roberta.embeddings.word_embeddings.weight",
    "position_embedding.weight": "roberta.embeddings.position_embeddings.weight",
    "embedding_norm.weight": "roberta.embeddings.LayerNorm.weight",
    "embedding_norm.bias": "roberta.embeddings.LayerNorm.bias",
    "head_dense.weight": "lm_head.dense.weight",
    "head_dense.bias": "lm_head.dense.bias",
    "head_norm.weight": "lm_head.layer_norm.weight",
    "head_norm.bias": "lm_head.layer_norm.bias",
    "head_bias": "lm_head.bias",
}
LAYER = {
    "attention_output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "expand": "intermediate.dense",
    "contract": "output.dense",
    "output_norm": "output.LayerNorm",
}
PARTS = ("query", "key", "value")  # of `query_key_value`, in its order


def names(layers: int) -> dict[str, list[str]]:
    """Our parameter name -> theirs; several where ours is their concatenation."""
    table = {ours: [theirs] for ours, theirs in TOP.items()}
    for number in range(layers):
        prefix = f"roberta.encoder.layer.{number}"
        for kind in ("weight", "bias"):
            table[f"layers.{number}.query_key_value.{kind}"] = [
                f"{prefix}.attention.self.{part}.{kind}" for part in PARTS
            ]
            for ours, theirs in LAYER.items():
                table[f"layers.{number}.{ours}.{kind}"] = [f"{prefix}.{theirs}.{kind}"]
    return table


def to_hugging_face(tensors: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Our state dict under their names."""
    result = {TOKEN_TYPES: torch.zeros_like(tensors["token_embedding.weight"][:1])}
    for ours, theirs in names(layers).items():
        pieces = tensors[ours].chunk(len(theirs))
        result.update({name: piece.clone() for name, piece in zip(theirs, pieces, strict=True)})
    return result


def from_hugging_face(tensors: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Their state dict under our names; what the masked-language model does not use (a pooler) is left out.

    A token-type row that is not zero is added to the positions, which every token has one of.
    """
    result = {ours: torch.cat([tensors[name] for name in theirs]) for ours, theirs in names(layers).items()}
    result["position_embedding.weight"] = result["position_embedding.weight"] + tensors[TOKEN_TYPES][0]
    return result


def hugging_face_config(config: ModelConfig, vocab_size: int, max_tokens: int) -> dict[str, Any]:
    """Every field of config.json: the class's own defaults are BERT's."""
    shape = config.shape
    return {
        "architectures": ["RobertaForMaskedLM"], "model_type": "roberta", "vocab_size": vocab_size,
        "hidden_size": shape.hidden, "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
        "intermediate_size": shape.feed_forward, "hidden_act": "gelu", "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.attention_dropout,
        "max_position_embeddings": max_tokens + FIRST_POSITION, "type_vocab_size": 1,
        "initializer_range": INITIAL_DEVIATION, "layer_norm_eps": NORM_EPSILON,
        "position_embedding_type": "absolute", "tie_word_embeddings": True, "use_cache": True,
        "classifier_dropout": None, "bos_token_id": tokenizer.BOS, "pad_token_id": tokenizer.PAD,
        "eos_token_id": tokenizer.EOS, "torch_dtype": "float32",
    }


def _write_tokenizer(run: Path, folder: Path, max_tokens: int) -> None:
    for name in tokenizer.FILES:
        if not (run / name).is_file():
            raise ArtefactError(f"expected the tokenizer's {name}", path=run, found="none", cure="copy it from PACKED")
        (folder / name).write_bytes((run / name).read_bytes())
    settings = {**read_json(run / TOKENIZER_CONFIG), "model_max_length": max_tokens}
    (folder / TOKENIZER_CONFIG).write_text(to_json(settings), "utf-8")


def _write(run: Path, checkpoint: Path, state: Mapping[str, Any], folder: Path) -> None:
    folder.mkdir()
    tables = state["config"]
    config, packed = to_dataclass(ModelConfig, tables["model"], "model"), tables["packed"]
    settings = hugging_face_config(config, packed["vocab_size"], packed["max_tokens"])
    (folder / CONFIG).write_text(to_json(settings), "utf-8")
    tensors = to_hugging_face(load_file(checkpoint / MODEL), config.shape.layers)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    _write_tokenizer(run, folder, packed["max_tokens"])


def export(run: Path, out: Path, *, replace: bool) -> Path:
    """Write a run's newest checkpoint as a Hugging Face folder; return `out`.

    Raises ArtefactError where the run has no whole checkpoint, or `out` holds something else and `replace` is off;
    RbtError where there is no room. A model that is replaced stays until the new one is whole.
    """
    checkpoint = latest_checkpoint(run)
    if checkpoint is None:
        raise ArtefactError("expected a run with a checkpoint", path=run, found="none", cure="run `rbt pretrain`")
    source = read_checkpoint(checkpoint)
    state = read_json(checkpoint / STATE)
    weights = next(record.hash for record in source.files if record.path == MODEL)
    inputs = {"checkpoint": source.fingerprint, "weights": weights}
    facts = {"step": state["step"], "vocab_size": state["config"]["packed"]["vocab_size"]}
    identity = Manifest(KIND, VERSION, STAGE, STAGE_VERSION, {}, inputs, (), facts)
    if finished(out, identity, replace) is not None:
        return out
    _refuse_other(out)
    sweep_siblings(out)
    try:
        with atomic_path(out) as temporary:
            _write(run, checkpoint, state, temporary)
            records = record_files(temporary, (CONFIG, WEIGHTS, *tokenizer.FILES), HASH)
            write_manifest(temporary, changed(identity, files=records))
            if is_artefact(out):  # the old model stays until the new one is whole
                clear(out)
    except (OSError, SafetensorError) as error:
        raise RbtError("expected room for a model", path=out, found=str(error), cure="free some space") from error
    return out


def _refuse_other(out: Path) -> None:
    if not is_artefact(out) and out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ArtefactError(
            "expected a new or empty folder, or a model", path=out, found="other files", cure="choose another --out"
        )


def _shape_of(folder: Path) -> tuple[ModelConfig, int, int]:
    settings = read_json(folder / CONFIG)
    expected = {"model_type": "roberta", "hidden_act": "gelu", "type_vocab_size": 1, "layer_norm_eps": NORM_EPSILON}
    for key, value in expected.items():
        if (found := settings.get(key)) != value:
            raise ArtefactError(f"expected a RoBERTa with {key} = {value!r}", path=folder / CONFIG, found=repr(found))
    try:
        config = ModelConfig(
            layers=settings["num_hidden_layers"], hidden=settings["hidden_size"],
            heads=settings["num_attention_heads"], feed_forward=settings["intermediate_size"],
            dropout=settings["hidden_dropout_prob"], attention_dropout=settings["attention_probs_dropout_prob"],
        )
        return config, settings["vocab_size"], settings["max_position_embeddings"] - FIRST_POSITION
    except KeyError as error:
        raise ArtefactError("expected every size of the model", path=folder / CONFIG, found=f"no {error}") from error


def load_model(folder: Path) -> Roberta:
    """An exported folder, or another RoBERTa folder with a masked-language head, as a model on the CPU.

    Raises ArtefactError where it is no such folder.
    """
    config, vocab_size, max_tokens = _shape_of(folder)
    if not (folder / WEIGHTS).is_file():
        raise ArtefactError(f"expected {WEIGHTS}", path=folder, found="none", cure=f"run `{MADE_BY}`")
    try:
        tensors = from_hugging_face(load_file(folder / WEIGHTS), config.shape.layers)
    except KeyError as error:
        raise ArtefactError(
            "expected the weights of a masked-language model", path=folder / WEIGHTS, found=f"no {error}"
        ) from error
    except SafetensorError as error:
        raise ArtefactError("expected a safetensors file", path=folder / WEIGHTS, found=str(error)) from error
    model = empty_model(config, vocab_size, max_tokens)
    model.load_state_dict(tensors)
    return model
