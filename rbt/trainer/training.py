"""One step of training and one validation, over all ranks.

    micro-batches ──count over all ranks──> loss / count, backward ──gradients summed over ranks by DDP, at the last
    micro-batch alone──> norm, clip ──> AdamW at the step's rate, unless the loss is not to be trusted

The loss is the mean over all masked tokens of the global batch, however it is cut: each micro-batch adds its summed
loss divided by the global count (fairseq criterions/masked_lm.py and trainer.py). That of is_next is, in the same way,
the mean over all pairs, and is added.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rbt.formats.blocks import Index
from rbt.rng import hash_keys, hash_text
from rbt.trainer.batch_masking import mask_batch
from rbt.trainer.batches import Grid, read_batch
from rbt.trainer.compiling import Compiled
from rbt.trainer.config import DataConfig, RunConfig, ScheduleConfig
from rbt.trainer.device_errors import WORKSPACE, naming_operations, naming_rows
from rbt.trainer.distributed import World
from rbt.trainer.inputs import Inputs, Rounding, make_inputs
from rbt.trainer.masking import MaskingRule, validation_seed
from rbt.trainer.model import Roberta
from rbt.trainer.optim import clip_gradients, learning_rate, summed_loss
from rbt.trainer.order import rows_at
from rbt.trainer.stability import LossScale, Watch

_DROPOUT = hash_text("dropout")
# What gloo's threads hold of the last exchange needs Python's lock to go, and a module that shares gradients waits for
# these threads when it goes, with the lock in its hand: so it stays as long as the process, or that might hang.
_KEPT: list[nn.Module] = []
OVERFLOW = "float16 overflowed; the scale of the loss is halved"


def wrap(model: nn.Module, world: World, compiled: bool) -> nn.Module:
    """The module to call: compiled if asked, and summing gradients over ranks where there are several."""
    module: nn.Module = Compiled(model) if compiled else model
    if not world.is_launched:
        return module
    devices = [world.device] if world.device.type == "cuda" else None
    shared = DistributedDataParallel(module, device_ids=devices, gradient_as_bucket_view=True)
    _KEPT.append(shared)
    return shared


def be_deterministic(asked: bool) -> None:
    """Take kernels that give the same bits every time; an operation without one is an error, see `device_errors`.

    torch that only warns keeps the faster kernels of attention, whose gradients are added up in any order.
    """
    if asked:
        os.environ.setdefault(WORKSPACE, ":4096:8")  # read when the GPU is first used
    torch.use_deterministic_algorithms(asked)


def precision_of(run: RunConfig, device: torch.device) -> torch.dtype:
    """The type of matrix products; "auto" is bfloat16 on a GPU, float16 on one without it, and float32 elsewhere.

    A GPU that can only imitate bfloat16 (a V100, a T4) has none.
    """
    if run.precision == "auto" and device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if run.precision == "auto":
        return torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[run.precision]


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager[object]:
    """Matrix products in a precision; weights and sums stay float32."""
    return nullcontext() if precision == torch.float32 else torch.autocast(device.type, precision)


def batch_losses(module: nn.Module, inputs: Inputs) -> tuple[Tensor, Tensor | None]:
    """Summed losses of masked tokens and, of pairs, of is_next."""
    logits, next_logits = module(inputs.ids, inputs.positions, inputs.layout, inputs.selected, inputs.starts)
    masked = summed_loss(logits, inputs.labels)
    if next_logits is None or inputs.is_next is None:
        return masked, None
    return masked, summed_loss(next_logits, inputs.is_next)


def seed_dropout(seed: int, step: int, micro_batch: int) -> None:
    """Make dropout a function of (seed, step, number of the micro-batch over all ranks)."""
    torch.manual_seed(int(hash_keys(seed, _DROPOUT, step, micro_batch) >> np.uint64(1)))


@dataclass(frozen=True)
class StepResult:
    """A step over all ranks. `skipped`: why the update was left out, "" where it was made."""

    loss: float  # mean over masked tokens, nats
    next_loss: float | None  # mean over pairs, nats
    masked_tokens: int
    tokens: int
    gradient_norm: float
    skipped: str
    culprit: tuple[int, int]  # (rank, number) of the micro-batch with the largest loss a token, or one not finite
    stop_asked: bool


@dataclass(frozen=True)
class Sums:
    """Summed losses of a rank's micro-batches, float64."""

    masked: Tensor  # (micro-batches,)
    next: Tensor  # (micro-batches,)


