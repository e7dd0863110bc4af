"""Windows of passages, and spans of text as tokens and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.errors import InputError
from rbt.finetune.config import FinetuneConfig
from rbt.finetune.data import read_task
from rbt.finetune.features import Features, encode_texts
from rbt.finetune.kind import Asked
from rbt.finetune.squad_scorer import evaluate
from rbt.finetune.windows import (
    Windows,
    answer_bytes,
    nearest,
    questions_of,
    span_features,
    span_text,
    span_tokens,
    window_starts,
)
from rbt.formats.tokenizer import EOS, spell, write_tokenizer
from rbt.tasks.examples import Answer, Question
from rbt.tasks.sets import TASKS, find_files, read_examples

from .squad_files import made_questions, question


def features_of(questions: list[Question], tokenizer: Path, max_tokens: int = 384, **config: int) -> Features:
    """The windows of questions."""
    asked = Asked(TASKS["squad"], FinetuneConfig(**config), max_tokens)  # type: ignore[arg-type]
    return span_features(asked, questions, lambda texts: encode_texts(tokenizer, texts))


def windows_of(features: Features) -> Windows:
    assert isinstance(features.details, Windows)
    return features.details


def sequence(features: Features, number: int) -> list[int]:
    """The ids of a window."""
    ids: list[int] = features.ids[features.edges[number] : features.edges[number + 1]].tolist()
    return ids


# ---- windows -----------------------------------------------------------------------------------------------------


@given(st.integers(0, 60), st.integers(1, 20), st.integers(1, 25))
def test_windows_are_those_of_a_walk_that_stops_at_the_end(tokens: int, room: int, stride: int) -> None:
    starts = [0]
    while starts[-1] + room < tokens:
        starts.append(starts[-1] + min(room, stride))
    assert window_starts(tokens, room, stride).tolist() == starts


@pytest.mark.parametrize("first", [5, 18, 19])  # the first window ends behind 20
def test_a_sequence_is_the_question_and_a_window_and_targets_are_places_in_it(byte_tokenizer: Path, first: int) -> None:
    context = "abcdefghijklmnopqrstuvwxyz" * 2
    each = Question("q", "train", "", context, " What? ", (Answer(context[first : first + 3], first),))
    features, texts = features_of([each], byte_tokenizer, 30, stride=5), encode_texts(byte_tokenizer, ["What?"])
    head, passage = texts.ids(0).tolist(), encode_texts(byte_tokenizer, [each.context]).ids(0).tolist()
    room = 30 - 4 - len(head)
    starts = window_starts(len(passage), room, 5).tolist()
    assert features.num_units == len(starts)
    for number, start in enumerate(starts):
        assert sequence(features, number) == [0, *head, EOS, EOS, *passage[start : start + room], EOS]
        holds = start <= first and start + room >= first + 3
        place = len(head) + 3 + first - start
        expected = [place, place + 2] if holds else [0, 0]
        assert features.targets[number].tolist() == expected
    assert features.targets.any()
    assert not features.targets.all()


def test_a_long_question_is_cut_to_its_share(byte_tokenizer: Path) -> None:
    each = Question("q", "train", "", "a" * 50, "b" * 50, (Answer("a", 0),))
    b, a = (encode_texts(byte_tokenizer, [letter]).ids(0)[0] for letter in "ba")
    for max_tokens, question_tokens, expected in ((64, 12, 12), (64, 64, 30), (8, 64, 2)):
        first = sequence(features_of([each], byte_tokenizer, max_tokens, question_tokens=question_tokens), 0)
        assert (first.count(b), first.count(a)) == (expected, min(50, max_tokens - 4 - expected))


def test_a_passage_without_text_is_a_window_without_tokens(byte_tokenizer: Path) -> None:
    features = features_of([question("", None)], byte_tokenizer)
    assert features.num_units == 1
    assert features.targets.tolist() == [[0, 0]]


# ---- targets -----------------------------------------------------------------------------------------------------


def test_windows_of_unanswerable_questions_point_at_the_first_token(byte_tokenizer: Path) -> None:
    features = features_of(made_questions("train", with_unanswerable=True), byte_tokenizer)
    assert windows_of(features).has_unanswerable
    assert (features.targets.any(1)).tolist() == [True, False] * 10
    assert not windows_of(features_of(made_questions("train", False), byte_tokenizer)).has_unanswerable


def test_answers_that_are_not_known_or_not_there_are_not_learned(
    byte_tokenizer: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    hidden = Question("hidden", "test", "", "a red kite", "What?")
    questions = [question("a red kite", "blue", 2, id="lost"), hidden, question("a red kite", "red", id="found")]
    features = features_of(questions, byte_tokenizer)
    assert features.has_target.tolist() == [False, False, True]
    assert "1 of 3 questions are not learned from" in caplog.text


def test_answers_that_no_window_holds_whole_are_counted(
    byte_tokenizer: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    each = question("a" * 24 + "red" + "a" * 30, "red")
    assert features_of([each], byte_tokenizer, 40, stride=8).targets.any()
    assert not caplog.text
    assert not features_of([each], byte_tokenizer, 40, stride=40).targets.any()  # cut behind 25
    assert "1 of 1 answers are in no window whole: lower finetune.stride" in caplog.text


@pytest.mark.parametrize(
    ("start", "expected"), [(0, 0), (1, 0), (3, 4), (4, 4), (5, 4), (7, 8), (99, 8), (-5, 0)]
)
def test_an_answer_is_looked_for_as_near_its_start_as_it_can_be(start: int, expected: int) -> None:
    assert nearest("kit kit kit", "kit", start) == expected
    assert nearest("kit kit kit", "cup", start) is None


def test_white_space_around_an_answer_is_not_learned() -> None:
    assert answer_bytes("a  red kite", Answer(" red ", 2)) == (3, 6)
    assert answer_bytes("a  red kite", Answer("  ", 1)) is None


# ---- tokens and text ---------------------------------------------------------------------------------------------


def test_a_span_begins_behind_the_space_that_its_token_begins_with(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, [(spell(b" "), "r"), (spell(b" r"), "e"), (spell(b" re"), "d")])
    context = "a red kite"
    ends = encode_texts(tmp_path, [context]).byte_ends(0)
    assert ends.tolist() == [1, 5, 6, 7, 8, 9, 10]
    assert span_tokens(ends, (2, 5)) == (1, 1)
    assert span_text(context, ends, (1, 1)) == "red"
    assert span_text(context, ends, (0, 1)) == "a red"


def test_characters_of_several_tokens_are_whole_and_parts_of_others_are_left_out(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, [(spell(b"\xa9"), "t")])  # the second half of é with the t behind it
    context = "fété"
    ends = encode_texts(tmp_path, [context]).byte_ends(0)
    assert ends.tolist() == [1, 2, 4, 5, 6]
    assert span_tokens(ends, (1, 3)) == (1, 2)
    assert span_text(context, ends, (1, 2)) == "ét"
    assert span_tokens(ends, (3, 6)) == (2, 4)
    assert span_text(context, ends, (2, 4)) == "té"
    assert span_text(context, ends, (1, 1)) == ""
    assert answer_bytes(context, Answer("té", 2)) == (3, 6)  # starts count characters, spans bytes


@given(st.text(st.sampled_from("aé漢😀 .\t\u0301"), min_size=1, max_size=30), st.data())
def test_v48_any_span_goes_to_byte_tokens_and_back(byte_tokenizer: Path, context: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(context) - 1))
    text = context[start : data.draw(st.integers(start + 1, len(context)))]
    found = answer_bytes(context, Answer(text, start))
    assert (found is None) == (not text.strip())
    if found is not None:
        ends = encode_texts(byte_tokenizer, [context]).byte_ends(0)
        assert span_text(context, ends, span_tokens(ends, found)) == text.strip()


# ---- all of SQuAD ------------------------------------------------------------------------------------------------


def held_texts(features: Features, questions: list[Question]) -> list[list[str]]:
    """The texts of the targets of each question's windows that hold its answer; [""] of an unanswerable one."""
    windows, targets, found = windows_of(features), features.targets.astype(np.int64), []
    for number, each in enumerate(questions):
        own = np.arange(*windows.edges[number : number + 2])
        holding = own[targets[own, 0] > 0]
        spans = targets[holding] + windows.shifts[holding, None]
        texts = [windows.text(number, each.context, first, last) for first, last in spans.tolist()]
        found.append([""] if each.is_impossible else texts)
    return found


