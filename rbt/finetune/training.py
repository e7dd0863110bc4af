"""Steps and evaluation of fine-tuning, over all ranks.

    a step's units ──share of this rank──> parts of at most `batch_tokens` ──losses / units of the step──> gradients
        ──summed by DDP at the last part──> AdamW
    all units ──parts──> every `world size`-th ──scores──> put in their places, summed over ranks: each unit once
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rbt.finetune.batches import UnitBatch, cut_by_tokens, rank_units, read_units, step_units
from rbt.finetune.features import Features, Float64
from rbt.finetune.heads import FineTuned, Outputs
from rbt.finetune.kind import Asked, Kind
from rbt.trainer.config import RunConfig, ScheduleConfig
from rbt.trainer.distributed import World
from rbt.trainer.optim import clip_gradients, learning_rate
from rbt.trainer.order import Int64
from rbt.trainer.stability import LossScale
from rbt.trainer.training import autocast, precision_of, seed_dropout


@dataclass(frozen=True)
class StepResult:
    """A step over all ranks."""

    loss: float  # mean over units
    gradient_norm: float
    is_left_out: bool  # the update: loss or gradients were not finite
    stop_asked: bool


def outputs_of(module: nn.Module, kind: Kind, batch: UnitBatch, features: Features) -> Outputs:
    """What a model says of a batch, which is on its device."""
    places = None if kind.places is None else kind.places(batch, features).to(batch.ids.device)
    outputs: Outputs = module(batch.ids, batch.positions, batch.layout, batch.starts, places)
    return outputs


@dataclass(frozen=True)
class Evaluator:
    """A model that is asked, over all ranks."""

    world: World
    model: FineTuned
    run: RunConfig
    kind: Kind
    asked: Asked
    by_edges: bool

    def scores(self, features: Features) -> Float64:
        """Scores of all units, (units, width), the same on every rank. Each unit is read once, on one of them.

        What is no number, of a model that diverged, is 0: nothing is said by it, and everything else can go on.
        """
        scores = np.zeros((features.num_units, features.width))
        parts = list(cut_by_tokens(np.arange(features.num_units), features, self.asked.config.batch_tokens))
        self.model.eval()
        for part in parts[self.world.rank :: self.world.size]:
            scores[part] = self._scores(part, features).double().cpu().numpy()
        found = np.array(self.world.sum(scores.ravel().tolist())).reshape(scores.shape)
        return np.where(np.isnan(found), 0.0, found)

    def _scores(self, part: Int64, features: Features) -> Tensor:
        batch = read_units(features, part, self.by_edges).to(self.world.device)
        with torch.no_grad(), autocast(self.world.device, precision_of(self.run, self.world.device)):
            outputs = outputs_of(self.model, self.kind, batch, features)
            return self.kind.scores(self.asked, outputs, batch, features)


@dataclass(frozen=True)
class Training:
    """All that a step needs."""

    world: World
    model: FineTuned
    module: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: ScheduleConfig
    run: RunConfig
    kind: Kind
    asked: Asked
    features: Features
    learned: Int64  # the units that are trained on
    batch_size: int
    by_edges: bool
    loss_scale: LossScale

    @property
    def autocasting(self) -> AbstractContextManager[object]:
        """Matrix products in the run's precision."""
        return autocast(self.world.device, precision_of(self.run, self.world.device))

    def step(self, step: int, stop_asked: bool) -> StepResult:
        """Do update `step`, counted from 1."""
        seed, budget = self.asked.config.seed, self.asked.config.batch_tokens
        units = self.learned[step_units(step - 1, seed, len(self.learned), self.batch_size)]
        share = rank_units(units, self.features.unit_tokens, self.world.rank, self.world.size)
        parts = list(cut_by_tokens(share, self.features, budget))
        # a rank without a unit takes part in the exchange of gradients, with none of its own
        weighted = [(part, 1.0) for part in parts] or [(units[:1], 0.0)]
        scale = self.world.size * self.loss_scale.value / len(units)
        self.module.train()
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for number, (part, weight) in enumerate(weighted):
            seed_dropout(seed, step, int(part[0]))
            total += self._add_gradients(part, weight, scale, number == len(weighted) - 1)
        loss_sum, stops = self.world.sum([total, float(stop_asked)])
        norm, loss = self._unscaled_norm(), loss_sum / len(units)
        is_left_out = not (math.isfinite(loss) and math.isfinite(norm))
        self.loss_scale.update(is_left_out and math.isfinite(loss))
        if not is_left_out:
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(step, self.schedule)
            self.optimizer.step()
        return StepResult(loss, norm, is_left_out, stops > 0)

    def _add_gradients(self, part: Int64, weight: float, scale: float, is_last: bool) -> float:
        batch = read_units(self.features, part, self.by_edges).to(self.world.device)
        shares = isinstance(self.module, DistributedDataParallel) and not is_last
        with self.module.no_sync() if shares else nullcontext():  # type: ignore[operator]
            with self.autocasting:
                outputs = outputs_of(self.module, self.kind, batch, self.features)
                losses = self.kind.losses(self.asked, outputs, batch, self.features)
            torch.autograd.backward(losses * (weight * scale))
        return weight * float(losses.detach())

    def _unscaled_norm(self) -> float:
        """The global norm of the gradients, which are divided by the loss scale and clipped."""
        parameters = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        if self.loss_scale.value != 1.0:
            for parameter in parameters:
                assert parameter.grad is not None
                parameter.grad.div_(self.loss_scale.value)
        return clip_gradients(parameters, self.schedule.clip_norm)

    def evaluate(self, features: Features) -> Float64:
        """Scores of all units, (units, width), the same on every rank."""
        return Evaluator(self.world, self.model, self.run, self.kind, self.asked, self.by_edges).scores(features)
