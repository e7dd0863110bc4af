"""On the same weights, heads of rbt and of transformers say and learn the same, and either reads the other's."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rbt.errors import ArtefactError
from rbt.finetune.batches import UnitBatch, read_units
from rbt.finetune.choices import CHOICE, RANKING
from rbt.finetune.config import FinetuneConfig
from rbt.finetune.features import Features, make_features
from rbt.finetune.heads import FineTuned, SequenceHead
from rbt.finetune.kind import Asked, Kind
from rbt.finetune.model_folder import architecture_of, load_encoder, load_head, write_model
from rbt.finetune.pronouns import PRONOUN, Masked
from rbt.finetune.sentences import CLASS, SCORE
from rbt.formats.tokenizer import write_tokenizer
from rbt.tasks.sets import TASKS

from ..trainer.hugging_face_models import VOCABULARY, make_wild, padded, random_blocks, their_model

PRECISIONS = [(torch.float64, 1e-10), (torch.float32, 1e-5)]
LENGTHS = [40, 7, 23, 12, 40, 9, 31, 18]
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
MASK = VOCABULARY - 1


@pytest.fixture(params=PRECISIONS, ids=["float64", "float32"])
def precision(request: pytest.FixtureRequest) -> tuple[torch.dtype, float]:
    """A type and the tolerance in it."""
    found: tuple[torch.dtype, float] = request.param
    return found


def asked_of(name: str, **settings: Any) -> Asked:
    """A task of the table."""
    return Asked(TASKS[name], FinetuneConfig(**settings), 512, MASK)


def features_of(unit_sizes: list[int], targets: list[float], width: int, details: Any = None) -> Features:
    """Units of random sequences."""
    blocks = iter(random_blocks(LENGTHS))
    units = [[[np.array(next(blocks))] for _ in range(size)] for size in unit_sizes]
    return make_features(units, np.array(targets), width, details)


def ours_of(folder: Path, kind: Kind, asked: Asked, features: Features, dtype: torch.dtype) -> FineTuned:
    """The model of a folder, its head too."""
    model, _ = load_encoder(folder)
    head = kind.head(asked, 32, features)
    if head is not None:
        load_head(folder, head, kind.architecture)
    return FineTuned(model.encoder, head).to(dtype).eval()


def scores_of(model: FineTuned, kind: Kind, asked: Asked, features: Features) -> tuple[Tensor, Tensor, UnitBatch]:
    """(scores, summed losses, batch), without the narrowing to float32 that runs do."""
    batch = read_units(features, np.arange(features.num_units))
    places = None if kind.places is None else kind.places(batch, features)
    outputs = model(batch.ids, batch.positions, batch.layout, batch.starts, places)
    outputs.float = lambda: outputs
    return kind.scores(asked, outputs, batch, features), kind.losses(asked, outputs, batch, features), batch


def their_inputs(features: Features) -> dict[str, Tensor]:
    """Padded ids (sequences, time) and their mask."""
    ids = padded([features.ids[start:end].tolist() for start, end in pairwise(features.edges)])
    return {"input_ids": ids, "attention_mask": (ids != 1).long()}


def by_unit(inputs: dict[str, Tensor], units: int) -> dict[str, Tensor]:
    """(units, choices, time)."""
    return {name: values.unflatten(0, (units, -1)) for name, values in inputs.items()}


def assert_same(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Relative to the largest number, which says something."""
    scale = float(expected.detach().abs().max())
    assert scale > 1e-3
    torch.testing.assert_close(found.squeeze(), expected.squeeze(), rtol=0, atol=tolerance * max(1.0, scale))


CLASSES = ("mnli", CLASS, [1] * 8, [2.0, 0, 1, 1, 0, 2, 1, 0], {"num_labels": 3})
SCORES = ("stsb", SCORE, [1] * 8, [0.2, 0.5, 0.99, 0, 1, 0.3, 0.7, 0.4], {"num_labels": 1})
CHOICES = ("race", CHOICE, [4, 4], [3.0, 1], {})
RANKED = ("qnli", RANKING, [2] * 4, [0.0, 1, 1, 0], {})
Case = tuple[str, Kind, list[int], list[float], dict[str, Any]]


