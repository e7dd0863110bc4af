"""Files of predictions, read and compared with the gold: `rbt score`.

    file ──a reader a format──> (place, id or index, prediction) ──by the examples──> checked, in their order
        ──metrics──> scores of each split

What the files look like: see `submission`, which writes them.
"""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from rbt.errors import ConfigError, InputError
from rbt.finetune.config import FinetuneConfig
from rbt.finetune.data import read_split, task_named
from rbt.finetune.metrics import answer, score
from rbt.finetune.submission import HEADER, ZIP, check_suffix, file_name, index_of
from rbt.tasks.examples import Choice, Example
from rbt.tasks.files import decode, list_places, read_member
from rbt.tasks.race import LETTERS
from rbt.tasks.squad import parse_json
from rbt.tasks.task import Task

LARGEST = sys.float_info.max  # of a prediction; NaN is not below it
Given = Mapping[str, Any]  # id or index -> prediction
Said = tuple[str, str, Any]  # (place, id or index, prediction)


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
    suffix = where.suffix.lower()
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
    is_number = isinstance(prediction, int | float) and not isinstance(prediction, bool) and abs(prediction) <= LARGEST
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
