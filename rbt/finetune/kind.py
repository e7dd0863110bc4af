"""What is done for a kind of task: how examples become features, what is learned, and what scores mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from rbt.finetune.batches import UnitBatch
from rbt.finetune.config import FinetuneConfig
from rbt.finetune.features import Features, Float64, Texts
from rbt.finetune.heads import Outputs
from rbt.tasks.examples import Example
from rbt.tasks.task import Task

Encode = Callable[[Sequence[str]], Texts]
Prediction = Any  # a label's name, a number, an option's number, or the text of an answer


@dataclass(frozen=True)
class Asked:
    """A task, and how its examples are encoded and learned."""

    task: Task
    config: FinetuneConfig
    max_tokens: int  # of a sequence
    mask_id: int = 0
    tuned: Mapping[str, float] | None = None  # on dev, by `Kind.tune`; None: not yet


@dataclass(frozen=True)
class Outcome:
    """Of a split, one an example."""

    predictions: Sequence[Prediction]
    notes: Sequence[Mapping[str, float]]  # fields of a line of predictions besides, see the kind's module


@dataclass(frozen=True)
class Kind:
    """An entry of KINDS.

    `features`: of the examples of a split. `head`: fresh, for a hidden size and the features that are trained on; None:
    the model's masked-language head. `places`: of the stream, that such a head reads. `losses`: in nats, or squares,
    summed over the units of a batch. `scores`: (units, width), from which `predict` makes a prediction an example.
    `combine`: the scores of several models, for an ensemble; None: there is none.
    `tune`: numbers that `predict` needs, chosen on examples with answers. `notes`: of each example, what a line of
    predictions says besides.
    """

    features: Callable[[Asked, Sequence[Example], Encode], Features]
    head: Callable[[Asked, int, Features], nn.Module | None]
    losses: Callable[[Asked, Outputs, UnitBatch, Features], Tensor]
    scores: Callable[[Asked, Outputs, UnitBatch, Features], Tensor]
    predict: Callable[[Asked, Sequence[Example], Features, Float64], list[Prediction]]
    architecture: str  # of Hugging Face, which reads the model
    places: Callable[[UnitBatch, Features], Tensor] | None = None
    combine: Callable[[Sequence[Float64]], Float64] | None = None
    tune: Callable[[Asked, Sequence[Example], Features, Float64], Mapping[str, float]] | None = None
    notes: Callable[[Asked, Sequence[Example], Features, Float64], list[Mapping[str, float]]] | None = None

    def tuned(self, asked: Asked, examples: Sequence[Example], features: Features, scores: Float64) -> Asked:
        """What is asked, with what is tuned on a split with answers."""
        return replace(asked, tuned={} if self.tune is None else self.tune(asked, examples, features, scores))

    def predicted(self, asked: Asked, examples: Sequence[Example], features: Features, scores: Float64) -> Outcome:
        """Predictions of a split, and what is said besides."""
        notes = [{} for _ in examples] if self.notes is None else self.notes(asked, examples, features, scores)
        return Outcome(self.predict(asked, examples, features, scores), notes)
