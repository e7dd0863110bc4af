"""Options of questions on passages, and sentences that are ranked by whether they answer a question."""

from __future__ import annotations

import dataclasses
import json
import logging
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from rbt.errors import ConfigError
from rbt.finetune.choices import CHOICE, RANKING, choice_features, ranking_features, statement
from rbt.finetune.config import FinetuneConfig
from rbt.finetune.data import encoder_of
from rbt.finetune.features import Features
from rbt.finetune.kind import Asked
from rbt.finetune.kinds import kind_of
from rbt.finetune.run import finetune
from rbt.finetune.scores import read_scores
from rbt.tasks.examples import Choice, Sentences
from rbt.tasks.sets import TASKS, find_files, read_examples
from rbt.trainer.config import RunConfig

from .conftest import WORDS, write_rows

YES, NO = "entailment", "not_entailment"


def asked_of(name: str, max_tokens: int = 512, **settings: int) -> Asked:
    return Asked(TASKS[name], dataclasses.replace(FinetuneConfig(), **settings), max_tokens)


def sequences_of(features: Features) -> list[list[int]]:
    return [features.ids[start:end].tolist() for start, end in pairwise(features.edges)]


@pytest.mark.parametrize(
    ("question", "option", "expected"),
    [
        ("Who grew?", "the oak", "Who grew? the oak"), ("The _ grew .", "oak", "The oak grew ."),
        (" Both  _ \n and   _ . ", " an\t oak ", "Both an oak and an oak ."), ("_", "oak", "oak"),
    ],
)
def test_an_option_fills_all_blanks_or_follows_the_question(question: str, option: str, expected: str) -> None:
    assert statement(question, option) == expected


@given(st.text(alphabet="ab _\n\t\u3000"), st.text(alphabet="ab \n"))
def test_white_space_around_and_within_is_one_space(question: str, option: str) -> None:
    found = statement(question, option)
    assert found == " ".join(found.split())
    assert "_" not in found
    assert "".join(found.split()) == "".join((question.replace("_", option) if "_" in question else
                                              question + option).split())


def slow_sequence(question: list[int], passage: list[int], option_tokens: int, max_tokens: int) -> list[int]:
    """As the paper has it: one cut behind the other."""
    head = [*[0, *question][: option_tokens - 1], 2]
    whole = [*head, 2, *passage]
    return [*whole[: max_tokens - 1], 2]


def choices(count: int, passage_words: int, option_words: int) -> list[Choice]:
    """Questions on passages of words."""
    generator = np.random.default_rng(count)
    words = [" ".join(generator.choice(WORDS, size)) for size in (passage_words, option_words)]
    return [
        Choice(str(number), "train", f" {words[0]}\n{number}", "Who _ ?" if number % 2 else "Who?",
               tuple(f"{words[1]} {option}" for option in range(4)), number % 4 if number % 3 else None)
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("passage_words", "option_words"), [(0, 0), (5, 3), (40, 3), (5, 40), (40, 40), (13, 12)]
)
@pytest.mark.parametrize(("option_tokens", "max_tokens"), [(16, 64), (40, 64), (128, 64), (128, 512), (3, 7)])
def test_question_and_option_are_cut_first_and_then_the_passage(
    start_model: Path, passage_words: int, option_words: int, option_tokens: int, max_tokens: int
) -> None:
    examples, encode = choices(3, passage_words, option_words), encoder_of(start_model)
    features = choice_features(asked_of("race", max_tokens, option_tokens=option_tokens), examples, encode)
    expected = []
    for each in examples:
        texts = encode([" ".join(each.passage.split()), *(statement(each.question, option) for option in each.options)])
        passage, *heads = (texts.ids(number).tolist() for number in range(5))
        expected += [slow_sequence(head, passage, min(option_tokens, max_tokens - 2), max_tokens) for head in heads]
    assert sequences_of(features) == expected
    assert features.unit_edges.tolist() == [0, 4, 8, 12] and features.width == 4
    assert features.has_target.tolist() == [False, True, True] and features.targets[1:, 0].tolist() == [1, 2]


