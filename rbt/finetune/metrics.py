"""Scores of predictions, each from 0 to 100 (correlations from -100): METRICS, by the names that tasks give.

A metric is a function of (task, examples, predictions). What a split has no examples for is nan.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from rbt.finetune.squad_scorer import has_answers, question_scores
from rbt.tasks.examples import Choice, Example, Question, Sentences
from rbt.tasks.task import Task

NOISE = 1e-3  # of the range of the right scores
Metric = Callable[[Task, Sequence[Example], Sequence[Any]], float]


def answer(example: Example) -> Any:
    """The right prediction of an example; of several right spans, the first, and "" where there is none."""
    if isinstance(example, Sentences):
        return example.score if example.label is None else example.label
    if isinstance(example, Choice):
        return example.answer
    return example.answers[0].text if example.answers else ""


def _accuracy(task: Task, examples: Sequence[Example], predictions: Sequence[Any]) -> float:
    if not examples:
        return math.nan
    return 100 * float(accuracy_score([answer(each) for each in examples], list(predictions)))


def _level(name: str) -> Metric:
    """Accuracy over passages of a level, which ids begin with."""
    def metric(task: Task, examples: Sequence[Example], predictions: Sequence[Any]) -> float:
        chosen = [place for place, each in enumerate(examples) if each.id.startswith(name)]
        return _accuracy(task, [examples[place] for place in chosen], [predictions[place] for place in chosen])

    return metric


def _f1(task: Task, examples: Sequence[Example], predictions: Sequence[Any]) -> float:
    positive = list(task.labels.values())[1]
    return 100 * float(
        f1_score([answer(each) for each in examples], list(predictions), pos_label=positive, zero_division=0.0)
    )


def _matthews(task: Task, examples: Sequence[Example], predictions: Sequence[Any]) -> float:
    return 100 * float(matthews_corrcoef([answer(each) for each in examples], list(predictions)))


def is_constant(predictions: npt.ArrayLike, right: npt.ArrayLike) -> bool:
    """Whether scores are all the same but for noise, which would correlate with something by chance."""
    return float(np.ptp(np.asarray(predictions))) <= NOISE * float(np.ptp(np.asarray(right)))


def _correlation(found: Callable[[Any, Any], Any]) -> Metric:
    def metric(task: Task, examples: Sequence[Example], predictions: Sequence[Any]) -> float:
        right, given = (np.array(values, dtype=float) for values in ([answer(e) for e in examples], predictions))
        if len(right) < 2 or np.ptp(right) == 0 or is_constant(given, right):
            return 0.0
        return 100 * float(found(right, given).statistic)

    return metric


def _spans(number: int, has_answer: bool | None = None) -> Metric:
    """Exact match (0) or F1 (1) of words; `has_answer`: of the questions that have one, or none, if there are both."""
    def metric(task: Task, examples: Sequence[Example], predictions: Sequence[Any]) -> float:
        questions = [example for example in examples if isinstance(example, Question)]
        scores, has = question_scores(questions, predictions)[number], has_answers(questions)
        if has_answer is None:
            return 100 * float(scores.mean())
        return 100 * float(scores[has == has_answer].mean()) if len(set(has.tolist())) == 2 else math.nan

    return metric


METRICS: dict[str, Metric] = {
    "accuracy": _accuracy, "f1": _f1, "matthews": _matthews,
    "pearson": _correlation(stats.pearsonr), "spearman": _correlation(stats.spearmanr),
    "accuracy_middle": _level("middle"), "accuracy_high": _level("high"),
    "exact_match": _spans(0), "token_f1": _spans(1),
    "exact_match_answerable": _spans(0, True), "token_f1_answerable": _spans(1, True),
    "exact_match_unanswerable": _spans(0, False), "token_f1_unanswerable": _spans(1, False),
}


def score(task: Task, examples: Sequence[Example], predictions: Sequence[Any]) -> dict[str, float]:
    """The task's metrics, but those that the split has no examples for."""
    found = {name: METRICS[name](task, examples, predictions) for name in task.metrics}
    return {name: value for name, value in found.items() if not math.isnan(value)}


def selection(task: Task, scores: Mapping[str, float]) -> float:
    """The one number by which epochs and runs are compared."""
    return float(np.mean([scores[name] for name in task.selected_by or task.metrics if name in scores]))
