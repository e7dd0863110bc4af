"""A model that is pretrained on the mini corpus learns small slices of real tasks, one of each kind, by heart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MODEL = ("model.layers=2", "model.hidden=128", "model.heads=4", "model.feed_forward=256", "schedule.max_steps=60",
         "run.device=cpu")
LEARNING = ("finetune.learning_rate=1e-3", "finetune.epochs=60", "finetune.batch_size=8", "finetune.dropout=0.0",
            "finetune.attention_dropout=0.0", "finetune.early_stopping=0", "finetune.weight_decay=0.0",
            "finetune.stride=32",  # a quarter of what the model reads
            "run.device=cpu")
TABLES = {"sst2": ("SST2_sentence", False), "rte": ("RTE_resplit", True), "stsb": ("STS-B", True)}


def settings(*words: str) -> list[str]:
    """As --set options."""
    return [part for word in words for part in ("--set", word)]


@pytest.fixture(scope="module")
def project(built: Any, new_project: Callable[[], Any]) -> Any:
    """A project with a model of two layers, which reads 128 tokens."""
    made = new_project()
    (made.folder / "corpus").symlink_to(built.folder / "corpus")
    made.must("bpe", "train")
    made.must("pack", "--max-tokens", "128")
    made.must("pretrain", *settings(*MODEL))
    made.must("export")
    return made


def write_table(data: Path, folder: str, has_header: bool, out: Path, count: int = 24) -> None:
    """The first rows of a training file, as train and as dev."""
    lines = (data / "tasks" / "glue" / folder / "train.tsv").read_text("utf-8-sig").split("\n")
    out.mkdir(parents=True)
    for name in ("train.tsv", "dev.tsv"):
        (out / name).write_text("\n".join(lines[: count + has_header]) + "\n", "utf-8")


def write_squad(data: Path, out: Path) -> None:
    """Short paragraphs, with questions that have an answer and such that have none."""
    articles = json.loads((data / "tasks" / "squad" / "derived" / "dev-v2.0.A.json").read_text("utf-8"))["data"]
    paragraphs = [each for article in articles for each in article["paragraphs"] if len(each["context"]) < 500]
    chosen = [{**each, "qas": each["qas"][:6]} for each in paragraphs[:3]]
    out.mkdir(parents=True)
    for name in ("train-v2.0.json", "dev-v2.0.json"):
        (out / name).write_text(json.dumps({"data": [{"title": "A", "paragraphs": chosen}]}), "utf-8")


def write_race(data: Path, out: Path) -> None:
    """The questions of a few passages."""
    passages = sorted((data / "tasks" / "race" / "derived" / "RACE" / "dev" / "middle").glob("*.txt"))[:4]
    for split in ("train", "dev"):
        (out / "RACE" / split / "middle").mkdir(parents=True)
        for path in passages:
            shutil.copy(path, out / "RACE" / split / "middle")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "metric", "least"),
    [
        ("sst2", "dev accuracy", 100.0), ("rte", "dev accuracy", 100.0), ("stsb", "dev pearson", 95.0),
        ("race", "dev accuracy", 90.0), ("squad", "dev exact_match", 90.0),
    ],
)
def test_a_slice_of_a_real_task_is_learned(
    project: Any, data: Path, tmp_path: Path, task: str, metric: str, least: float
) -> None:
    files, out = tmp_path / "data", tmp_path / "run"
    if task in TABLES:
        write_table(data, *TABLES[task], files)
    else:
        {"squad": write_squad, "race": write_race}[task](data, files)
    words = ("--model", "model", "--data", str(files), "--out", str(out))
    project.must("finetune", task, *words, *settings(*LEARNING), small=False)
    scores = json.loads((out / "scores.json").read_text())
    assert not scores["diverged"]
    assert scores["scores"][metric] >= least
    assert (out / "model" / "config.json").is_file()
    said = tmp_path / ("said.json" if task == "squad" else "said.tsv")
    project.must("predict", str(out), "--split", "dev", "--data", str(files), "--out", str(said), small=False)
    assert said.read_text("utf-8").startswith("{" if task == "squad" else "index\tprediction\n")
    shown = project.must("score", task, str(said), "--data", str(files), small=False)
    assert f"{scores['scores'][metric]:.2f}" in shown
