"""SQuAD's head, losses, spans and threshold; and whole runs that learn what they see."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from rbt.errors import ConfigError
from rbt.finetune.batches import UnitBatch, read_units
from rbt.finetune.config import FinetuneConfig
from rbt.finetune.features import Features, encode_texts
from rbt.finetune.heads import FineTuned, SpanHead
from rbt.finetune.kind import Asked
from rbt.finetune.kinds import KINDS
from rbt.finetune.model_folder import load_encoder, load_head, write_model
from rbt.finetune.run import finetune
from rbt.finetune.spans import NO_ANSWER, SPAN, THRESHOLD, best_spans
from rbt.finetune.squad_scorer import evaluate
from rbt.finetune.start import check_config
from rbt.finetune.windows import span_features
from rbt.formats.tokenizer import build_vocab, write_tokenizer
from rbt.tasks.examples import Question
from rbt.tasks.sets import TASKS
from rbt.trainer.config import ModelConfig, RunConfig
from rbt.trainer.model import build_model

from ..trainer.hugging_face_models import make_wild, their_model
from .squad_files import made_questions, word_merges, write_squad

TASK, ARCHITECTURE = TASKS["squad"], SPAN.architecture


def asked_for(max_tokens: int = 64, **config: Any) -> Asked:
    return Asked(TASK, FinetuneConfig(**config), max_tokens)


def features_of(asked: Asked, questions: Sequence[Question], tokenizer: Path) -> Features:
    return span_features(asked, questions, lambda texts: encode_texts(tokenizer, texts))


def whole(features: Features) -> UnitBatch:
    """All units as one batch."""
    return read_units(features, np.arange(features.num_units))


def outputs_of(model: FineTuned, batch: UnitBatch) -> Any:
    with torch.no_grad():
        return model.eval()(batch.ids, batch.positions, batch.layout, batch.starts)


def rows_of(features: Features) -> tuple[Tensor, Tensor]:
    """(ids, mask) of all sequences, padded, (sequences, longest)."""
    lengths = np.diff(features.edges)
    ids, mask = (torch.full((len(lengths), int(lengths.max())), fill) for fill in (1, 0))
    for number, length in enumerate(lengths):
        ids[number, :length] = torch.from_numpy(features.ids[features.edges[number] : features.edges[number + 1]])
        mask[number, :length] = 1
    return ids, mask


# ---- head and losses ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def theirs() -> Any:
    return their_model(ARCHITECTURE)


@pytest.fixture(scope="module")
def ours(theirs: Any, tmp_path_factory: pytest.TempPathFactory) -> FineTuned:
    """The same weights in a model of ours."""
    folder = tmp_path_factory.mktemp("theirs")
    theirs.save_pretrained(folder)
    model, head = load_encoder(folder)[0], SpanHead(32, 0.0, has_unanswerable=False)
    load_head(folder, head, ARCHITECTURE)
    return FineTuned(model.encoder, head)


def test_logits_of_windows_of_many_lengths_equal_those_of_transformers(
    ours: FineTuned, theirs: Any, byte_tokenizer: Path
) -> None:
    features = features_of(asked_for(40, stride=16), made_questions("train", False), byte_tokenizer)
    ids, mask = rows_of(features)
    assert len(set(mask.sum(1).tolist())) > 3
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=mask)
    spans, none = outputs_of(ours, whole(features))
    assert none is None
    torch.testing.assert_close(spans[:, 0], expected.start_logits[mask == 1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(spans[:, 1], expected.end_logits[mask == 1], atol=1e-4, rtol=1e-4)


def test_the_loss_of_windows_of_one_length_equals_that_of_transformers(
    ours: FineTuned, theirs: Any, byte_tokenizer: Path
) -> None:
    asked = asked_for(30, stride=8)
    features = features_of(asked, made_questions("train", False), byte_tokenizer)
    full = np.flatnonzero(np.diff(features.edges) == 30)
    batch, rows = read_units(features, full), torch.from_numpy(full)
    assert 0 < (features.targets[full, 0] > 0).sum() < len(full)
    first, last = torch.from_numpy(features.targets[full]).long().unbind(1)
    with torch.no_grad():
        expected = theirs(input_ids=rows_of(features)[0][rows], start_positions=first, end_positions=last).loss
    found = SPAN.losses(asked, outputs_of(ours, batch), batch, features)
    torch.testing.assert_close(found / len(full), expected, atol=1e-5, rtol=1e-5)


def test_losses_of_windows_are_of_their_own_tokens_alone_and_add_up(ours: FineTuned, byte_tokenizer: Path) -> None:
    asked = asked_for(40, stride=16)
    features = features_of(asked, made_questions("train", False), byte_tokenizer)
    spans, _ = outputs_of(ours, batch := whole(features))
    expected = 0.0
    for number, (first, last) in enumerate(features.targets.astype(int).tolist()):
        own = spans[batch.edges[number] : batch.edges[number + 1]].log_softmax(0)
        expected -= float(own[first, 0] + own[last, 1]) / 2
    assert float(SPAN.losses(asked, (spans, None), batch, features)) == pytest.approx(expected, rel=1e-5)


def test_with_unanswerable_questions_the_loss_of_saying_so_is_added(byte_tokenizer: Path) -> None:
    asked = asked_for(40, stride=16)
    features = features_of(asked, made_questions("train", True), byte_tokenizer)
    batch, generator = whole(features), torch.Generator().manual_seed(1)
    spans = torch.randn(len(batch.ids), 2, generator=generator)
    none = torch.randn(features.num_units, generator=generator)
    has_none = features.targets[:, 0] == 0
    assert 0 < has_none.sum() < len(has_none)
    added = sum(
        -float(functional.logsigmoid(odds if is_none else -odds))
        for odds, is_none in zip(none, has_none.tolist(), strict=True)
    )
    found = [float(SPAN.losses(asked, (spans, each), batch, features)) for each in (none, None)]
    assert found[0] - found[1] == pytest.approx(added, rel=1e-5)


def test_gradients_of_windows_of_many_lengths_are_finite(byte_tokenizer: Path) -> None:
    asked = asked_for(40, stride=16)
    features = features_of(asked, made_questions("train", True), byte_tokenizer)
    batch = whole(features)
    spans, none = (torch.zeros(shape, requires_grad=True) for shape in ((len(batch.ids), 2), (features.num_units,)))
    (SPAN.losses(asked, (spans, none), batch, features) * 0.5).backward()  # type: ignore[no-untyped-call]
    assert spans.grad is not None
    assert none.grad is not None
    assert spans.grad.isfinite().all()
    assert spans.grad.abs().sum() > 0
    assert none.grad.abs().sum() > 0


def test_there_is_a_head_for_no_answer_where_train_has_such_questions_or_a_threshold_was_tuned(
    byte_tokenizer: Path
) -> None:
    asked = asked_for()
    some, none = (features_of(asked, made_questions("train", each), byte_tokenizer) for each in (True, False))
    for features, tuned, expected in (
        (some, None, True), (none, None, False), (some, {}, False), (none, {THRESHOLD: 0.5}, True),
    ):
        head = SPAN.head(replace(asked, tuned=tuned), 16, features)
        assert isinstance(head, SpanHead)
        assert (head.answerable is not None) == expected


@pytest.mark.parametrize("has_unanswerable", [False, True])
def test_a_written_model_is_read_by_transformers_and_by_us(
    has_unanswerable: bool, byte_tokenizer: Path, tmp_path: Path
) -> None:
    import transformers

    head = SpanHead(32, 0.0, has_unanswerable)
    model = FineTuned(build_model(ModelConfig(layers=2, hidden=32, heads=4, feed_forward=48), 261, 64, 1), head)
    make_wild(model)
    write_model(tmp_path / "model", model, ARCHITECTURE, TASK, "squad", byte_tokenizer)
    features = features_of(asked_for(), made_questions("dev", False), byte_tokenizer)
    spans, none = outputs_of(model, batch := whole(features))
    ids, mask = rows_of(features)
    theirs = transformers.RobertaForQuestionAnswering.from_pretrained(tmp_path / "model").eval()
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=mask).start_logits[mask == 1]
    torch.testing.assert_close(spans[:, 0], expected, atol=1e-4, rtol=1e-4)
    again = SpanHead(32, 0.0, has_unanswerable)
    load_head(tmp_path / "model", again, ARCHITECTURE)
    read = outputs_of(FineTuned(load_encoder(tmp_path / "model")[0].encoder, again), batch)
    assert torch.equal(read[0], spans)
    assert (read[1] is None) == (none is None)
    assert none is None or torch.equal(read[1], none)


# ---- spans -------------------------------------------------------------------------------------------------------


@given(st.integers(1, 12), st.integers(1, 14), st.integers(0, 2**32 - 1))
def test_the_best_span_is_that_of_all_pairs(time: int, answer_tokens: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    first, last = generator.permuted(np.arange(3 * time) * np.ones((2, 1)), axis=1).reshape(2, 3, time)
    is_passage = generator.random((3, time)) < 0.7
    found = best_spans(*map(torch.from_numpy, (first, last, is_passage)), answer_tokens)
    for row, (score, start, end) in enumerate(zip(*(part.tolist() for part in found), strict=True)):
        scores = {
            (i, j): first[row, i] + last[row, j]
            for i in range(time) for j in range(i, min(time, i + answer_tokens))
            if is_passage[row, i] and is_passage[row, j]
        }
        assert score == max(scores.values(), default=-np.inf)
        assert not scores or scores[start, end] == score


def scored(features: Features, asked: Asked, wanted: dict[int, float], odds: Sequence[float]) -> np.ndarray:
    """Scores of a head that points at each window's targets, with a confidence by window, and gives some odds."""
    batch = whole(features)
    spans = torch.zeros(len(batch.ids), 2)
    spans[batch.starts] = 50.0  # <s> is no answer at prediction
    for number, confidence in wanted.items():
        for column, place in enumerate(features.targets[number].astype(int).tolist()):
            spans[int(batch.edges[number]) + place, column] = confidence
    found = SPAN.scores(asked, (spans, torch.tensor(odds)), batch, features)
    return np.asarray(found.numpy())


