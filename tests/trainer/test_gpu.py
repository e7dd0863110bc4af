"""What only a GPU can show: attention by segment edges, and runs in half precision, compiled and resumed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rbt.errors import RbtError
from rbt.formats.blocks import Index
from rbt.formats.checkpoint import latest_checkpoint
from rbt.trainer.attention import has_varlen
from rbt.trainer.batch_masking import MaskedBatch, mask_batch
from rbt.trainer.batches import read_batch
from rbt.trainer.config import DataConfig, ModelConfig, RunConfig, ScheduleConfig
from rbt.trainer.inputs import Rounding, make_inputs
from rbt.trainer.masking import masking_rule
from rbt.trainer.model import build_model
from rbt.trainer.pretrain import pretrain
from rbt.trainer.training import autocast, batch_losses, be_deterministic

from .conftest import VOCAB

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
SMALL = ModelConfig(size="small", dropout=0.0, attention_dropout=0.0)  # heads of 64, as base and large


def device() -> torch.device:
    """The first GPU."""
    return torch.device("cuda")


@pytest.fixture(scope="module")
def masked(full_index: Index) -> MaskedBatch:
    """A batch of segments of many lengths."""
    rows = np.arange(min(24, full_index.num_rows))
    batch = read_batch(full_index, rows, np.zeros_like(rows), isolate_documents=True)
    return mask_batch(batch, masking_rule(DataConfig(), VOCAB))


def loss_and_gradients(masked: MaskedBatch, index: Index, by_edges: bool, precision: torch.dtype) -> torch.Tensor:
    """One vector of the mean loss and all gradients, float64."""
    model = build_model(SMALL, index.vocab_size, index.max_tokens, 1).to(device())
    inputs = make_inputs(masked, Rounding(max_tokens=index.max_tokens, by_edges=by_edges)).to(device())
    with autocast(device(), precision):
        loss, _ = batch_losses(model, inputs)
    (loss / inputs.masked_tokens).backward()
    parts = [loss / inputs.masked_tokens, *(each.grad for each in model.parameters() if each.grad is not None)]
    return torch.cat([part.detach().double().flatten() for part in parts]).cpu()


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_by_edges_a_model_learns_what_it_learns_under_a_mask(
    masked: MaskedBatch, full_index: Index, precision: torch.dtype
) -> None:
    """Loss and gradients are as near to those of float32 as half precision is under a mask."""
    assert has_varlen(device(), precision, 64)
    exact = loss_and_gradients(masked, full_index, False, torch.float32)
    under_mask, by_edges = (
        float((loss_and_gradients(masked, full_index, edges, precision) - exact).norm() / exact.norm())
        for edges in (False, True)
    )
    assert by_edges < max(1e-3, 1.5 * under_mask)


def losses(
    packed: Path, out: Path, stops: tuple[int, ...], run: RunConfig, model: ModelConfig = SMALL
) -> list[float]:
    """The loss of each of twelve steps, in as many goes as there are `stops`."""
    for steps in stops:
        pretrain(
            packed, "full-sentences", out, model, DataConfig(global_batch=16, micro_batch=8),
            ScheduleConfig(max_steps=12, warmup_steps=2, peak_learning_rate=1e-3, spike_nats=0.0),
            dataclasses.replace(run, log_every=1, validate_every=0, stop_after=steps),
        )
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return [record["loss"] for record in map(json.loads, lines) if "loss" in record]


@pytest.mark.filterwarnings("default")  # the compiler's
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_run_on_a_gpu_learns_and_goes_on_where_it_stopped(
    packed: Path, tmp_path: Path, precision: str, compiled: bool
) -> None:
    run = RunConfig(precision=precision, compile=compiled)  # type: ignore[arg-type]
    straight = losses(packed, tmp_path / "straight", (12,), run)
    resumed = losses(packed, tmp_path / "resumed", (5, 7), run)
    assert len(straight) == len(resumed) == 12 and straight[-1] < straight[0]
    np.testing.assert_allclose(resumed, straight, rtol=0.01)


@pytest.mark.filterwarnings("default")  # the compiler's
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_deterministic_runs_are_equal_byte_for_byte(
    packed: Path, tmp_path: Path, precision: str, compiled: bool
) -> None:
    """Weights and moments of two runs, with dropout: by edges in half precision, under a mask in float32."""
    run = RunConfig(precision=precision, compile=compiled, deterministic=True)  # type: ignore[arg-type]
    shaken = dataclasses.replace(SMALL, dropout=0.1, attention_dropout=0.1)
    found = []
    for name in ("first", "second"):
        losses(packed, tmp_path / name, (12,), run, shaken)
        folder = latest_checkpoint(tmp_path / name)
        assert folder is not None
        found.append([(folder / file).read_bytes() for file in ("model.safetensors", "optimizer.safetensors")])
    be_deterministic(False)
    assert found[0] == found[1]


def test_the_micro_batch_is_found_and_remembered(packed: Path, tmp_path: Path) -> None:
    """A small model's is the whole share."""
    run = RunConfig(log_every=1, validate_every=0, stop_after=1, compile=False)
    schedule = ScheduleConfig(max_steps=12, warmup_steps=2)
    pretrain(packed, "full-sentences", tmp_path / "run", SMALL, DataConfig(global_batch=16), schedule, run)
    [found] = json.loads((tmp_path / "run" / "micro_batch.json").read_text())
    assert found["rows"] == 16


def test_rows_that_memory_ran_out_with_are_too_many_at_the_next_start(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is one line, and the next start takes fewer."""
    run = RunConfig(log_every=1, validate_every=0, stop_after=1, compile=False)
    schedule, data = ScheduleConfig(max_steps=12, warmup_steps=2), DataConfig(global_batch=16)

    def out_of_memory(*_: object) -> None:
        torch.empty(1 << 50, dtype=torch.uint8, device=device())

    with monkeypatch.context() as patch:
        patch.setattr("rbt.trainer.training.accumulate", out_of_memory)
        with pytest.raises(RbtError, match="out of memory with a micro-batch of 16 rows"):
            pretrain(packed, "full-sentences", tmp_path / "run", SMALL, data, schedule, run)
    pretrain(packed, "full-sentences", tmp_path / "run", SMALL, data, schedule, run)
    [found] = json.loads((tmp_path / "run" / "micro_batch.json").read_text())
    assert (found["rows"], found["too_many"]) == (14, 16)
