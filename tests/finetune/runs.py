"""Runs that tests read: small real ones, and folders that say what a run says at its end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result

from rbt import cli
from rbt.config import to_table
from rbt.finetune.config import FinetuneConfig
from rbt.finetune.metrics import selection
from rbt.tasks.sets import TASKS
from rbt.trainer.run_folder import to_toml

from .conftest import WORDS, sentence, write_rows

SMALL = ("finetune.epochs=1", "finetune.learning_rate=3e-3", "finetune.batch_tokens=64", "run.device=cpu")
CLASSES = ("entailment", "neutral", "contradiction")


def invoke(*words: object, settings: Sequence[str] = SMALL) -> Result:
    """`rbt` with some words, small and on the CPU."""
    given = [part for setting in settings for part in ("--set", setting)]
    return CliRunner().invoke(cli.main, [*map(str, words), *given])


def must(result: Result) -> str:
    """The output of a command that must succeed."""
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result.output


def line_of(result: Result) -> str:
    """The one line of a command that must fail through no fault of rbt."""
    lines = result.output.splitlines()
    errors = [line for line in lines if line.startswith("Error: ")]
    assert result.exit_code == 2 and lines[-1:] == errors, f"{result.output}\n{result.exception!r}"
    return errors[0]


def fake_run(
    folder: Path, task: str, scores: Mapping[str, float], *, config: FinetuneConfig | None = None,
    diverged: bool = False, weights: str = "blake2b:0123456789abcdef", pretrained: str = "model",
    learned: Sequence[str] = (), data: str = "files", start: str = "",
) -> Path:
    """The folder of a finished run, without its model."""
    folder.mkdir(parents=True)
    names = {name.partition(" ")[2]: value for name, value in scores.items()}
    facts = {
        "task": task, "scores": {**scores, "selection": selection(TASKS[task], names)}, "diverged": diverged,
        "best_epoch": 1, "pretrained": pretrained, "pretrained_weights": weights, "learned_before": list(learned),
        "tuned": {},
    }
    (folder / "scores.json").write_text(json.dumps(facts))
    config = config or FinetuneConfig(batch_size=16, learning_rate=1e-5)
    identity = {"name": task, "data": data, "weights": start or weights}
    (folder / "config.toml").write_text(to_toml({"task": identity, "finetune": to_table(config)}))
    return folder


def fake_seeds(
    folder: Path, task: str, name: str, values: Sequence[float], diverged: Sequence[int] = (), rate: float = 1e-5,
    weights: str = "blake2b:0123456789abcdef", pretrained: str = "model",
) -> list[Path]:
    """A run a seed, of which some diverged; their folders."""
    config = FinetuneConfig(batch_size=16, learning_rate=rate)
    return [
        fake_run(
            folder / f"{task}-{rate:g}-{seed}", task, {name: value}, config=replace(config, seed=seed),
            diverged=seed in diverged, weights=weights, pretrained=pretrained,
        )
        for seed, value in enumerate(values, start=1)
    ]


def write_stsb(folder: Path, train: int = 48, dev: int = 11, test: int = 9) -> Path:
    """STS-B's layout: the score is 5 where the first of the WORDS is one of the later half, else 0."""
    generator = np.random.default_rng(3)

    def row(number: int, with_score: bool) -> str:
        word = str(generator.choice(WORDS))
        score = 5.0 * (WORDS.index(word) >= len(WORDS) // 2)
        texts = [f"{word} {word}", f"{word} {sentence(generator, 2)}"]
        return "\t".join([str(number), *texts, *([str(score)] if with_score else [])])

    for split, count in (("train", train), ("dev", dev), ("test", test)):
        names = ["index", "sentence1", "sentence2", *(["score"] if split != "test" else [])]
        write_rows(folder / "STS-B" / f"{split}.tsv", "\t".join(names), [row(n, split != "test") for n in range(count)])
    return folder


def write_mnli(folder: Path, train: int = 96, dev: int = 61, shuffle: bool = False) -> Path:
    """MNLI's layout: the label is the third of the WORDS that both sentences' one word is of.

    `shuffle`: labels of train come in another order than their sentences.
    """
    generator = np.random.default_rng(4)

    def rows(count: int, with_label: bool) -> list[str]:
        texts = [(word, f"{word} {word}") for word in generator.choice(WORDS, count)]
        labels = [CLASSES[WORDS.index(first) // 4] for first, _ in texts]
        if shuffle and count == train:
            labels = [labels[place] for place in generator.permutation(count)]
        pairs = zip(texts, labels, strict=True)
        return [
            "\t".join([str(number), *pair, *([label] if with_label else [])])
            for number, (pair, label) in enumerate(pairs)
        ]

    for split, count in (
        ("train", train), ("dev_matched", dev), ("dev_mismatched", 15), ("test_matched", 6), ("test_mismatched", 5),
    ):
        with_label = not split.startswith("test")
        names = ["index", "sentence1", "sentence2", *(["gold_label"] if with_label else [])]
        write_rows(folder / "MNLI" / f"{split}.tsv", "\t".join(names), rows(count, with_label))
    return folder


def write_ax(folder: Path, count: int = 4) -> Path:
    """The diagnostic set's layout."""
    generator = np.random.default_rng(5)
    rows = [f"{number}\t{sentence(generator, 3)}\t{sentence(generator, 2)}" for number in range(count)]
    write_rows(folder / "AX" / "diagnostic.tsv", "index\tsentence1\tsentence2", rows)
    return folder


def write_race(folder: Path, train: int = 6, dev: int = 5, test: int = 3) -> Path:
    """RACE's layout: passages of a question each, in both levels in turn; the option is right that the passage is."""
    generator = np.random.default_rng(6)
    for split, count in (("train", train), ("dev", dev), ("test", test)):
        for number in range(count):
            level, right = ("middle", "high")[number % 2], int(generator.integers(4))
            options = generator.choice(WORDS, 4, replace=False).tolist()
            passage = {
                "id": f"{level}{number}.txt", "article": options[right], "questions": ["what is _?"],
                "options": [options], "answers": ["ABCD"[right]],
            }
            path = folder / "RACE" / split / level / f"{number}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(passage))
    return folder