@pytest.mark.parametrize("case", [CLASSES, SCORES, CHOICES, RANKED], ids=["classes", "scores", "choices", "ranking"])
def test_a_folder_of_transformers_says_and_learns_the_same_here(
    tmp_path: Path, case: Case, precision: tuple[torch.dtype, float]
) -> None:
    """Logits, the mean loss, and the gradients of the head and of the embeddings."""
    name, kind, sizes, targets, settings = case
    their_model(kind.architecture, **NO_DROPOUT, **settings).save_pretrained(tmp_path / "theirs")
    theirs = read_by_transformers(tmp_path / "theirs", kind).to(precision[0])
    asked, features = asked_of(name), features_of(sizes, targets, settings.get("num_labels", max(sizes)))
    ours = ours_of(tmp_path / "theirs", kind, asked, features, precision[0])

    scores, losses, _ = scores_of(ours, kind, asked, features)
    (losses / len(sizes)).backward()
    inputs = their_inputs(features)
    if kind.architecture == "RobertaForMultipleChoice":
        inputs = by_unit(inputs, len(sizes))
    labels = torch.tensor(targets, dtype=precision[0]) if kind is SCORE else torch.tensor(targets).long()
    expected = theirs(**inputs, labels=labels)
    expected.loss.backward()
    assert_same(scores, expected.logits, precision[1])
    assert_same(losses / len(sizes), expected.loss, precision[1])
    assert isinstance(ours.head, SequenceHead)
    dense, output = their_head(theirs)
    for found, linear in ((ours.head.dense, dense), (ours.head.output, output)):
        assert found.weight.grad is not None and found.bias.grad is not None
        assert_same(found.weight.grad, linear.weight.grad, precision[1])
        torch.testing.assert_close(found.bias.grad, linear.bias.grad, rtol=0, atol=precision[1] * 10)
    embedding = ours.encoder.token_embedding.weight.grad
    assert embedding is not None
    assert_same(embedding, theirs.roberta.embeddings.word_embeddings.weight.grad, precision[1])


def their_head(model: Any) -> tuple[nn.Linear, nn.Linear]:
    """The two layers of transformers' head."""
    if hasattr(model.classifier, "out_proj"):
        return model.classifier.dense, model.classifier.out_proj
    return model.roberta.pooler.dense, model.classifier


def read_by_transformers(folder: Path, kind: Kind) -> Any:
    """The model of a folder; nothing in it is missing or left over, but copies of what is tied."""
    import transformers

    model, info = getattr(transformers, kind.architecture).from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    return model.eval()


def written(folder: Path, name: str, kind: Kind, features: Features, **settings: Any) -> tuple[Path, FineTuned]:
    """A wild model of a task, as a run leaves it."""
    asked = asked_of(name, **settings)
    base = folder / "base"
    their_model(**NO_DROPOUT).save_pretrained(base)
    write_tokenizer(folder / "tokenizer", [])
    model, _ = load_encoder(base)
    model = FineTuned(model.encoder, kind.head(asked, 32, features))
    make_wild(model)
    with torch.no_grad():
        model.encoder.token_embedding.weight[1].zero_()
        if kind is CLASS:  # so that sequences differ in their class
            head, (scores, _, _) = model.head, scores_of(model.eval(), kind, asked, features)
            assert isinstance(head, SequenceHead)
            head.output.bias.sub_(scores.mean(0))
    write_model(folder / "model", model.eval(), kind.architecture, asked.task, name, folder / "tokenizer")
    return folder / "model", model


@pytest.mark.parametrize("case", [CLASSES, SCORES, CHOICES, RANKED], ids=["classes", "scores", "choices", "ranking"])
def test_transformers_reads_the_folder_of_a_run_whole_and_says_the_same(
    tmp_path: Path, case: Case, precision: tuple[torch.dtype, float]
) -> None:
    name, kind, sizes, targets, settings = case
    features = features_of(sizes, targets, settings.get("num_labels", max(sizes)))
    folder, model = written(tmp_path, name, kind, features)
    theirs = read_by_transformers(folder, kind).to(precision[0])
    inputs = their_inputs(features)
    if kind.architecture == "RobertaForMultipleChoice":
        inputs = by_unit(inputs, len(sizes))
    with torch.no_grad():
        scores, _, _ = scores_of(model.to(precision[0]), kind, asked_of(name), features)
        assert_same(scores, theirs(**inputs).logits, precision[1])
        again = ours_of(folder, kind, asked_of(name), features, precision[0])
        assert torch.equal(scores_of(again, kind, asked_of(name), features)[0], scores)
    assert architecture_of(folder) == kind.architecture


