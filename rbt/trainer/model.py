"""RoBERTa for masked-language modelling, as fairseq builds it.

    ids, positions (tokens,) ──embed, norm──> (tokens, hidden) ──layers──> hidden states
        ──selected places──> (selected, hidden) ──head──> logits (selected, vocabulary)
        ──<s> of pairs──> (pairs, hidden) ──next-sentence head──> logits (pairs, 2)

Post-norm layers, learned positions from 2, exact GELU, LayerNorm epsilon 1e-5, output embeddings tied to the input's
plus a bias of their own. The model reads a stream of segments without padding, each of which sees itself alone
(`attention.Layout`).
Source: fairseq models/roberta/model.py and modules/transformer_sentence_encoder.py; paper, table 9.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from rbt.errors import ConfigError
from rbt.formats.tokenizer import PAD
from rbt.rng import hash_keys, hash_text
from rbt.trainer.attention import Layout, attend
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

    def mix(self, states: Tensor, layout: Layout) -> Tensor:
        """Self-attention before its residual: (tokens, hidden) in and out."""
        joint = self.query_key_value(states).unflatten(1, (3, self.heads, -1))  # (tokens, 3, heads, head)
        query, key, value = joint.unbind(1)
        mixed = attend(query, key, value, layout, self.attention_dropout if self.training else 0.0)
        result: Tensor = self.attention_output(mixed.flatten(1))
        return result

    def forward(self, states: Tensor, layout: Layout) -> Tensor:
        """(tokens, hidden) in and out."""
        mixed = functional.dropout(self.mix(states, layout), self.dropout, self.training)
        states = self.attention_norm(states + mixed)
        changed = self.contract(functional.gelu(self.expand(states)))
        changed = functional.dropout(changed, self.dropout, self.training)
        result: Tensor = self.output_norm(states + changed)
        return result


class Roberta(nn.Module):
    """The encoder and its heads. Weights are uninitialized: see `build_model`.

    `checkpoint_activations`, which may be set at any time: layers are computed anew in the backward pass.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, max_tokens: int, next_sentence: bool = False) -> None:
        super().__init__()
        shape = config.shape
        if shape.hidden % shape.heads:
            raise ConfigError(f"[model] hidden: expected a multiple of {shape.heads} heads", found=str(shape.hidden))
        self.config, self.vocab_size, self.max_tokens = config, vocab_size, max_tokens
        self.checkpoint_activations = False
        self.token_embedding = nn.Embedding(vocab_size, shape.hidden, padding_idx=PAD)
        self.position_embedding = nn.Embedding(max_tokens + FIRST_POSITION, shape.hidden, padding_idx=PAD)
        self.embedding_norm = nn.LayerNorm(shape.hidden, NORM_EPSILON)
        self.layers = nn.ModuleList(Layer(config) for _ in range(shape.layers))
        self.head_dense = nn.Linear(shape.hidden, shape.hidden)
        self.head_norm = nn.LayerNorm(shape.hidden, NORM_EPSILON)
        self.head_bias = nn.Parameter(torch.empty(vocab_size))
        self.next_dense = nn.Linear(shape.hidden, shape.hidden) if next_sentence else None
        self.next_output = nn.Linear(shape.hidden, 2) if next_sentence else None

    def encode(self, ids: Tensor, positions: Tensor, layout: Layout) -> Tensor:
        """Hidden states (tokens, hidden)."""
        states: Tensor = self.embedding_norm(self.token_embedding(ids) + self.position_embedding(positions))
        states = functional.dropout(states, self.config.dropout, self.training)
        layout = layout.with_visible()
        for layer in self.layers:
            if self.checkpoint_activations and self.training:
                states = checkpoint(layer, states, layout, use_reentrant=False)
            else:
                states = layer(states, layout)
        return states

    def predict(self, states: Tensor) -> Tensor:
        """Logits (selected, vocabulary) of hidden states (selected, hidden)."""
        states = self.head_norm(functional.gelu(self.head_dense(states)))
        return functional.linear(states, self.token_embedding.weight, self.head_bias)

    def predict_next(self, states: Tensor) -> Tensor:
        """Logits (pairs, 2) of whether B is what follows A, of the states of each pair's <s>; as BERT's pooler."""
        assert self.next_dense is not None and self.next_output is not None
        states = functional.dropout(torch.tanh(self.next_dense(states)), self.config.dropout, self.training)
        result: Tensor = self.next_output(states)
        return result

    def forward(
        self, ids: Tensor, positions: Tensor, layout: Layout, selected: Tensor, starts: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Logits (selected, vocabulary) at `selected` places of the stream, and (pairs, 2) at the `starts` of pairs.

        The latter are None where there are no pairs, or no head for them.
        """
        states = self.encode(ids, positions, layout)
        return (
            self.predict(states.index_select(0, selected)),
            None if starts is None or self.next_output is None else self.predict_next(states.index_select(0, starts)),
        )


def initialize(name: str, parameter: Tensor, seed: int) -> None:
    """Fill a weight: norms 1, biases 0, else N(0, 0.02), as a function of (seed, name); the padding's row is 0."""
    if name.endswith("norm.weight"):
        parameter.fill_(1.0)
    elif name.endswith("bias"):
        parameter.zero_()
    else:
        generator = torch.Generator().manual_seed(int(hash_keys(seed, hash_text(name)) >> np.uint64(1)))
        parameter.normal_(0.0, INITIAL_DEVIATION, generator=generator)
    if name.endswith("embedding.weight"):
        parameter[PAD].zero_()


def empty_model(config: ModelConfig, vocab_size: int, max_tokens: int, next_sentence: bool = False) -> Roberta:
    """A model on the CPU whose weights are still to be filled."""
    with torch.device("meta"):
        model = Roberta(config, vocab_size, max_tokens, next_sentence)
    return model.to_empty(device="cpu")


def build_model(
    config: ModelConfig, vocab_size: int, max_tokens: int, seed: int, next_sentence: bool = False
) -> Roberta:
    """A fresh model on the CPU: weights N(0, 0.02), biases 0, norms 1, the padding's rows 0.

    Each weight depends on (seed, its name) alone. Source: fairseq init_bert_params.
    """
    model = empty_model(config, vocab_size, max_tokens, next_sentence)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            initialize(name, parameter, seed)
    return model