def test_a_question_is_answered_by_the_best_of_its_windows_inside_the_passage(byte_tokenizer: Path) -> None:
    asked = asked_for(50, stride=10)
    questions = made_questions("dev", False)[2:5]
    features = features_of(asked, questions, byte_tokenizer)
    holding = np.flatnonzero(features.targets[:, 0] > 0).tolist()
    assert len(holding) > 3
    scores = scored(features, asked, {number: 5.0 + number for number in holding}, [0.0] * features.num_units)
    texts = [each.answers[0].text for each in questions]
    assert SPAN.predict(asked, questions, features, scores) == texts
    short = replace(asked, config=replace(asked.config, answer_tokens=3))
    scores = scored(features, short, {number: 5.0 + number for number in holding}, [0.0] * features.num_units)
    for text, said in zip(texts, SPAN.predict(short, questions, features, scores), strict=True):
        assert 0 < len(said.encode()) <= 3 < len(text)


def test_v48_the_threshold_is_tuned_for_the_best_f1_and_decides_who_is_answered(byte_tokenizer: Path) -> None:
    asked, questions = asked_for(128), made_questions("dev", True)
    features = features_of(asked, questions, byte_tokenizer)
    assert features.num_units == len(questions)
    odds = [(-1.0 if each.answers else 1.0) + 0.1 * number for number, each in enumerate(questions)]
    scores = scored(features, asked, dict.fromkeys(range(0, 20, 2), 9.0), odds)
    tuned = SPAN.tuned(asked, questions, features, scores)
    texts = SPAN.predict(replace(asked, tuned={THRESHOLD: 1.0}), questions, features, scores)
    probabilities = 1 / (1 + np.exp(-np.array(odds)))
    assert tuned.tuned == {THRESHOLD: pytest.approx(evaluate(questions, texts, probabilities)["best_f1_thresh"])}
    outcome = SPAN.predicted(tuned, questions, features, scores)
    assert evaluate(questions, outcome.predictions)["f1"] == pytest.approx(
        evaluate(questions, texts, probabilities)["best_f1"]
    )
    assert [note[NO_ANSWER] for note in outcome.notes] == pytest.approx(probabilities.tolist())
    for said, text, probability in zip(outcome.predictions, texts, probabilities, strict=True):
        assert said == ("" if probability > tuned.tuned[THRESHOLD] else text)
    assert 0 < sum(map(bool, outcome.predictions)) < len(questions)


