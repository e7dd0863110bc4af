"""The evaluation files: what is found in folders and zips, and the examples of every published layout."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rbt.corpus.config import TASK_ORIGINS
from rbt.errors import InputError
from rbt.tasks.examples import Answer, Choice, Example, Question, Sentences
from rbt.tasks.glue import GLUE
from rbt.tasks.sets import GLUE_SET, SPLITS, TASKS, find_files, read_examples, tasks_of
from rbt.tasks.tsv import TableTask


def read(name: str, path: Path, splits: tuple[str, ...] = SPLITS) -> list[Example]:
    """All examples of a set."""
    return [example for _, example in read_examples(find_files(name, path, splits))]


def counts(name: str, path: Path) -> dict[str, int]:
    """Examples by split, "task split" where the set has several tasks."""
    found = Counter(
        f"{file.task} {example.split}" if len(tasks_of(name)) > 1 else example.split
        for file, example in read_examples(find_files(name, path, SPLITS))
    )
    return dict(found)


def write(path: Path, *rows: str) -> Path:
    """A file of tab-separated rows; `|` stands for a tab."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(row.replace("|", "\t") + "\n" for row in rows), encoding="utf-8")
    return path


def table(task: str) -> TableTask:
    """The reader of a task of GLUE."""
    reader = GLUE[task].reader
    assert isinstance(reader, TableTask)
    return reader


def labels(examples: list[Example]) -> list[Any]:
    return [example.label for example in examples if isinstance(example, Sentences)]


def test_the_names_in_a_recipe_are_those_of_the_sets() -> None:
    assert set(TASK_ORIGINS) == {GLUE_SET, *TASKS.keys() - GLUE.keys()}


@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [
        ("cola", "glue/CoLA_2col", {"train": 8551, "dev": 516}),
        ("sst2", "glue/SST2_sentence", {"train": 6920, "dev": 1821}),
        ("stsb", "glue/STS-B", {"train": 5749, "dev": 1500}),
        ("stsb", "glue", {"train": 5749, "dev": 1500}),
        ("rte", "glue/RTE_resplit", {"train": 1244, "dev": 139}),
        ("wnli", "glue/WNLI_resplit", {"train": 565, "dev": 70}),
        ("mrpc", "glue/MRPC", {"train": 4076}),
        ("mrpc", "glue/MRPC/msr_paraphrase_train.txt", {"train": 4076}),
        ("squad", "squad", {"dev": 5728 + 4338}),
        ("squad", "squad/derived/dev-v1.1.A.json", {"dev": 5728}),
        ("race", "race/derived", {"dev": 1436}),
        ("race", "race/derived/RACE/dev/middle", {"dev": 1436}),
        ("race", "race/hf_race_all_dummy.zip", {"train": 22, "dev": 17, "test": 22}),
    ],
)
def test_the_real_files_have_as_many_examples_as_rows(
    data: Path, name: str, path: str, expected: dict[str, int]
) -> None:
    """The counts are those of the lines, the JSON lists, and the notes beside the files."""
    assert counts(name, data / "tasks" / path) == expected


def test_the_real_zips_of_glue_are_read_as_one_set(data: Path) -> None:
    found = counts("glue", data / "tasks" / "glue" / "hf_dummy")
    three = {f"{task} {split}": n for task in ("cola", "sst2", "stsb", "qqp", "qnli", "rte", "wnli")
             for split, n in (("train", 3), ("dev", 2), ("test", 1))}  # fmt: skip
    mnli = {"train": 3, "dev_matched": 2, "dev_mismatched": 2, "test_matched": 1, "test_mismatched": 1}
    assert found == {
        **three, "cola train": 3, **{f"mnli {split}": n for split, n in mnli.items()},
        "mrpc train": 10, "mrpc dev": 8, "mrpc test": 15, "ax test": 3,
    }


