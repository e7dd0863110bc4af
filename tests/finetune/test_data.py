"""What the splits of a task are, and which files are no such splits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rbt.errors import InputError
from rbt.finetune.config import FinetuneConfig
from rbt.finetune.data import read_for_training, read_task

from .conftest import write_rows
from .squad_files import made_questions, write_squad

MRPC = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"
ROWS = ["1\t1\t2\ta\tb", "0\t3\t4\ta\tc", "0\t5\t6\ta\td"]


def test_examples_that_come_twice_are_an_error(tmp_path: Path) -> None:
    columns = {"questions": ["q"], "options": [["1", "2", "3", "4"]], "answers": ["A"]}
    passage = {"id": "high1.txt", "article": "a", **columns}
    for copy in ("RACE", "copy/RACE"):
        (tmp_path / copy / "dev" / "high").mkdir(parents=True)
        (tmp_path / copy / "dev" / "high" / "1.txt").write_text(json.dumps(passage))
    with pytest.raises(InputError, match=r"expected each example of race dev once; found high1.txt#0 twice"):
        read_task("race", tmp_path, ("dev",))


def test_rows_of_dev_that_may_be_in_train_are_an_error(tmp_path: Path) -> None:
    write_rows(tmp_path / "MRPC" / "msr_paraphrase_train.txt", MRPC, ROWS[:2])
    write_rows(tmp_path / "MRPC" / "dev.tsv", MRPC, ROWS[1:2])
    with pytest.raises(InputError, match=r"msr_paraphrase_train.txt: expected dev_ids.tsv beside it"):
        read_for_training("mrpc", tmp_path, FinetuneConfig())
    (tmp_path / "MRPC" / "dev_ids.tsv").write_text("3\t4\n")
    splits = read_for_training("mrpc", tmp_path, FinetuneConfig()).splits
    assert {split: [each.id for each in examples] for split, examples in splits.items()} == {
        "train": ["1-2"], "dev": ["3-4"],
    }


@pytest.mark.parametrize("score", ["nan", "inf"])
def test_a_score_that_is_no_number_is_an_error(tmp_path: Path, score: str) -> None:
    write_rows(tmp_path / "STS-B" / "train.tsv", "sentence1\tsentence2\tscore", [f"a\tb\t{score}"])
    with pytest.raises(InputError, match="expected a number as the label"):
        read_task("stsb", tmp_path, ("train",))


def test_a_passage_is_held_out_whole(tmp_path: Path) -> None:
    write_squad(tmp_path / "train-v2.0.json", made_questions("train", with_unanswerable=True))
    splits = read_for_training("squad", tmp_path, FinetuneConfig(dev_fraction=0.5)).splits
    passages = [{each.group for each in splits[split]} for split in ("train", "dev")]
    assert all(passages) and not passages[0] & passages[1]


def test_which_rows_are_of_dev_is_part_of_what_files_are(tmp_path: Path) -> None:
    """Scores of other rows are scores of another data set."""
    write_rows(tmp_path / "MRPC" / "msr_paraphrase_train.txt", MRPC, ROWS)
    digests = set()
    for ids in ("3\t4\n", "5\t6\n", "3\t4\n"):
        (tmp_path / "MRPC" / "dev_ids.tsv").write_text(ids)
        digests.add(read_task("mrpc", tmp_path, ("train", "dev")).digest)
    assert len(digests) == 2


@pytest.mark.parametrize("train_examples", [0, 1])
def test_questions_without_an_answer_in_dev_alone_are_an_error(tmp_path: Path, train_examples: int) -> None:
    """A model would have to answer all of them."""
    write_squad(tmp_path / "train-v.json", made_questions("train", with_unanswerable=train_examples > 0))
    write_squad(tmp_path / "dev-v2.0.json", made_questions("dev", with_unanswerable=True))
    with pytest.raises(InputError, match=r"expected questions without an answer in train of squad, as dev has"):
        read_for_training("squad", tmp_path, FinetuneConfig(train_examples=train_examples))