def test_the_window_that_is_surest_of_an_answer_decides_whether_there_is_one(byte_tokenizer: Path) -> None:
    asked = replace(asked_for(50, stride=10), tuned={THRESHOLD: 0.5})
    questions = made_questions("dev", True)[:2]
    features = features_of(asked, questions, byte_tokenizer)
    edges = features.details.edges
    odds = [3.0] * features.num_units
    odds[edges[1] - 1] = -2.0  # one window of the first question
    outcome = SPAN.predicted(asked, questions, features, scored(features, asked, {0: 9.0}, odds))
    assert [bool(said) for said in outcome.predictions] == [True, False]
    assert [note[NO_ANSWER] for note in outcome.notes] == pytest.approx([1 / (1 + np.e**2), 1 / (1 + np.e**-3)])


def test_a_passage_without_text_is_answered_by_no_text(byte_tokenizer: Path) -> None:
    asked, questions = asked_for(), [Question("1", "dev", "", "", "What?")]
    features = features_of(asked, questions, byte_tokenizer)
    assert SPAN.predict(asked, questions, features, scored(features, asked, {}, [0.0])) == [""]


@pytest.mark.parametrize(("key", "value"), [("stride", 0), ("answer_tokens", 0), ("max_tokens", 7)])
def test_numbers_that_leave_no_window_are_refused(key: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"\[finetune\] {key}: expected at least"):
        check_config(FinetuneConfig(**{key: value}))  # type: ignore[arg-type]