@pytest.mark.parametrize("file", ["dev-v1.1.A.json", "dev-v2.0.A.json"])
@pytest.mark.parametrize(
    ("max_tokens", "stride"), [(384, 128), pytest.param(64, 16, marks=pytest.mark.slow)]
)
def test_v48_gold_spans_of_all_of_squad_go_to_tokens_and_back(
    data: Path, byte_tokenizer: Path, file: str, max_tokens: int, stride: int
) -> None:
    examples = [each for _, each in read_examples(find_files("squad", data / "tasks/squad/derived" / file, ("dev",)))]
    questions = questions_of(examples)
    features = features_of(questions, byte_tokenizer, max_tokens, stride=stride)
    assert features.has_target.all()
    held = held_texts(features, questions)
    fronts = windows_of(features).fronts[windows_of(features).edges[:-1]]
    for texts, each, front in zip(held, questions, fronts.tolist(), strict=True):
        room = max_tokens - 1 - front
        fits = not each.answers or len(each.answers[0].text.encode()) <= room - min(stride, room) + 1
        assert texts or not fits, f"{each.id}: no window holds its answer"
    chosen = [number for number, texts in enumerate(held) if texts]
    assert len(chosen) == len(questions) or max_tokens == 64
    for pick in (0, -1):  # the first window that holds it, and the last
        scores = evaluate([questions[number] for number in chosen], [held[number][pick] for number in chosen])
        assert scores["exact"] == 100
    exact = [all(text == questions[number].answers[0].text.strip() for text in held[number])
             for number in chosen if questions[number].answers]
    assert all(exact)


