"""One step of training and one validation, over all ranks.

    micro-batches ──mask──> masked batches ──count over all ranks──> loss / count, backward ──gradients summed over
    ranks by DDP, at the last micro-batch alone──> norm, clip ──> AdamW at the step's rate

The loss is the mean over all masked tokens of the global batch, however it is cut: each micro-batch adds its summed
loss divided by the global count (fairseq criterions/masked_lm.py and trainer.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rbt.errors import ConfigError
from rbt.formats.blocks import Index
from rbt.rng import hash_keys, hash_text
from rbt.trainer.batches import Batch, Grid, rank_share, read_batch
from rbt.trainer.config import DataConfig, RunConfig, ScheduleConfig
from rbt.trainer.device_masking import MaskedBatch, mask_batch
from rbt.trainer.distributed import World
from rbt.trainer.masking import MaskingRule, validation_seed
from rbt.trainer.model import Roberta, count_parameters
from rbt.trainer.optim import clip_gradients, learning_rate, summed_loss
from rbt.trainer.order import rows_at

CPU_ROWS = 16
MEMORY_SHARE = 0.6  # of a GPU's memory, for weights, optimizer and activations; the rest is the allocator's
_DROPOUT = hash_text("dropout")


def auto_micro_batch(model: Roberta, share: int, device: torch.device, masked_fraction: float) -> int:
    """Rows a forward pass for `micro_batch = "auto"`.

    On a CPU at most 16. On a GPU the largest power of two whose activations fit beside 16 bytes a parameter in 60 % of
    the memory, at 64 bytes a layer, token and hidden unit and 14 bytes a logit. Never more than the rank's share.
    """
    if device.type == "cpu":
        return min(share, CPU_ROWS)
    shape = model.config.shape
    row = model.max_tokens * (64 * shape.layers * shape.hidden + 14 * masked_fraction * model.vocab_size)
    memory = torch.cuda.get_device_properties(device).total_memory
    room = MEMORY_SHARE * memory - 16 * count_parameters(model)
    return min(share, 1 << max(0, int(max(1.0, room / row)).bit_length() - 1))


def grid_for(model: Roberta, data: DataConfig, world: World) -> Grid:
    """The grid of a run: `micro_batch` rows, or as many as "auto" allows."""
    share = rank_share(data.global_batch, world.size)
    if data.micro_batch == "auto":
        rows = auto_micro_batch(model, share, world.device, data.masked_fraction)
    else:
        rows = min(data.micro_batch, share)
    if rows < 1:
        raise ConfigError('[data] micro_batch: expected "auto" or at least 1', found=repr(data.micro_batch))
    return Grid(world.rank, world.size, rows)


def wrap(model: Roberta, world: World, compiled: bool) -> nn.Module:
    """The module to call: compiled if asked, and summing gradients over ranks where there are several."""
    module: nn.Module = torch.compile(model) if compiled else model  # type: ignore[assignment]
    if not world.is_launched:
        return module
    devices = [world.device] if world.device.type == "cuda" else None
    return DistributedDataParallel(module, device_ids=devices, gradient_as_bucket_view=True)


def autocast(device: torch.device, precision: Literal["auto", "float32", "bfloat16"]) -> AbstractContextManager[object]:
    """bfloat16 matrix products where asked; "auto" asks on a GPU."""
    if precision == "bfloat16" or (precision == "auto" and device.type == "cuda"):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def batch_loss(module: nn.Module, batch: Batch, masked: MaskedBatch) -> Tensor:
    """Summed loss of a masked batch."""
    segments = batch.segments if batch.needs_isolation else None
    return summed_loss(module(masked.inputs, batch.positions, segments, masked.selected), masked.labels)


def seed_dropout(seed: int, step: int, micro_batch: int) -> None:
    """Make dropout a function of (seed, step, number of the micro-batch over all ranks)."""
    torch.manual_seed(int(hash_keys(seed, _DROPOUT, step, micro_batch) >> np.uint64(1)))


@dataclass(frozen=True)
class StepResult:
    """A step over all ranks: summed loss is this rank's own, the rest is global."""

    local_loss: float
    masked_tokens: int
    tokens: int
    gradient_norm: float
    stop_asked: bool


def accumulate(
    module: nn.Module, batches: Sequence[Batch], masked: Sequence[MaskedBatch], scale: float,
    autocasting: AbstractContextManager[object], seeds: Sequence[tuple[int, int, int]],
) -> Tensor:
    """Add the gradients of scale x summed loss over micro-batches; return the summed loss, float64.

    Ranks exchange gradients at the last micro-batch alone. `seeds`: (seed, step, micro-batch) of each dropout.
    """
    total = torch.zeros((), dtype=torch.float64, device=batches[0].ids.device)
    for number, (batch, answers, seed) in enumerate(zip(batches, masked, seeds, strict=True)):
        is_last = number == len(batches) - 1
        seed_dropout(*seed)
        with module.no_sync() if isinstance(module, DistributedDataParallel) and not is_last else nullcontext():
            with autocasting:
                loss = batch_loss(module, batch, answers)
            torch.autograd.backward(loss * scale)
        total += loss.detach().double()
    return total


@dataclass(frozen=True)
class Training:
    """All that a step needs."""

    world: World
    model: Roberta
    module: nn.Module
    optimizer: torch.optim.Optimizer
    rule: MaskingRule
    grid: Grid
    data: DataConfig
    schedule: ScheduleConfig
    run: RunConfig

    def step(self, step: int, batches: Sequence[Batch], stop_asked: bool) -> StepResult:
        """Do update `step` (counted from 1) on this rank's micro-batches; leaves the update out if it is not finite."""
        batches = [batch.to(self.world.device) for batch in batches]
        masked = [mask_batch(batch, self.rule) for batch in batches]
        masked_tokens, tokens, stops = self.world.sum(
            [sum(len(answers.labels) for answers in masked), sum(batch.tokens for batch in batches), float(stop_asked)]
        )
        first = self.grid.rank * len(batches)
        seeds = [(self.data.seed, step, first + number) for number in range(len(batches))]
        # DDP averages over ranks: times their number gives the sum
        scale = self.world.size / max(1.0, masked_tokens)
        self.module.train()
        self.optimizer.zero_grad(set_to_none=True)
        autocasting = autocast(self.world.device, self.run.precision)
        loss = float(accumulate(self.module, batches, masked, scale, autocasting, seeds))
        norm = clip_gradients(self.model.parameters(), self.schedule.clip_norm)
        if math.isfinite(norm):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(step, self.schedule)
            self.optimizer.step()
        return StepResult(loss, int(masked_tokens), int(tokens), norm, stops > 0)

    def validate(self, index: Index) -> float:
        """Mean loss over masked tokens of (at most `validation_rows`) held-out rows, always the same, masked alike."""
        count = min(self.run.validation_rows, index.num_rows)
        seed = validation_seed(self.data.seed)
        epochs, rows = rows_at(np.arange(self.world.rank, count, self.world.size), seed, index.num_rows)
        rule = replace(self.rule, seed=seed)
        loss, masked_tokens = 0.0, 0
        self.model.eval()
        for start in range(0, len(rows), self.grid.micro_batch):
            part = slice(start, start + self.grid.micro_batch)
            batch = read_batch(index, rows[part], epochs[part]).to(self.world.device)
            masked = mask_batch(batch, rule)
            with torch.no_grad(), autocast(self.world.device, self.run.precision):
                loss += float(batch_loss(self.model, batch, masked))
            masked_tokens += len(masked.labels)
        total, number = self.world.sum([loss, masked_tokens])
        return total / max(1.0, number)
