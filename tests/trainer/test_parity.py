"""On the same weights, rbt and transformers say the same and learn the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rbt.trainer.attention import Layout
from rbt.trainer.hugging_face import TOKEN_TYPES, names
from rbt.trainer.model import Roberta
from rbt.trainer.model_folder import load_model
from rbt.trainer.optim import summed_loss

from .hugging_face_models import (
    TIME,
    our_logits,
    padded,
    random_blocks,
    stream_of,
    their_logits,
    their_model,
)

PRECISIONS = [(torch.float64, 1e-10), (torch.float32, 1e-5)]
LENGTHS, ROWS = [40, 7, 23, 12, 40], [2, 1, 2]
Pair = tuple[Roberta, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that transformers wrote."""
    out = tmp_path_factory.mktemp("parity") / "theirs"
    their_model(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).save_pretrained(out)
    return out


@pytest.fixture(params=PRECISIONS, ids=["float64", "float32"])
def precision(request: pytest.FixtureRequest) -> tuple[torch.dtype, float]:
    """A type and the tolerance in it."""
    found: tuple[torch.dtype, float] = request.param
    return found


@pytest.fixture
def both(folder: Path, precision: tuple[torch.dtype, float]) -> Pair:
    """The folder as either library reads it, in one type."""
    from transformers import RobertaForMaskedLM

    theirs = RobertaForMaskedLM.from_pretrained(folder).eval()
    return load_model(folder).to(precision[0]).eval(), theirs.to(precision[0])


def assert_same(found: Tensor, expected: Tensor, tolerance: float, message: str = "") -> None:
    """Equal within a tolerance that says something: relative to the largest number."""
    scale = float(expected.detach().abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * max(1.0, scale), msg=message or None)


def test_v45_blocks_that_share_rows_say_what_transformers_says_of_each_alone(
    both: Pair, precision: tuple[torch.dtype, float]
) -> None:
    ours, theirs = both
    blocks = random_blocks(LENGTHS)
    alone = torch.cat([their_logits(theirs, [block]) for block in blocks])
    assert float(alone.abs().max()) > 1  # else the tolerance would say nothing
    assert_same(our_logits(ours, blocks, ROWS), alone, precision[1])


def test_v45_a_padded_batch_of_transformers_says_the_same(both: Pair, precision: tuple[torch.dtype, float]) -> None:
    ours, theirs = both
    blocks = random_blocks(LENGTHS)
    assert_same(our_logits(ours, blocks, ROWS), their_logits(theirs, blocks), precision[1])


def test_v45_a_padded_batch_equals_an_unpadded_one(both: Pair, precision: tuple[torch.dtype, float]) -> None:
    """Rows of different widths are padded under the mask; one row of all blocks is not."""
    ours, _ = both
    blocks = random_blocks(LENGTHS)
    assert_same(our_logits(ours, blocks, ROWS), our_logits(ours, blocks, [len(blocks)]), precision[1])


def test_v45_a_full_input_is_accepted_and_says_the_same(both: Pair, precision: tuple[torch.dtype, float]) -> None:
    """Two of one length, which need no mask."""
    ours, theirs = both
    blocks = random_blocks([TIME, TIME])
    ids, positions, _ = stream_of(blocks, [1, 1])
    with torch.no_grad():
        found = ours(ids, positions, Layout(dense=TIME), torch.arange(len(ids)))[0]
    assert_same(found, their_logits(theirs, blocks), precision[1])


def test_v45_losses_and_all_gradients_equal_those_of_transformers(
    both: Pair, precision: tuple[torch.dtype, float]
) -> None:
    """Of the mean loss over some tokens of blocks that share rows, beside a padded batch with labels of -100."""
    ours, theirs = both
    blocks = random_blocks(LENGTHS)
    selected = torch.tensor([3, 5, 41, 46, 60, 69, 75, 90, 121])
    ids, positions, layout = stream_of(blocks, ROWS)
    inputs = ids.clone()
    inputs[selected[::2]] = 260
    loss = summed_loss(ours(inputs, positions, layout, selected)[0], ids[selected]) / len(selected)
    loss.backward()  # type: ignore[no-untyped-call]

    batch = padded(blocks)
    real, labels, masked = batch != 1, torch.full_like(batch, -100), batch.clone()
    labels[real] = torch.full_like(ids, -100).scatter(0, selected, ids[selected])
    masked[real] = inputs
    expected = theirs(masked, attention_mask=real.long(), labels=labels).loss
    expected.backward()

    assert_same(loss, expected, precision[1])
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    found = {name: parameter.grad for name, parameter in ours.named_parameters()}
    assert found.keys() == names(3).keys()
    for name, parts in names(3).items():
        gradient = torch.cat([gradients.pop(part) for part in parts])
        assert float(gradient.abs().max()) > 1e-4, name
        assert_same(found[name], gradient, precision[1], name)
    # one row is added at every position: its gradient is the sum of theirs
    assert_same(found["position_embedding.weight"].sum(0), gradients.pop(TOKEN_TYPES)[0], precision[1])
    assert not gradients
