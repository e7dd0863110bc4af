"""A step is the same however its global batch is cut."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from rbt.formats.blocks import Index, is_pair_index, open_index
from rbt.trainer.batch_masking import mask_batch
from rbt.trainer.batches import read_batch
from rbt.trainer.config import DataConfig, ModelConfig
from rbt.trainer.inputs import Inputs, Rounding, make_inputs
from rbt.trainer.masking import MaskingRule, masking_rule
from rbt.trainer.model import build_model
from rbt.trainer.order import rows_at, step_positions
from rbt.trainer.training import batch_losses

from .conftest import VOCAB

SCRIPT = Path(__file__).with_name("rank_gradients.py")
INDEX = "doc-sentences-32"
SHAPE = ModelConfig(layers=1, hidden=16, heads=2, feed_forward=24, dropout=0.0, attention_dropout=0.0)


def free_port() -> int:
    """A TCP port nobody listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def run_ranks(index: Path, ranks: int, accumulation: int, out: Path) -> dict[str, Tensor]:
    """Gradients of the global batch of 16 rows on `ranks` processes with `accumulation` micro-batches each."""
    shared = {
        **os.environ, "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(SCRIPT), str(index), str(16 // ranks // accumulation), str(out)]
    processes = [
        subprocess.Popen(command, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE)
        for rank in range(ranks)
    ]
    for process in processes:
        errors = process.communicate(timeout=120)[1]
        assert process.returncode == 0, errors.decode()
    return load_file(out)


def inputs_of(index: Index, rows: np.ndarray, epochs: np.ndarray, rule: MaskingRule) -> Inputs:
    """Rows as one micro-batch."""
    return make_inputs(mask_batch(read_batch(index, rows, epochs), rule), Rounding())


def expected_gradients(index: Index) -> dict[str, Tensor]:
    """The gradients of the global batch from one pass over all rows at once, without the trainer's step."""
    data = DataConfig(global_batch=16)
    epochs, rows = rows_at(step_positions(3, 16), data.seed, index.num_rows)
    network = build_model(SHAPE, index.vocab_size, index.max_tokens, 1, is_pair_index(index)).double()
    inputs = inputs_of(index, rows, epochs, masking_rule(data, VOCAB))
    loss, next_loss = batch_losses(network, inputs)
    loss = loss / inputs.masked_tokens
    (loss if next_loss is None else loss + next_loss / inputs.pairs).backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}
    norm = torch.stack([gradient.square().sum() for gradient in gradients.values()]).sum().sqrt()
    masked_tokens = torch.tensor(float(inputs.masked_tokens))
    return {**gradients, "loss": loss.detach(), "norm": norm, "masked_tokens": masked_tokens}


@pytest.fixture(scope="module")
def expected(packed: Path) -> dict[str, Tensor]:
    """Of blocks that share rows."""
    return expected_gradients(open_index(packed / INDEX, "train"))


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Equal in float64 but for the order of sums."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor.double(), rtol=1e-9, atol=1e-13, msg=name)


def test_v39_two_ranks_of_two_micro_batches_give_the_gradients_of_one_pass(
    packed: Path, expected: dict[str, Tensor], tmp_path: Path
) -> None:
    assert_same(run_ranks(packed / INDEX, 2, 2, tmp_path / "gradients"), expected)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("accumulation", [1, 2, 4])
def test_v39_every_grid_gives_the_gradients_of_one_pass(
    packed: Path, expected: dict[str, Tensor], tmp_path: Path, ranks: int, accumulation: int
) -> None:
    assert_same(run_ranks(packed / INDEX, ranks, accumulation, tmp_path / "gradients"), expected)


@pytest.mark.slow
def test_v39_three_ranks_with_unequal_shares_give_the_gradients_of_one_pass(
    packed: Path, expected: dict[str, Tensor], tmp_path: Path
) -> None:
    """16 rows in micro-batches of 5: one, one, and, for the rank that has 6 rows, two."""
    assert_same(run_ranks(packed / INDEX, 3, 1, tmp_path / "gradients"), expected)


def test_v39_two_ranks_give_the_gradients_of_one_pass_over_pairs(pair_folder: Path, tmp_path: Path) -> None:
    """The losses of masked tokens and of pairs, each a global mean, are added."""
    expected = expected_gradients(open_index(pair_folder, "train"))
    assert_same(run_ranks(pair_folder, 2, 2, tmp_path / "gradients"), expected)


def test_v39_micro_batches_have_unequal_numbers_of_masked_tokens(packed: Path) -> None:
    """Else a mean of means would pass the tests above."""
    index = open_index(packed / INDEX, "train")
    epochs, rows = rows_at(step_positions(3, 16), 1, index.num_rows)
    rule = masking_rule(DataConfig(), VOCAB)
    counts = {len(mask_batch(read_batch(index, rows[s], epochs[s]), rule).labels) for s in (slice(0, 8), slice(8, 16))}
    assert len(counts) == 2