def test_the_labels_of_the_real_files_are_those_of_their_columns(data: Path) -> None:
    folder = data / "tasks" / "glue"
    assert Counter(labels(read("mrpc", folder / "MRPC"))) == {"equivalent": 2753, "not_equivalent": 1323}
    assert Counter(labels(read("cola", folder / "CoLA_2col", ("dev",)))) == {"acceptable": 354, "unacceptable": 162}
    scores = [example.score for example in read("stsb", folder / "STS-B") if isinstance(example, Sentences)]
    assert all(score is not None and 0 <= score <= 5 for score in scores)


def test_the_real_answers_of_squad_lie_where_they_say(data: Path) -> None:
    questions = [item for item in read("squad", data / "tasks" / "squad") if isinstance(item, Question)]
    assert sum(question.is_impossible for question in questions) == 2129
    for question in questions:
        assert question.is_impossible != bool(question.answers)
        for answer in question.answers:
            assert question.context[answer.start :].startswith(answer.text)


ROWS: list[tuple[str, str, tuple[str, ...], Example]] = [
    ("cola", "CoLA/dev.tsv", ("gj04|0|*|The ship \"sank.",),
     Sentences("0", "dev", ('The ship "sank.',), "unacceptable")),
    ("cola", "CoLA/test.tsv", ("index|sentence", "7|A ship."), Sentences("7", "test", ("A ship.",))),
    ("cola", "dev.tsv", ("a ship|1",), Sentences("0", "dev", ("a ship",), "acceptable")),
    ("sst2", "SST-2/dev.tsv", ("sentence|label", "dull |0"), Sentences("0", "dev", ("dull ",), "negative")),
    ("sst2", "dev.tsv", ("1|fine",), Sentences("0", "dev", ("fine",), "positive")),
    ("mrpc", "MRPC/dev.tsv", ("\ufeffQuality|#1 ID|#2 ID|#1 String|#2 String", "1|5|6|A|B"),
     Sentences("5-6", "dev", ("A", "B"), "equivalent")),
    ("mrpc", "MRPC/test.tsv", ("index|#1 ID|#2 ID|#1 String|#2 String", "0|5|6|A|B"),
     Sentences("5-6", "test", ("A", "B"))),
    ("mrpc", "MRPC/msr_paraphrase_test.txt", ("Quality|#1 ID|#2 ID|#1 String|#2 String", "0|5|6|A|B"),
     Sentences("5-6", "test", ("A", "B"), "not_equivalent")),
    ("stsb", "STS-B/dev.tsv",
     ("index|genre|filename|year|old_index|source1|source2|sentence1|sentence2|score", "3|g|f|y|o|s|t|A|B|2.5"),
     Sentences("3", "dev", ("A", "B"), None, 2.5)),
    ("stsb", "STS-B/test.tsv",
     ("index|genre|filename|year|old_index|source1|source2|sentence1|sentence2", "3|g|f|y|o|s|t|A|B"),
     Sentences("3", "test", ("A", "B"))),
    ("qqp", "QQP/dev.tsv", ("id|qid1|qid2|question1|question2|is_duplicate", "9|1|2|A?|B?|1"),
     Sentences("9", "dev", ("A?", "B?"), "duplicate")),
    ("qqp", "QQP/test.tsv", ("id|question1|question2", "9|A?|B?"), Sentences("9", "test", ("A?", "B?"))),
    ("mnli", "MNLI/dev_matched.tsv", ("index|sentence1|sentence2|label1|gold_label", "4|A|B|neutral|contradiction"),
     Sentences("4", "dev_matched", ("A", "B"), "contradiction")),
    ("mnli", "MNLI/test_mismatched.tsv", ("index|sentence1|sentence2", "4|A|B"),
     Sentences("4", "test_mismatched", ("A", "B"))),
    ("qnli", "QNLI/dev.tsv", ("index|question|sentence|label", "4|A?|B|not_entailment"),
     Sentences("4", "dev", ("A?", "B"), "not_entailment")),
    ("rte", "RTE/dev.tsv", ("index|sentence1|sentence2|label", "4|A|B|entailment"),
     Sentences("4", "dev", ("A", "B"), "entailment")),
    ("wnli", "WNLI/dev.tsv", ("index|sentence1|sentence2|label", "4|A|B|1"),
     Sentences("4", "dev", ("A", "B"), "entailment")),
    ("ax", "diagnostic/diagnostic.tsv", ("index|sentence1|sentence2", "4|A|B"), Sentences("4", "test", ("A", "B"))),
    ("ax", "AX.tsv", ("index|sentence1|sentence2", "4|A|B"), Sentences("4", "test", ("A", "B"))),
    ("ax", "AX/diagnostic-full.tsv",
     ("Lexical Semantics|Predicate-Argument Structure|Logic|Knowledge|Domain|Premise|Hypothesis|Label",
      "|||World knowledge|News|A|B|neutral"),
     Sentences("0", "test", ("A", "B"), "neutral")),
]  # fmt: skip


