"""The model is RoBERTa: sizes, logits and isolation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from rbt.errors import ConfigError
from rbt.formats.blocks import Index
from rbt.formats.tokenizer import PAD
from rbt.trainer.batches import Batch, read_batch
from rbt.trainer.config import ModelConfig
from rbt.trainer.model import Roberta, build_model, count_parameters

SMALL = ModelConfig(layers=2, hidden=32, heads=4, feed_forward=48)
VOCABULARY, TIME = 60, 24


@pytest.fixture(scope="module")
def model() -> Roberta:
    """A small model in float64 with weights large enough that attention matters."""
    model = build_model(SMALL, VOCABULARY, TIME, seed=3).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.2)
    return model


def logits(model: Roberta, blocks: list[list[int]], padding: int, isolated: bool = True) -> Tensor:
    """Logits (tokens, vocabulary) of one row of blocks with padding behind."""
    ids = torch.tensor([[token for block in blocks for token in block] + [PAD] * padding])
    positions = torch.tensor([[2 + n for block in blocks for n in range(len(block))] + [PAD] * padding])
    segments = torch.tensor([[s for s, block in enumerate(blocks) for _ in block] + [-1] * padding])
    chosen = torch.arange(ids.numel() - padding)
    with torch.no_grad():
        result: Tensor = model(ids, positions, segments if isolated else None, chosen)
    return result


@pytest.mark.parametrize(("size", "count"), [("base", 124_696_665), ("large", 355_411_033)])
def test_parameters_are_as_many_as_published(size: str, count: int) -> None:
    with torch.device("meta"):
        model = Roberta(ModelConfig(size=size), 50_265, 512)  # type: ignore[arg-type]
    assert count_parameters(model) == count


def test_initial_weights_are_those_of_the_recipe() -> None:
    model = build_model(ModelConfig(size="tiny"), 2000, 128, seed=1)
    for name, parameter in model.state_dict().items():
        if name.endswith("norm.weight"):
            assert (parameter == 1).all()
        elif name.endswith("bias"):
            assert (parameter == 0).all()
        else:
            assert abs(float(parameter.std()) - 0.02) < 0.002
            assert abs(float(parameter.mean())) < 0.001
    assert (model.token_embedding.weight[PAD] == 0).all()
    assert (model.position_embedding.weight[PAD] == 0).all()
    assert model.position_embedding.weight.shape[0] == 130


def test_initial_weights_depend_on_the_seed_alone() -> None:
    first, same, other = (build_model(SMALL, VOCABULARY, TIME, seed) for seed in (1, 1, 2))
    for a, b in zip(first.parameters(), same.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.token_embedding.weight, other.token_embedding.weight)
    assert not torch.equal(first.layers[0].expand.weight, first.layers[1].expand.weight)


def test_v44_an_isolated_block_does_not_see_its_neighbor(model: Roberta) -> None:
    first, changed, second = [0, 7, 8, 2], [0, 30, 31, 2], [0, 9, 10, 11, 2]
    isolated = logits(model, [first, second], 3), logits(model, [changed, second], 3)
    assert torch.equal(isolated[0][4:], isolated[1][4:])
    assert not torch.allclose(isolated[0][:4], isolated[1][:4])
    joint = logits(model, [first, second], 0, isolated=False), logits(model, [changed, second], 0, isolated=False)
    assert not torch.allclose(joint[0][4:], joint[1][4:])


def test_v44_a_block_in_a_shared_row_is_read_as_alone(model: Roberta) -> None:
    first, second = [0, 7, 8, 2], [0, 9, 10, 11, 2]
    together = logits(model, [first, second], 5)
    alone = torch.cat([logits(model, [block], 0, isolated=False) for block in (first, second)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


def test_v45_a_padded_row_equals_an_unpadded_one(model: Roberta) -> None:
    block = [0, 9, 10, 11, 12, 2]
    torch.testing.assert_close(
        logits(model, [block], 7), logits(model, [block], 0, isolated=False), rtol=0, atol=1e-12
    )


def test_the_head_sees_selected_positions_alone(model: Roberta, full_index: Index) -> None:
    batch: Batch = read_batch(full_index, np.array([0, 1]), np.array([0, 0]))
    network = build_model(SMALL, full_index.vocab_size, full_index.max_tokens, 1).eval()
    chosen = torch.tensor([3, 1, batch.ids.shape[1] + 2])
    everywhere = torch.arange(batch.ids.numel())
    with torch.no_grad():
        some = network(batch.ids, batch.positions, batch.segments, chosen)
        all_logits = network(batch.ids, batch.positions, batch.segments, everywhere)
    assert some.shape == (3, full_index.vocab_size)
    torch.testing.assert_close(some, all_logits[chosen], rtol=0, atol=1e-6)


def test_a_batch_without_a_selected_position_has_gradients_of_zero() -> None:
    network = build_model(SMALL, VOCABULARY, TIME, 1)
    ids = torch.tensor([[0, 5, 2]])
    network(ids, ids.new_tensor([[2, 3, 4]]), None, ids.new_empty(0)).sum().backward()
    assert all((parameter.grad == 0).all() for parameter in network.parameters())


def test_heads_must_divide_the_hidden_size() -> None:
    with pytest.raises(ConfigError, match=r"\[model\] hidden: expected a multiple of 5 heads; found 32"):
        build_model(ModelConfig(hidden=32, heads=5), VOCABULARY, TIME, 1)


def test_dropout_is_off_in_evaluation_and_on_in_training() -> None:
    network = build_model(SMALL, VOCABULARY, TIME, 1)
    block = [[0, 9, 10, 11, 12, 2]]
    assert not torch.equal(logits(network, block, 0), logits(network, block, 0))
    network.eval()
    assert torch.equal(logits(network, block, 0), logits(network, block, 0))
