"""SQuAD's scores: worked examples, and a second scorer that is slow and plain."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.finetune.metrics import score
from rbt.finetune.squad_scorer import (
    best_cut,
    evaluate,
    exact_match,
    has_answers,
    published_cut,
    question_scores,
    token_f1,
    words_of,
)
from rbt.tasks.examples import Answer, Question
from rbt.tasks.sets import TASKS

Row = tuple[list[str], str, float]  # right answers, what is said, probability that there is none
WORDS = ("the", "a", "red", "Kite", "kite!", "(old)", "map", "-", "an  ", "theme")


def asked(*answers: str) -> Question:
    """A question with some right answers."""
    return Question("q", "dev", "", "", "", tuple(Answer(text, 0) for text in answers), not answers)


# ---- the second scorer -------------------------------------------------------------------------------------------


def slow_words(text: str) -> list[str]:
    """Characters one by one, then words one by one."""
    kept = ""
    for character in text:
        if character not in string.punctuation:
            kept += character.lower()
    return [word for word in kept.split() if word not in ("a", "an", "the")]


def slow_f1(right: str, said: str) -> float:
    """Words of one are struck off the other."""
    left, common = slow_words(right), 0
    for word in slow_words(said):
        if word in left:
            left.remove(word)
            common += 1
    precision, recall = len(slow_words(said)), len(slow_words(right))
    if precision == 0 or recall == 0:
        return 1.0 if precision == recall else 0.0
    if common == 0:
        return 0.0
    return 2 * (common / precision) * (common / recall) / (common / precision + common / recall)


def slow_scores(question: Question, said: str) -> tuple[float, float]:
    rights = [answer.text for answer in question.answers if slow_words(answer.text)]
    if not rights:
        rights = [""]
    exact = max(1.0 if slow_words(right) == slow_words(said) else 0.0 for right in rights)
    return exact, max(slow_f1(right, said) for right in rights)


def slow_mean(metric: int, table: Sequence[Row], cut: float) -> float:
    """Mean in percent where each question above a threshold is left out, which is right where it has no answer."""
    total = 0.0
    for answers, text, probability in table:
        total += float(not answers) if probability > cut else slow_scores(asked(*answers), text)[metric]
    return 100 * total / len(table)


# ---- hypothesis --------------------------------------------------------------------------------------------------

texts = st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join)
rows = st.tuples(st.lists(texts, max_size=3), texts, st.sampled_from((0.0, 0.25, 0.5, 0.75, 1.0)))
tables = st.lists(rows, min_size=1, max_size=12)


@given(tables)
def test_scores_equal_those_of_a_slow_scorer(table: list[Row]) -> None:
    questions, said = [asked(*right) for right, _, _ in table], [text for _, text, _ in table]
    expected = [slow_scores(question, text) for question, text in zip(questions, said, strict=True)]
    np.testing.assert_allclose(np.stack(question_scores(questions, said), 1), expected, rtol=1e-12)


@pytest.mark.parametrize("metric", [0, 1])
@given(table=tables)
def test_v48_the_tuned_threshold_is_the_best_of_all(metric: int, table: list[Row]) -> None:
    questions = [asked(*right) for right, _, _ in table]
    said, no_answer = [text for _, text, _ in table], [probability for _, _, probability in table]
    means = {cut: slow_mean(metric, table, cut) for cut in {0.0, *no_answer}}
    found = best_cut(question_scores(questions, said)[metric], has_answers(questions), np.array(no_answer))
    assert found.score == pytest.approx(max(means.values()))
    assert found.score == pytest.approx(means[found.threshold])
    if metric == 0:  # whole numbers: equals are equal
        assert found.threshold == min(cut for cut, mean in means.items() if mean == found.score)


@pytest.mark.parametrize("metric", [0, 1])
@given(table=tables)
def test_v48_the_published_threshold_is_the_best_of_all_prefixes(metric: int, table: list[Row]) -> None:
    table = sorted(table, key=lambda row: row[2])
    questions, said = [asked(*right) for right, _, _ in table], [text for _, text, _ in table]
    totals = []
    for count in range(len(table) + 1):  # the first `count` are answered
        total = 0.0
        for number, (question, text) in enumerate(zip(questions, said, strict=True)):
            if question.answers:
                total += slow_scores(question, text)[metric] if number < count else 0.0
            else:
                total += 0.0 if number < count and text else 1.0
        totals.append(total)
    no_answer, scores = np.array([row[2] for row in table]), question_scores(questions, said)[metric]
    found = published_cut(scores, has_answers(questions), np.array([bool(text) for text in said]), no_answer)
    assert found.score == pytest.approx(100 * max(totals) / len(table))
    if metric == 0:
        best = totals.index(max(totals))
        assert found.threshold == (table[best - 1][2] if best else 0.0)


# ---- worked by hand ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The  Quick, brown fox!", ("quick", "brown", "fox")),
        ("an apple a day", ("apple", "day")),
        ("theme of Anne", ("theme", "of", "anne")),
        ("U.S.-led", ("usled",)),
        ("a-b", ("ab",)),  # punctuation goes first, so that no article is left
        ("«L’été»", ("«l’été»",)),  # only ASCII's punctuation goes
        ("The.", ()),
        ("", ()),
    ],
)
def test_words_are_those_that_the_published_rule_leaves(text: str, words: tuple[str, ...]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("right", "said", "exact", "f1"),
    [
        ("the red kite", "Red kite.", 1.0, 1.0),
        ("red kite", "kite red", 0.0, 1.0),
        ("red kite", "a red old kite", 0.0, 0.8),  # 2 of 3 and 2 of 2
        ("no no no", "no", 0.0, 0.5),  # 1 of 1 and 1 of 3
        ("red", "no", 0.0, 0.0),
        ("", "", 1.0, 1.0),
        ("", "the", 1.0, 1.0),
        ("", "red", 0.0, 0.0),
        ("red", "", 0.0, 0.0),
    ],
)
def test_two_texts_are_scored_as_worked_by_hand(right: str, said: str, exact: float, f1: float) -> None:
    assert (exact_match(right, said), token_f1(right, said)) == (exact, pytest.approx(f1))


def test_the_best_of_the_right_answers_counts_and_those_without_words_do_not() -> None:
    exact, f1 = question_scores([asked("red kite", "kite"), asked("The", "red"), asked("The"), asked()],
                                ["a kite", "", "", "red"])
    assert exact.tolist() == [1, 0, 1, 0]
    assert f1.tolist() == [1, 0, 1, 0]


def test_figures_have_the_published_names_and_values() -> None:
    questions = [asked("red kite"), asked("map"), asked(), asked()]
    found = evaluate(questions, ["kite", "map", "cup", ""], np.array([0.6, 0.1, 0.9, 0.3]), 0.5)
    assert found == pytest.approx({
        "exact": 75, "f1": 75, "total": 4, "HasAns_exact": 50, "HasAns_f1": 50, "HasAns_total": 2,
        "NoAns_exact": 100, "NoAns_f1": 100, "NoAns_total": 2,
        "best_exact": 75, "best_exact_thresh": 0.1, "best_f1": 100 * (2 + 1 + 2 / 3) / 4, "best_f1_thresh": 0.6,
    })


def test_without_probabilities_nothing_is_left_out() -> None:
    found = evaluate([asked("red kite"), asked("map")], ["kite", "map"])
    assert found == pytest.approx({
        "exact": 50, "f1": 100 * (2 / 3 + 1) / 2, "total": 2,
        "HasAns_exact": 50, "HasAns_f1": 100 * (2 / 3 + 1) / 2, "HasAns_total": 2,
    })


def test_the_published_script_also_cuts_between_equal_probabilities_and_a_threshold_cannot() -> None:
    questions, said, no_answer = [asked("map"), asked()], ["map", "cup"], np.array([0.5, 0.5])
    f1, has_answer = question_scores(questions, said)[1], has_answers(questions)
    assert published_cut(f1, has_answer, np.array([True, True]), no_answer).score == 100
    assert best_cut(f1, has_answer, no_answer).score == 50


def test_metrics_of_the_task_are_these_scores() -> None:
    questions = [asked("red kite"), asked()]
    found = score(TASKS["squad"], questions, ["kite", ""])
    assert found == pytest.approx({
        "exact_match": 50, "token_f1": 100 * (2 / 3 + 1) / 2, "exact_match_answerable": 0,
        "token_f1_answerable": 200 / 3, "exact_match_unanswerable": 100, "token_f1_unanswerable": 100,
    })
    answerable = [replace(question, id=str(number)) for number, question in enumerate([questions[0]] * 2)]
    assert score(TASKS["squad"], answerable, ["kite", "red kite"]) == pytest.approx(
        {"exact_match": 50, "token_f1": 100 * (2 / 3 + 1) / 2}
    )
