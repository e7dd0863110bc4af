"""Files of predictions, written and read: what leaderboards take, and what `rbt score` compares with the gold.

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from rbt.errors import ConfigError, InputError
from rbt.finetune.config import FinetuneConfig
from rbt.finetune.data import read_split, task_named
from rbt.finetune.metrics import answer, score
from rbt.finetune.spans import NO_ANSWER
from rbt.storage import atomic_path
from rbt.tasks.examples import Choice, Example
from rbt.tasks.files import decode, list_places, read_member
from rbt.tasks.glue import GLUE
from rbt.tasks.race import LETTERS
from rbt.tasks.squad import parse_json
from rbt.tasks.task import Task

HEADER = "index\tprediction"
NO_ANSWERS = "na_prob.json"
OLDEST = (1980, 1, 1, 0, 0, 0)  # what a zip can say: the same predictions are the same bytes
Given = Mapping[str, Any]  # id or index -> prediction
Said = tuple[str, str, Any]  # (place, id or index, prediction)


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


def understood(task: Task, text: str, example: Example | None = None) -> Any:
    """The prediction that is spelled so, of an example. Raises ValueError, which says what was expected."""
    if task.labels:
        if text not in task.labels:
            raise ValueError(f"one of {', '.join(task.labels)}")
        return task.labels[text]
    if task.kind == "score":
        return checked(task, _number(text))
    if task.kind == "choice":
        letters = LETTERS[: _num_options(example)]
        if len(text) != 1 or text not in letters:
            raise ValueError(f"one of {', '.join(letters)}")
        return LETTERS.index(text)
    return text


def _num_options(example: Example | None) -> int:
    return len(example.options) if isinstance(example, Choice) else len(LETTERS)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ValueError("a number") from error


def checked(task: Task, prediction: Any, example: Example | None = None) -> Any:
    """A prediction that can be one of the task, of an example. Raises ValueError, which says what was expected."""
    is_number = isinstance(prediction, int | float) and not isinstance(prediction, bool) and math.isfinite(prediction)
    options = range(_num_options(example))
    if task.labels and prediction not in task.labels.values():
        raise ValueError(f"one of {', '.join(task.labels.values())}")
    if task.kind == "score" and not is_number:
        raise ValueError("a finite number")
    if task.kind == "choice" and not (is_number and isinstance(prediction, int) and prediction in options):
        raise ValueError(f"the number of an option, from 0 to {options[-1]},")
    if task.kind == "span" and not isinstance(prediction, str):
        raise ValueError("text")
    return prediction


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


def score_predictions(
    name: str, path: Path, data: Path, split: str, config: FinetuneConfig
) -> dict[str, dict[str, float]]:
    """Metrics of a file of predictions, by split. Raises ConfigError, InputError."""
    found = read_split(name, data, split, config)
    if check_suffix(path) != ZIP and len(found.splits) > 1:
        raise ConfigError(f"expected the split that {path} is of", found=", ".join(found.splits), cure="--split")
    scores = {}
    for each, examples in found.splits.items():
        if any(answer(example) is None for example in examples):
            raise InputError(f"expected the answers of {name} {each}", path=data, found="examples without one")
        scores[each] = score(found.task, examples, read_predictions(path, name, each, examples))
    return scores


def read_predictions(path: Path, name: str, split: str, examples: Sequence[Example]) -> list[Any]:
    """The predictions of a split in a file, in the order of the examples.

    Raises InputError where an id is missing, unknown or there twice, or a prediction cannot be one of the task.
    """
    suffix, task = check_suffix(path), task_named(name)
    wanted = file_name(name, split)
    where, data = _file_in_zip(path, wanted) if suffix == ZIP else (path, read_member(path.parent, path.name))
    suffix = where.suffix
    is_table = suffix == ".tsv"
    keys = [index_of(example, number) if is_table else example.id for number, example in enumerate(examples)]
    asked, given = dict(zip(keys, examples, strict=True)), dict[str, Any]()
    for place, key, said in READERS[suffix](where, data):
        if key in given:
            raise InputError("expected one prediction an id", path=place, found=f"{key!r} twice")
        try:
            given[key] = (understood if is_table else checked)(task, said, asked.get(key))
        except ValueError as error:
            raise InputError(f"expected {error} as the prediction of {key!r}", path=place, found=repr(said)) from error
    _check_ids(where, f"{name} {split}", keys, given)
    return [given[key] for key in keys]


def _check_ids(where: Path, what: str, keys: Sequence[str], given: Given) -> None:
    known = set(keys)
    if len(known) < len(keys):
        raise InputError(
            f"expected one example of {what} an id", found=f"{len(keys) - len(known)} with the id of another",
            cure="name the one file that the predictions are of with --data",
        )
    missing, unknown = [key for key in keys if key not in given], [key for key in given if key not in known]
    for words, ids in (("of them without one", missing), ("of others", unknown)):
        if ids:
            raise InputError(
                f"expected a prediction for each of the {len(keys)} examples of {what}", path=where,
                found=f"{len(ids)} {words}, the first {ids[0]!r}",
            )


def _file_in_zip(path: Path, wanted: str) -> tuple[Path, bytes]:
    """(place, bytes) of a file, in whatever folder of a zip."""
    names = [member for place in list_places(path, "predictions") for member in place.members]
    hits = [name for name in names if PurePosixPath(name).name == wanted]
    if len(hits) != 1 or not zipfile.is_zipfile(path):
        raise InputError(f"expected one {wanted} in a zip", path=path, found=", ".join(names[:12]) or "nothing")
    return path / hits[0], read_member(path, hits[0])


def _lines(path: Path, data: bytes) -> Iterator[tuple[str, str]]:
    """(place, line) of the lines that are not empty."""
    for number, line in enumerate(decode(data, path).split("\n"), start=1):
        if line.strip():
            yield f"{path}:{number}", line.removesuffix("\r")


def _read_table(path: Path, data: bytes) -> Iterator[Said]:
    lines = _lines(path, data)
    place, first = next(lines, (str(path), ""))
    if first != HEADER:
        raise InputError("expected the header index<TAB>prediction", path=place, found=repr(first[:80]))
    for place, line in lines:
        key, tab, said = line.partition("\t")
        if not tab or "\t" in said:
            raise InputError("expected index<TAB>prediction", path=place, found=repr(line[:80]))
        yield place, key, said


def _read_lines(path: Path, data: bytes) -> Iterator[Said]:
    for place, line in _lines(path, data):
        try:
            row = json.loads(line)
            yield place, str(row["id"]), row["prediction"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError('expected {"id": ..., "prediction": ...}', path=place, found=line[:80]) from error


def _read_object(path: Path, data: bytes) -> Iterator[Said]:
    table = parse_json(data, path)
    if not isinstance(table, dict):
        raise InputError("expected an object {id: prediction}", path=path, found=type(table).__name__)
    for key, said in table.items():
        yield str(path), key, said


READERS: dict[str, Callable[[Path, bytes], Iterator[Said]]] = {
    ".tsv": _read_table, ".json": _read_object, ".jsonl": _read_lines,
}
