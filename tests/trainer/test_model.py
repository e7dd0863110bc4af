"""The model is RoBERTa: sizes, logits and isolation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from rbt.errors import ConfigError
from rbt.formats.blocks import Index
from rbt.formats.tokenizer import PAD
from rbt.trainer.attention import Layout, attend, dense_length, has_varlen, masked_layout
from rbt.trainer.batch_masking import MaskedBatch
from rbt.trainer.batches import read_batch
from rbt.trainer.config import ModelConfig
from rbt.trainer.inputs import Rounding, make_inputs
from rbt.trainer.model import Roberta, build_model

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


def stream(blocks: list[list[int]]) -> tuple[Tensor, Tensor, np.ndarray]:
    """(ids, positions, edges) of blocks one behind the other."""
    ids = torch.tensor([token for block in blocks for token in block])
    positions = torch.tensor([2 + place for block in blocks for place in range(len(block))])
    return ids, positions, np.cumsum([0, *map(len, blocks)])


def logits(model: Roberta, blocks: list[list[int]], rows: list[int] | None = None) -> Tensor:
    """Logits (tokens, vocabulary) of blocks, `rows` of which lie in a row each; None: all in one."""
    ids, positions, edges = stream(blocks)
    layout = masked_layout(edges, edges[np.cumsum([0, *(rows or [len(blocks)])])])
    with torch.no_grad():
        result: Tensor = model(ids, positions, layout, torch.arange(len(ids)))[0]
    return result


def logits_alone(model: Roberta, block: list[int]) -> Tensor:
    """Logits (tokens, vocabulary) of a block with nothing beside it."""
    ids, positions, _ = stream([block])
    with torch.no_grad():
        result: Tensor = model(ids, positions, Layout(dense=len(block)), torch.arange(len(ids)))[0]
    return result


@pytest.mark.parametrize(("size", "count"), [("base", 124_696_665), ("large", 355_411_033)])
def test_parameters_are_as_many_as_published(size: str, count: int) -> None:
    with torch.device("meta"):
        model = Roberta(ModelConfig(size=size), 50_265, 512)  # type: ignore[arg-type]
    assert sum(parameter.numel() for parameter in model.parameters()) == count  # tied ones once


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


FIRST, SECOND, THIRD = [0, 7, 8, 2], [0, 9, 10, 11, 2], [0, 12, 2]


def test_v44_an_isolated_block_does_not_see_its_neighbor(model: Roberta) -> None:
    changed = [0, 30, 31, 2]
    isolated = logits(model, [FIRST, SECOND]), logits(model, [changed, SECOND])
    assert torch.equal(isolated[0][4:], isolated[1][4:])
    assert not torch.allclose(isolated[0][:4], isolated[1][:4])
    joint = logits_alone(model, FIRST + SECOND), logits_alone(model, changed + SECOND)
    assert not torch.allclose(joint[0][4:], joint[1][4:])


@pytest.mark.parametrize("rows", [[3], [2, 1], [1, 2], [1, 1, 1]])
def test_v44_v45_a_block_is_read_as_alone_whatever_is_beside_it(model: Roberta, rows: list[int]) -> None:
    """Also in rows of different widths, which are padded."""
    together = logits(model, [FIRST, SECOND, THIRD], rows)
    alone = torch.cat([logits_alone(model, block) for block in (FIRST, SECOND, THIRD)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


def test_blocks_of_one_length_need_no_mask(model: Roberta) -> None:
    ids, positions, edges = stream([FIRST, [0, 20, 21, 2], [0, 22, 23, 2]])
    assert dense_length(edges) == 4
    assert dense_length(stream([FIRST, SECOND])[2]) is None
    with torch.no_grad():
        dense = model(ids, positions, Layout(dense=4), torch.arange(12))[0]
    torch.testing.assert_close(dense, logits(model, [FIRST, [0, 20, 21, 2], [0, 22, 23, 2]]), rtol=0, atol=1e-12)


def mixed_one_by_one(parts: list[Tensor], segment_edges: np.ndarray, row_edges: np.ndarray) -> Tensor:
    """Attention under a mask that is made place by place, as a pass over padded rows takes it."""
    widths, starts = np.diff(row_edges), row_edges[:-1]
    visible = torch.zeros(len(widths), 1, widths.max(), widths.max(), dtype=torch.bool)
    segment = np.searchsorted(segment_edges, np.arange(segment_edges[-1]), side="right")
    for row, (start, width) in enumerate(zip(starts, widths, strict=True)):
        for one in range(widths.max()):
            for other in range(widths.max()):
                inside = one < width, other < width
                visible[row, 0, one, other] = (
                    bool(segment[start + one] == segment[start + other]) if all(inside) else not any(inside)
                )
    padded = torch.stack([
        torch.stack([part[start + place] if place < width else part[0] for place in range(widths.max())])
        for part in parts for start, width in zip(starts, widths, strict=True)
    ]).view(3, len(widths), widths.max(), *parts[0].shape[1:]).transpose(2, 3)
    mixed = torch.nn.functional.scaled_dot_product_attention(*padded, visible).transpose(1, 2)
    return torch.cat([row[:width] for row, width in zip(mixed, widths, strict=True)])


def test_a_mask_is_made_in_a_pass_and_says_who_sees_whom(model: Roberta, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit what one made place by place gives; a batch that waits holds 4 bytes a place, a pass one mask."""
    edges, row_edges = np.array([0, 4, 5, 11, 12, 20]), np.array([0, 11, 20])
    layout = masked_layout(edges, row_edges)
    assert layout.visible is None and layout.segments is not None and layout.segments.dtype == torch.int32
    assert layout.segments.shape == (2, 11)
    generator = torch.Generator().manual_seed(2)
    parts = list(torch.randn(3, 20, 2, 8, generator=generator).unbind())
    mixed = attend(parts[0], parts[1], parts[2], layout.with_visible(), 0.0)
    assert torch.equal(mixed, mixed_one_by_one(parts, edges, row_edges))
    seen = list[Layout]()

    def watched(query: Tensor, key: Tensor, value: Tensor, layout: Layout, dropout: float) -> Tensor:
        seen.append(layout)
        return attend(query, key, value, layout, dropout)

    monkeypatch.setattr("rbt.trainer.model.attend", watched)
    with torch.no_grad():
        model(torch.full((20,), 7), torch.arange(2, 22), layout, torch.arange(20))
    assert len(seen) == len(model.layers) and len({id(layout.visible) for layout in seen}) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_attention_by_edges_is_that_under_a_mask(precision: torch.dtype) -> None:
    assert has_varlen(torch.device("cuda"), precision, 64)
    assert not has_varlen(torch.device("cuda"), torch.float32, 64)


