"""The splits of a task, read and encoded.

    folder ──task files──> examples by split ──kind──> features
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from rbt.errors import ConfigError, InputError
from rbt.finetune.config import FinetuneConfig
from rbt.finetune.features import Texts, encode_texts
from rbt.finetune.kind import Encode
from rbt.rng import hash_text
from rbt.tasks.examples import Example, Question
from rbt.tasks.files import TaskFile, read_all, read_member
from rbt.tasks.sets import TASKS, find_files
from rbt.tasks.task import Task

Splits = Mapping[str, Sequence[Example]]


@dataclass(frozen=True)
class TaskData:
    """What the files of a task hold."""

    name: str
    task: Task
    splits: Splits
    digest: str  # of the files

    @property
    def dev_splits(self) -> list[str]:
        """The dev splits that are there, the first of which runs are compared on."""
        return [split for split in self.task.dev_splits if split in self.splits]


def task_named(name: str) -> Task:
    """An entry of TASKS. Raises ConfigError."""
    if name not in TASKS:
        raise ConfigError("expected a task", found=repr(name), cure=f"one of {', '.join(TASKS)}")
    return TASKS[name]


def read_task(name: str, folder: Path, splits: Sequence[str]) -> TaskData:
    """The splits of a task that are in a folder, of those whose names begin with one of `splits`.

    Raises InputError where there is none, or a file is malformed.
    """
    task, found, digest = task_named(name), dict[str, list[Example]](), blake2b(digest_size=16)
    files = find_files(name, folder, splits)
    _check_apart(task, files)
    for file, data in read_all(files):
        digest.update(data)
        if file.held_out:  # which of its rows are of this split
            digest.update(file.split.encode() + read_member(file.location, file.held_out))
        found.setdefault(file.split, []).extend(task.reader.parse(file, data))
    for split, examples in found.items():
        if not examples:
            raise InputError(f"expected examples of {name} {split}", path=folder, found="none")
        ids, again = set[str](), [each.id for each in examples]
        for each in again:
            if each in ids:
                raise InputError(
                    f"expected each example of {name} {split} once", path=folder, found=f"{each} twice",
                    cure="keep one copy of the files there, and of SQuAD one version",
                )
            ids.add(each)
    return TaskData(name, task, found, digest.hexdigest())


def _check_apart(task: Task, files: Sequence[TaskFile]) -> None:
    """Raise InputError where the file of train holds the rows of dev, and nothing says which: they would be learned."""
    lists = getattr(task.reader, "held_out", ())
    by_split = {file.split: file for file in files}
    train = by_split.get("train")
    if not lists or train is None or "dev" not in by_split or train.held_out:
        return
    if Path(train.member).name != "train.tsv":
        raise InputError(
            f"expected {lists[0]} beside it: it holds the rows of dev, too", path=train.path, found="no such list",
            cure=f"put {lists[0]} there, or a train.tsv without them",
        )


def read_for_training(name: str, folder: Path, config: FinetuneConfig) -> TaskData:
    """Train and dev. Raises InputError where one is missing, or has no answers."""
    data = read_task(name, folder, ("train", "dev"))
    splits = dict(data.splits)
    if "train" in splits and not data.dev_splits and config.dev_fraction > 0:
        held_out = [hash_text(each.group) < config.dev_fraction * (1 << 64) for each in splits["train"]]
        pairs = list(zip(splits["train"], held_out, strict=True))
        splits[data.task.dev_splits[0]] = [each for each, is_out in pairs if is_out]
        splits["train"] = [each for each, is_out in pairs if not is_out]
    for wanted, names in (("train", ("train",)), ("dev", data.task.dev_splits)):
        if not any(splits.get(split) for split in names):
            raise InputError(
                f"expected {wanted} examples of {name}", path=folder, found=", ".join(splits) or "none",
                cure="put the file there" + ("" if wanted == "train" else ", or set finetune.dev_fraction"),
            )
    if config.train_examples:
        splits["train"] = splits["train"][: config.train_examples]
    _check_versions(name, splits, folder)
    return TaskData(name, data.task, splits, data.digest)


def _check_versions(name: str, splits: Splits, folder: Path) -> None:
    """Raise InputError where dev has questions without an answer and train has none: no model of it would say so."""
    has_unanswerable = {
        split: any(isinstance(each, Question) and not each.answers for each in examples)
        for split, examples in splits.items()
    }
    if not has_unanswerable["train"] and any(has_unanswerable.values()):
        raise InputError(
            f"expected questions without an answer in train of {name}, as dev has", path=folder, found="none",
            cure="take both of one version, or more finetune.train_examples",
        )


def read_split(name: str, folder: Path, split: str, config: FinetuneConfig) -> TaskData:
    """The splits of a task whose names begin with `split`; dev may be held out of train, see `read_for_training`.

    Raises InputError where there is none.
    """
    task = task_named(name)
    if not any(each.startswith(split) for each in task.reader.splits):
        raise InputError(
            f"expected a split of {name}, one of {', '.join(task.reader.splits)}", found=repr(split),
            cure="such as --split dev" if task.dev_splits else "",
        )
    if config.dev_fraction == 0 or not split.startswith("dev"):
        _check_files(name, folder, split)
        return read_task(name, folder, (split,))
    data = read_for_training(name, folder, config)
    found = {each: examples for each, examples in data.splits.items() if each.startswith(split)}
    if not found:
        raise InputError(f"expected examples of {name} {split}", path=folder, found=", ".join(data.splits))
    return TaskData(name, task, found, data.digest)


def _check_files(name: str, folder: Path, split: str) -> None:
    """Raise InputError where a split is not there: such as a test set, which SQuAD has none of that is public."""
    there = list(dict.fromkeys(file.split for file in find_files(name, folder, ("",))))
    if not any(each.startswith(split) for each in there):
        other = "dev" if any(each.startswith("dev") for each in there) else there[0]
        raise InputError(
            f"expected files of {name} {split}", path=folder, found=f"those of {', '.join(there)}",
            cure=f"put them there, or name another split: --split {other}",
        )


def encoder_of(tokenizer: Path) -> Encode:
    """Encodes texts with the tokenizer of a folder, a thread a core."""
    def encode(texts: Sequence[str]) -> Texts:
        return encode_texts(tokenizer, texts, os.cpu_count() or 1)

    return encode
