"""RoBERTa in Hugging Face's layout: names of weights and fields of config.json, both ways.

    Roberta's state dict <──names──> RobertaForMaskedLM's

There is one token-type row of zeros, and no copy of the tied output embedding, so that a file holds each number once.
The next-sentence head of pair formats has no place there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rbt.formats import tokenizer
from rbt.trainer.batches import FIRST_POSITION
from rbt.trainer.config import ModelConfig
from rbt.trainer.model import INITIAL_DEVIATION, NORM_EPSILON

ENCODER, HEAD = "roberta.", "lm_head."  # what names begin with
TOKEN_TYPES = "roberta.embeddings.token_type_embeddings.weight"
WORDS = "roberta.embeddings.word_embeddings.weight"
COPIES = {"lm_head.decoder.weight": WORDS, "lm_head.decoder.bias": "lm_head.bias"}  # tied: copy -> what it repeats
TOP = {
    "token_embedding.weight": WORDS,
    "position_embedding.weight": "roberta.embeddings.position_embeddings.weight",
    "embedding_norm.weight": "roberta.embeddings.LayerNorm.weight",
    "embedding_norm.bias": "roberta.embeddings.LayerNorm.bias",
}
OF_HEAD = {
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


def names(layers: int, has_head: bool = True) -> dict[str, list[str]]:
    """Our parameter name -> theirs; several where ours is their concatenation."""
    table = {ours: [theirs] for ours, theirs in {**TOP, **(OF_HEAD if has_head else {})}.items()}
    for number in range(layers):
        prefix = f"roberta.encoder.layer.{number}"
        for kind in ("weight", "bias"):
            table[f"layers.{number}.query_key_value.{kind}"] = [
                f"{prefix}.attention.self.{part}.{kind}" for part in PARTS
            ]
            for ours, theirs in LAYER.items():
                table[f"layers.{number}.{ours}.{kind}"] = [f"{prefix}.{theirs}.{kind}"]
    return table


def to_hugging_face(tensors: Mapping[str, Tensor], layers: int, has_head: bool = True) -> dict[str, Tensor]:
    """Our state dict under their names, without a next-sentence head; `has_head`: with the masked-language one."""
    result = {TOKEN_TYPES: torch.zeros_like(tensors["token_embedding.weight"][:1])}
    for ours, theirs in names(layers, has_head).items():
        pieces = tensors[ours].chunk(len(theirs))
        result.update({name: piece.clone() for name, piece in zip(theirs, pieces, strict=True)})
    return result


def from_hugging_face(tensors: Mapping[str, Tensor], layers: int, has_head: bool = True) -> dict[str, Tensor]:
    """Their state dict under our names; what the masked-language model does not use (a pooler) is left out.

    A token-type row that is not zero is added to the positions, which every token has one of.
    """
    table = names(layers, has_head)
    result = {ours: torch.cat([tensors[name] for name in theirs]) for ours, theirs in table.items()}
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
