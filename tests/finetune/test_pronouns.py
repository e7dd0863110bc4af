"""Pronouns: phrases, sequences with masks, losses, predictions, and a run."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rbt.errors import ArtefactError, ConfigError, InputError
from rbt.finetune.batches import read_units
from rbt.finetune.config import FinetuneConfig
from rbt.finetune.data import encoder_of
from rbt.finetune.features import Features, make_features
from rbt.finetune.kind import Asked
from rbt.finetune.mentions import find_mention
from rbt.finetune.pronouns import OWN, PRONOUN, Masked, phrases_of, pronoun_features
from rbt.finetune.run import finetune
from rbt.finetune.scores import read_scores
from rbt.tasks.examples import Sentences
from rbt.tasks.sets import TASKS
from rbt.trainer.config import RunConfig

from .conftest import MERGES, write_rows

VOCABULARY = 4 + 256 + len(dict.fromkeys(MERGES)) + 1
MASK = VOCABULARY - 1
YES, NO = "entailment", "not_entailment"
TEXT = "The goat chased Pedro round Ana's barn until it was tired. He sang."


def asked_of(max_tokens: int = 64, **settings: object) -> Asked:
    return Asked(TASKS["wnli"], dataclasses.replace(FinetuneConfig(), **settings), max_tokens, MASK)


def row(statement: str, label: str | None, text: str = TEXT, number: int = 0) -> Sentences:
    return Sentences(str(number), "train", (text, statement), label)


ROWS = [
    row("The goat was tired.", YES), row("The barn was tired.", NO), row("Pedro was tired", None),
    row("Nothing like it at all, no.", YES), row("Pedro sang.", YES), row("The goat sang.", NO),
]


def sequences_of(features: Features) -> list[list[int]]:
    return [part.tolist() for part in np.split(features.ids, features.edges[1:-1])]


def answers_of(features: Features) -> list[list[int]]:
    return [part.tolist() for part in np.split(features.details.answers, features.details.edges[1:-1])]


def filled(sequence: list[int], answer: list[int]) -> list[int]:
    """The sequence with the phrase in place of its masks."""
    assert sequence.count(MASK) == len(answer) > 0
    place = sequence.index(MASK)
    assert sequence[place:place + len(answer)] == [MASK] * len(answer)  # one behind the other
    return sequence[:place] + answer + sequence[place + len(answer):]


def test_a_rows_phrases_are_its_own_those_of_other_rows_and_noun_phrases() -> None:
    mention = find_mention(TEXT, "The goat was tired.")
    assert mention is not None
    found = phrases_of(TEXT, mention, ["the goat", "the barn door", "a goat", "Ana"])
    # "a goat" is "the goat"; of the noun phrases "Ana's barn" holds "Ana"
    assert found == ["the goat", "the barn door", "Ana", "Pedro"]


def test_a_noun_phrase_that_holds_the_pronoun_is_none_of_them() -> None:
    text = "Pedro met his uncle and his cow."
    mention = find_mention(text, "Pedro met the cow's uncle and his cow.")
    assert mention is not None and (mention.start, mention.phrase) == (text.index("his"), "the cow")
    assert phrases_of(text, mention, []) == ["the cow", "Pedro"]


def test_a_unit_is_a_row_and_a_sequence_a_phrase(start_model: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With the phrase in place of the masks a sequence is the text with the phrase in place of the pronoun."""
    encode = encoder_of(start_model)
    with caplog.at_level(logging.INFO):
        features = pronoun_features(asked_of(512), ROWS, encode)
    assert "1 of 6 rows have no pronoun that was found" in caplog.text
    assert features.details.examples.tolist() == [0, 1, 2, 4, 5]
    tired = [[each, *(other for other in ("the goat", "the barn", "Pedro") if other != each)] for each in
             ("the goat", "the barn", "Pedro")]
    sang = [["Pedro", "The goat", "Ana", "the barn"], ["The goat", "Pedro"]]
    expected = [[TEXT.replace("it", phrase) for phrase in phrases] for phrases in tired]
    edges, found = features.unit_edges.tolist(), sequences_of(features)
    whole = [filled(*pair) for pair in zip(found, answers_of(features), strict=True)]
    for unit, texts in enumerate(expected):
        ids = encode(texts)
        wanted = [[0, *ids.ids(number).tolist(), 2] for number in range(len(texts))]
        assert whole[edges[unit]:edges[unit] + len(texts)] == wanted
    for unit, phrases in zip((3, 4), sang, strict=True):
        ids = encode([TEXT.replace("He", phrase) for phrase in phrases[:2]])
        assert whole[edges[unit]:edges[unit] + 2] == [[0, *ids.ids(number).tolist(), 2] for number in range(2)]
    assert features.width == max(np.diff(features.unit_edges))