@pytest.mark.parametrize(("task", "name", "rows", "expected"), ROWS, ids=[f"{row[0]} {row[1]}" for row in ROWS])
def test_every_published_layout_is_read(
    tmp_path: Path, task: str, name: str, rows: tuple[str, ...], expected: Example
) -> None:
    """Quotation marks are characters, and trailing spaces stay; Windows line ends do not."""
    path = write(tmp_path / name, *rows)
    assert read(task, tmp_path) == [expected]
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert read(task, path) == [expected]
    with zipfile.ZipFile(tmp_path / f"{task}.zip", "w") as archive:
        archive.write(path, f"{table(task).folders[0]}/{path.name}")
        archive.writestr(f"__MACOSX/{table(task).folders[0]}/._{path.name}", b"\x00\x05")
    assert read(task, tmp_path / f"{task}.zip") == [expected]


def test_rows_of_dev_are_those_that_the_list_of_mrpc_names(tmp_path: Path) -> None:
    """The published train file holds both; without the list there is no dev."""
    head = "Quality|#1 ID|#2 ID|#1 String|#2 String"
    write(tmp_path / "msr_paraphrase_train.txt", head, "1|1|2|A|B", "0|3|4|C|D", "1|5|6|E|F")
    assert [example.id for example in read("mrpc", tmp_path)] == ["1-2", "3-4", "5-6"]
    with pytest.raises(InputError, match=r"expected files of mrpc \(dev or test\).*dev_ids.tsv"):
        find_files("mrpc", tmp_path, ("dev", "test"))
    write(tmp_path / "dev_ids.tsv", "3|4")
    found = read("mrpc", tmp_path)
    assert [(example.split, example.id) for example in found] == [("train", "1-2"), ("train", "5-6"), ("dev", "3-4")]


def test_torn_rows_of_qqps_train_and_dev_are_skipped_and_named_and_no_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    head = "id|qid1|qid2|question1|question2|is_duplicate"
    write(tmp_path / "QQP" / "train.tsv", head, "1|1|2|A?|B?|1", "2|3|4|C", "5|6|7|D?|E?|0")
    assert [example.id for example in read("qqp", tmp_path)] == ["1", "5"]
    assert "1 rows are torn" in caplog.text
    write(tmp_path / "test" / "QQP" / "test.tsv", "id|question1|question2", "0|A?|B?", "1|C", "2|D?|E?")
    with pytest.raises(InputError, match=r"test.tsv:3: expected 3 columns; found 2"):
        read("qqp", tmp_path / "test")
    write(tmp_path / "QQP" / "train.tsv", head, "2|3|4|C", "| torn", "5|6|7|D?|E?|0")
    with pytest.raises(InputError, match=r"train.tsv:3: expected 6 columns; found 2"):
        read("qqp", tmp_path)


SQUAD = {"data": [{"title": "Ships", "paragraphs": [{"context": "é A ship.", "qas": [
    {"id": "q1", "question": "What?", "answers": [{"text": "ship", "answer_start": 4}]},
    {"id": "q2", "question": "Who?", "answers": [], "is_impossible": True, "plausible_answers": []},
]}]}]}  # fmt: skip


