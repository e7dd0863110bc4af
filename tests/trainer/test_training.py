"""What a step and a validation do: rates, precision, dropout, spikes, what is no number, and what has no kernel."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from rbt.errors import ConfigError, RbtError
from rbt.formats.blocks import Index, is_pair_index
from rbt.trainer.batch_masking import mask_batch
from rbt.trainer.batches import Grid, read_batch, read_steps
from rbt.trainer.config import DataConfig, RunConfig, ScheduleConfig
from rbt.trainer.distributed import World, choose_device
from rbt.trainer.inputs import Inputs, Rounding, make_inputs, rounding_for
from rbt.trainer.masking import masking_rule, validation_seed
from rbt.trainer.model import build_model
from rbt.trainer.optim import build_optimizer, learning_rate
from rbt.trainer.order import rows_at
from rbt.trainer.stability import LossScale, Watch
from rbt.trainer.training import (
    OVERFLOW,
    Training,
    autocast,
    batch_losses,
    be_deterministic,
    precision_of,
    seed_dropout,
)

from .conftest import VOCAB
from .test_gradients import SHAPE, inputs_of

SCHEDULE = ScheduleConfig(max_steps=5, warmup_steps=2)


def training_of(
    index: Index, grid: Grid, *, dropout: float = 0.0, schedule: ScheduleConfig = SCHEDULE,
    precision: Literal["float32", "bfloat16", "float16"] = "float32",
) -> Training:
    """A training of a fresh model on this process alone, as the rank of `grid`."""
    data, world = DataConfig(global_batch=16), World(grid.rank, grid.world_size, torch.device("cpu"), False)
    model = build_model(
        dataclasses.replace(SHAPE, dropout=dropout), index.vocab_size, index.max_tokens, 1, is_pair_index(index)
    )
    rule, run = masking_rule(data, VOCAB), RunConfig(validation_rows=7, precision=precision)
    return Training(
        world, model, model, build_optimizer(model, schedule), rule, grid, data, schedule, run, Rounding(),
        Watch(schedule), LossScale(precision == "float16", 1),
    )


def steps_of(training: Training, index: Index, first: int, last: int) -> list[list[Inputs]]:
    """What the steps [first, last) read."""
    return [
        [make_inputs(mask_batch(batch, training.rule), training.rounding) for batch in batches]
        for batches in read_steps(index, training.grid, 1, 16, first, last)
    ]


def test_v43_an_update_has_the_rate_of_its_number(full_index: Index) -> None:
    training = training_of(full_index, Grid(0, 1, 16))
    for update, batches in enumerate(steps_of(training, full_index, 0, 5), start=1):
        training.step(update, batches, False)
        assert training.optimizer.param_groups[0]["lr"] == learning_rate(update, SCHEDULE)


@pytest.mark.parametrize("limit", [0.0, 0.01])
def test_a_step_clips_where_asked_and_reports_the_norm_before(full_index: Index, limit: float) -> None:
    training = training_of(full_index, Grid(0, 1, 16), schedule=dataclasses.replace(SCHEDULE, clip_norm=limit))
    (batches,) = steps_of(training, full_index, 0, 1)
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
        (batches,) = steps_of(training, full_index, 4, 5)
        training.step(5, batches, False)
    assert seeds == [(1, 5, number) for number in range(6)]


def test_validation_is_the_mean_over_fixed_masks_without_dropout_whatever_the_ranks(
    document_index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = training_of(document_index, Grid(0, 1, 3), dropout=0.5)
    seed = validation_seed(1)
    epochs, rows = rows_at(np.arange(7), seed, document_index.num_rows)
    inputs = inputs_of(document_index, rows, epochs, dataclasses.replace(training.rule, seed=seed))
    with torch.no_grad():
        expected = float(batch_losses(training.model.eval(), inputs)[0]) / inputs.masked_tokens
    training.model.train()
    assert training.validate(document_index) == (pytest.approx(expected, rel=1e-5), None)
    shares: list[Sequence[float]] = []
    monkeypatch.setattr(World, "sum", lambda self, values: shares.append(values) or list(values))
    for rank in range(2):
        training_of(document_index, Grid(rank, 2, 3)).validate(document_index)
    loss, masked_tokens, *none = np.sum(shares, axis=0)
    assert masked_tokens == inputs.masked_tokens and none == [0, 0]
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


@pytest.mark.parametrize(("major", "expected"), [(7, torch.float16), (8, torch.bfloat16), (9, torch.bfloat16)])
def test_precision_on_a_gpu_is_bfloat16_where_it_is_more_than_imitated(
    monkeypatch: pytest.MonkeyPatch, major: int, expected: torch.dtype
) -> None:
    """torch's own answer for a card, by the first number of its compute capability."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(major=major))
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda device: True)
    assert precision_of(RunConfig(), torch.device("cuda")) == expected
    for name, asked in (("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)):
        assert precision_of(RunConfig(precision=name), torch.device("cuda")) == asked  # type: ignore[arg-type]


def test_precision_is_float32_on_a_cpu_unless_another_is_asked_for() -> None:
    cpu = torch.device("cpu")
    assert precision_of(RunConfig(), cpu) == torch.float32
    assert precision_of(RunConfig(precision="float16"), cpu) == torch.float16
    with autocast(cpu, torch.float32):
        assert not torch.is_autocast_enabled("cpu")
    with autocast(cpu, torch.bfloat16):
        assert torch.is_autocast_enabled("cpu")


def test_a_step_and_a_validation_have_the_precision_that_is_asked_for(full_index: Index) -> None:
    numbers = []
    for precision in ("float32", "bfloat16", "float16"):
        training = training_of(full_index, Grid(0, 1, 8), precision=precision)  # type: ignore[arg-type]
        (batches,) = steps_of(training, full_index, 0, 1)
        result = training.step(1, batches, False)
        numbers.append([result.loss, result.gradient_norm, training.validate(full_index)[0]])
    for exact, *others in zip(*numbers, strict=True):
        for rough in others:
            assert rough != exact
            assert rough == pytest.approx(exact, rel=0.02)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_an_error() -> None:
    assert choose_device("auto", 0).type == "cpu"
    with pytest.raises(ConfigError, match=r"\[run\] device: expected a GPU"):
        choose_device("cuda", 0)


def test_run_config_defaults_do_not_stop_a_run() -> None:
    assert RunConfig().stop_after == 0


def test_a_spike_is_left_out_and_its_rows_are_known(full_index: Index) -> None:
    """Weights stay bit for bit, and so do the moments; the next update is made."""
    schedule = dataclasses.replace(SCHEDULE, max_steps=9, spike_nats=0.5, spike_window=3)
    training = training_of(full_index, Grid(0, 1, 8), schedule=schedule)
    steps = steps_of(training, full_index, 0, 5)
    for number in range(3):
        assert training.step(number + 1, steps[number], False).skipped == ""
    before = [parameter.detach().clone() for parameter in training.model.parameters()]
    with torch.no_grad():
        training.model.head_bias[steps[3][1].labels] -= 9.0  # what the second one is to predict
    spoiled = [parameter.detach().clone() for parameter in training.model.parameters()]
    result = training.step(4, steps[3], False)
    assert result.skipped.startswith("the loss is a spike") and result.culprit == (0, 1)
    assert all(torch.equal(a, b) for a, b in zip(spoiled, training.model.parameters(), strict=True))
    assert training.watch.skipped == 1
    with torch.no_grad():
        for parameter, value in zip(training.model.parameters(), before, strict=True):
            parameter.copy_(value)
    assert training.step(5, steps[4], False).skipped == ""
    assert training.watch.skipped == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_left_out(full_index: Index, value: float) -> None:
    training = training_of(full_index, Grid(0, 1, 8))
    (step,) = steps_of(training, full_index, 0, 1)
    with torch.no_grad():
        training.model.head_bias[steps_label(step[1])] = -value
    moments = len(training.optimizer.state)
    assert training.step(1, step, False).skipped == "the loss is not finite"
    assert len(training.optimizer.state) == moments


def steps_label(inputs: Inputs) -> int:
    """Some label of a micro-batch."""
    return int(inputs.labels[0])


def test_float16_that_overflows_halves_the_scale_and_is_no_skipped_update(full_index: Index) -> None:
    training = training_of(full_index, Grid(0, 1, 16), precision="float16")
    (batches,) = steps_of(training, full_index, 0, 1)
    training.loss_scale.value = 2.0**40
    result = training.step(1, batches, False)
    assert result.skipped == OVERFLOW and training.loss_scale.value == 2.0**39
    assert training.watch.skipped == 0
    training.loss_scale.value = 2.0**7
    assert training.step(1, batches, False).skipped == ""


def test_a_compiled_model_meets_few_sizes_and_the_same_losses(document_index: Index) -> None:
    """Padding to round sizes changes neither losses nor gradients."""
    network = build_model(SHAPE, document_index.vocab_size, document_index.max_tokens, 1).double()
    rounding = rounding_for(6, document_index.max_tokens, 0.15, True, False)
    sizes, rule = set(), masking_rule(DataConfig(), VOCAB)
    for first in range(0, 24, 6):
        rows = np.arange(first, first + 6)
        masked = mask_batch(read_batch(document_index, rows, np.zeros(6, dtype=np.int64)), rule)
        found = []
        for each in (Rounding(), rounding):
            inputs = make_inputs(masked, each)
            network.zero_grad()
            loss, _ = batch_losses(network, inputs)
            loss.backward()
            found.append([loss.detach(), *(parameter.grad for parameter in network.parameters())])
        torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-12)
        assert len(inputs.ids) % rounding.tokens == 0 and len(inputs.selected) % rounding.selected == 0
        assert (inputs.tokens, inputs.masked_tokens) == (len(masked.inputs), len(masked.labels))
        sizes.add((len(inputs.ids), len(inputs.selected)))
    assert len(sizes) < 4


def test_segment_edges_for_flash_attention_are_padded_with_segments_of_no_token(document_index: Index) -> None:
    rule = masking_rule(DataConfig(), VOCAB)
    rounding = rounding_for(6, document_index.max_tokens, 0.15, True, True)
    masked = mask_batch(read_batch(document_index, np.arange(6), np.zeros(6, dtype=np.int64)), rule)
    inputs = make_inputs(masked, rounding)
    edges = inputs.layout.edges
    assert edges is not None and edges.dtype == torch.int32
    lengths = np.diff(edges.numpy())
    blocks = np.diff(masked.batch.block_edges)
    assert lengths[: len(blocks)].tolist() == blocks.tolist()
    assert lengths.min() >= 0 and lengths.max() <= inputs.layout.longest == document_index.max_tokens
    assert edges[0] == 0 and edges[-1] == len(inputs.ids) and len(edges) & (len(edges) - 1) == 0


@pytest.fixture
def deterministic() -> Iterator[None]:
    """As with --deterministic."""
    be_deterministic(True)
    yield
    be_deterministic(False)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.usefixtures("deterministic")
def test_deterministic_kernels_are_taken_where_asked() -> None:
    """Not only warned about: a torch that warns keeps the other kernels of attention on a GPU."""
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()


@pytest.mark.usefixtures("deterministic")
def test_an_operation_that_is_not_deterministic_is_named(
    full_index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`put_` has no deterministic kernel on any device."""
    training = training_of(full_index, Grid(0, 1, 16))
    (batches,) = steps_of(training, full_index, 0, 1)

    def without_kernel(*_: object) -> Tensor:
        return torch.zeros(3).put_(torch.tensor([1]), torch.tensor([2.0]))

    monkeypatch.setattr(training.module, "forward", without_kernel)
    message = r"bits every time; found put_ has none \(leave out --deterministic\)$"
    with pytest.raises(RbtError, match=message):
        training.step(1, batches, False)
    with pytest.raises(RbtError, match=message):
        training.validate(full_index)


def failing(error: RuntimeError) -> Callable[..., Tensor]:
    """A pass that fails."""
    def forward(*_: object) -> Tensor:
        raise error

    return forward


def test_cublas_without_its_workspace_is_named(full_index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the words of torch's own check."""
    training = training_of(full_index, Grid(0, 1, 16))
    (batches,) = steps_of(training, full_index, 0, 1)
    error = RuntimeError(
        "Deterministic behavior was enabled, but this operation is not deterministic because it uses CuBLAS and you"
    )
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":0:0")
    monkeypatch.setattr(training.module, "forward", failing(error))
    with pytest.raises(RbtError, match=r"cuBLAS with CUBLAS_WORKSPACE_CONFIG=:0:0 \(unset CUBLAS_WORKSPACE_CONFIG"):
        training.step(1, batches, False)


@pytest.mark.parametrize("error", [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
])
@pytest.mark.parametrize("work", ["step", "validation"])
def test_memory_that_runs_out_is_one_line_with_a_cure(
    full_index: Index, monkeypatch: pytest.MonkeyPatch, error: RuntimeError, work: str
) -> None:
    """Rows that were found, and not set, are forgotten, so that the next start takes fewer."""
    forgotten = list[str]()
    found = dataclasses.replace(training_of(full_index, Grid(0, 1, 8)), forget_rows=lambda: forgotten.append("rows"))
    set_by_hand = training_of(full_index, Grid(0, 1, 8))
    for training, cure in ((found, "start again, with fewer rows; or set"), (set_by_hand, "set")):
        (batches,) = steps_of(training, full_index, 0, 1)
        monkeypatch.setattr(training.module, "forward", failing(error))
        message = (
            f"expected room for a pass; found out of memory with a micro-batch of 8 rows ({cure} "
            "data.micro_batch below 8, or run.checkpoint_activations = true)"
        )
        with pytest.raises(RbtError, match=f"^{re.escape(message)}$"):
            _ = training.step(1, batches, False) if work == "step" else training.validate(full_index)
    assert forgotten == ["rows"]


def test_an_error_of_another_kind_stays_what_it_is(full_index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    training = training_of(full_index, Grid(0, 1, 8))
    (batches,) = steps_of(training, full_index, 0, 1)
    monkeypatch.setattr(training.module, "forward", failing(RuntimeError("an illegal memory access")))
    with pytest.raises(RuntimeError, match="an illegal memory access"):
        training.step(1, batches, False)
