"""Units in steps, ranks and batches: none is lost, repeated, or changed by what it stands beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rbt.finetune.batches import cut_by_tokens, rank_units, read_units, step_units, steps_an_epoch
from rbt.finetune.config import FinetuneConfig
from rbt.finetune.features import Features, make_features
from rbt.finetune.heads import FineTuned, SequenceHead, fresh
from rbt.finetune.kind import Asked
from rbt.finetune.model_folder import load_encoder
from rbt.finetune.sentences import CLASS
from rbt.finetune.training import Training
from rbt.tasks.sets import TASKS
from rbt.trainer.config import RunConfig, ScheduleConfig
from rbt.trainer.distributed import World
from rbt.trainer.optim import build_optimizer
from rbt.trainer.stability import LossScale


def features_of(units: list[list[int]]) -> Features:
    """Random sequences of the given numbers of tokens, between <s> and </s>."""
    generator = np.random.default_rng(1)
    made = [[[np.array([0, *generator.integers(4, 260, size), 2])] for size in unit] for unit in units]
    return make_features(made, np.arange(float(len(units))), 2)


SHAPES = st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=4), min_size=1, max_size=12)


@given(st.integers(1, 50), st.integers(1, 60), st.integers(0, 3))
def test_each_unit_is_read_once_an_epoch(num_units: int, batch_size: int, epoch: int) -> None:
    """Whatever the last step has left of them."""
    an_epoch = steps_an_epoch(num_units, batch_size)
    steps = [step_units(epoch * an_epoch + step, 1, num_units, batch_size) for step in range(an_epoch)]
    assert sorted(np.concatenate(steps).tolist()) == list(range(num_units))
    assert {len(units) for units in steps[:-1]} <= {batch_size} and 1 <= len(steps[-1]) <= batch_size


def test_epochs_and_seeds_have_different_orders() -> None:
    def order(seed: int, epoch: int) -> tuple[int, ...]:
        return tuple(step_units(epoch, seed, 40, 40).tolist())

    assert len({order(seed, epoch) for seed in (1, 2) for epoch in range(5)}) == 10


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@given(SHAPES)
def test_v46_ranks_share_the_units_of_a_step(world_size: int, shape: list[list[int]]) -> None:
    """Their shares differ by one unit at most, and their longest units by as little as can be."""
    features = features_of(shape)
    units = np.arange(len(shape))[::-1].copy()
    shares = [rank_units(units, features.unit_tokens, rank, world_size) for rank in range(world_size)]
    assert sorted(np.concatenate(shares).tolist()) == sorted(units.tolist())
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    costs = sorted((int(cost) for cost in features.unit_tokens), reverse=True)
    longest = [int(features.unit_tokens[share].max()) for share in shares if len(share)]
    assert longest == costs[: len(longest)]


@given(SHAPES, st.integers(1, 200))
def test_parts_hold_all_units_and_keep_to_the_budget(shape: list[list[int]], budget: int) -> None:
    """With padding; a unit that alone has more stands alone."""
    features = features_of(shape)
    parts = list(cut_by_tokens(np.arange(len(shape)), features, budget))
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(shape)))
    for part in parts:
        lengths = [size + 2 for unit in part for size in shape[unit]]
        assert len(lengths) * max(lengths) <= budget or len(part) == 1
    widest = [max(max(shape[unit]) for unit in part) for part in parts]
    assert widest == sorted(widest, reverse=True)


def test_no_units_are_no_parts() -> None:
    assert list(cut_by_tokens(np.empty(0, dtype=np.int64), features_of([[3], [4]]), 10)) == []
    assert list(cut_by_tokens(np.empty(0, dtype=np.int64), make_features([], np.empty(0), 1), 10)) == []


@given(SHAPES, st.randoms(use_true_random=False), st.booleans())
def test_a_batch_holds_the_sequences_of_its_units(shape: list[list[int]], random: Any, by_edges: bool) -> None:
    features = features_of(shape)
    units = np.array(random.sample(range(len(shape)), random.randint(1, len(shape))))
    batch = read_units(features, units, by_edges)
    numbers = [n for unit in units for n in range(features.unit_edges[unit], features.unit_edges[unit + 1])]
    sequences = [features.ids[features.edges[n]:features.edges[n + 1]] for n in numbers]
    assert batch.sequences.tolist() == numbers
    assert batch.ids.tolist() == np.concatenate(sequences).tolist()
    assert batch.positions.tolist() == [2 + place for sequence in sequences for place in range(len(sequence))]
    assert batch.ids[batch.starts].tolist() == [0] * len(sequences)
    assert np.diff(batch.unit_edges).tolist() == [len(shape[unit]) for unit in units]
    assert batch.targets[:, 0].tolist() == units.tolist()


@pytest.fixture(scope="module")
def model(start_model: Path) -> FineTuned:
    """With a head, in float64."""
    encoder = load_encoder(start_model)[0].encoder
    found = FineTuned(encoder, fresh(SequenceHead(encoder.config.shape.hidden, 2, 0.0), 1)).double().eval()
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.mul_(4)
    return found


def logits(model: FineTuned, features: Features, units: list[int]) -> torch.Tensor:
    batch = read_units(features, np.array(units))
    with torch.no_grad():
        found = model(batch.ids, batch.positions, batch.layout, batch.starts)
    assert isinstance(found, torch.Tensor)
    return found


def _single(features: Features, sequence: int) -> Features:
    """A unit of one sequence of some features."""
    ids = features.ids[features.edges[sequence]:features.edges[sequence + 1]]
    return make_features([[[ids]]], np.zeros(1), 2)


@pytest.mark.parametrize("shape", [[[3], [17, 5], [0], [9, 9, 1]], [[6], [6, 6], [6]]], ids=["masked", "dense"])
def test_a_batch_has_the_logits_of_its_sequences_alone(model: FineTuned, shape: list[list[int]]) -> None:
    features, order = features_of(shape), [2, 0, 1]
    numbers = [n for unit in order for n in range(features.unit_edges[unit], features.unit_edges[unit + 1])]
    together = logits(model, features, order)
    alone = torch.cat([logits(model, _single(features, number), [0]) for number in numbers])
    assert float(alone.std()) > 1e-3
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


def training_of(model: FineTuned, features: Features, rank: int, size: int) -> Training:
    """What a rank evaluates with; sums over ranks are left to the test."""
    asked = Asked(TASKS["sst2"], FinetuneConfig(batch_tokens=40), 64)
    optimizer = build_optimizer(model, ScheduleConfig())
    return Training(
        World(rank, size, torch.device("cpu"), False), model, model, optimizer, ScheduleConfig(),
        RunConfig(device="cpu", precision="float32"), CLASS, asked, features, np.arange(features.num_units), 4, False,
        LossScale(False, 1),
    )


@pytest.mark.parametrize("count", [1, 2, 7, 13])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_v46_every_unit_is_scored_by_one_rank_and_stands_in_its_place(
    model: FineTuned, count: int, size: int
) -> None:
    generator = np.random.default_rng(count)
    features = features_of([[int(length)] for length in generator.integers(0, 25, count)])
    shares = [training_of(model, features, rank, size).evaluate(features) for rank in range(size)]
    assert (sum((share != 0).any(axis=1).astype(int) for share in shares) == np.ones(count)).all()
    expected = torch.cat([logits(model, features, [unit]) for unit in range(count)]).float().double()
    torch.testing.assert_close(torch.from_numpy(np.sum(shares, axis=0)), expected, rtol=0, atol=1e-5)
    predicted = CLASS.predict(training_of(model, features, 0, 1).asked, [], features, np.sum(shares, axis=0))
    assert predicted == [("negative", "positive")[number] for number in expected.argmax(1)]
