"""A compiled model is compiled a few times, whatever sizes it meets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule

from rbt.formats.blocks import Index, is_pair_index
from rbt.trainer import attention
from rbt.trainer.batch_masking import mask_batch
from rbt.trainer.batches import read_batch
from rbt.trainer.compiling import COMPILATIONS, Compiled
from rbt.trainer.config import DataConfig, ModelConfig
from rbt.trainer.inputs import Inputs, Rounding, make_inputs
from rbt.trainer.masking import masking_rule
from rbt.trainer.model import Roberta, build_model
from rbt.trainer.training import batch_losses

from .conftest import VOCAB

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # the compiler imports parts that are one
SHAPE = ModelConfig(layers=1, hidden=16, heads=2, feed_forward=24, dropout=0.0, attention_dropout=0.0)
SIZES = [6, 6, 6, 1, 1, 1, 1, 1, 4, 2, 3, 1, 6]  # rows of micro-batches


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[GraphModule]:
    """The graphs that a compiler is given, in order; they run as they are."""
    graphs, compile_model = list[GraphModule](), torch.compile

    def run_as_it_is(graph: GraphModule, example: list[Tensor]) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda model: compile_model(model, backend=run_as_it_is))
    return graphs


def by_edges(query: Tensor, key: Tensor, value: Tensor, edges: Tensor, longest: int, dropout: float) -> Tensor:
    """What `attention.varlen` gives, without a GPU."""
    assert longest == 32 and dropout == 0.0
    segments = torch.bucketize(torch.arange(query.shape[0]), edges, right=True)
    parts = (part.transpose(0, 1) for part in (query, key, value))
    visible = segments[:, None] == segments[None, :]
    return torch.nn.functional.scaled_dot_product_attention(*parts, visible).transpose(0, 1)


def micro_batches(index: Index, edges: bool) -> list[Inputs]:
    """Of many sizes: they are rounded up, as in a compiled run, but by little."""
    rule, rounding, first, found = masking_rule(DataConfig(), VOCAB), Rounding(2, 2, 32, edges), 0, []
    for rows in SIZES:
        batch = read_batch(index, np.arange(first, first + rows), np.zeros(rows, dtype=np.int64))
        found.append(make_inputs(mask_batch(batch, rule), rounding))
        first += rows
    return found


def kind_of(inputs: Inputs) -> tuple[object, ...]:
    """What a batch is compiled for: a size of one is always a case of its own."""
    gather = inputs.layout.gather
    return inputs.layout.dense, gather is not None and len(gather) == 1, inputs.pairs == 1


def model_of(index: Index) -> Roberta:
    """A small model."""
    return build_model(SHAPE, index.vocab_size, index.max_tokens, 1, is_pair_index(index))


@pytest.mark.parametrize("edges", [False, True])
@pytest.mark.parametrize("name", ["full_index", "document_index"])
def test_one_compilation_is_for_all_sizes_of_a_stream(
    request: pytest.FixtureRequest, compilations: list[GraphModule], monkeypatch: pytest.MonkeyPatch, name: str,
    edges: bool,
) -> None:
    """One more is for rows that are all full, and under a mask for a single row. Losses are the same."""
    monkeypatch.setattr(attention, "varlen", by_edges)
    index: Index = request.getfixturevalue(name)
    model = model_of(index)
    module, inputs = Compiled(model), micro_batches(index, edges)
    assert len({(len(each.ids), len(each.selected)) for each in inputs}) > 6
    assert {each.layout.dense for each in inputs} <= {None, 32}
    kinds = {kind_of(each) for each in inputs}
    for each in inputs:
        losses = [batch_losses(network, each)[0] for network in (module, model)]
        torch.testing.assert_close(*losses)
        losses[0].backward()
    assert len(compilations) == len(kinds) < len(inputs) / 3


def test_pairs_are_compiled_once_as_well(pair_index: Index, compilations: list[GraphModule]) -> None:
    module, inputs = Compiled(model_of(pair_index)), micro_batches(pair_index, False)
    for each in inputs:
        sum(loss for loss in batch_losses(module, each) if loss is not None).backward()  # type: ignore[union-attr]
    assert len({each.pairs for each in inputs}) > 3
    assert len(compilations) == len({kind_of(each) for each in inputs}) < len(inputs) / 2


@pytest.mark.slow
def test_a_model_that_has_to_be_compiled_often_still_is(
    full_index: Index, compilations: list[GraphModule], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond torch's limit of 8, at which it goes on without compiling; here each rate of dropout is one more."""
    model = model_of(full_index)
    module, inputs = Compiled(model), micro_batches(full_index, False)[0]
    for number in range(9):
        monkeypatch.setattr(model.layers[0], "dropout", 0.01 * number)
        batch_losses(module, inputs)
    assert len(compilations) == 9 < COMPILATIONS
