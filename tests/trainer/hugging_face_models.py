"""Models of transformers and of rbt with weights large enough that every part changes the logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rbt.config import to_table
from rbt.formats.checkpoint import VALIDATION_LOSS
from rbt.formats.tokenizer import PAD, files_fingerprint, write_tokenizer
from rbt.trainer.attention import Layout, masked_layout
from rbt.trainer.checkpointing import Keep, take_snapshot, write_checkpoint
from rbt.trainer.config import ModelConfig, ScheduleConfig
from rbt.trainer.model import Roberta, build_model
from rbt.trainer.optim import build_optimizer

VOCABULARY, TIME = 261, 512
SHAPE = ModelConfig(layers=3, hidden=32, heads=4, feed_forward=48)


def make_wild(model: nn.Module, deviation: float = 0.2) -> None:
    """Add noise to every parameter, the same each time."""
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
            parameter.add_(noise * deviation)


def wild_model(seed: int, next_sentence: bool = False) -> Roberta:
    """A model of rbt."""
    model = build_model(SHAPE, VOCABULARY, TIME, seed, next_sentence)
    make_wild(model)
    return model


def their_model(name: str = "RobertaForMaskedLM", time: int = TIME, deviation: float = 0.2, **settings: Any) -> Any:
    """A model of transformers, in eval mode. Its token-type row is zero, as the released models' is."""
    import transformers

    config = transformers.RobertaConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=time + 2, type_vocab_size=1, layer_norm_eps=1e-5, **settings,
    )
    torch.manual_seed(0)
    model = getattr(transformers, name)(config).eval()
    make_wild(model, deviation)
    with torch.no_grad():
        model.base_model.embeddings.token_type_embeddings.weight.zero_()
    return model


def save_step(run: Path, step: int, loss: float | None = None, next_sentence: bool = False) -> None:
    """A checkpoint of random weights, and the tokenizer's files."""
    model = wild_model(step, next_sentence)
    optimizer = build_optimizer(model, ScheduleConfig())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    write_tokenizer(run, [])
    packed = {"vocab_size": VOCABULARY, "max_tokens": TIME, "tokenizer": files_fingerprint(run, "")}
    config = {"model": to_table(SHAPE), "packed": packed}
    state = {"step": step, "position": 8 * step, "global_batch": 8, "epoch": 0, "config": config}
    if loss is not None:
        state[VALIDATION_LOSS] = loss
    write_checkpoint(run, take_snapshot(model, optimizer, state, {"index": "x"}), Keep(newest=0))


def random_blocks(lengths: list[int]) -> list[list[int]]:
    """Blocks of random ids between <s> and </s>."""
    generator = np.random.default_rng(0)
    return [[0, *generator.integers(4, VOCABULARY, length - 2).tolist(), 2] for length in lengths]


def stream_of(blocks: list[list[int]], rows: list[int]) -> tuple[Tensor, Tensor, Layout]:
    """(ids, positions, layout) of blocks one behind the other, `rows` of which lie in a row each."""
    ids = torch.tensor([token for block in blocks for token in block])
    positions = torch.tensor([2 + place for block in blocks for place in range(len(block))])
    edges = np.cumsum([0, *map(len, blocks)])
    return ids, positions, masked_layout(edges, edges[np.cumsum([0, *rows])])


def our_logits(model: Roberta, blocks: list[list[int]], rows: list[int] | None = None) -> Tensor:
    """Logits at every token, (tokens, vocabulary); by default one block a row."""
    ids, positions, layout = stream_of(blocks, rows or [1] * len(blocks))
    with torch.no_grad():
        result: Tensor = model.eval()(ids, positions, layout, torch.arange(len(ids)))[0]
    return result


def padded(blocks: list[list[int]]) -> Tensor:
    """Blocks as rows with padding behind, (blocks, time)."""
    width = max(map(len, blocks))
    return torch.tensor([block + [PAD] * (width - len(block)) for block in blocks])


def their_logits(model: Any, blocks: list[list[int]]) -> Tensor:
    """The same of transformers, from one padded batch."""
    ids = padded(blocks)
    with torch.no_grad():
        result: Tensor = model(ids, attention_mask=(ids != PAD).long()).logits[ids != PAD]
    return result
