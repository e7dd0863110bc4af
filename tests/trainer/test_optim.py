"""Schedule, groups, loss and clipping."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from rbt.errors import ConfigError
from rbt.trainer.config import ModelConfig, ScheduleConfig
from rbt.trainer.flops import encoder_weights, peak_flops, training_flops_per_token
from rbt.trainer.model import Roberta
from rbt.trainer.optim import (
    build_optimizer,
    check_schedule,
    clip_gradients,
    learning_rate,
    parameter_groups,
    summed_loss,
)


@pytest.fixture(scope="module")
def model() -> Roberta:
    """Two layers without memory."""
    with torch.device("meta"):
        return Roberta(ModelConfig(size="tiny"), 100, 16)


@pytest.mark.parametrize(
    ("update", "rate"),
    [(1, 6e-4 / 24_000), (12_000, 3e-4), (24_000, 6e-4), (262_000, 3e-4), (500_000, 0.0)],
)
def test_v43_the_rate_at_five_updates(update: int, rate: float) -> None:
    assert learning_rate(update, ScheduleConfig()) == pytest.approx(rate, rel=1e-12, abs=0)


def test_v43_without_warmup_the_rate_falls_from_the_first_update() -> None:
    schedule = ScheduleConfig(max_steps=4, warmup_steps=0, peak_learning_rate=1.0)
    assert [learning_rate(update, schedule) for update in range(1, 6)] == [0.75, 0.5, 0.25, 0.0, 0.0]


@pytest.mark.parametrize(("max_steps", "warmup"), [(0, 0), (10, 10), (10, -1)])
def test_a_schedule_that_cannot_be_followed_is_an_error(max_steps: int, warmup: int) -> None:
    with pytest.raises(ConfigError, match="max_steps" if max_steps == 0 else "warmup_steps"):
        check_schedule(ScheduleConfig(max_steps=max_steps, warmup_steps=warmup))


def test_v43_by_default_every_parameter_decays(model: Roberta) -> None:
    (group,) = parameter_groups(model, ScheduleConfig())
    assert group["weight_decay"] == 0.01
    assert len(group["params"]) == len(list(model.parameters()))  # type: ignore[arg-type]


def test_v43_biases_and_norms_can_be_spared(model: Roberta) -> None:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, spared = parameter_groups(model, ScheduleConfig(decay_all=False))
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.01, 0.0)
    spared_names = {names[id(parameter)] for parameter in spared["params"]}  # type: ignore[attr-defined]
    decayed_names = {names[id(parameter)] for parameter in decayed["params"]}  # type: ignore[attr-defined]
    assert {"embedding_norm.weight", "head_bias", "layers.0.query_key_value.bias"} <= spared_names
    assert {"token_embedding.weight", "layers.1.expand.weight", "head_dense.weight"} <= decayed_names
    assert all("norm" in name or "bias" in name for name in spared_names)
    assert len(spared_names) + len(decayed_names) == len(names)


def test_v43_the_optimizer_has_the_configured_numbers(model: Roberta) -> None:
    schedule = ScheduleConfig(beta1=0.8, beta2=0.95, epsilon=1e-7, weight_decay=0.2)
    (group,) = build_optimizer(model, schedule).param_groups
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.8, 0.95), 1e-7, 0.2)


def test_the_loss_is_the_sum_of_negative_log_likelihoods() -> None:
    logits = torch.randn(7, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(7)
    expected = -sum(math.log(float(row.softmax(0)[label])) for row, label in zip(logits, labels, strict=True))
    assert float(summed_loss(logits, labels)) == pytest.approx(expected, rel=1e-12)
    assert summed_loss(logits.bfloat16(), labels).dtype == torch.float32


@pytest.mark.parametrize(("limit", "after"), [(0.0, 5.0), (10.0, 5.0), (1.0, 1.0)])
def test_gradients_are_clipped_only_where_asked_and_the_norm_is_always_known(limit: float, after: float) -> None:
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert clip_gradients([parameter], limit) == pytest.approx(5.0)
    assert float(parameter.grad.norm()) == pytest.approx(after, rel=1e-4)


@pytest.mark.parametrize(
    ("size", "weights", "encoder", "masked", "whole"),
    [("base", 84_934_656, 566.2, 601.5, 801.4), ("large", 301_989_888, 1962.9, 2010.2, 2278.1)],
)
def test_arithmetic_a_token_is_that_of_the_literature(
    size: str, weights: int, encoder: float, masked: float, whole: float
) -> None:
    shape = ModelConfig(size=size).shape  # type: ignore[arg-type]
    assert encoder_weights(shape) == weights
    for predicted, expected in ((0.0, encoder), (0.15, masked), (1.0, whole)):
        assert training_flops_per_token(shape, 512, 50_265, predicted) / 1e6 == pytest.approx(expected, abs=0.06)


def test_the_peak_is_known_by_the_device_name() -> None:
    assert peak_flops("NVIDIA A100-SXM4-80GB") == 312e12
    assert peak_flops("NVIDIA H100 PCIe") == 756e12
    assert peak_flops("NVIDIA H200") == 989e12
    assert peak_flops("some other card") is None