# ---- runs --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("has_unanswerable", [False, True])
def test_v48_a_run_learns_the_questions_that_it_sees(has_unanswerable: bool, tmp_path: Path) -> None:
    texts = [text for each in made_questions("train", has_unanswerable) for text in (each.context, each.question)]
    write_tokenizer(tmp_path, merges := word_merges(texts))
    shape = ModelConfig(layers=2, hidden=32, heads=4, feed_forward=64)
    model = FineTuned(build_model(shape, len(build_vocab(merges)), 64, 1), None)
    make_wild(model, 0.1)
    write_model(tmp_path / "model", model, "RobertaForMaskedLM", TASK, "squad", tmp_path)
    for split in ("train", "dev"):
        write_squad(tmp_path / f"data/{split}-v.json", made_questions(split, has_unanswerable))
    config = FinetuneConfig(
        batch_size=5, learning_rate=3e-3, epochs=60, dropout=0.0, attention_dropout=0.0, early_stopping=12,
    )
    run = finetune("squad", tmp_path / "model", tmp_path / "data", tmp_path / "run", config, RunConfig(device="cpu"))
    scores = json.loads((run / "scores.json").read_text())
    assert scores["scores"]["dev exact_match"] > 90
    assert (THRESHOLD in scores["tuned"]) == has_unanswerable
    lines = [json.loads(line) for line in (run / "predictions-dev.jsonl").read_text().splitlines()]
    questions = made_questions("dev", has_unanswerable)
    assert [line["id"] for line in lines] == [each.id for each in questions]
    assert evaluate(questions, [line["prediction"] for line in lines])["exact"] == scores["scores"]["dev exact_match"]
    assert all((NO_ANSWER in line) == has_unanswerable for line in lines)


def test_spans_are_a_kind() -> None:
    assert KINDS[TASK.kind] is SPAN
