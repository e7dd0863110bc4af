"""Sequences that are compared with each other: the options of a question, or the sentences that may answer it.

    options     <s> question and option </s> </s> passage </s>, each option a sequence of the unit
    ranking     <s> question </s> </s> sentence </s>, all sentences of a question a unit

The head gives each sequence a score; the loss is the cross-entropy of the right one among its unit's. A blank `_` in a
question is filled with the option, all of them, else the option follows the question; white space is one space.
Question and option are cut to 128 tokens, <s> and </s> among them, then the passage, so that all are at most 512.
Source: fairseq examples/roberta/preprocess_RACE.py and tasks/sentence_ranking.py, which may cut that </s> too; ranking:
paper, section 5.1.

Of a question's sentences the one with the highest score answers it. Where there is but one sentence, it is compared
with those of other questions: it answers if its score is nearer to the mean of those that won than of those that lost.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rbt.finetune.batches import UnitBatch
from rbt.finetune.features import NO_TARGET, Features, Float64, joined, make_features
from rbt.finetune.heads import Outputs, SequenceHead
from rbt.finetune.kind import Asked, Encode, Kind, Prediction
from rbt.finetune.sentences import PAIR_SPECIALS, encoded_sentences, mean_log_probabilities, mean_scores, sentences_of
from rbt.tasks.examples import Choice, Example

log = logging.getLogger(__name__)
BLANK = "_"


def _spaced(text: str) -> str:
    return " ".join(text.split())


def statement(question: str, option: str) -> str:
    """A question with an option in its blanks, or behind it."""
    return _spaced(question.replace(BLANK, option) if BLANK in question else f"{question} {option}")


def choice_features(asked: Asked, examples: Sequence[Example], encode: Encode) -> Features:
    """A unit a question, a sequence an option; the target is the number of the right one."""
    choices = [example for example in examples if isinstance(example, Choice)]
    assert len(choices) == len(examples)
    statements = [statement(each.question, option) for each in choices for option in each.options]
    passages = sorted({_spaced(each.passage) for each in choices})
    texts, places = encode([*statements, *passages]), {text: place for place, text in enumerate(passages)}
    units, first = [], 0
    for each in choices:
        passage = texts.ids(len(statements) + places[_spaced(each.passage)])
        sequences = []
        for number in range(first, first + len(each.options)):
            head = texts.ids(number)[: min(asked.config.option_tokens, asked.max_tokens - 2) - 2]  # <s> and </s> count
            sequences.append(joined(head, passage[: asked.max_tokens - PAIR_SPECIALS - len(head)]))
        units.append(sequences)
        first += len(each.options)
    targets = [NO_TARGET if each.answer is None else each.answer for each in choices]
    width = max((len(each.options) for each in choices), default=1)
    return make_features(units, np.array(targets, dtype=np.float64), width)


def ranking_features(asked: Asked, examples: Sequence[Example], encode: Encode) -> Features:
    """A unit a question, a sequence a sentence that may answer it; the target is the one that does.

    `details`: the examples of each unit. Where labels are known, a question without exactly one answer and a sentence
    to compare it with is not learned from: its target is NO_TARGET.
    """
    sentences, positive = sentences_of(examples), asked.task.answers
    groups: dict[str, list[int]] = {}
    for number, each in enumerate(sentences):
        groups.setdefault(each.sentences[0], []).append(number)
    pieces = encoded_sentences(asked, sentences, encode)
    targets = []
    for group in groups.values():
        right = [place for place, number in enumerate(group) if sentences[number].label == positive]
        targets.append(right[0] if len(right) == 1 and len(group) > 1 else NO_TARGET)
    width = max(map(len, groups.values()), default=1)
    units = [[pieces[number] for number in group] for group in groups.values()]
    features = make_features(units, np.array(targets, dtype=np.float64), width, list(groups.values()))
    lost = len(groups) - int(features.has_target.sum())
    if lost and any(each.label is not None for each in sentences):
        log.info("%d of %d questions have no sentences to compare, of which one answers", lost, len(groups))
    return features


def _head(asked: Asked, hidden: int, features: Features) -> nn.Module:
    return SequenceHead(hidden, 1, asked.config.head_dropout)


def unit_scores(scores: Tensor, unit_edges: np.ndarray, width: int) -> Tensor:
    """(sequences,) as (units, width), -inf where a unit has fewer sequences."""
    found = scores.new_full((len(unit_edges) - 1, width), -torch.inf)
    counts = np.diff(unit_edges)
    rows = np.repeat(np.arange(len(counts)), counts)
    columns = np.arange(unit_edges[-1]) - np.repeat(unit_edges[:-1], counts)
    places = torch.from_numpy(rows * width + columns).to(scores.device)
    return found.flatten().index_copy(0, places, scores).view_as(found)


def _scores(asked: Asked, outputs: Outputs, batch: UnitBatch, features: Features) -> Tensor:
    assert isinstance(outputs, Tensor)
    return unit_scores(outputs.float().squeeze(1), batch.unit_edges, features.width)


def _losses(asked: Asked, outputs: Outputs, batch: UnitBatch, features: Features) -> Tensor:
    scores = _scores(asked, outputs, batch, features)
    return functional.cross_entropy(scores, batch.targets[:, 0].long(), reduction="sum")


def _options(asked: Asked, examples: Sequence[Example], features: Features, scores: Float64) -> list[Prediction]:
    return list(scores.argmax(1).tolist())


def _ranked(asked: Asked, examples: Sequence[Example], features: Features, scores: Float64) -> list[Prediction]:
    positive = asked.task.answers
    negative = next(name for name in asked.task.labels.values() if name != positive)
    found, least = [negative] * len(examples), _least_of_winners(features.details, scores)
    for group, row in zip(features.details, scores, strict=True):
        if len(group) > 1 or row[0] >= least:
            found[group[int(row[: len(group)].argmax())]] = positive
    return found


def _least_of_winners(groups: Sequence[Sequence[int]], scores: Float64) -> float:
    """Half way between the mean scores of sentences that won and that lost; -inf where none was compared."""
    compared = [np.sort(row[: len(group)]) for group, row in zip(groups, scores, strict=True) if len(group) > 1]
    if not compared:
        return -np.inf
    won, lost = [row[-1] for row in compared], np.concatenate([row[:-1] for row in compared])
    return float(np.mean(won) + np.mean(lost)) / 2


CHOICE = Kind(
    choice_features, _head, _losses, _scores, _options, "RobertaForMultipleChoice", combine=mean_log_probabilities
)
RANKING = Kind(
    ranking_features, _head, _losses, _scores, _ranked, "RobertaForMultipleChoice", combine=mean_scores
)
