"""A fine-tuning run: learned, stopped, resumed, ended early, refused."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from rbt.errors import ArtefactError, ConfigError, InputError
from rbt.finetune import run as module
from rbt.finetune.config import FinetuneConfig
from rbt.finetune.metrics import score
from rbt.finetune.run import finetune
from rbt.finetune.scores import is_collapsed, read_scores
from rbt.finetune.training import Training
from rbt.formats.tokenizer import write_tokenizer
from rbt.tasks.examples import Sentences
from rbt.tasks.sets import TASKS
from rbt.trainer.config import RunConfig

from .conftest import sentence, write_rows, write_start_model

CONFIG = FinetuneConfig(learning_rate=3e-3, epochs=3, batch_size=8, early_stopping=0)
RUN = RunConfig(log_every=2, checkpoint_every=4, device="cpu")


def train(model: Path, data: Path, out: Path, config: FinetuneConfig = CONFIG, name: str = "sst2", **run: Any) -> Path:
    """One invocation."""
    return finetune(name, model, data, out, config, dataclasses.replace(RUN, **run))


def write_json(path: Path, value: object) -> None:
    """A JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def weights(out: Path) -> bytes:
    """Of the best epoch's model."""
    return (out / "model" / "model.safetensors").read_bytes()


def records(out: Path) -> list[dict[str, Any]]:
    """metrics.jsonl."""
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def straight(start_model: Path, sst2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped."""
    return train(start_model, sst2, tmp_path_factory.mktemp("straight") / "run")


def test_a_run_leaves_its_best_epoch_and_no_checkpoints(straight: Path) -> None:
    found = read_scores(straight)
    assert len(found["epochs"]) == 3
    assert found["scores"] == max(found["epochs"], key=lambda epoch: epoch["selection"])
    assert found["examples"] == {"train": 40, "dev": 13}
    lines = [json.loads(line) for line in (straight / "predictions-dev.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [str(number) for number in range(13)]
    assert {line["prediction"] for line in lines} <= {"negative", "positive"}
    assert not (straight / "checkpoints").exists()
    config = json.loads((straight / "model" / "config.json").read_text())
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    assert config["label2id"] == {"negative": 0, "positive": 1}


def test_records_hold_logged_steps_and_epochs(straight: Path) -> None:
    assert [row["step"] for row in records(straight) if "loss" in row] == [2, 4, 6, 8, 10, 12, 14]
    epochs = [row for row in records(straight) if "epoch" in row]
    assert [(row["epoch"], row["step"]) for row in epochs] == [(1, 5), (2, 10), (3, 15)]
    assert [row["selection"] for row in epochs] == [epoch["selection"] for epoch in read_scores(straight)["epochs"]]


@pytest.mark.parametrize("stops", [(3, 4), (5, 1), (14,)])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    start_model: Path, sst2: Path, straight: Path, tmp_path: Path, stops: tuple[int, ...]
) -> None:
    """In the middle of an epoch, and at its end."""
    out = tmp_path / "run"
    for stop in stops:
        train(start_model, sst2, out, stop_after=stop)
        assert not (out / "scores.json").exists()
    train(start_model, sst2, out)
    assert weights(out) == weights(straight)
    assert read_scores(out) == read_scores(straight)
    assert records(out) == records(straight)


def test_a_run_that_was_killed_at_its_very_end_is_finished(
    start_model: Path, sst2: Path, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """As if by a signal."""

    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(module, "write_scores", die)
        train(start_model, sst2, tmp_path / "run")
    train(start_model, sst2, tmp_path / "run")
    assert read_scores(tmp_path / "run") == read_scores(straight)


def test_a_finished_run_is_left_alone(start_model: Path, sst2: Path, straight: Path) -> None:
    before = {path: path.read_bytes() for path in straight.rglob("*") if path.is_file()}
    train(start_model, sst2, straight)
    after = {path: path.read_bytes() for path in straight.rglob("*") if path.is_file()}
    assert {path.name for path in before if before[path] != after[path]} <= {"config.toml"}
    assert before.keys() == after.keys()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"learning_rate": 1e-3}, "finetune.learning_rate"), ({"seed": 2}, "finetune.seed"),
        ({"train_examples": 20}, "finetune.train_examples"),
    ],
)
def test_another_configuration_is_an_error_that_names_the_key(
    start_model: Path, sst2: Path, straight: Path, changes: dict[str, Any], key: str
) -> None:
    with pytest.raises(ArtefactError, match=key):
        train(start_model, sst2, straight, dataclasses.replace(CONFIG, **changes))


def test_another_model_or_other_files_are_errors(
    start_model: Path, sst2: Path, straight: Path, tmp_path: Path
) -> None:
    with pytest.raises(ArtefactError, match=r"task\.weights"):
        train(write_start_model(tmp_path / "other", seed=2), sst2, straight)
    shutil.copytree(sst2, tmp_path / "data")
    with (tmp_path / "data" / "SST-2" / "dev.tsv").open("a") as stream:
        stream.write("oak\t0\n")
    with pytest.raises(ArtefactError, match=r"task\.data"):
        train(start_model, tmp_path / "data", straight)


def test_a_run_ends_early_where_the_score_does_not_rise(
    start_model: Path, sst2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And, killed then, does not go on."""
    scores = iter([50.0, 60.0, 60.0, 55.0])
    monkeypatch.setattr(module, "selection", lambda *_: next(scores))
    config = dataclasses.replace(CONFIG, epochs=10, early_stopping=2)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "_finish", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        train(start_model, sst2, tmp_path / "run", config)
    train(start_model, sst2, tmp_path / "run", config)
    found = read_scores(tmp_path / "run")
    assert len(found["epochs"]) == 4 and found["best_epoch"] == 2


def test_a_run_that_says_the_same_of_all_has_diverged(start_model: Path, sst2: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, epochs=1, learning_rate=1e-9)
    out = train(start_model, sst2, tmp_path / "run", config)
    lines = (out / "predictions-dev.jsonl").read_text().splitlines()
    said = {json.loads(line)["prediction"] for line in lines}
    assert len(said) == 1
    assert read_scores(out)["diverged"]


def test_losses_that_are_not_finite_end_a_run_that_has_diverged(
    start_model: Path, sst2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Training, "_add_gradients", lambda *_: math.nan)
    monkeypatch.setattr("rbt.finetune.scores.is_collapsed", lambda *_: False)
    out = train(start_model, sst2, tmp_path / "run", skipped_steps=3)
    found = read_scores(out)
    assert found["left_out"] == 3 and len(found["epochs"]) == 1 and found["diverged"]
    start, kept = (load_file(folder / "model.safetensors") for folder in (start_model, out / "model"))
    name = "roberta.embeddings.word_embeddings.weight"
    assert (kept[name] == start[name]).all()


def write_stsb(folder: Path) -> Path:
    """STS-B's layout: the score is the number of words that two sentences share."""
    generator = np.random.default_rng(3)
    rows = []
    for _ in range(16):
        first, second = (sentence(generator, 4) for _ in range(2))
        rows.append(f"{first}\t{second}\t{len(set(first.split()) & set(second.split())):.3f}")
    for split in ("train", "dev"):
        write_rows(folder / "STS-B" / f"{split}.tsv", "sentence1\tsentence2\tscore", rows)
    return folder


def write_squad2(folder: Path) -> Path:
    """SQuAD 2.0's layout: questions with the first word as their answer, and such that have none."""
    generator, paragraphs = np.random.default_rng(4), []
    for number in range(8):
        context = sentence(generator, 6)
        answers = [{"text": context.split()[0], "answer_start": 0}]
        paragraphs.append({"context": context, "qas": [
            {"id": f"{number}a", "question": "first", "answers": answers, "is_impossible": False},
            {"id": f"{number}b", "question": "last", "answers": [], "is_impossible": True},
        ]})
    folder.mkdir(parents=True)
    for split in ("train", "dev"):
        (folder / f"{split}-v2.0.json").write_text(json.dumps({"data": [{"title": "t", "paragraphs": paragraphs}]}))
    return folder


@pytest.mark.parametrize("name", ["stsb", "squad", "sst2"])
def test_a_rate_that_destroys_the_model_ends_in_a_run_that_has_diverged(
    start_model: Path, sst2: Path, tmp_path: Path, name: str
) -> None:
    folders = {"stsb": write_stsb, "squad": write_squad2}
    data = folders[name](tmp_path / "data") if name in folders else sst2
    config = dataclasses.replace(CONFIG, learning_rate=1e10, warmup_fraction=0.0)
    out = train(start_model, data, tmp_path / "run", config, name, skipped_steps=2)
    assert read_scores(out)["diverged"]
    for line in (out / "predictions-dev.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(word))


def test_scores_that_differ_by_noise_alone_are_of_a_run_that_diverged() -> None:
    examples = [Sentences(str(number), "dev", ("a", "b"), score=float(number % 5)) for number in range(20)]
    noise = np.random.default_rng(1).normal(3.4, 1e-5, 20).tolist()
    assert is_collapsed(examples, noise)
    assert set(score(TASKS["stsb"], examples, noise).values()) == {0.0}
    spread = np.random.default_rng(1).normal(3.4, 0.1, 20).tolist()
    assert not is_collapsed(examples, spread)
    assert all(score(TASKS["stsb"], examples, spread).values())


def test_a_tokenizer_of_another_model_is_an_error(start_model: Path, sst2: Path, tmp_path: Path) -> None:
    shutil.copytree(start_model, tmp_path / "model")
    write_tokenizer(tmp_path / "model", [("o", "a")])
    with pytest.raises(ArtefactError, match=r"expected a tokenizer of 2\d\d ids, as the model has; found 262"):
        train(tmp_path / "model", sst2, tmp_path / "run")


def test_a_model_learns_what_it_sees(start_model: Path, sst2: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(sst2, data)
    shutil.copy(data / "SST-2" / "train.tsv", data / "SST-2" / "dev.tsv")
    config = dataclasses.replace(CONFIG, epochs=20, dropout=0.0, attention_dropout=0.0)
    out = train(start_model, data, tmp_path / "run", config)
    assert read_scores(out)["scores"]["dev accuracy"] == 100.0


def test_dev_may_be_held_out_of_train(start_model: Path, sst2: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(sst2, data)
    (data / "SST-2" / "dev.tsv").unlink()
    with pytest.raises(InputError, match=r"expected dev examples of sst2; found train .*finetune\.dev_fraction"):
        train(start_model, data, tmp_path / "run")
    out = train(start_model, data, tmp_path / "run", dataclasses.replace(CONFIG, epochs=1, dev_fraction=0.3))
    counts = read_scores(out)["examples"]
    assert sum(counts.values()) == 40 and 4 <= counts["dev"] <= 20


def test_tables_without_answers_are_not_learned_from(start_model: Path, sst2: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(sst2, data)
    write_rows(data / "SST-2" / "train.tsv", "index\tsentence", ["0\toak"])
    with pytest.raises(InputError, match="expected the column 'label' of labels"):
        train(start_model, data, tmp_path / "run")


def test_what_cannot_be_learned_begins_no_run(start_model: Path, tmp_path: Path) -> None:
    """So that the same folder takes what is put right."""
    passage = {"id": "1", "context": "a b", "qas": [{"id": "q", "question": "?", "answers": []}]}
    for split in ("train", "dev"):
        write_json(tmp_path / "data" / f"{split}-v1.1.json", {"data": [{"paragraphs": [passage]}]})
    for epochs in (1, 2):
        with pytest.raises(InputError, match="expected examples of squad to learn from; found none with an answer"):
            train(start_model, tmp_path / "data", tmp_path / "run", dataclasses.replace(CONFIG, epochs=epochs), "squad")
    assert not (tmp_path / "run").exists()


def test_a_file_of_scores_by_another_program_is_no_run(start_model: Path, sst2: Path, tmp_path: Path) -> None:
    shutil.copytree(start_model, tmp_path / "experiment" / "model")
    for number, text in enumerate(('{"accuracy": 1}', '{"accuracy": 1}\n{"accuracy": 2}')):
        (tmp_path / "experiment" / "scores.json").write_text(text)
        model, run = tmp_path / "experiment" / "model", tmp_path / f"run{number}"
        found = read_scores(train(model, sst2, run, dataclasses.replace(CONFIG, epochs=1)))
        assert found["learned_before"] == [] and found["pretrained"] == str(model)


def test_a_file_is_no_folder_for_a_run(start_model: Path, sst2: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("notes")
    with pytest.raises(ArtefactError, match=r"run: expected a folder; found a file \(choose another --out\)"):
        train(start_model, sst2, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"epochs": -1}, r"\[finetune\] epochs: expected 0"), ({"dropout": 1.0}, r"\[finetune\] dropout"),
        ({"max_tokens": 7}, "max_tokens: expected at least 8"), ({"learning_rate": math.nan}, "learning_rate"),
        ({"batch_tokens": 0}, "batch_tokens: expected at least 1"),
    ],
)
def test_numbers_out_of_their_range_are_errors(
    start_model: Path, sst2: Path, tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ConfigError, match=expected):
        train(start_model, sst2, tmp_path / "run", dataclasses.replace(CONFIG, **changes))
    assert not (tmp_path / "run").exists()


def test_an_unknown_task_lists_those_that_there_are(start_model: Path, sst2: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected a task; found 'sst' \(one of cola, sst2, mrpc"):
        train(start_model, sst2, tmp_path / "run", name="sst")


def test_v49_a_missing_start_model_is_an_error(sst2: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="expected the folder of a model"):
        train(tmp_path / "nowhere", sst2, tmp_path / "run")
    assert not (tmp_path / "run").exists()
