"""How many rows a forward pass takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rbt.errors import ConfigError, RbtError
from rbt.trainer.config import ModelConfig
from rbt.trainer.inputs import Rounding, make_inputs
from rbt.trainer.micro_batch import (
    REMEMBERED,
    choose_micro_batch,
    full_rows,
    largest_fitting,
    remember,
    remembered,
)
from rbt.trainer.model import build_model
from rbt.trainer.training import batch_losses

CPU, GPU = torch.device("cpu"), torch.device("cuda")  # a device's name needs no device


@given(limit=st.integers(0, 3000), most=st.integers(1, 2000))
def test_the_search_ends_near_the_largest_that_fits(limit: int, most: int) -> None:
    tried: list[int] = []

    def fits(rows: int) -> bool:
        assert 1 <= rows <= most
        tried.append(rows)
        return rows <= limit

    found, largest = largest_fitting(fits, most), min(limit, most)
    assert largest - largest // 8 <= found <= largest or found == largest
    assert len(tried) == len(set(tried)) <= 20


def test_the_setting_is_taken_up_to_the_share(tmp_path: Path) -> None:
    def never(rows: int) -> bool:
        raise AssertionError

    assert choose_micro_batch(3, 8, GPU, never, tmp_path, {}) == 3
    assert choose_micro_batch(30, 8, GPU, never, tmp_path, {}) == 8
    assert choose_micro_batch("auto", 100, CPU, never, tmp_path, {}) == 16
    assert choose_micro_batch("auto", 4, CPU, never, tmp_path, {}) == 4
    with pytest.raises(ConfigError, match='micro_batch: expected "auto" or at least 1; found 0'):
        choose_micro_batch(0, 8, CPU, never, tmp_path, {})


def test_what_was_found_is_remembered_for_the_same_circumstances(tmp_path: Path) -> None:
    key = {"device": "a card", "precision": "bfloat16"}
    assert choose_micro_batch("auto", 64, GPU, lambda rows: rows <= 20, tmp_path, key) == 20
    remember(tmp_path, key, 20)
    remember(tmp_path, {**key, "precision": "float32"}, 9)
    assert remembered(tmp_path, key) == 20
    assert remembered(tmp_path, {**key, "device": "another"}) is None
    assert choose_micro_batch("auto", 64, GPU, lambda rows: pytest.fail("it was known"), tmp_path, key) == 20
    assert choose_micro_batch("auto", 12, GPU, lambda rows: pytest.fail("it was known"), tmp_path, key) == 12
    assert [path.name for path in tmp_path.iterdir()] == [REMEMBERED]


def test_a_device_without_room_for_a_row_is_an_error_with_a_cure(tmp_path: Path) -> None:
    with pytest.raises(RbtError, match=r"expected room for one row; .*checkpoint_activations"):
        choose_micro_batch("auto", 8, GPU, lambda rows: False, tmp_path, {})


def test_the_rows_of_a_trial_are_full_and_as_much_is_predicted_as_ever() -> None:
    masked = full_rows(3, 32, 0.15)
    assert np.diff(masked.batch.row_edges).tolist() == [32, 32, 32]
    assert len(masked.selected) >= 3 * 0.15 * 32 and len(set(masked.selected.tolist())) == len(masked.selected)
    model = build_model(ModelConfig(layers=1, hidden=16, heads=2, feed_forward=24), 300, 32, 1)
    loss, _ = batch_losses(model, make_inputs(masked, Rounding(max_tokens=32)))
    assert torch.isfinite(loss)