def test_squad_is_read_with_and_without_answers(tmp_path: Path) -> None:
    (tmp_path / "dev-v2.0.json").write_text(json.dumps(SQUAD))
    (tmp_path / "evaluate.json").write_text("{")
    first, second = read("squad", tmp_path)
    assert first == Question("q1", "dev", "Ships", "é A ship.", "What?", (Answer("ship", 4),))
    assert second == Question("q2", "dev", "Ships", "é A ship.", "Who?", (), True)
    assert first.texts == ("é A ship.", "What?")


RACE = {"id": "high3.txt", "article": "A ship sank.", "questions": ["What  _  ?", "Why?"],
        "options": [["a", "b", "c", "d"], ["e", "f", "g", "h"]], "answers": ["D", "A"]}  # fmt: skip


def test_race_is_read_from_a_folder_of_passages_without_what_macos_leaves(tmp_path: Path) -> None:
    for name in ("RACE/dev/high/3.txt", "RACE/test/middle/1.txt"):
        write(tmp_path / name, json.dumps(RACE))
    for junk in ("RACE/dev/high/._3.txt", "__MACOSX/RACE/dev/high/3.txt", "RACE/dev/.DS_Store", "RACE/dev/notes.txt"):
        (tmp_path / junk).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / junk).write_bytes(b"\x00\x05")
    found = read("race", tmp_path, ("dev",))
    assert found == [
        Choice("high3.txt#0", "dev", "A ship sank.", "What  _  ?", ("a", "b", "c", "d"), 3),
        Choice("high3.txt#1", "dev", "A ship sank.", "Why?", ("e", "f", "g", "h"), 0),
    ]
    assert found[1].texts == ("A ship sank.", "Why?", "e", "f", "g", "h")


RTE = "index|sentence1|sentence2|label"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rte", f"{RTE}\n1|A|B|entailment\n2|A|B\n", r"dev.tsv:3: expected 4 columns; found 3: 2 \| A \| B"),
        ("rte", f"{RTE}\n1|A|B|maybe\n", "dev.tsv:2: expected one of entailment, not_entailment as the label; found"),
        ("rte", "index|text\n", "dev.tsv:1: expected a header with the columns sentence1, sentence2; found 2 columns"),
        ("rte", "index|sentence1|sentence2\n1|A|B\n", "expected the column 'label' of labels; found index, sentence1"),
        ("rte", "", "dev.tsv: expected rows; found an empty file"),
        ("stsb", "sentence1|sentence2|score\nA|B|high\n", "dev.tsv:2: expected a number as the label; found 'high'"),
        ("squad", "[1,\n!", "dev.json:2: expected JSON"),
        ("squad", "[]", "dev.json: expected data to be a list; found none"),
        ("squad", json.dumps({"data": [{"paragraphs": [{"context": 3}]}]}),
         r"expected data\[0\].paragraphs\[0\].context to be text; found a whole number"),
        ("squad", json.dumps({"data": [{"paragraphs": [{"context": "", "qas": [{"id": "a"}]}]}]}),
         r"expected data\[0\].paragraphs\[0\].qas\[0\].question to be text; found none"),
        ("squad", json.dumps({"data": [], "note": "a \ud83d b"}), "expected whole characters; found half of one in"),
        ("race", json.dumps({**RACE, "answers": ["A"]}), "2 questions, 2 options, 1 answers"),
        ("race", json.dumps({**RACE, "answers": ["A", "E"]}), r"expected questions\[1\] to be text, its options"),
        ("race", json.dumps({**RACE, "options": ["abcd", []]}), r"expected questions\[0\] to be text, its options"),
    ],
)  # fmt: skip
def test_a_malformed_file_is_one_clear_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    file = {"squad": "dev.json", "race": "dev/high/1.txt"}.get(name, "dev.tsv")
    write(tmp_path / file, *content.removesuffix("\n").split("\n")) if name in GLUE else write(tmp_path / file, content)
    if not content:
        (tmp_path / file).write_bytes(b"")
    with pytest.raises(InputError, match=message):
        read(name, tmp_path)


