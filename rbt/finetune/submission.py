"""Files of predictions: what leaderboards take, and what `rbt score` compares with the gold, see `scoring`.

    .zip      a file a split, named as GLUE's leaderboard has it: several tasks together; na_prob.json too
    .tsv      index<TAB>prediction, one split: the index as in the test file, the prediction spelled as in the files
    .json     {id: prediction}, one split: what SQuAD's scorer takes
    .jsonl    {"id": ..., "prediction": ...} a line, one split: as a run writes them

In tables labels are spelled as the task's files have them, options by their letter, and scores have three decimals,
within the task's bounds. Where an id is no number (MRPC has two, of its sentences), the index is the row's number,
which is what the leaderboard counts by.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from rbt.errors import ConfigError
from rbt.finetune.data import task_named
from rbt.finetune.spans import NO_ANSWER
from rbt.storage import atomic_path
from rbt.tasks.examples import Example
from rbt.tasks.glue import GLUE
from rbt.tasks.race import LETTERS
from rbt.tasks.task import Task

HEADER = "index\tprediction"
NO_ANSWERS = "na_prob.json"
OLDEST = (1980, 1, 1, 0, 0, 0)  # what a zip can say: the same predictions are the same bytes


@dataclass(frozen=True)
class Predicted:
    """What is predicted of a split, an entry an example in the order of the file."""

    task: str
    split: str
    examples: Sequence[Example]
    predictions: Sequence[Any]
    notes: Sequence[Mapping[str, float]]  # of each, what its kind says besides


def index_of(example: Example, number: int) -> str:
    """What the leaderboard calls an example, the `number`th of its file."""
    return example.id if example.id.isdecimal() else str(number)


def file_name(name: str, split: str) -> str:
    """The file of a split in a zip: the leaderboard's name, where it asks for the split."""
    return task_named(name).submissions.get(split, f"{name}-{split}.tsv")


def spelled(task: Task, prediction: Any) -> str:
    """A prediction as the task's files have it."""
    if task.labels:
        return next(key for key, name in task.labels.items() if name == prediction)
    if task.kind == "score":
        low, high = task.bounds or (-math.inf, math.inf)
        return f"{min(max(prediction, low), high):.3f}"
    return LETTERS[prediction] if task.kind == "choice" else " ".join(str(prediction).split())


def _as_table(found: Predicted) -> str:
    task = task_named(found.task)
    lines = [
        f"{index_of(example, number)}\t{spelled(task, prediction)}"
        for number, (example, prediction) in enumerate(zip(found.examples, found.predictions, strict=True))
    ]
    return "".join(f"{line}\n" for line in (HEADER, *lines))


def _as_object(found: Predicted) -> str:
    pairs = zip(found.examples, found.predictions, strict=True)
    return json.dumps({example.id: prediction for example, prediction in pairs}, ensure_ascii=False) + "\n"


def _as_lines(found: Predicted) -> str:
    rows = zip(found.examples, found.predictions, found.notes, strict=True)
    lines = [
        json.dumps({"id": example.id, "prediction": said, **notes}, ensure_ascii=False) for example, said, notes in rows
    ]
    return "".join(f"{line}\n" for line in lines)


def _no_answers(found: Predicted) -> str | None:
    """What SQuAD 2.0's published script takes beside the texts: by id, the probability that there is no answer."""
    if not all(NO_ANSWER in notes for notes in found.notes):
        return None
    pairs = zip(found.examples, found.notes, strict=True)
    return json.dumps({example.id: notes[NO_ANSWER] for example, notes in pairs}) + "\n"


def _as_zip(found: Sequence[Predicted]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for each in found:
            name = file_name(each.task, each.split)
            text = WRITERS[PurePosixPath(name).suffix](each)
            archive.writestr(zipfile.ZipInfo(name, OLDEST), text, zipfile.ZIP_DEFLATED)
            if (probabilities := _no_answers(each)) is not None:
                archive.writestr(zipfile.ZipInfo(NO_ANSWERS, OLDEST), probabilities, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


WRITERS: dict[str, Callable[[Predicted], str]] = {".tsv": _as_table, ".json": _as_object, ".jsonl": _as_lines}
ZIP = ".zip"


def check_suffix(path: Path) -> str:
    """The ending of a file of predictions. Raises ConfigError where it says no format."""
    suffix = path.suffix.lower()
    if suffix not in (ZIP, *WRITERS):
        raise ConfigError(f"expected a file name that ends in {', '.join((ZIP, *WRITERS))}", found=str(path))
    return suffix


def to_write(path: Path, found: Sequence[Predicted]) -> list[Predicted]:
    """What goes into a file: of a task that a model is asked beside its own, nothing but into a zip.

    Raises ConfigError where that is several splits, and the file no zip.
    """
    if check_suffix(path) == ZIP:
        return list(found)
    beside = {name for each in found for name in task_named(each.task).also}
    own = [each for each in found if each.task not in beside]
    if len(own) > 1:
        names = ", ".join(f"{each.task} {each.split}" for each in own)
        raise ConfigError(f"expected one split for {path}", found=names, cure="name one with --split, or write a .zip")
    return own


def left_out(found: Sequence[Predicted]) -> list[str]:
    """The files of GLUE's leaderboard that a zip of test sets lacks; none where it is no such zip."""
    there = {file_name(each.task, each.split) for each in found}
    wanted = [file for task in GLUE.values() for file in task.submissions.values()]
    return [file for file in wanted if file not in there] if there & set(wanted) else []


def write_predictions(path: Path, found: Sequence[Predicted]) -> None:
    """Write what `to_write` gives, whole or not at all."""
    suffix = check_suffix(path)
    data = _as_zip(found) if suffix == ZIP else WRITERS[suffix](found[0]).encode()
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
