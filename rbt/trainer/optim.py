"""The optimizer, its learning rate, and the loss it minimizes.

AdamW with decoupled decay of every parameter, as fairseq's under fp16; `decay_all = false` spares biases and norms,
as BERT does. The rate is the piecewise linear function f with f(0) = 0, f(warmup_steps) = peak, f(max_steps) = 0.
Update k, counted from 1, uses f(k); fairseq uses f(k - 1), so that its first update does nothing and ours is its
second. Paper, table 9; fairseq optim/lr_scheduler/polynomial_decay_schedule.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from rbt.errors import ConfigError
from rbt.trainer.config import ScheduleConfig


def check_schedule(schedule: ScheduleConfig) -> None:
    """Raise ConfigError for a schedule that cannot be followed."""
    if schedule.max_steps < 1:
        raise ConfigError("[schedule] max_steps: expected at least 1", found=str(schedule.max_steps))
    if not 0 <= schedule.warmup_steps < schedule.max_steps:
        raise ConfigError(
            f"[schedule] warmup_steps: expected 0 to {schedule.max_steps - 1}, below max_steps",
            found=str(schedule.warmup_steps), cure="--set schedule.warmup_steps=...",
        )


def learning_rate(update: int, schedule: ScheduleConfig) -> float:
    """Rate of an update, counted from 1."""
    if update < schedule.warmup_steps:
        return schedule.peak_learning_rate * update / schedule.warmup_steps
    remaining = max(0, schedule.max_steps - update)
    return schedule.peak_learning_rate * remaining / (schedule.max_steps - schedule.warmup_steps)


def parameter_groups(model: nn.Module, schedule: ScheduleConfig) -> list[dict[str, object]]:
    """Groups of the parameters that are trained, by weight decay; with `decay_all` a single one."""
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_spared = not schedule.decay_all and (name.endswith("bias") or name.endswith("norm.weight"))
        (spared if is_spared else decayed).append(parameter)
    groups: list[dict[str, object]] = [{"params": decayed, "weight_decay": schedule.weight_decay}]
    return [*groups, {"params": spared, "weight_decay": 0.0}] if spared else groups


def build_optimizer(model: nn.Module, schedule: ScheduleConfig) -> torch.optim.AdamW:
    """AdamW over the model's parameters, where they lie; its rate is set before every update."""
    return torch.optim.AdamW(
        parameter_groups(model, schedule), lr=0.0, betas=(schedule.beta1, schedule.beta2), eps=schedule.epsilon,
        fused=True,  # one pass over each parameter, on a CPU too
    )


def summed_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy in nats, summed over (selected,) labels that are not negative, in float32 at least."""
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return functional.cross_entropy(precise, labels, reduction="sum")


def clip_gradients(parameters: Iterable[Tensor], clip_norm: float) -> float:
    """Scale gradients to a global norm of at most `clip_norm` (0 = leave them); return the norm before."""
    limit = clip_norm if clip_norm > 0 else math.inf
    return float(nn.utils.clip_grad_norm_(parameters, limit))