@pytest.mark.parametrize(("file", "exact"), [("dev-v1.1.A.json", 99.4), ("dev-v2.0.A.json", 99.8)])
def test_v48_answers_inside_tokens_of_gpt2_take_the_whole_token(
    data: Path, tmp_path: Path, file: str, exact: float
) -> None:
    """All others come back."""
    lines = (data / "bpe" / "vocab.bpe").read_text("utf-8").splitlines()[1:]
    write_tokenizer(tmp_path, [(left, right) for left, right in (line.split(" ") for line in lines)])
    examples = [each for _, each in read_examples(find_files("squad", data / "tasks/squad/derived" / file, ("dev",)))]
    questions = questions_of(examples)
    texts = [found[0] for found in held_texts(features_of(questions, tmp_path), questions)]
    assert round(evaluate(questions, texts)["exact"], 1) == exact
    rights = [each.answers[0].text.strip() if each.answers else "" for each in questions]
    assert all(right in text for right, text in zip(rights, texts, strict=True))


def test_files_of_both_versions_in_one_folder_are_an_error(tmp_path: Path) -> None:
    table = {"data": [{"paragraphs": [{"context": "a", "qas": [
        {"id": "1", "question": "?", "answers": [{"text": "a", "answer_start": 0}]}]}]}]}
    for version in ("1.1", "2.0"):
        (tmp_path / f"dev-v{version}.json").write_text(json.dumps(table))
    with pytest.raises(InputError, match=r"each example of squad dev once; found 1 twice .*of SQuAD one version"):
        read_task("squad", tmp_path, ("dev",))
