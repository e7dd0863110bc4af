"""A step is the same however its global batch is cut."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from rbt.errors import ConfigError
from rbt.formats.blocks import Index, open_index
from rbt.trainer.batches import Grid, read_batch, read_steps
from rbt.trainer.config import DataConfig, ModelConfig, RunConfig, ScheduleConfig
from rbt.trainer.device_masking import mask_batch
from rbt.trainer.distributed import World, choose_device
from rbt.trainer.masking import masking_rule, validation_seed
from rbt.trainer.model import build_model
from rbt.trainer.optim import build_optimizer, learning_rate
from rbt.trainer.order import rows_at, step_positions
from rbt.trainer.training import Training, auto_micro_batch, autocast, batch_loss, grid_for, seed_dropout

SCRIPT = Path(__file__).with_name("rank_gradients.py")
INDEX = "doc-sentences-32"
SHAPE = ModelConfig(layers=1, hidden=16, heads=2, feed_forward=24, dropout=0.0, attention_dropout=0.0)
SCHEDULE = ScheduleConfig(max_steps=5, warmup_steps=2)


def free_port() -> int:
    """A TCP port nobody listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def run_ranks(packed: Path, ranks: int, accumulation: int, out: Path) -> dict[str, Tensor]:
    """Gradients of the global batch of 16 rows on `ranks` processes with `accumulation` micro-batches each."""
    shared = {
        **os.environ, "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(SCRIPT), str(packed / INDEX), str(16 // ranks // accumulation), str(out)]
    processes = [
        subprocess.Popen(command, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE)
        for rank in range(ranks)
    ]
    for process in processes:
        errors = process.communicate(timeout=120)[1]
        assert process.returncode == 0, errors.decode()
    return load_file(out)


@pytest.fixture(scope="module")
def expected(packed: Path) -> dict[str, Tensor]:
    """The same gradients from one pass over all rows at once, without the trainer's step."""
    index = open_index(packed / INDEX, "train")
    data = DataConfig(global_batch=16)
    epochs, rows = rows_at(step_positions(3, 16), data.seed, index.num_rows)
    network = build_model(SHAPE, index.vocab_size, index.max_tokens, 1).double()
    batch = read_batch(index, rows, epochs)
    masked = mask_batch(batch, masking_rule(data, index.vocab_size))
    loss = batch_loss(network, batch, masked) / len(masked.labels)
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}
    norm = torch.stack([gradient.square().sum() for gradient in gradients.values()]).sum().sqrt()
    return {**gradients, "loss": loss.detach(), "norm": norm, "masked_tokens": torch.tensor(float(len(masked.labels)))}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Equal in float64 but for the order of sums."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor.double(), rtol=1e-9, atol=1e-13, msg=name)


def test_v39_two_ranks_of_two_micro_batches_give_the_gradients_of_one_pass(
    packed: Path, expected: dict[str, Tensor], tmp_path: Path
) -> None:
    assert_same(run_ranks(packed, 2, 2, tmp_path / "gradients"), expected)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("accumulation", [1, 2, 4])
def test_v39_every_grid_gives_the_gradients_of_one_pass(
    packed: Path, expected: dict[str, Tensor], tmp_path: Path, ranks: int, accumulation: int
) -> None:
    assert_same(run_ranks(packed, ranks, accumulation, tmp_path / "gradients"), expected)


def test_v39_micro_batches_have_unequal_numbers_of_masked_tokens(packed: Path) -> None:
    """Else a mean of means would pass the tests above."""
    index = open_index(packed / INDEX, "train")
    epochs, rows = rows_at(step_positions(3, 16), 1, index.num_rows)
    rule = masking_rule(DataConfig(), index.vocab_size)
    counts = {len(mask_batch(read_batch(index, rows[s], epochs[s]), rule).labels) for s in (slice(0, 8), slice(8, 16))}
    assert len(counts) == 2


def training_of(
    index: Index, grid: Grid, *, dropout: float = 0.0, schedule: ScheduleConfig = SCHEDULE,
    precision: Literal["float32", "bfloat16"] = "float32",
) -> Training:
    """A training of a fresh model on this process alone, as the rank of `grid`."""
    data, world = DataConfig(global_batch=16), World(grid.rank, grid.world_size, torch.device("cpu"), False)
    model = build_model(dataclasses.replace(SHAPE, dropout=dropout), index.vocab_size, index.max_tokens, 1)
    rule, run = masking_rule(data, index.vocab_size), RunConfig(validation_rows=7, precision=precision)
    return Training(world, model, model, build_optimizer(model, schedule), rule, grid, data, schedule, run)


def test_v43_an_update_has_the_rate_of_its_number(full_index: Index) -> None:
    training = training_of(full_index, Grid(0, 1, 16))
    for update, batches in enumerate(read_steps(full_index, training.grid, 1, 16, 0, 5), start=1):
        training.step(update, batches, False)
        assert training.optimizer.param_groups[0]["lr"] == learning_rate(update, SCHEDULE)


