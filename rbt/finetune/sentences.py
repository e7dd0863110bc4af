"""One or two sentences with a class or a score: <s> A </s>, or <s> A </s> </s> B </s>, the longer cut first.

Classes are learned by cross-entropy; scores by their squared distance, in units of SCORE_RANGE, as fairseq does.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise

import numpy as np
from scipy.special import log_softmax
from torch import Tensor, nn
from torch.nn import functional

from rbt.finetune.batches import UnitBatch
from rbt.finetune.features import NO_TARGET, Features, Float64, joined, make_features, shortened
from rbt.finetune.heads import Outputs, SequenceHead
from rbt.finetune.kind import Asked, Encode, Kind, Prediction
from rbt.tasks.examples import Example, Sentences
from rbt.trainer.order import Int64

SCORE_RANGE = 5.0  # of STS-B; other scores are learned in the same unit
LARGEST = 1e6  # that a score is said to be: of a model that diverged, it may be infinite
PAIR_SPECIALS, SINGLE_SPECIALS = 4, 2


def sentences_of(examples: Sequence[Example]) -> list[Sentences]:
    """The examples, of which each is one or two sentences."""
    found = [example for example in examples if isinstance(example, Sentences)]
    assert len(found) == len(examples)
    return found


def sequence(texts: Sequence[Int64], max_tokens: int) -> list[Int64]:
    """The pieces of one or two texts, cut to `max_tokens` with their special tokens."""
    if len(texts) == 1:
        return joined(texts[0][: max_tokens - SINGLE_SPECIALS])
    return joined(*shortened(texts[0], texts[1], max_tokens - PAIR_SPECIALS))


def encoded_sentences(asked: Asked, examples: Sequence[Sentences], encode: Encode) -> list[list[Int64]]:
    """The pieces of each example, without the space around sentences, which SST-2 has in train and not in test."""
    texts = encode([text.strip() for text in chain.from_iterable(example.sentences for example in examples)])
    edges = np.cumsum([0, *(len(example.sentences) for example in examples)]).tolist()
    return [
        sequence([texts.ids(text) for text in range(start, end)], asked.max_tokens)
        for start, end in pairwise(edges)
    ]


def class_features(asked: Asked, examples: Sequence[Example], encode: Encode) -> Features:
    """A unit an example; the target is the number of its label."""
    sentences, names = sentences_of(examples), list(asked.task.labels.values())
    targets = [NO_TARGET if each.label is None else names.index(each.label) for each in sentences]
    units = [[pieces] for pieces in encoded_sentences(asked, sentences, encode)]
    return make_features(units, np.array(targets, dtype=np.float64), len(names))


def score_features(asked: Asked, examples: Sequence[Example], encode: Encode) -> Features:
    """A unit an example; the target is its score over SCORE_RANGE."""
    sentences = sentences_of(examples)
    targets = [NO_TARGET if each.score is None else each.score / SCORE_RANGE for each in sentences]
    units = [[pieces] for pieces in encoded_sentences(asked, sentences, encode)]
    return make_features(units, np.array(targets, dtype=np.float64), 1)


def _head(asked: Asked, hidden: int, features: Features) -> nn.Module:
    return SequenceHead(hidden, features.width, asked.config.head_dropout)


def _scores(asked: Asked, outputs: Outputs, batch: UnitBatch, features: Features) -> Tensor:
    assert isinstance(outputs, Tensor)
    return outputs.float()


def _class_losses(asked: Asked, outputs: Outputs, batch: UnitBatch, features: Features) -> Tensor:
    scores = _scores(asked, outputs, batch, features)
    return functional.cross_entropy(scores, batch.targets[:, 0].long(), reduction="sum")


def _score_losses(asked: Asked, outputs: Outputs, batch: UnitBatch, features: Features) -> Tensor:
    scores = _scores(asked, outputs, batch, features)
    return functional.mse_loss(scores[:, 0], batch.targets[:, 0].to(scores.dtype), reduction="sum")


def _classes(asked: Asked, examples: Sequence[Example], features: Features, scores: Float64) -> list[Prediction]:
    names = list(asked.task.labels.values())
    return [names[number] for number in scores.argmax(1)]


def _numbers(asked: Asked, examples: Sequence[Example], features: Features, scores: Float64) -> list[Prediction]:
    return list((np.clip(scores[:, 0], -LARGEST, LARGEST) * SCORE_RANGE).tolist())


def mean_scores(models: Sequence[Float64]) -> Float64:
    """Of an ensemble: the mean score."""
    return np.asarray(np.mean(models, axis=0))


def mean_log_probabilities(models: Sequence[Float64]) -> Float64:
    """Of an ensemble: the mean log-probability of each class or sequence of a unit, (units, width)."""
    return mean_scores([log_softmax(scores, axis=1) for scores in models])


CLASS = Kind(
    class_features, _head, _class_losses, _scores, _classes, "RobertaForSequenceClassification",
    combine=mean_log_probabilities,
)
SCORE = Kind(
    score_features, _head, _score_losses, _scores, _numbers, "RobertaForSequenceClassification", combine=mean_scores
)