def test_a_possessive_stays_behind_the_masks(start_model: Path) -> None:
    text = "Ana took Pedro's hat and her bag."
    encode = encoder_of(start_model)
    features = pronoun_features(asked_of(512), [row("Ana took Pedro's hat and Ana's bag.", YES, text)], encode)
    ids = encode(["Ana took Pedro's hat and Ana's bag.", " Ana"])
    assert filled(sequences_of(features)[0], answers_of(features)[0]) == [0, *ids.ids(0).tolist(), 2]
    assert answers_of(features)[0] == ids.ids(1).tolist()


def test_rows_that_are_so_and_have_another_phrase_are_learned_from(start_model: Path) -> None:
    rows = [*ROWS, row("Rain fell.", YES, "It fell.", 6)]
    features = pronoun_features(asked_of(), rows, encoder_of(start_model))
    assert features.details.examples.tolist() == [0, 1, 2, 4, 5, 6]
    assert features.has_target.tolist() == [True, False, False, True, False, False]
    assert set(features.targets[features.has_target, 0].tolist()) == {OWN}
    assert np.diff(features.unit_edges)[-1] == 1


@pytest.mark.parametrize("max_tokens", [12, 20, 33])
def test_a_long_text_keeps_what_is_nearest_to_the_masks(start_model: Path, max_tokens: int) -> None:
    short = pronoun_features(asked_of(max_tokens), ROWS, encoder_of(start_model))
    long = pronoun_features(asked_of(512), ROWS, encoder_of(start_model))
    assert answers_of(short) == answers_of(long)
    for cut, whole, answer in zip(sequences_of(short), sequences_of(long), answers_of(long), strict=True):
        assert len(cut) == max_tokens and (cut[0], cut[-1]) == (0, 2)
        place = whole.index(MASK) - (cut.index(MASK) - 1)
        assert cut[1:-1] == whole[place:place + max_tokens - 2]
        left, right = cut.index(MASK) - 1, len(cut) - 1 - cut.index(MASK) - len(answer)
        assert abs(left - right) <= 1 or place == 1 or place + max_tokens - 2 == len(whole) - 1


def outputs_of(features: Features, units: list[int]) -> tuple[Tensor, list[list[float]]]:
    """Random logits at the masks of a batch, and the scores of its units' phrases, by the rule."""
    generator = torch.Generator().manual_seed(1)
    logits, scores = [], []
    for unit in units:
        scores.append(list[float]())
        for sequence in range(features.unit_edges[unit], features.unit_edges[unit + 1]):
            answer = answers_of(features)[sequence]
            rows = torch.randn(len(answer), VOCABULARY, generator=generator)
            logits.append(rows)
            chances = [float(rows[place].softmax(0)[id]) for place, id in enumerate(answer)]
            scores[-1].append(sum(map(math.log, chances)) / len(chances))
    return torch.cat(logits), scores


def test_scores_are_mean_log_probabilities_of_a_phrases_tokens(start_model: Path) -> None:
    features = pronoun_features(asked_of(), ROWS, encoder_of(start_model))
    units = [3, 0, 4]
    outputs, expected = outputs_of(features, units)
    batch = read_units(features, np.array(units))
    assert PRONOUN.places is not None
    places = PRONOUN.places(batch, features)
    assert len(places) == len(outputs) and set(batch.ids[places].tolist()) == {MASK}
    found = PRONOUN.scores(asked_of(), outputs, batch, features)
    for row_found, row_expected in zip(found.tolist(), expected, strict=True):
        assert row_found[:len(row_expected)] == pytest.approx(row_expected, abs=1e-5)
        assert row_found[len(row_expected):] == [-math.inf] * (features.width - len(row_expected))


@pytest.mark.parametrize(
    "settings", [{}, {"pronoun_loss": "margin"}, {"pronoun_loss": "margin", "margin_alpha": 5.0, "margin_beta": 0.4}]
)
def test_losses_are_those_of_the_rule_and_have_finite_gradients(
    start_model: Path, settings: dict[str, object]
) -> None:
    asked, features = asked_of(**settings), pronoun_features(asked_of(), ROWS, encoder_of(start_model))
    units = [3, 0]
    outputs, scores = outputs_of(features, units)
    outputs.requires_grad_()
    found = PRONOUN.losses(asked, outputs, read_units(features, np.array(units)), features)
    expected, config = 0.0, asked.config
    for own, *others in scores:
        if settings:
            expected += sum(
                -own + config.margin_alpha * max(0.0, other - own + config.margin_beta) for other in others
            )
        else:
            expected -= math.log(math.exp(own) / sum(map(math.exp, (own, *others))))
    assert float(found.detach()) == pytest.approx(expected, abs=1e-4)
    found.backward()  # type: ignore[no-untyped-call]
    assert outputs.grad is not None and bool(outputs.grad.isfinite().all()) and float(outputs.grad.abs().max()) > 0


