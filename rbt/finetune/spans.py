"""Answers that are spans of a passage: SQuAD v1.1 and v2.0.

    windows ──encoder──> (tokens, 2) ──as rows──> first and last token ──cross-entropy of each, their mean──┐
                └─<s>──> where train has unanswerable questions: whether there is none ──cross-entropy──> their sum

Both softmaxes are over all tokens of the window. A window's scores are those of its best span: score, first and last
token as places in the sequence, and log-odds that the window has no answer, -inf where the model does not say.
A question's answer is the best span over its windows, whichever of them has more text around it. It has none where the
probability of that, in the window where it is least, is above a threshold, which is tuned on dev for the best F1.
Source: paper, section 3.3; BERT's run_squad.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor, nn
from torch.nn import functional

from rbt.finetune.batches import UnitBatch
from rbt.finetune.choices import unit_scores
from rbt.finetune.features import Features, Float64
from rbt.finetune.heads import Outputs, SpanHead
from rbt.finetune.kind import Asked, Kind, Prediction
from rbt.finetune.squad_scorer import NEVER, best_cut, has_answers, question_scores
from rbt.finetune.windows import NOWHERE, Windows, questions_of, span_features
from rbt.tasks.examples import Example

THRESHOLD = "null_threshold"  # of the probability that there is no answer
NO_ANSWER = "no_answer"  # that probability, beside a prediction


def _windows(features: Features) -> Windows:
    assert isinstance(features.details, Windows)
    return features.details


def _head(asked: Asked, hidden: int, features: Features) -> nn.Module:
    has_unanswerable = _windows(features).has_unanswerable if asked.tuned is None else THRESHOLD in asked.tuned
    return SpanHead(hidden, asked.config.head_dropout, has_unanswerable)


def _as_rows(spans: Tensor, batch: UnitBatch) -> tuple[Tensor, Tensor]:
    """(tokens, 2) as scores of each token as the first and as the last, (windows, longest), -inf behind a window."""
    longest = int(np.diff(batch.edges).max())
    first, last = (unit_scores(column, batch.edges, longest) for column in spans.float().unbind(1))
    return first, last


def _losses(asked: Asked, outputs: Outputs, batch: UnitBatch, features: Features) -> Tensor:
    spans, none = outputs
    targets = batch.targets.long()
    rows = zip(_as_rows(spans, batch), targets.unbind(1), strict=True)
    losses = sum(functional.cross_entropy(scores, target, reduction="sum") for scores, target in rows) / 2
    assert isinstance(losses, Tensor)
    if none is None:
        return losses
    has_none = (targets[:, 0] == NOWHERE).float()
    return losses + functional.binary_cross_entropy_with_logits(none.float(), has_none, reduction="sum")


def best_spans(first: Tensor, last: Tensor, is_passage: Tensor, answer_tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    """(score, place of the first token, of the last), each (windows,), of the best span of at most `answer_tokens`.

    `first`, `last`, `is_passage`: (windows, longest). The score is -inf where a window has no token of a passage.
    """
    first, last = (scores.masked_fill(~is_passage, -torch.inf) for scores in (first, last))
    reach = functional.pad(last, (0, answer_tokens - 1), value=-torch.inf).unfold(1, answer_tokens, 1)
    best_last, offsets = reach.max(2)  # of the spans that begin at a token; (windows, longest)
    score, place = (first + best_last).max(1)
    return score, place, place + offsets.gather(1, place[:, None]).squeeze(1)


def _scores(asked: Asked, outputs: Outputs, batch: UnitBatch, features: Features) -> Tensor:
    spans, none = outputs
    first, last = _as_rows(spans, batch)
    places, lengths = np.arange(first.shape[1]), np.diff(batch.edges)
    fronts = _windows(features).fronts[batch.units]
    is_passage = (places >= fronts[:, None]) & (places < lengths[:, None] - 1)
    found = best_spans(first, last, torch.from_numpy(is_passage).to(first.device), asked.config.answer_tokens)
    null = torch.full_like(found[0], -torch.inf) if none is None else none.float()
    return torch.stack([part.double() for part in (*found, null)], 1)


def _best_texts(examples: Sequence[Example], features: Features, scores: Float64) -> list[str]:
    """The text of each question's best span."""
    windows, texts = _windows(features), []
    for number, question in enumerate(questions_of(examples)):
        start, end = windows.edges[number : number + 2]
        best = start + int(scores[start:end, 0].argmax())
        first, last = scores[best, 1:3].astype(np.int64) + windows.shifts[best]
        has_tokens = scores[best, 0] > -np.inf
        texts.append(windows.text(number, question.context, first, last) if has_tokens else "")
    return texts


def _no_answer(features: Features, scores: Float64) -> Float64:
    """The probability that a question has no answer, (questions,), 0 where the model does not say."""
    return np.asarray(expit(np.minimum.reduceat(scores[:, 3], _windows(features).edges[:-1])))


def _tune(asked: Asked, examples: Sequence[Example], features: Features, scores: Float64) -> Mapping[str, float]:
    if np.isneginf(scores[:, 3]).all():
        return {}
    questions, texts = questions_of(examples), _best_texts(examples, features, scores)
    f1 = question_scores(questions, texts)[1]
    return {THRESHOLD: best_cut(f1, has_answers(questions), _no_answer(features, scores)).threshold}


def _predict(asked: Asked, examples: Sequence[Example], features: Features, scores: Float64) -> list[Prediction]:
    is_none = _no_answer(features, scores) > (asked.tuned or {}).get(THRESHOLD, NEVER)
    texts = _best_texts(examples, features, scores)
    return ["" if none else text for none, text in zip(is_none, texts, strict=True)]


def _notes(
    asked: Asked, examples: Sequence[Example], features: Features, scores: Float64
) -> list[Mapping[str, float]]:
    if THRESHOLD not in (asked.tuned or {}):
        return [{} for _ in examples]
    return [{NO_ANSWER: probability} for probability in _no_answer(features, scores).tolist()]


SPAN = Kind(
    span_features, _head, _losses, _scores, _predict, "RobertaForQuestionAnswering", tune=_tune, notes=_notes
)