def accumulate(
    module: nn.Module, batches: Sequence[Inputs], scale: float, next_scale: float,
    autocasting: AbstractContextManager[object], seeds: Sequence[tuple[int, int, int]],
) -> Sums:
    """Add the gradients of scale x summed loss (+ next_scale x that of is_next) over micro-batches.

    Ranks exchange gradients at the last micro-batch alone. `seeds`: (seed, step, micro-batch) of each dropout.
    """
    masked, following = list[Tensor](), list[Tensor]()
    for number, (inputs, seed) in enumerate(zip(batches, seeds, strict=True)):
        is_last = number == len(batches) - 1
        seed_dropout(*seed)
        with module.no_sync() if isinstance(module, DistributedDataParallel) and not is_last else nullcontext():
            with autocasting:
                loss, next_loss = batch_losses(module, inputs)
            total = loss * scale if next_loss is None else loss * scale + next_loss * next_scale
            torch.autograd.backward(total)
        masked.append(loss.detach().double())
        following.append(torch.zeros_like(masked[-1]) if next_loss is None else next_loss.detach().double())
    return Sums(torch.stack(masked), torch.stack(following))


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
    rounding: Rounding
    watch: Watch
    loss_scale: LossScale
    forget_rows: Callable[[], None] | None = None  # called where memory runs out with rows that were found

    @property
    def autocasting(self) -> AbstractContextManager[object]:
        """Matrix products in the run's precision."""
        return autocast(self.world.device, precision_of(self.run, self.world.device))

    def step(self, step: int, batches: Sequence[Inputs], stop_asked: bool) -> StepResult:
        """Do update `step` (counted from 1) on this rank's micro-batches, or leave it out: see `stability`.

        Raises RbtError where memory runs out, or an operation is not deterministic where that was asked.
        """
        with naming_operations(), naming_rows(self.grid.micro_batch, self.forget_rows):
            return self._step(step, batches, stop_asked)

    def _step(self, step: int, batches: Sequence[Inputs], stop_asked: bool) -> StepResult:
        batches = [inputs.to(self.world.device) for inputs in batches]
        masked_tokens, pairs, tokens, stops = self.world.sum([
            sum(inputs.masked_tokens for inputs in batches), sum(inputs.pairs for inputs in batches),
            sum(inputs.tokens for inputs in batches), float(stop_asked),
        ])
        first = sum(self.grid.micro_batches(self.data.global_batch)[: self.grid.rank])
        seeds = [(self.data.seed, step, first + number) for number in range(len(batches))]
        # DDP averages over ranks: times their number gives the sum
        scale = self.world.size * self.loss_scale.value
        weight = self.data.next_sentence_weight
        self.module.train()
        self.optimizer.zero_grad(set_to_none=True)
        sums = accumulate(
            self.module, batches, scale / max(1.0, masked_tokens), weight * scale / max(1.0, pairs), self.autocasting,
            seeds,
        )
        loss, next_loss, culprit = self._losses(batches, sums, masked_tokens, pairs)
        norm = self._unscaled_norm()
        overflowed = self.loss_scale.is_used and math.isfinite(loss) and not math.isfinite(norm)
        skipped = OVERFLOW if overflowed else self.watch.verdict(loss, norm)
        self.loss_scale.update(overflowed)
        if not skipped:
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(step, self.schedule)
            self.optimizer.step()
        return StepResult(loss, next_loss, int(masked_tokens), int(tokens), norm, skipped, culprit, stops > 0)

    def _losses(
        self, batches: Sequence[Inputs], sums: Sums, masked_tokens: float, pairs: float
    ) -> tuple[float, float | None, tuple[int, int]]:
        """(mean over masked tokens, mean over pairs or None, (rank, number) of the worst micro-batch), of all ranks."""
        masked = sums.masked.tolist()
        means = [total / max(1, inputs.masked_tokens) for total, inputs in zip(masked, batches, strict=True)]
        worst = max(range(len(means)), key=lambda number: _badness(means[number]))
        of_ranks = [0.0] * (2 * self.world.size)
        of_ranks[self.world.rank], of_ranks[self.world.size + self.world.rank] = means[worst], worst
        total, next_total, *of_ranks = self.world.sum([sum(masked), float(sums.next.sum()), *of_ranks])
        rank = max(range(self.world.size), key=lambda number: _badness(of_ranks[number]))
        next_loss = next_total / pairs if pairs and self.model.next_output is not None else None
        return total / max(1.0, masked_tokens), next_loss, (rank, int(of_ranks[self.world.size + rank]))

    def _unscaled_norm(self) -> float:
        """The global norm of the gradients, which are divided by the loss scale and clipped."""
        if self.loss_scale.value != 1.0:
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad.div_(self.loss_scale.value)
        return clip_gradients(self.model.parameters(), self.schedule.clip_norm)

    def validate(self, index: Index) -> tuple[float, float | None]:
        """Mean losses over masked tokens, and over pairs where there are any, of held-out rows.

        They are always the same rows, at most `validation_rows`, masked alike. Raises RbtError as a step does.
        """
        with naming_operations(), naming_rows(self.grid.micro_batch, self.forget_rows):
            return self._validate(index)

    def _validate(self, index: Index) -> tuple[float, float | None]:
        count = min(self.run.validation_rows, index.num_rows)
        seed = validation_seed(self.data.seed)
        epochs, rows = rows_at(np.arange(self.world.rank, count, self.world.size), seed, index.num_rows)
        rule = replace(self.rule, seed=seed)
        totals = np.zeros(4)
        self.model.eval()
        for start in range(0, len(rows), self.grid.micro_batch):
            part = slice(start, start + self.grid.micro_batch)
            batch = read_batch(index, rows[part], epochs[part], self.data.isolate_documents)
            inputs = make_inputs(mask_batch(batch, rule), self.rounding).to(self.world.device)
            with torch.no_grad(), self.autocasting:
                loss, next_loss = batch_losses(self.model, inputs)
            totals += [float(loss), inputs.masked_tokens, 0 if next_loss is None else float(next_loss), inputs.pairs]
        loss_sum, masked_tokens, next_sum, pairs = self.world.sum(totals.tolist())
        has_next = pairs and self.model.next_output is not None
        return loss_sum / max(1.0, masked_tokens), next_sum / pairs if has_next else None


def _badness(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf
