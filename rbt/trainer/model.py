"""RoBERTa for masked-language modelling, as fairseq builds it.

    ids, positions (rows, time) ──embed, norm──> (rows, time, hidden) ──layers──> hidden states
        ──selected positions──> (selected, hidden) ──head──> logits (selected, vocabulary)

Post-norm layers, learned positions from 2, exact GELU, LayerNorm epsilon 1e-5, output embeddings tied to the input's
plus a bias of their own. Rows may hold several blocks: with `segments` no position sees another block or padding.
Source: fairseq models/roberta/model.py and modules/transformer_sentence_encoder.py; paper, table 9.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rbt.errors import ConfigError
from rbt.formats.tokenizer import PAD
from rbt.rng import hash_keys, hash_text
from rbt.trainer.batches import FIRST_POSITION
from rbt.trainer.config import ModelConfig

NORM_EPSILON = 1e-5
INITIAL_DEVIATION = 0.02


class Layer(nn.Module):
    """One transformer layer: self-attention and feed-forward, each with a residual and a norm behind it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        shape = config.shape
        self.heads = shape.heads
        self.dropout, self.attention_dropout = config.dropout, config.attention_dropout
        self.query_key_value = nn.Linear(shape.hidden, 3 * shape.hidden)
        self.attention_output = nn.Linear(shape.hidden, shape.hidden)
        self.attention_norm = nn.LayerNorm(shape.hidden, NORM_EPSILON)
        self.expand = nn.Linear(shape.hidden, shape.feed_forward)
        self.contract = nn.Linear(shape.feed_forward, shape.hidden)
        self.output_norm = nn.LayerNorm(shape.hidden, NORM_EPSILON)

    def attend(self, states: Tensor, visible: Tensor | None) -> Tensor:
        """Self-attention before its residual: (rows, time, hidden) in and out."""
        rows, time, hidden = states.shape
        joint = self.query_key_value(states).view(rows, time, 3, self.heads, hidden // self.heads)
        query, key, value = joint.permute(2, 0, 3, 1, 4)  # each (rows, heads, time, head)
        mixed = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=visible, dropout_p=self.attention_dropout if self.training else 0.0
        )
        result: Tensor = self.attention_output(mixed.transpose(1, 2).reshape(rows, time, hidden))
        return result

    def forward(self, states: Tensor, visible: Tensor | None) -> Tensor:
        """(rows, time, hidden) in and out; `visible` bool (rows, 1, time, time), None where all see all."""
        mixed = functional.dropout(self.attend(states, visible), self.dropout, self.training)
        states = self.attention_norm(states + mixed)
        changed = self.contract(functional.gelu(self.expand(states)))
        changed = functional.dropout(changed, self.dropout, self.training)
        result: Tensor = self.output_norm(states + changed)
        return result


class Roberta(nn.Module):
    """The encoder and its language-model head. Weights are uninitialized: see `build_model`."""

    def __init__(self, config: ModelConfig, vocab_size: int, max_tokens: int) -> None:
        super().__init__()
        shape = config.shape
        if shape.hidden % shape.heads:
            raise ConfigError(f"[model] hidden: expected a multiple of {shape.heads} heads", found=str(shape.hidden))
        self.config, self.vocab_size, self.max_tokens = config, vocab_size, max_tokens
        self.token_embedding = nn.Embedding(vocab_size, shape.hidden, padding_idx=PAD)
        self.position_embedding = nn.Embedding(max_tokens + FIRST_POSITION, shape.hidden, padding_idx=PAD)
        self.embedding_norm = nn.LayerNorm(shape.hidden, NORM_EPSILON)
        self.layers = nn.ModuleList(Layer(config) for _ in range(shape.layers))
        self.head_dense = nn.Linear(shape.hidden, shape.hidden)
        self.head_norm = nn.LayerNorm(shape.hidden, NORM_EPSILON)
        self.head_bias = nn.Parameter(torch.empty(vocab_size))

    def encode(self, ids: Tensor, positions: Tensor, segments: Tensor | None) -> Tensor:
        """Hidden states (rows, time, hidden); `segments` as in `Batch`, None where no row needs isolation."""
        states: Tensor = self.embedding_norm(self.token_embedding(ids) + self.position_embedding(positions))
        states = functional.dropout(states, self.config.dropout, self.training)
        visible = None
        if segments is not None:  # padding (-1) sees padding alone, so that no softmax is empty
            visible = segments[:, None, :, None] == segments[:, None, None, :]  # (rows, 1, time, time)
        for layer in self.layers:
            states = layer(states, visible)
        return states

    def predict(self, states: Tensor) -> Tensor:
        """Logits (selected, vocabulary) of hidden states (selected, hidden)."""
        states = self.head_norm(functional.gelu(self.head_dense(states)))
        return functional.linear(states, self.token_embedding.weight, self.head_bias)

    def forward(self, ids: Tensor, positions: Tensor, segments: Tensor | None, selected: Tensor) -> Tensor:
        """Logits (selected, vocabulary) at `selected`, int64 indices into the flattened (rows x time)."""
        states = self.encode(ids, positions, segments).flatten(0, 1)  # (rows x time, hidden)
        return self.predict(states.index_select(0, selected))


def _initialize(name: str, parameter: Tensor, seed: int) -> None:
    if name.endswith("norm.weight"):
        parameter.fill_(1.0)
    elif name.endswith("bias"):
        parameter.zero_()
    else:
        generator = torch.Generator().manual_seed(int(hash_keys(seed, hash_text(name)) >> np.uint64(1)))
        parameter.normal_(0.0, INITIAL_DEVIATION, generator=generator)
    if name.endswith("embedding.weight"):
        parameter[PAD].zero_()


def empty_model(config: ModelConfig, vocab_size: int, max_tokens: int) -> Roberta:
    """A model on the CPU whose weights are still to be filled."""
    with torch.device("meta"):
        model = Roberta(config, vocab_size, max_tokens)
    return model.to_empty(device="cpu")


def build_model(config: ModelConfig, vocab_size: int, max_tokens: int, seed: int) -> Roberta:
    """A fresh model on the CPU: weights N(0, 0.02), biases 0, norms 1, the padding's rows 0.

    Each weight depends on (seed, its name) alone. Source: fairseq init_bert_params.
    """
    model = empty_model(config, vocab_size, max_tokens)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            _initialize(name, parameter, seed)
    return model


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())