def test_bytes_that_are_no_utf8_are_named_by_their_line(tmp_path: Path) -> None:
    (tmp_path / "dev.tsv").write_bytes(b"index\tsentence1\tsentence2\tlabel\n1\tcaf\xe9\tB\tentailment\n")
    with pytest.raises(InputError, match=r"dev.tsv:2: expected UTF-8; found byte 0xe9"):
        read("rte", tmp_path)


def test_what_is_missing_or_could_be_two_things_is_an_error_with_a_cure(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: expected the files of race; found no such folder or file \(put"):
        find_files("race", tmp_path / "nowhere", SPLITS)
    none = r"expected files of cola \(dev or test\); found none \(put CoLA/ with train"
    with pytest.raises(InputError, match=rf"{none}.*, or name tasks one by one\)"):
        find_files("glue", tmp_path, ("dev", "test"))
    with pytest.raises(InputError, match=r"put CoLA/ with train\.tsv, dev\.tsv, test\.tsv there\)"):
        find_files("cola", tmp_path, ("dev",))
    write(tmp_path / "one" / "dev.tsv", RTE)
    write(tmp_path / "two" / "dev.tsv", RTE)
    with pytest.raises(InputError, match=r"expected one dev.tsv of rte; found .*one/dev.tsv and .*two/dev.tsv"):
        find_files("rte", tmp_path, ("dev",))
    write(tmp_path / "RTE" / "dev.tsv", RTE, "1|A|B|entailment")
    assert len(read("rte", tmp_path)) == 1
    (tmp_path / "SST-2.zip").write_bytes(b"no zip")
    with pytest.raises(InputError, match=r"SST-2.zip: expected a zip"):
        find_files("sst2", tmp_path, ("dev",))


def test_a_file_of_a_task_may_lie_beside_the_folders_of_the_others(tmp_path: Path) -> None:
    for entry in map(table, GLUE):
        for names in entry.files.values():
            write(tmp_path / entry.folders[0] / names[0], "")
    (tmp_path / "AX" / "diagnostic-full.tsv").rename(tmp_path / "AX.tsv")
    found = find_files("glue", tmp_path, SPLITS)
    assert [file.member for file in found if file.task == "ax"] == ["AX.tsv"]
    assert {file.task for file in found} == set(GLUE)


def test_splits_that_were_never_published_are_passed_over(tmp_path: Path) -> None:
    """AX has a test file alone, and SQuAD none that is public."""
    (tmp_path / "dev-v1.1.json").write_text(json.dumps(SQUAD))
    assert [file.split for file in find_files("squad", tmp_path, ("dev", "test"))] == ["dev"]
    with pytest.raises(InputError, match=r"expected files of squad \(train\)"):
        find_files("squad", tmp_path, ("train",))
    assert find_files("ax", tmp_path, ("train", "dev")) == []


def test_files_of_other_tasks_beside_those_of_one_are_not_taken_for_its_own(tmp_path: Path) -> None:
    """A folder of all of GLUE, in which MRPC has its own names of files."""
    write(tmp_path / "RTE" / "train.tsv", "index|sentence1|sentence2|label", "0|a|b|entailment")
    write(tmp_path / "QNLI" / "train.tsv", "index|question|sentence|label", "0|a|b|entailment")
    header = "Quality|#1 ID|#2 ID|#1 String|#2 String"
    write(tmp_path / "MRPC" / "msr_paraphrase_train.txt", header, "1|1|2|a|b", "0|3|4|c|d")
    assert [example.id for example in read("mrpc", tmp_path)] == ["1-2", "3-4"]
    with pytest.raises(InputError, match="expected one train\\.tsv of sst2"):
        find_files("sst2", tmp_path, SPLITS)