@pytest.mark.parametrize("limit", [0.0, 0.01])
def test_a_step_clips_where_asked_and_reports_the_norm_before(full_index: Index, limit: float) -> None:
    training = training_of(full_index, Grid(0, 1, 16), schedule=dataclasses.replace(SCHEDULE, clip_norm=limit))
    (batches,) = read_steps(full_index, training.grid, 1, 16, 0, 1)
    norm = training.step(1, batches, False).gradient_norm
    gradients = [parameter.grad for parameter in training.model.parameters() if parameter.grad is not None]
    left = float(torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt())
    assert norm > 0.1
    assert left == pytest.approx(limit or norm, rel=1e-3)


def test_micro_batches_are_numbered_over_all_ranks_for_dropout(
    full_index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[tuple[int, int, int]] = []
    monkeypatch.setattr("rbt.trainer.training.seed_dropout", lambda *key: seeds.append(key))
    for rank in range(2):
        training = training_of(full_index, Grid(rank, 2, 3), dropout=0.1)
        (batches,) = read_steps(full_index, training.grid, 1, 16, 4, 5)
        training.step(5, batches, False)
    assert seeds == [(1, 5, number) for number in range(6)]


def test_validation_is_the_mean_over_fixed_masks_without_dropout_whatever_the_ranks(
    document_index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = training_of(document_index, Grid(0, 1, 3), dropout=0.5)
    seed = validation_seed(1)
    epochs, rows = rows_at(np.arange(7), seed, document_index.num_rows)
    batch = read_batch(document_index, rows, epochs)
    masked = mask_batch(batch, dataclasses.replace(training.rule, seed=seed))
    with torch.no_grad():
        expected = float(batch_loss(training.model.eval(), batch, masked)) / len(masked.labels)
    training.model.train()
    assert training.validate(document_index) == pytest.approx(expected, rel=1e-5)
    shares: list[Sequence[float]] = []
    monkeypatch.setattr(World, "sum", lambda self, values: shares.append(values) or list(values))
    for rank in range(2):
        training_of(document_index, Grid(rank, 2, 3)).validate(document_index)
    loss, masked_tokens = np.sum(shares, axis=0)
    assert masked_tokens == len(masked.labels)
    assert loss / masked_tokens == pytest.approx(expected, rel=1e-5)


def test_dropout_is_a_function_of_seed_step_and_micro_batch() -> None:
    drawn = set()
    for key in ((1, 1, 0), (1, 1, 1), (1, 2, 0), (2, 1, 0)):
        seed_dropout(*key)
        first = torch.rand(4)
        seed_dropout(*key)
        assert torch.equal(first, torch.rand(4))
        drawn.add(tuple(first.tolist()))
    assert len(drawn) == 4


def test_automatic_micro_batches_fit_the_share(full_index: Index) -> None:
    model = build_model(SHAPE, full_index.vocab_size, full_index.max_tokens, 1)
    world = World(0, 2, torch.device("cpu"), False)
    assert auto_micro_batch(model, 100, world.device, 0.15) == 16
    assert grid_for(model, DataConfig(global_batch=8), world).micro_batch == 4
    assert grid_for(model, DataConfig(global_batch=8, micro_batch=3), world).micro_batch == 3
    with pytest.raises(ConfigError, match="micro_batch"):
        grid_for(model, DataConfig(global_batch=8, micro_batch=0), world)
    with pytest.raises(ConfigError, match="global_batch"):
        grid_for(model, DataConfig(global_batch=9), world)


def test_precision_is_float32_on_a_cpu_unless_bfloat16_is_asked_for() -> None:
    with autocast(torch.device("cpu"), "auto"):
        assert not torch.is_autocast_enabled("cpu")
    with autocast(torch.device("cpu"), "bfloat16"):
        assert torch.is_autocast_enabled("cpu")


def test_a_step_and_a_validation_have_the_precision_that_is_asked_for(full_index: Index) -> None:
    numbers = []
    for precision in ("float32", "bfloat16"):
        training = training_of(full_index, Grid(0, 1, 8), precision=precision)  # type: ignore[arg-type]
        (batches,) = read_steps(full_index, training.grid, 1, 16, 0, 1)
        result = training.step(1, batches, False)
        numbers.append([result.local_loss / result.masked_tokens, result.gradient_norm, training.validate(full_index)])
    for exact, rough in zip(*numbers, strict=True):
        assert rough != exact
        assert rough == pytest.approx(exact, rel=0.02)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_an_error() -> None:
    assert choose_device("auto", 0).type == "cpu"
    with pytest.raises(ConfigError, match=r"\[run\] device: expected a GPU"):
        choose_device("cuda", 0)


def test_run_config_defaults_do_not_stop_a_run() -> None:
    assert RunConfig().stop_after == 0
