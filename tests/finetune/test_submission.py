"""Files of predictions: the leaderboards' names, headers, ids and spellings, and what is refused when they are read."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rbt.errors import ConfigError, InputError
from rbt.finetune.config import FinetuneConfig
from rbt.finetune.data import read_split
from rbt.finetune.scoring import read_predictions, score_predictions, understood
from rbt.finetune.submission import Predicted, index_of, left_out, spelled, to_write, write_predictions
from rbt.tasks.examples import Choice, Example, Question, Sentences
from rbt.tasks.glue import GLUE
from rbt.tasks.sets import TASKS

from .conftest import write_sst2
from .runs import invoke, line_of, write_mnli
from .squad_files import made_questions, write_squad

LEADERBOARD = [  # what gluebenchmark.com asks for
    "AX.tsv", "CoLA.tsv", "MNLI-m.tsv", "MNLI-mm.tsv", "MRPC.tsv", "QNLI.tsv", "QQP.tsv", "RTE.tsv", "SST-2.tsv",
    "STS-B.tsv", "WNLI.tsv",
]
SPELLINGS = {
    "cola": {"0", "1"}, "sst2": {"0", "1"}, "mrpc": {"0", "1"}, "qqp": {"0", "1"}, "wnli": {"0", "1"},
    "mnli": {"entailment", "neutral", "contradiction"}, "ax": {"entailment", "neutral", "contradiction"},
    "qnli": {"entailment", "not_entailment"}, "rte": {"entailment", "not_entailment"},
}


def some(examples: Sequence[Example], task: str) -> list[Any]:
    """Predictions of all classes in turn, or numbers."""
    names = list(TASKS[task].labels.values())
    return [names[number % len(names)] if names else 0.7 * number for number in range(len(examples))]


def of_split(task: str, split: str, examples: Sequence[Example], predictions: Sequence[Any]) -> Predicted:
    return Predicted(task, split, examples, predictions, [{} for _ in examples])


def test_the_leaderboards_zip_has_the_files_rows_and_spellings_of_all_tasks(data: Path, tmp_path: Path) -> None:
    """Of the test rows of published files, as far as they are here; indices are those of the files."""
    folder, found, counts = data / "tasks" / "glue" / "hf_dummy", [], {}
    for task in GLUE:
        for split, examples in read_split(task, folder, "test", FinetuneConfig()).splits.items():
            found.append(of_split(task, split, examples, some(examples, task)))
            counts[TASKS[task].submissions[split]] = (task, len(examples))
    write_predictions(tmp_path / "glue.zip", to_write(tmp_path / "glue.zip", found))
    with zipfile.ZipFile(tmp_path / "glue.zip") as archive:
        assert sorted(archive.namelist()) == LEADERBOARD == sorted(counts)
        for name, (task, count) in counts.items():
            head, *rows = archive.read(name).decode().splitlines()
            cells = [row.split("\t") for row in rows]
            assert head == "index\tprediction" and count == len(rows) > 0
            assert [cell[0] for cell in cells] == [str(number) for number in range(count)]
            if task == "stsb":
                assert [cell[1] for cell in cells] == [f"{min(0.7 * number, 5.0):.3f}" for number in range(count)]
            else:
                assert {cell[1] for cell in cells} <= SPELLINGS[task]


def test_what_a_model_is_asked_besides_has_its_classes_in_their_order() -> None:
    for name, task in TASKS.items():
        for other in task.also:
            assert list(TASKS[other].labels.values()) == list(task.labels.values()), name


def test_scores_are_cut_to_the_tasks_bounds_in_tables_alone(tmp_path: Path) -> None:
    examples = [Sentences(str(number), "test", ("a", "b")) for number in range(3)]
    found = [of_split("stsb", "test", examples, [-0.2, 2.34567, 5.1])]
    write_predictions(tmp_path / "x.tsv", found)
    assert (tmp_path / "x.tsv").read_text() == "index\tprediction\n0\t0.000\n1\t2.346\n2\t5.000\n"
    write_predictions(tmp_path / "x.jsonl", found)
    assert read_predictions(tmp_path / "x.jsonl", "stsb", "test", examples) == [-0.2, 2.34567, 5.1]


def test_an_id_that_is_no_number_is_counted_by_its_row() -> None:
    assert [index_of(Sentences(id, "test", ("a",)), 7) for id in ("12", "1-2")] == ["12", "7"]


@pytest.mark.parametrize("task", [name for name in TASKS if name != "squad"])
def test_what_is_spelled_is_understood(task: str) -> None:
    values: list[Any] = list(TASKS[task].labels.values()) or ([0, 3] if task == "race" else [0.0, 1.25])
    assert [understood(TASKS[task], spelled(TASKS[task], value)) for value in values] == values


@pytest.mark.parametrize("suffix", [".tsv", ".JSON", ".jsonl", ".Zip"])
@pytest.mark.parametrize(
    ("task", "examples", "predictions"),
    [
        ("rte", [Sentences("1", "dev", ("a",)), Sentences("0", "dev", ("c",))], ["not_entailment", "entailment"]),
        ("mrpc", [Sentences("4-5", "dev", ("a",)), Sentences("5-4", "dev", ("c",))], ["equivalent"] * 2),
        ("race", [Choice("high1.txt#0", "dev", "p", "q", ("a", "b"))], [1]),
        ("squad", [Question("x1", "dev", "t", "a\tcontext", "q"), Question("x2", "dev", "t", "c", "q")], ["a é", ""]),
    ],
)
def test_every_format_gives_back_what_was_written(
    tmp_path: Path, suffix: str, task: str, examples: list[Example], predictions: list[Any]
) -> None:
    path = tmp_path / f"file{suffix}"
    write_predictions(path, [of_split(task, "dev", examples, predictions)])
    assert read_predictions(path, task, "dev", examples) == predictions
    first = path.read_bytes()
    write_predictions(path, [of_split(task, "dev", examples, predictions)])
    assert path.read_bytes() == first


def test_squads_file_is_an_object_of_texts_by_id(tmp_path: Path) -> None:
    examples = [Question("x1", "dev", "t", "c", "q"), Question("x2", "dev", "t", "c", "q")]
    write_predictions(tmp_path / "p.json", [of_split("squad", "dev", examples, ["ü", ""])])
    assert json.loads((tmp_path / "p.json").read_text("utf-8")) == {"x1": "ü", "x2": ""}
    write_predictions(tmp_path / "p.zip", [of_split("squad", "dev", examples, ["ü", ""])])
    with zipfile.ZipFile(tmp_path / "p.zip") as archive:
        assert archive.namelist() == ["predictions.json"]
    unsure = Predicted("squad", "dev", examples, ["ü", ""], [{"no_answer": 0.25}, {"no_answer": 0.75}])
    write_predictions(tmp_path / "p.zip", [unsure])
    with zipfile.ZipFile(tmp_path / "p.zip") as archive:
        assert archive.namelist() == ["predictions.json", "na_prob.json"]
        assert json.loads(archive.read("na_prob.json")) == {"x1": 0.25, "x2": 0.75}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("x.tsv", "index\tprediction\n0\t0\n2\t1\n", "found 1 of them without one, the first '1'"),
        ("x.tsv", "index\tprediction\n0\t0\n1\t1\n2\t1\n9\t1\n8\t0\n", "found 2 of others, the first '9'"),
        ("x.tsv", "index\tprediction\n0\t0\n0\t1\n", r"x\.tsv:3: expected one prediction an id; found '0' twice"),
        ("x.tsv", "index\tprediction\n0\tgood\n", r":2: expected one of 0, 1 as the prediction of '0'; found 'good'"),
        ("x.tsv", "0\t1\n", r"x\.tsv:1: expected the header"), ("x.tsv", "", "expected the header"),
        ("x.tsv", "index\tprediction\n0\n", r"x\.tsv:2: expected index<TAB>prediction; found '0'"),
        ("x.jsonl", '{"id": "0", "prediction": "good"}\n', r"x\.jsonl:1: expected one of negative, positive"),
        ("x.jsonl", '{"id": "0"}\n', r"x\.jsonl:1: expected {\"id\": \.\.\., \"prediction\": \.\.\.}"),
        ("x.jsonl", "[]\n", r"x\.jsonl:1"), ("x.json", "[1]", "expected an object"), ("x.json", "{", "expected JSON"),
        ("x.json", '{"0": 1}', "expected one of negative, positive as the prediction of '0'; found 1"),
        ("x.zip", "no zip", r"expected one sst2-dev\.tsv in a zip"),
    ],
)
def test_a_file_that_does_not_answer_the_examples_is_an_error_that_names_the_place(
    tmp_path: Path, name: str, text: str, expected: str
) -> None:
    examples = [Sentences(str(number), "dev", ("a",), "positive") for number in range(3)]
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=expected):
        read_predictions(tmp_path / name, "sst2", "dev", examples)


@pytest.mark.parametrize(
    ("task", "prediction", "expected"),
    [("stsb", "2", "a finite number"), ("stsb", True, "a finite number"), ("stsb", 10**400, "a finite number"),
     ("stsb", math.nan, "a finite number"), ("race", 1.0, "the number of an option"),
     ("race", True, "the number of an option"), ("squad", None, "text")],
)
def test_a_prediction_of_another_kind_is_refused(tmp_path: Path, task: str, prediction: Any, expected: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"id": "0", "prediction": prediction}))
    with pytest.raises(InputError, match=f"expected {expected}.* as the prediction of '0'"):
        read_predictions(path, task, "dev", [Sentences("0", "dev", ("a",))])


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("x.jsonl", '{"id": "0", "prediction": 2}', "the number of an option, from 0 to 1, as the prediction"),
        ("x.jsonl", '{"id": "0", "prediction": -1}', "the number of an option, from 0 to 1, as the prediction"),
        ("x.tsv", "index\tprediction\n0\tC\n", "one of A, B as the prediction of '0'; found 'C'"),
    ],
)
def test_an_option_that_the_question_does_not_have_is_refused(
    tmp_path: Path, name: str, text: str, expected: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=f"expected {expected}"):
        read_predictions(tmp_path / name, "race", "dev", [Choice("0", "dev", "p", "q", ("a", "b"))])


def test_a_zip_says_which_of_the_leaderboards_files_it_lacks() -> None:
    parts = [of_split(task, split, [], []) for task in GLUE for split in TASKS[task].submissions]
    assert left_out(parts) == []
    assert left_out(parts[1:]) == ["CoLA.tsv"]
    assert left_out([of_split("race", "test", [], [])]) == left_out([of_split("sst2", "dev", [], [])]) == []


@pytest.mark.parametrize("split", ["devx", "dev_mismatched", "x"])
def test_a_split_that_is_not_there_is_an_error_also_where_dev_is_held_out(tmp_path: Path, split: str) -> None:
    write_mnli(tmp_path)
    for path in (tmp_path / "MNLI").glob("dev_*"):
        path.unlink()
    config = FinetuneConfig(dev_fraction=0.3)
    assert list(read_split("mnli", tmp_path, "dev", config).splits) == ["dev_matched"]
    with pytest.raises(InputError, match=f"mnli.*{split}"):
        read_split("mnli", tmp_path, split, config)


def test_where_a_split_is_not_there_another_is_named(tmp_path: Path) -> None:
    for split in ("train", "dev"):
        write_squad(tmp_path / f"{split}-v1.1.json", made_questions(split, False))
    with pytest.raises(InputError, match=r"squad test; found those of .*dev.* another split: --split dev\)"):
        read_split("squad", tmp_path, "test", FinetuneConfig())
    with pytest.raises(InputError, match=r"one of train, dev, test; found 'x' \(such as --split dev\)"):
        read_split("squad", tmp_path, "x", FinetuneConfig())


def test_a_test_set_without_answers_has_no_scores(tmp_path: Path) -> None:
    write_sst2(tmp_path)
    examples = read_split("sst2", tmp_path, "test", FinetuneConfig()).splits["test"]
    write_predictions(tmp_path / "x.jsonl", [of_split("sst2", "test", examples, ["positive"] * 7)])
    with pytest.raises(InputError, match="expected the answers of sst2 test"):
        score_predictions("sst2", tmp_path / "x.jsonl", tmp_path, "test", FinetuneConfig())
    assert "no such file" in line_of(invoke("score", "sst2", tmp_path / "nowhere.tsv", "--data", tmp_path)).lower()


def test_two_files_of_a_split_cannot_be_told_apart(tmp_path: Path) -> None:
    """As where v1.1 and v2.0 of SQuAD lie side by side."""
    examples = [Question("x", "dev", "t", "c", "q"), Question("x", "dev", "t", "c", "q")]
    (tmp_path / "p.json").write_text('{"x": "c"}')
    with pytest.raises(InputError, match="expected one example of squad dev an id; found 1 with the id of another"):
        read_predictions(tmp_path / "p.json", "squad", "dev", examples)


def test_only_a_zip_has_room_for_several_splits(tmp_path: Path) -> None:
    parts = [of_split("mnli", split, [], []) for split in ("test_matched", "test_mismatched")]
    parts.append(of_split("ax", "test", [], []))
    assert to_write(tmp_path / "x.zip", parts) == parts
    with pytest.raises(ConfigError, match="found mnli test_matched, mnli test_mismatched"):
        to_write(tmp_path / "x.tsv", parts)
    assert to_write(tmp_path / "x.tsv", parts[1:]) == parts[1:2]