def test_attention_by_edges_is_not_asked_of_a_cpu() -> None:
    assert not has_varlen(torch.device("cpu"), torch.bfloat16, 64)


def test_v44_isolated_documents_do_not_see_each_other(model: Roberta, full_index: Index) -> None:
    """Off, another first document of a block changes the logits of the second; on, it does not."""
    network = build_model(SMALL, full_index.vocab_size, full_index.max_tokens, 1).double().eval()
    rows = np.array([next(r for r in range(full_index.num_rows) if 2 in full_index.read_row(r)[0][1][1:-1].tolist())])
    for isolated in (False, True):
        batch = read_batch(full_index, rows, np.zeros(1, dtype=np.int64), isolate_documents=isolated)
        start = batch.ids.tolist().index(2) + 1
        found = []
        for changed in (batch.ids, np.where(np.arange(len(batch.ids)) < start - 1, 200, batch.ids)):
            inputs = make_inputs(MaskedBatch(batch, changed, np.arange(len(changed)), changed), Rounding())
            with torch.no_grad():
                found.append(network(inputs.ids, inputs.positions, inputs.layout, inputs.selected)[0][start:])
        assert torch.equal(*found) == isolated


def test_the_head_sees_selected_places_alone(full_index: Index) -> None:
    batch = read_batch(full_index, np.array([0, 1]), np.array([0, 0]))
    network = build_model(SMALL, full_index.vocab_size, full_index.max_tokens, 1).eval()
    chosen, everywhere = np.array([3, 1, len(batch.ids) - 2]), np.arange(len(batch.ids))
    found = []
    for places in (chosen, everywhere):
        inputs = make_inputs(MaskedBatch(batch, batch.ids, places, batch.ids[places]), Rounding())
        with torch.no_grad():
            found.append(network(inputs.ids, inputs.positions, inputs.layout, inputs.selected)[0])
    assert found[0].shape == (3, full_index.vocab_size)
    torch.testing.assert_close(found[0], found[1][chosen], rtol=0, atol=1e-6)


def test_a_batch_without_a_selected_place_has_gradients_of_zero() -> None:
    network = build_model(SMALL, VOCABULARY, TIME, 1)
    ids = torch.tensor([0, 5, 2])
    network(ids, torch.tensor([2, 3, 4]), Layout(dense=3), ids.new_empty(0))[0].sum().backward()
    assert all((parameter.grad == 0).all() for parameter in network.parameters())


def test_activations_that_are_computed_anew_give_the_same_gradients() -> None:
    """Bit for bit, dropout and all."""
    ids, positions, edges = stream([FIRST, SECOND])
    found = []
    for anew in (False, True):
        network = build_model(SMALL, VOCABULARY, TIME, 1)
        network.checkpoint_activations = anew
        torch.manual_seed(3)
        network(ids, positions, masked_layout(edges, edges[[0, 2]]), torch.arange(9))[0].square().sum().backward()
        found.append([parameter.grad for parameter in network.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))  # type: ignore[arg-type]


def test_pairs_have_a_head_of_their_own() -> None:
    """tanh of a dense layer over <s>, then two classes; a model without pairs has no such weights."""
    network = build_model(SMALL, VOCABULARY, TIME, 1, next_sentence=True).double().eval()
    ids, positions, edges = stream([FIRST, SECOND])
    layout, starts = masked_layout(edges, edges[[0, 2]]), torch.from_numpy(edges[:-1])
    with torch.no_grad():
        _, found = network(ids, positions, layout, torch.tensor([1]), starts)
        states = network.encode(ids, positions, layout)[starts]
        dense, output = network.next_dense, network.next_output
        expected = torch.tanh(states @ dense.weight.T + dense.bias) @ output.weight.T + output.bias
    assert found.shape == (2, 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert not [name for name, _ in build_model(SMALL, VOCABULARY, TIME, 1).named_parameters() if "next" in name]


def test_heads_must_divide_the_hidden_size() -> None:
    with pytest.raises(ConfigError, match=r"\[model\] hidden: expected a multiple of 5 heads; found 32"):
        build_model(ModelConfig(hidden=32, heads=5), VOCABULARY, TIME, 1)


def test_dropout_is_off_in_evaluation_and_on_in_training() -> None:
    network = build_model(SMALL, VOCABULARY, TIME, 1)
    for read in (lambda: logits_alone(network.train(), FIRST), lambda: logits(network.train(), [FIRST, SECOND])):
        assert not torch.equal(read(), read())
    network.eval()
    assert torch.equal(logits_alone(network, FIRST), logits_alone(network, FIRST))