def test_questions_may_have_different_numbers_of_options(start_model: Path) -> None:
    two, four = choices(2, 5, 1)
    two = dataclasses.replace(two, options=two.options[:2])
    features = choice_features(asked_of("race"), [two, four], encoder_of(start_model))
    assert features.unit_edges.tolist() == [0, 2, 6] and features.width == 4
    scores = np.array([[0.1, 0.2, -np.inf, -np.inf], [0.5, 0.1, 0.9, 0.3]])
    assert CHOICE.predict(asked_of("race"), [two, four], features, scores) == [1, 2]


@pytest.mark.parametrize(("path", "questions"), [("derived", 1436), ("hf_race_all_dummy.zip", 61)])
def test_all_of_race_becomes_its_texts_again(data: Path, start_model: Path, path: str, questions: int) -> None:
    """Under the limits question and option are whole, and the passage to its cut."""
    files = find_files("race", data / "tasks" / "race" / path, ("train", "dev", "test"))
    examples = [each for _, each in read_examples(files) if isinstance(each, Choice)]
    assert len(examples) == questions
    features = choice_features(asked_of("race", 2048, option_tokens=512), examples, encoder_of(start_model))
    decoder = Tokenizer.from_file(str(start_model / "tokenizer.json"))
    sequences = iter(sequences_of(features))
    cut = 0
    for each in examples:
        for option in each.options:
            ids = next(sequences)
            edge = ids.index(2)
            assert ids[0] == 0 and ids[edge + 1] == 2 and ids[-1] == 2 and len(ids) <= 2048
            head, passage = decoder.decode(ids[1:edge]), decoder.decode(ids[edge + 2:-1])
            assert edge + 1 < 512 and head == statement(each.question, option)
            whole = " ".join(each.passage.split())
            assert passage == whole if len(ids) < 2048 else whole.startswith(passage.rstrip("\ufffd"))
            cut += len(ids) == 2048
    assert next(sequences, None) is None and cut < 4 * questions / 2
    assert features.targets[:, 0].tolist() == [each.answer for each in examples]


def pair(number: int, question: str, sentence: str, label: str | None) -> Sentences:
    return Sentences(str(number), "train", (question, sentence), label)


# in the file's order: the sentences of a question need not lie side by side
PAIRS = [
    pair(0, "Who grew?", "An oak grew.", YES), pair(1, "What fell?", "A fir.", NO), pair(2, "Who grew?", "Rain.", NO),
    pair(3, "Alone?", "Yes.", YES), pair(4, "What fell?", "A yew.", NO), pair(5, "Who grew?", "Snow.", NO),
    pair(6, "Both?", "Ash.", YES), pair(7, "Both?", "Elm.", YES), pair(8, "No?", "Pine.", NO),
]


