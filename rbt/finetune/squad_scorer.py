"""SQuAD's exact match and F1, by the rule of the published evaluate-v2.0.py; of v1.1, too.

    text ──lower case──> without ASCII punctuation ──> without a, an, the ──> words

A question's score is its best over the right answers. Those of which no word is left are ignored; a question without
answers has one, the empty text. Where either text has no words, F1 is 1 if neither has, else 0. (The older script for
v1.1 differs in these rare cases alone.)
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rbt.finetune.features import Bools, Float64
from rbt.tasks.examples import Question

PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(a|an|the)\b")
NEVER = 1.0  # a threshold that no probability is above


@lru_cache(maxsize=1 << 17)  # the answers of a dev set, which every metric asks for
def words_of(text: str) -> tuple[str, ...]:
    """The words of an answer that count."""
    return tuple(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact_match(right: str, said: str) -> float:
    """1 where the words are the same, else 0."""
    return float(words_of(right) == words_of(said))


def token_f1(right: str, said: str) -> float:
    """The harmonic mean of precision and recall of words, counted as often as they come."""
    expected, found = words_of(right), words_of(said)
    if not expected or not found or expected == found:
        return float(expected == found)
    common = (Counter(expected) & Counter(found)).total()
    return 2 * common / (len(expected) + len(found))


def right_answers(question: Question) -> list[str]:
    """What a prediction is compared with."""
    return [answer.text for answer in question.answers if words_of(answer.text)] or [""]


def has_answers(questions: Sequence[Question]) -> Bools:
    """Which questions the file has an answer to, (questions,)."""
    return np.array([bool(question.answers) for question in questions], dtype=bool)


def question_scores(questions: Sequence[Question], said: Sequence[str]) -> tuple[Float64, Float64]:
    """(exact match, F1) of each question, (questions,), 0 to 1."""
    found = [
        [max(metric(right, text) for right in right_answers(question)) for metric in (exact_match, token_f1)]
        for question, text in zip(questions, said, strict=True)
    ]
    exact, f1 = np.array(found, dtype=np.float64).reshape(-1, 2).T
    return exact, f1


@dataclass(frozen=True)
class Cut:
    """Where questions with a probability of no answer above `threshold` are left out, they have `score`, in percent."""

    score: float
    threshold: float


def _cuts(gains: Float64, num_unanswerable: int, no_answer: Float64) -> tuple[Float64, Float64]:
    """(sum of scores, threshold) with the first 0, 1, ... questions not left out, by rising probability."""
    order = np.argsort(no_answer, kind="stable")
    return np.cumsum([num_unanswerable, *gains[order]]), np.array([0.0, *no_answer[order]])


def _best(totals: Float64, thresholds: Float64, count: int) -> Cut:
    best = int(np.argmax(totals))
    return Cut(100 * float(totals[best]) / count, float(thresholds[best]))


def best_cut(scores: Float64, has_answer: Bools, no_answer: Float64) -> Cut:
    """The lowest threshold with the best mean of scores, 0 or one of the probabilities; all (questions,)."""
    totals, thresholds = _cuts(scores - ~has_answer, int(np.sum(~has_answer)), no_answer)
    is_made = np.append(thresholds[1:] > thresholds[:-1], True)  # no threshold cuts between equal probabilities
    return _best(totals[is_made], thresholds[is_made], len(scores))


def published_cut(scores: Float64, has_answer: Bools, is_said: Bools, no_answer: Float64) -> Cut:
    """The same as the published script has it, which also cuts between questions of equal probability.

    Of questions without an answer it asks only whether a text `is_said`, be it without a word that counts.
    """
    gains = np.where(has_answer, scores, -is_said.astype(np.float64))
    return _best(*_cuts(gains, int(np.sum(~has_answer)), no_answer), len(scores))


def evaluate(
    questions: Sequence[Question], said: Sequence[str], no_answer: Float64 | None = None, threshold: float = NEVER
) -> dict[str, float]:
    """The published script's figures under its names, in percent; those on thresholds where `no_answer` is given."""
    raw, has_answer = question_scores(questions, said), has_answers(questions)
    is_cut = np.zeros(len(questions), dtype=bool) if no_answer is None else no_answer > threshold
    scores = {
        name: np.where(is_cut, ~has_answer, each) for name, each in zip(("exact", "f1"), raw, strict=True)
    }
    found: dict[str, float] = {}
    for prefix, chosen in (("", np.ones_like(has_answer)), ("HasAns_", has_answer), ("NoAns_", ~has_answer)):
        if chosen.any():
            found |= {f"{prefix}{name}": 100 * float(each[chosen].mean()) for name, each in scores.items()}
            found[f"{prefix}total"] = int(chosen.sum())
    if no_answer is not None:
        is_said = np.array([bool(text) for text in said], dtype=bool)
        for name, each in zip(("exact", "f1"), raw, strict=True):
            cut = published_cut(each, has_answer, is_said, no_answer)
            found |= {f"best_{name}": cut.score, f"best_{name}_thresh": cut.threshold}
    return found
