"""Fine-tuned models are asked: every example once and in order, whatever the ranks, the same as the run itself said."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax

from rbt.errors import ArtefactError, ConfigError
from rbt.finetune import predict as module
from rbt.finetune.config import FinetuneConfig
from rbt.finetune.predict import check_labels, members
from rbt.finetune.results import read_result
from rbt.finetune.sentences import SCORE, mean_log_probabilities, mean_scores

from .runs import CLASSES, SMALL, fake_run, invoke, line_of, must, write_ax, write_mnli, write_race, write_stsb
from .squad_files import made_questions, write_squad

Lines = list[dict[str, Any]]


def fine_tune(task: str, model: Path, data: Path, out: Path, *words: object, settings: tuple[str, ...] = ()) -> Path:
    """A small run, or a sweep."""
    given = ("finetune", task, "--model", model, "--data", data, "--out", out, *words)
    must(invoke(*given, settings=(*SMALL, *settings)))
    return out


@pytest.fixture(scope="module")
def sst2_run(start_model: Path, sst2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on SST-2. Not to be changed by tests."""
    return fine_tune("sst2", start_model, sst2, tmp_path_factory.mktemp("sst2-run") / "run")


@pytest.fixture(scope="module")
def stsb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated STS-B files."""
    return write_stsb(tmp_path_factory.mktemp("stsb"))


@pytest.fixture(scope="module")
def stsb_run(start_model: Path, stsb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on STS-B, of two seeds, that learns it well enough not to count as diverged."""
    out = tmp_path_factory.mktemp("stsb-run") / "run"
    settings = ("finetune.epochs=8", "finetune.batch_size=8", "finetune.learning_rate=1e-2")
    return fine_tune("stsb", start_model, stsb, out, "--seeds", 2, settings=settings)