def test_a_unit_is_a_question_with_all_of_its_sentences(
    start_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Learned from are questions of which exactly one sentence is the answer, and others are not."""
    encode = encoder_of(start_model)
    with caplog.at_level(logging.INFO):
        features = ranking_features(asked_of("qnli"), PAIRS, encode)
    assert features.details == [[0, 2, 5], [1, 4], [3], [6, 7], [8]]
    assert features.unit_edges.tolist() == [0, 3, 5, 6, 8, 9]
    assert features.has_target.tolist() == [True, False, False, False, False] and features.targets[0, 0] == 0
    assert "4 of 5 questions have no sentences to compare, of which one answers" in caplog.text
    texts = encode([text for number in (0, 2, 5) for text in PAIRS[number].sentences])
    ids = [texts.ids(number).tolist() for number in range(6)]
    assert sequences_of(features)[:3] == [
        [0, *question, 2, 2, *sentence, 2] for question, sentence in zip(ids[::2], ids[1::2], strict=True)
    ]


def test_questions_without_labels_are_not_said_to_be_lost(
    start_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hidden = [dataclasses.replace(each, label=None) for each in PAIRS]
    with caplog.at_level(logging.INFO):
        features = ranking_features(asked_of("qnli"), hidden, encoder_of(start_model))
    assert not features.has_target.any() and not caplog.records


def test_the_best_sentence_of_each_question_answers_in_the_order_of_the_file(start_model: Path) -> None:
    """One that stands alone does where its score is nearer to those that won: here from 1.0 on."""
    asked = asked_of("qnli")
    features = ranking_features(asked, PAIRS, encoder_of(start_model))
    gap = -np.inf
    scores = np.array([[-1, 0, 2], [3, -3, gap], [1.1, gap, gap], [2.5, 2, gap], [0.9, gap, gap]])
    won, lost = np.mean([2, 3, 2.5]), np.mean([-1, 0, -3, 2])
    assert (won + lost) / 2 == 1.0
    found = RANKING.predict(asked, PAIRS, features, scores)
    assert [number for number, label in enumerate(found) if label == YES] == [1, 3, 5, 6]
    assert set(found) == {YES, NO}
    alone = ranking_features(asked, PAIRS[3:4], encoder_of(start_model))
    assert RANKING.predict(asked, PAIRS[3:4], alone, np.array([[-5.0]])) == [YES]  # with nothing to compare it with


@pytest.mark.parametrize("name", sorted(TASKS.keys() - {"qnli"}))
def test_ranking_is_of_the_sentences_of_a_question_alone(name: str) -> None:
    """Those of MNLI look like it: a premise has one hypothesis that follows."""
    assert kind_of(TASKS["qnli"], FinetuneConfig(ranking=True)) is RANKING
    with pytest.raises(ConfigError, match=r"ranking: expected false, for a task whose sentences do not answer"):
        kind_of(TASKS[name], FinetuneConfig(ranking=True))


def write_qnli(folder: Path) -> Path:
    """Of a question's sentences the one that begins with "oak" answers; two questions have one sentence alone."""
    generator = np.random.default_rng(1)
    for split, count in (("train", 16), ("dev", 9)):
        rows = []
        for number in range(count):
            trees = ["oak", *generator.choice(["elm", "fir", "yew"], 1 + number % 3)]
            rows += [(f"Which {number}?", f"{tree} {generator.choice(WORDS)}", NO if tree != "oak" else YES) for tree
                     in trees]
        rows += [("Which 90?", "oak ash", YES), ("Which 91?", "elm ash", NO)]
        rows = [rows[place] for place in generator.permutation(len(rows))]
        lines = [f"{number}\t" + "\t".join(row) for number, row in enumerate(rows)]
        write_rows(folder / "QNLI" / f"{split}.tsv", "index\tquestion\tsentence\tlabel", lines)
    return folder


def test_ranking_learns_which_sentence_answers(start_model: Path, tmp_path: Path) -> None:
    data = write_qnli(tmp_path / "data")
    config = FinetuneConfig(
        learning_rate=3e-3, epochs=20, batch_size=4, early_stopping=0, dropout=0.0, attention_dropout=0.0, ranking=True
    )
    out = finetune("qnli", start_model, data, tmp_path / "run", config, RunConfig(device="cpu", checkpoint_every=0))
    assert read_scores(out)["scores"]["dev accuracy"] == 100.0
    assert json.loads((out / "model" / "config.json").read_text())["architectures"] == ["RobertaForMultipleChoice"]
    rows = [line.split("\t") for line in (data / "QNLI" / "dev.tsv").read_text().splitlines()[1:]]
    lines = [json.loads(line) for line in (out / "predictions-dev.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [row[0] for row in rows]
    assert [line["prediction"] for line in lines] == [row[3] for row in rows]
