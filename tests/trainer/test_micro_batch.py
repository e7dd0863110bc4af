"""How many rows a forward pass takes."""

from __future__ import annotations

import weakref
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rbt.errors import ConfigError, RbtError
from rbt.manifest import read_json
from rbt.trainer.config import ModelConfig
from rbt.trainer.distributed import World
from rbt.trainer.inputs import Rounding, make_inputs, rounding_for
from rbt.trainer.micro_batch import (
    REMEMBERED,
    choose_micro_batch,
    circumstances,
    fits_on_gpu,
    forget,
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


def test_rows_that_memory_ran_out_with_are_not_tried_again(tmp_path: Path) -> None:
    """Nor any above them, nor a few below; another circumstance is another search."""
    key, other = {"compile": True}, {"compile": False}
    remember(tmp_path, key, 64)
    remember(tmp_path, other, 90)
    tried = list[int]()

    def fits(rows: int) -> bool:
        tried.append(rows)
        return True

    for too_many, expected in ((64, 56), (56, 49), (7, 6), (1, 0)):
        forget(tmp_path, key, too_many)
        assert remembered(tmp_path, key) is None and remembered(tmp_path, other) == 90
        if expected:
            assert choose_micro_batch("auto", 100, GPU, fits, tmp_path, key) == expected == max(tried)
            assert choose_micro_batch("auto", 5, GPU, fits, tmp_path, key) == 5
            remember(tmp_path, key, expected)
            assert remembered(tmp_path, key) == expected
        tried.clear()
    with pytest.raises(RbtError, match="expected room for one row"):
        choose_micro_batch("auto", 100, GPU, fits, tmp_path, key)
    assert not tried


def test_what_is_known_is_not_written_again(tmp_path: Path) -> None:
    """One entry for each circumstance, and a file that stays as it was where nothing is new."""
    for rows in (20, 20, 18):
        remember(tmp_path, {"ranks": 1}, rows)
    remember(tmp_path, {"ranks": 2}, 9)
    assert [entry["rows"] for entry in read_json(tmp_path / REMEMBERED)] == [18, 9]
    before = (tmp_path / REMEMBERED).stat().st_ino  # writing is replacing
    remember(tmp_path, {"ranks": 1}, 18)
    assert (tmp_path / REMEMBERED).stat().st_ino == before


SHAPE = ModelConfig(layers=1, hidden=16, heads=2, feed_forward=24)


def test_what_decides_how_many_rows_fit_is_what_they_are_remembered_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever of it changes, there is nothing to go by; it comes back from the file as it was."""
    world, model = World(0, 1, CPU, False), build_model(SHAPE, 300, 32, 1)
    anew, other = build_model(SHAPE, 300, 32, 1), build_model(ModelConfig(layers=1, hidden=8, heads=2), 300, 32, 1)
    anew.checkpoint_activations = True
    half, full = torch.bfloat16, torch.float32
    key = circumstances(world, model, 32, half, True, True)
    remember(tmp_path, key, 20)
    assert remembered(tmp_path, circumstances(world, model, 32, half, True, True)) == 20
    changed = [
        (world, model, 32, half, False, True), (world, model, 32, half, True, False),
        (world, model, 32, full, True, True), (world, model, 16, half, True, True),
        (world, anew, 32, half, True, True), (world, other, 32, half, True, True),
        (World(0, 2, CPU, False), model, 32, half, True, True),
    ]
    assert not any(remembered(tmp_path, circumstances(*each)) for each in changed)
    monkeypatch.setattr(torch, "__version__", "2.99")
    assert remembered(tmp_path, circumstances(world, model, 32, half, True, True)) is None


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_trial_is_as_full_as_a_pass_can_be_and_laid_out_as_one_of_blocks(rows: int, compiled: bool) -> None:
    masked = full_rows(rows, 32, 0.15)
    assert np.diff(masked.batch.row_edges).tolist() == [32] * rows
    assert len(masked.selected) >= rows * 0.15 * 32 and len(set(masked.selected.tolist())) == len(masked.selected)
    under_mask, by_edges = (
        make_inputs(masked, rounding_for(rows, 32, 0.15, compiled, edges)) for edges in (False, True)
    )
    assert under_mask.layout.gather is not None and under_mask.layout.gather.shape == (rows, 32)
    assert by_edges.layout.edges is not None and by_edges.layout.dense is None
    loss, _ = batch_losses(build_model(SHAPE, 300, 32, 1), under_mask)
    assert torch.isfinite(loss)


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What trials ask of a GPU, answered on a CPU; the calls."""
    calls = list[str]()
    properties = SimpleNamespace(total_memory=1 << 20)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    for name in ("synchronize", "empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda *_, name=name: calls.append(name))
    return calls


@pytest.mark.parametrize("is_out", [False, True])
def test_a_trial_leaves_nothing_behind_and_the_peak_is_counted_anew(
    as_on_a_gpu: list[str], monkeypatch: pytest.MonkeyPatch, is_out: bool
) -> None:
    """Also one that fails: when counting begins, its reserve is no longer held."""
    model, reserves = build_model(SHAPE, 300, 32, 1), list[weakref.ref[torch.Tensor]]()
    empty = torch.empty

    def reserve(*arguments: Any, **options: Any) -> torch.Tensor:
        made = empty(*arguments, **options)
        reserves.append(weakref.ref(made))
        return made

    def out_of_memory(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    held = list[bool]()
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: held.append(reserves[0]() is not None))
    monkeypatch.setattr("rbt.trainer.micro_batch.torch.empty", reserve)
    if is_out:
        monkeypatch.setattr(torch.cuda, "synchronize", out_of_memory)
    fits = fits_on_gpu(model, CPU, 3, lambda rows: Rounding(max_tokens=32), 0.15, nullcontext())
    assert fits == (not is_out) and held == [False]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert as_on_a_gpu[-1] == "empty_cache"


@pytest.mark.usefixtures("as_on_a_gpu")
def test_another_error_of_a_trial_is_no_lack_of_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("an illegal memory access")

    monkeypatch.setattr(torch.cuda, "synchronize", broken)
    with pytest.raises(RuntimeError, match="an illegal memory access"):
        fits_on_gpu(
            build_model(SHAPE, 300, 32, 1), CPU, 1, lambda rows: Rounding(max_tokens=32), 0.15, nullcontext()
        )
