"""What a run says about itself: records of steps, validations and updates that were left out.

    StepResult, seconds ──> record ──> metrics.jsonl, TensorBoard, the bar

Perplexity is e to the loss over masked positions alone. Tokens a second are of the time that steps take, waiting for
batches included: loader share is the part of it that was waiting. Saving, validating and logging are not in it: other
share is their part of the time on the clock.
"""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from rbt.trainer.flops import peak_flops, training_flops_per_token
from rbt.trainer.optim import learning_rate
from rbt.trainer.training import StepResult, Training


class Rates(NamedTuple):
    """Since the record before."""

    tokens_per_second: float  # of all ranks, in the time of steps
    loader_share: float  # of the time of steps, waiting for batches
    other_share: float  # of the time on the clock, what is no step


@dataclass
class Pace:
    """Tokens, seconds of work and seconds of waiting of the steps since the last record."""

    tokens: int = 0
    waiting: float = 0.0
    seconds: float = 0.0
    _started: float = field(default_factory=time.perf_counter)
    _taken: float = field(default_factory=time.perf_counter)

    def start(self) -> None:
        """A step begins, with waiting for its batches."""
        self._started = time.perf_counter()

    def loaded(self) -> None:
        """Its batches are there."""
        self.waiting += time.perf_counter() - self._started

    def stop(self, tokens: int) -> None:
        """It ends."""
        self.tokens += tokens
        self.seconds += time.perf_counter() - self._started

    def take(self) -> Rates:
        """What was counted; counting begins anew."""
        now, seconds = time.perf_counter(), max(self.seconds, 1e-9)
        other = 1 - seconds / max(now - self._taken, seconds)
        found = Rates(self.tokens / seconds, self.waiting / seconds, other)
        self.tokens, self.waiting, self.seconds, self._taken = 0, 0.0, 0.0, now
        return found


def perplexity(loss: float) -> float:
    """e^loss, over the selected positions alone, as in the paper; finite for any loss."""
    return math.exp(min(loss, 700.0)) if not math.isnan(loss) else loss


def memory_bytes(device: torch.device) -> int:
    """The most that this process held: of the GPU's memory, or of main memory on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def flops_per_token(training: Training) -> float:
    """FLOP a token of a run: see `flops`."""
    model, rows = training.model, training.rounding.max_tokens  # of a row: the model may have more positions
    predicted = training.data.masked_fraction
    return training_flops_per_token(model.config.shape, rows, model.vocab_size, predicted)


def device_peak(training: Training) -> float | None:
    """Peak FLOP/s of a rank's device, None where it is not known."""
    device = training.world.device
    return peak_flops(torch.cuda.get_device_name(device)) if device.type == "cuda" else None


def describe_flops(training: Training) -> str:
    """The formula of model FLOP utilization with this run's numbers."""
    shape, model = training.model.config.shape, training.model
    peak = device_peak(training)
    words = (
        f"{flops_per_token(training):.4g} FLOP a token = 6 N + 12 L H T + 6 f (H^2 + V H), N = L (4 H^2 + 2 H F): "
        f"L {shape.layers}, H {shape.hidden}, F {shape.feed_forward}, T {training.rounding.max_tokens}, "
        f"V {model.vocab_size}, f {training.data.masked_fraction:g}"
    )
    return f"{words}; peak {peak:.4g} FLOP/s a GPU" if peak else words


def step_record(step: int, epoch: float, result: StepResult, pace: Pace, training: Training) -> dict[str, Any]:
    """The record of a logged step."""
    rates = pace.take()
    record = {
        "step": step, "loss": result.loss, "perplexity": perplexity(result.loss),
        "learning_rate": learning_rate(step, training.schedule), "gradient_norm": result.gradient_norm,
        "tokens": result.tokens, "masked_tokens": result.masked_tokens, "epoch": epoch, **rates._asdict(),
        "memory_bytes": memory_bytes(training.world.device),
    }
    if result.next_loss is not None:
        record["next_loss"] = result.next_loss
    if training.loss_scale.is_used:
        record["loss_scale"] = training.loss_scale.value
    if (peak := device_peak(training)) is not None:
        done = rates.tokens_per_second * flops_per_token(training)
        record["model_flops_utilization"] = done / (peak * training.world.size)
    return record


def validation_record(step: int, loss: float, next_loss: float | None) -> dict[str, Any]:
    """The record of a validation; see `written`."""
    numbers = {"validation_loss": loss, "validation_perplexity": perplexity(loss)}
    if next_loss is not None:
        numbers["validation_next_loss"] = next_loss
    return {"step": step, **written(numbers)}


def written(numbers: Mapping[str, float]) -> dict[str, float | str]:
    """Numbers as JSON has them; those that it has no word for, which are not finite, as texts."""
    return {name: value if math.isfinite(value) else str(value) for name, value in numbers.items()}


def skip_record(step: int, result: StepResult, where: Mapping[str, Any]) -> dict[str, Any]:
    """The record of an update that was left out; see `written`."""
    numbers = written({"skipped_loss": result.loss, "skipped_gradient_norm": result.gradient_norm})
    return {"step": step, "skipped": result.skipped, **numbers, **where}