@pytest.fixture(scope="module")
def mnli(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated MNLI files, and AX."""
    return write_ax(write_mnli(tmp_path_factory.mktemp("mnli")))


@pytest.fixture(scope="module")
def mnli_run(start_model: Path, mnli: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on MNLI that learns it."""
    settings = ("finetune.epochs=12", "finetune.batch_size=8", "finetune.early_stopping=0")
    return fine_tune("mnli", start_model, mnli, tmp_path_factory.mktemp("mnli-run") / "run", settings=settings)


def predict(run: Path, data: Path, out: Path, *words: object) -> Lines:
    """What is written as lines."""
    must(invoke("predict", run, "--data", data, "--out", out, *words))
    return [json.loads(line) for line in out.read_text("utf-8").splitlines()]


@pytest.mark.parametrize(("task", "run"), [("sst2", "sst2_run"), ("stsb", "stsb_run")])
def test_what_a_run_says_of_dev_is_what_it_said_at_its_end_and_scores_as_it_says(
    request: pytest.FixtureRequest, tmp_path: Path, task: str, run: str
) -> None:
    folder = request.getfixturevalue(run)
    folder = folder if (folder / "scores.json").is_file() else folder / read_chosen(folder)
    check_round_trip(task, folder, request.getfixturevalue(task), tmp_path)


def test_spans_and_options_come_back_too(start_model: Path, tmp_path: Path) -> None:
    """With the threshold for no answer that the run has tuned, and its probabilities."""
    for split in ("train", "dev"):
        write_squad(tmp_path / "squad" / f"{split}-v2.0.json", made_questions(split, True))
    check_round_trip("squad", fine_tune("squad", start_model, tmp_path / "squad", tmp_path / "spans"),
                     tmp_path / "squad", tmp_path)
    race = write_race(tmp_path / "race")
    check_round_trip("race", fine_tune("race", start_model, race, tmp_path / "options"), race, tmp_path)


def check_round_trip(task: str, run: Path, data: Path, folder: Path) -> None:
    """Predictions on dev are the run's own, to the last digit, and so are their scores, whatever the file."""
    out = folder / "dev.jsonl"
    assert predict(run, data, out, "--split", "dev") == [
        json.loads(line) for line in (run / "predictions-dev.jsonl").read_text("utf-8").splitlines()
    ]
    scores = {name.removeprefix("dev "): value for name, value in read_result(run).scores.items()}
    del scores["selection"]
    for path in (out, folder / "dev.json"):
        must(invoke("predict", run, "--data", data, "--out", path, "--split", "dev"))
        name, _, said = must(invoke("score", task, path, "--data", data)).strip().partition(": ")
        assert name == f"{task} dev"
        assert sorted(said.split(", ")) == sorted(f"{metric} {value:.2f}" for metric, value in scores.items())


def read_chosen(sweep: Path) -> str:
    """Name of the run that is used of a sweep."""
    return str(json.loads((sweep / "sweep.json").read_text())["chosen"]["best_run"])


def test_a_sweep_is_asked_through_the_best_run_of_its_chosen_configuration(
    stsb_run: Path, stsb: Path, tmp_path: Path
) -> None:
    chosen = predict(stsb_run / read_chosen(stsb_run), stsb, tmp_path / "chosen.jsonl")
    assert predict(stsb_run, stsb, tmp_path / "sweep.jsonl") == chosen
    others = [run.parent for run in stsb_run.glob("*/scores.json") if run.parent.name != read_chosen(stsb_run)]
    assert all(predict(run, stsb, tmp_path / "other.jsonl") != chosen for run in others)


def test_an_ensemble_says_the_mean_score(stsb_run: Path, stsb: Path, tmp_path: Path) -> None:
    runs = [path.parent for path in sorted(stsb_run.glob("*/scores.json"))]
    each = [predict(run, stsb, tmp_path / f"{number}.jsonl") for number, run in enumerate(runs)]
    both = predict(stsb_run, stsb, tmp_path / "both.jsonl", "--ensemble", 2)
    for line, *lines in zip(both, *each, strict=True):
        assert line["prediction"] == pytest.approx(np.mean([other["prediction"] for other in lines]))
    listed = invoke("predict", *runs, "--data", stsb, "--out", tmp_path / "listed.jsonl", "--ensemble", 2)
    must(listed)
    assert (tmp_path / "listed.jsonl").read_bytes() == (tmp_path / "both.jsonl").read_bytes()


def test_models_of_an_ensemble_share_what_is_encoded(
    stsb_run: Path, stsb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def features(*rest: Any) -> Any:
        encoded.append(rest)
        return SCORE.features(*rest)

    encoded: list[Any] = []
    monkeypatch.setattr(module, "kind_of", lambda *_: replace(SCORE, features=features))
    must(invoke("predict", stsb_run, "--data", stsb, "--out", tmp_path / "both.tsv", "--ensemble", 2))
    assert len(encoded) == 1


def test_an_ensemble_of_one_is_the_best_run_alone(stsb_run: Path, stsb: Path, tmp_path: Path) -> None:
    alone = predict(stsb_run, stsb, tmp_path / "alone.jsonl")
    assert predict(stsb_run, stsb, tmp_path / "one.jsonl", "--ensemble", 1) == alone


def test_classes_are_averaged_as_log_probabilities_whatever_the_scale_of_scores() -> None:
    sure, unsure = np.array([[8.0, 0.0], [0.0, 1.0]]), np.array([[0.0, 1.0], [101.0, 100.0]])
    found = mean_log_probabilities([sure, unsure])
    assert found == pytest.approx((log_softmax(sure, axis=1) + log_softmax(unsure, axis=1)) / 2)
    assert found.argmax(1).tolist() == [0, 1] or found[1, 0] == pytest.approx(found[1, 1])
    ragged = np.array([[1.0, 2.0, -np.inf]])
    assert np.isneginf(mean_log_probabilities([ragged, ragged])[0, 2])
    assert mean_scores([np.array([[1.0]]), np.array([[2.0]])]).tolist() == [[1.5]]


def test_runs_that_cannot_be_asked_together_are_errors(stsb_run: Path, stsb: Path, tmp_path: Path) -> None:
    runs = [path.parent for path in sorted(stsb_run.glob("*/scores.json"))]
    out = ("--data", stsb, "--out", tmp_path / "out.jsonl")
    assert "expected one run of stsb" in line_of(invoke("predict", *runs, *out))
    assert "--ensemble 3" in line_of(invoke("predict", stsb_run, *out, "--ensemble", 3))
    unknown = line_of(invoke("predict", stsb_run, *out, "--split", "x"))
    assert "expected a split of stsb, one of train, dev, test; found 'x'" in unknown
    assert "ends in .zip, .tsv, .json, .jsonl" in line_of(
        invoke("predict", stsb_run, "--data", stsb, "--out", tmp_path / "out.txt")
    )
    assert "no such folder" in line_of(invoke("predict", tmp_path / "nowhere", *out))


def test_an_ensemble_is_of_different_runs_of_one_kind(tmp_path: Path) -> None:
    name = "dev accuracy"
    run = fake_run(tmp_path / "run", "qnli", {name: 60.0})
    with pytest.raises(ConfigError, match=r"expected different runs; found .*run twice"):
        members([run, tmp_path / "." / "run"], 2)
    pairs = fake_run(tmp_path / "pairs", "qnli", {name: 61.0}, config=FinetuneConfig(seed=2, ranking=True))
    with pytest.raises(ConfigError, match=r"with the same finetune\.ranking; found .*run and .*pairs"):
        members([run, pairs], 2)
    other = fake_run(tmp_path / "other", "qnli", {name: 62.0}, config=FinetuneConfig(seed=2))
    assert [result.folder for result in members([run, other], 2)["qnli"]] == [other, run]


def test_a_diverged_run_is_asked_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = fake_run(tmp_path / "run", "rte", {"dev accuracy": 60.0})
    members([run], 0)
    assert "diverged" not in caplog.text
    members([fake_run(tmp_path / "stuck", "rte", {"dev accuracy": 50.0}, diverged=True)], 0)
    assert f"{tmp_path / 'stuck'} has diverged" in caplog.text


def test_mistakes_of_any_task_are_found_before_a_model_is_asked(
    stsb_run: Path, mnli_run: Path, mnli: Path, stsb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answers(*_: Any) -> None:
        raise AssertionError("a model is asked")

    monkeypatch.setattr(module, "answers", answers)
    given = ("predict", mnli_run, stsb_run, "--out")
    assert "expected files of stsb" in line_of(invoke(*given, tmp_path / "x.zip", "--data", mnli))
    both = tmp_path / "both"
    for folder in (mnli, stsb):
        shutil.copytree(folder, both, dirs_exist_ok=True)
    assert "expected one split for" in line_of(invoke(*given, tmp_path / "x.tsv", "--data", both))
    other = tmp_path / "other"
    shutil.copytree(stsb_run / read_chosen(stsb_run), other)
    config = json.loads((mnli_run / "model" / "config.json").read_text())
    (other / "model" / "config.json").write_text(json.dumps({**config, "id2label": {"0": "yes", "1": "no"}}))
    scores = json.loads((other / "scores.json").read_text())
    (other / "scores.json").write_text(json.dumps({**scores, "task": "rte"}))
    found = line_of(invoke("predict", mnli_run, other, "--out", tmp_path / "x.zip", "--data", both))
    assert "expected a model of the classes entailment, not_entailment" in found


def test_a_kind_without_a_mean_has_no_ensembles(
    stsb_run: Path, stsb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kind_of(*rest: Any) -> Any:
        return replace(original(*rest), combine=None)

    original = module.kind_of
    monkeypatch.setattr(module, "kind_of", kind_of)
    given = ("predict", stsb_run, "--data", stsb, "--out", tmp_path / "out.jsonl", "--ensemble", 2)
    assert "expected one run of stsb, whose predictions are not averaged; found 2 runs" in line_of(invoke(*given))


@pytest.mark.slow
def test_v46_predictions_are_as_many_as_examples_in_order_and_the_same_on_any_number_of_ranks(
    sst2_run: Path, stsb_run: Path, sst2: Path, stsb: Path, tmp_path: Path
) -> None:
    """Odd sizes, and fewer parts than ranks; scores of STS-B tell the order to the last digit."""
    data = tmp_path / "data"
    for folder in (sst2, stsb):
        shutil.copytree(folder, data, dirs_exist_ok=True)
    one = tmp_path / "one.zip"
    given = ("predict", sst2_run, stsb_run, "--data", data, "--out")
    must(invoke(*given, one))
    for name, count in (("SST-2.tsv", 7), ("STS-B.tsv", 9)):
        rows = tables(one)[name].splitlines()[1:]
        assert [row.partition("\t")[0] for row in rows] == [str(number) for number in range(count)]
    for ranks in (2, 4):
        torchrun(ranks, *given, tmp_path / f"{ranks}.zip")
        assert (tmp_path / f"{ranks}.zip").read_bytes() == one.read_bytes()


def tables(path: Path) -> dict[str, str]:
    """The files of a zip."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def torchrun(ranks: int, *words: object) -> None:
    """A command on several processes."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "-m", "rbt",
        *map(str, words), "--set", "run.device=cpu",
    ]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr


def test_v47_labels_have_their_names_in_the_model_and_in_every_file(
    mnli_run: Path, mnli: Path, tmp_path: Path
) -> None:
    config = json.loads((mnli_run / "model" / "config.json").read_text())
    assert config["id2label"] == {str(number): name for number, name in enumerate(CLASSES)}
    assert config["label2id"] == {name: number for number, name in enumerate(CLASSES)}
    assert read_result(mnli_run).scores["dev_matched accuracy"] > 90
    lines = predict(mnli_run, mnli, tmp_path / "dev.jsonl", "--split", "dev_matched")
    assert {line["prediction"] for line in lines} == set(CLASSES)
    must(invoke("predict", mnli_run, "--data", mnli, "--out", tmp_path / "test.zip"))
    found = tables(tmp_path / "test.zip")
    assert list(found) == ["MNLI-m.tsv", "MNLI-mm.tsv", "AX.tsv"]
    for name, count in zip(found, (6, 5, 4), strict=True):
        head, *rows = found[name].splitlines()
        assert head == "index\tprediction" and len(rows) == count
        assert {row.partition("\t")[2] for row in rows} <= set(CLASSES)


def test_v47_shuffled_labels_score_at_chance(start_model: Path, mnli_run: Path, mnli: Path, tmp_path: Path) -> None:
    """Learned from, and compared with. A third of 61, give or take four standard deviations: 8 to 33 of them."""
    chance = pytest.approx(100 / 3, abs=100 * 12.5 / 61)
    shuffled = write_mnli(tmp_path / "shuffled", shuffle=True)
    settings = ("finetune.epochs=5", "finetune.batch_size=8", "finetune.early_stopping=0")
    run = fine_tune("mnli", start_model, shuffled, tmp_path / "run", settings=settings)
    assert read_result(run).scores["dev_matched accuracy"] == chance
    out, gold = tmp_path / "dev.jsonl", tmp_path / "gold"
    predict(mnli_run, mnli, out, "--split", "dev_matched")
    shutil.copytree(mnli, gold)
    path = gold / "MNLI" / "dev_matched.tsv"
    head, *rows = [line.rpartition("\t") for line in path.read_text().splitlines()]
    labels = np.random.default_rng(7).permutation([row[2] for row in rows])
    texts = ["\t".join([row[0], label]) for row, label in zip(rows, labels, strict=True)]
    path.write_text("\n".join(["".join(head), *texts]) + "\n")
    said = must(invoke("score", "mnli", out, "--data", gold, "--split", "dev_matched"))
    assert float(said.rpartition(" ")[2]) == chance


def test_a_model_of_other_classes_is_refused(mnli_run: Path, tmp_path: Path) -> None:
    check_labels(mnli_run / "model", CLASSES)
    with pytest.raises(ArtefactError, match="expected a model of the classes neutral, entailment, contradiction"):
        check_labels(mnli_run / "model", ("neutral", "entailment", "contradiction"))


def test_without_the_diagnostic_set_its_file_is_left_out_with_a_warning(
    mnli_run: Path, mnli: Path, tmp_path: Path
) -> None:
    shutil.copytree(mnli / "MNLI", tmp_path / "data" / "MNLI")
    output = must(invoke("predict", mnli_run, "--data", tmp_path / "data", "--out", tmp_path / "test.zip"))
    assert list(tables(tmp_path / "test.zip")) == ["MNLI-m.tsv", "MNLI-mm.tsv"]
    assert "ax is left out" in output


def test_several_splits_go_into_a_zip_alone_and_score_from_it(mnli_run: Path, mnli: Path, tmp_path: Path) -> None:
    given = ("predict", mnli_run, "--split", "dev", "--data", mnli, "--out")
    found = line_of(invoke(*given, tmp_path / "dev.tsv"))
    assert "expected one split for" in found and "mnli dev_matched, mnli dev_mismatched" in found
    must(invoke(*given, tmp_path / "dev.zip"))
    said = must(invoke("score", "mnli", tmp_path / "dev.zip", "--data", mnli))
    scores = read_result(mnli_run).scores
    assert said == "".join(
        f"mnli {split}: accuracy {scores[f'{split} accuracy']:.2f}\n" for split in ("dev_matched", "dev_mismatched")
    )


def test_dev_that_is_held_out_of_train_is_held_out_again(start_model: Path, sst2: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(sst2, data)
    (data / "SST-2" / "dev.tsv").unlink()
    held_out = "finetune.dev_fraction=0.3"
    run = fine_tune("sst2", start_model, data, tmp_path / "run", settings=(held_out,))
    lines = predict(run, data, tmp_path / "dev.jsonl", "--split", "dev")
    assert len(lines) == read_result(run).facts["examples"]["dev"] < 40
    said = must(invoke("score", "sst2", tmp_path / "dev.jsonl", "--data", data, settings=(held_out,)))
    assert said == f"sst2 dev: accuracy {read_result(run).scores['dev accuracy']:.2f}\n"