def test_phrases_of_a_pronoun_score_as_under_transformers_own_masked_language_head(
    tmp_path: Path, precision: tuple[torch.dtype, float]
) -> None:
    """The mean log-probability of a phrase's tokens, all masked."""
    sizes, lengths = [3, 2], [1, 3, 2, 2, 1]
    blocks = [[min(token, MASK - 1) for token in block] for block in random_blocks(LENGTHS[:5])]
    answers = [block[3:3 + count] for block, count in zip(blocks, lengths, strict=True)]
    for block, count in zip(blocks, lengths, strict=True):
        block[3:3 + count] = [MASK] * count
    sequences = iter([np.array(block)] for block in blocks)
    masked = Masked(MASK, np.concatenate(answers), np.cumsum([0, *lengths]), np.arange(2))
    features = make_features([[next(sequences) for _ in range(size)] for size in sizes], np.zeros(2), 3, masked)
    folder, model = written(tmp_path, "wnli", PRONOUN, features)
    theirs, inputs = read_by_transformers(folder, PRONOUN).to(precision[0]), their_inputs(features)
    with torch.no_grad():
        scores, losses, _ = scores_of(model.to(precision[0]), PRONOUN, asked_of("wnli"), features)
        probabilities = theirs(**inputs).logits.log_softmax(2)
    expected = [
        float(probabilities[number, range(3, 3 + len(answer)), answer].mean()) for number, answer in enumerate(answers)
    ]
    assert torch.isneginf(scores[1, 2])
    assert_same(scores.flatten()[:5], torch.tensor(expected, dtype=precision[0]), precision[1])
    logits = torch.tensor(expected, dtype=precision[0])
    assert_same(losses, -(logits[:3].log_softmax(0)[0] + logits[3:].log_softmax(0)[0]), precision[1])


def test_v47_transformers_names_the_labels_that_rbt_predicts(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    name, kind, sizes, targets, _ = CLASSES
    features = features_of(sizes, targets, 3)
    folder, model = written(tmp_path, name, kind, features, head_dropout=0.25)
    theirs = AutoModelForSequenceClassification.from_pretrained(folder)
    assert theirs.config.label2id == {"entailment": 0, "neutral": 1, "contradiction": 2}
    assert theirs.config.classifier_dropout == 0.25
    with torch.no_grad():
        said = theirs.eval()(**their_inputs(features)).logits.argmax(1).tolist()
        scores, _, _ = scores_of(model, kind, asked_of(name), features)
    predicted = kind.predict(asked_of(name), [], features, scores.numpy())
    assert [theirs.config.id2label[number] for number in said] == predicted
    assert len(set(predicted)) > 1


def test_v47_a_regression_is_one_number_that_transformers_learns_by_squares(tmp_path: Path) -> None:
    from transformers import AutoConfig

    name, kind, sizes, targets, _ = SCORES
    folder, _ = written(tmp_path, name, kind, features_of(sizes, targets, 1))
    config = AutoConfig.from_pretrained(folder)
    assert (config.num_labels, config.problem_type) == (1, "regression")


@pytest.mark.parametrize(
    ("architecture", "found"), [("RobertaForMultipleChoice", "none"), ("RobertaForSequenceClassification", r"\(3")]
)
def test_a_head_that_is_not_there_is_an_error(tmp_path: Path, architecture: str, found: str) -> None:
    """Another class, and another number of labels."""
    name, kind, sizes, targets, _ = CLASSES
    folder, _ = written(tmp_path, name, kind, features_of(sizes, targets, 3))
    with pytest.raises(ArtefactError, match=f"found {found}"):
        load_head(folder, SequenceHead(32, 2, 0.0), architecture)


def test_v49_a_pronoun_needs_a_masked_language_head(tmp_path: Path) -> None:
    name, kind, sizes, targets, _ = CLASSES
    folder, _ = written(tmp_path, name, kind, features_of(sizes, targets, 3))
    load_encoder(folder)
    with pytest.raises(ArtefactError, match=r"expected the weights of a masked-language model.*pretrained"):
        load_encoder(folder, needs_head=True)