def test_a_row_is_so_where_no_other_phrase_scores_higher(caplog: pytest.LogCaptureFixture) -> None:
    """Rows without a pronoun are what most of WNLI is."""
    details = Masked(MASK, np.empty(0, dtype=np.int64), np.zeros(1, dtype=np.int64), np.array([0, 2, 3, 4]))
    features = make_features([], np.empty((0, 1)), 3, details)
    scores = np.array([[-1, -2, -np.inf], [-1, -0.5, -3], [-1, -1, -1], [-4, -5, -3.9]])
    with caplog.at_level(logging.INFO):
        found = PRONOUN.predict(asked_of(), ROWS, features, scores)
    assert found == [YES, NO, NO, YES, NO, NO]
    assert "2 of 6 rows have no pronoun that was found: they are predicted not_entailment" in caplog.text


def write_wnli(folder: Path, rows: list[tuple[str, str, str]], dev: list[tuple[str, str, str]]) -> Path:
    """WNLI's layout."""
    for split, found in (("train", rows), ("dev", dev)):
        lines = [f"{number}\t" + "\t".join(each) for number, each in enumerate(found)]
        write_rows(folder / "WNLI" / f"{split}.tsv", "index\tsentence1\tsentence2\tlabel", lines)
    return folder


def schemas() -> list[tuple[str, str, str]]:
    """Who had it: the first where an adjective is "oak", the second where it is "elm"."""
    rows = []
    for first, second in (("ash", "fir"), ("pine", "yew"), ("rowan", "larch"), ("birch", "maple")):
        for word in ("oak", "elm"):
            text = f"The {first} and the {second}: it {word}."
            rows += [(text, f"The {each} {word}.", str(int((each == first) == (word == "oak")))) for each in
                     (first, second)]
    return rows


@pytest.mark.parametrize("loss", ["cross-entropy", "margin"])
def test_a_model_learns_what_the_pronouns_that_it_sees_stand_for(
    start_model: Path, tmp_path: Path, loss: str
) -> None:
    data = write_wnli(tmp_path / "data", schemas(), schemas())
    config = FinetuneConfig(
        learning_rate=3e-3, epochs=35, batch_size=4, early_stopping=0, dropout=0.0, attention_dropout=0.0,
        pronoun_loss=loss, margin_beta=0.5,  # type: ignore[arg-type]
    )
    out = finetune("wnli", start_model, data, tmp_path / "run", config, RunConfig(device="cpu", checkpoint_every=0))
    found = read_scores(out)
    assert found["scores"]["dev accuracy"] == 100.0
    settings = json.loads((out / "model" / "config.json").read_text())
    assert settings["architectures"] == ["RobertaForMaskedLM"]
    lines = [json.loads(line) for line in (out / "predictions-dev.jsonl").read_text().splitlines()]
    assert [line["prediction"] == YES for line in lines] == [label == "1" for _, _, label in schemas()]


@pytest.mark.parametrize(
    "rows", [[("The ash grew.", "The ash grew.", "1")], [("Oak and ash: it grew.", "The oak grew.", "0")]]
)
def test_rows_of_which_none_can_be_learned_from_are_an_error_in_one_line(
    start_model: Path, tmp_path: Path, rows: list[tuple[str, str, str]]
) -> None:
    data = write_wnli(tmp_path / "data", rows, schemas())
    with pytest.raises(InputError, match="expected examples of wnli to learn from; found none with an answer"):
        finetune("wnli", start_model, data, tmp_path / "run", FinetuneConfig(), RunConfig(device="cpu"))


@pytest.mark.parametrize("key", ["margin_alpha", "margin_beta"])
def test_a_margin_below_0_is_an_error(start_model: Path, tmp_path: Path, key: str) -> None:
    config = dataclasses.replace(FinetuneConfig(), **{key: -0.1})
    with pytest.raises(ConfigError, match=key):
        finetune("wnli", start_model, tmp_path, tmp_path / "run", config, RunConfig(device="cpu"))


def test_v49_a_model_without_a_masked_language_head_is_an_error(start_model: Path, tmp_path: Path) -> None:
    data, bare = write_wnli(tmp_path / "data", schemas(), schemas()), tmp_path / "bare"
    shutil.copytree(start_model, bare)
    tensors = load_file(bare / "model.safetensors")
    save_file({name: each for name, each in tensors.items() if not name.startswith("lm_head")},
              bare / "model.safetensors")
    with pytest.raises(ArtefactError, match="expected the weights of a masked-language model"):
        finetune("wnli", bare, data, tmp_path / "run", FinetuneConfig(), RunConfig(device="cpu"))
