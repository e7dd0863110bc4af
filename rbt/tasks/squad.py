"""SQuAD v1.1 and v2.0 (Rajpurkar et al. 2016, 2018): one JSON file a split, articles of paragraphs of questions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from rbt.errors import InputError
from rbt.tasks.examples import Answer, Question
from rbt.tasks.files import Place, TaskFile, decode
from rbt.tasks.task import Defaults, Task

ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
NAME = re.compile(r"(train|dev|test)\b.*\.json", re.IGNORECASE)
TYPES = {str: "text", list: "a list", dict: "an object", int: "a whole number", bool: "true or false"}


class SquadFiles:
    """All files named train*.json, dev*.json or test*.json: v1.1 and v2.0 may lie side by side."""

    splits = ("train", "dev", "test")
    layout = "train-v*.json, dev-v*.json"

    def find(self, name: str, places: Sequence[Place], alone: bool) -> list[TaskFile]:
        """The files that are there."""
        return [
            TaskFile(name, found[1].lower(), place.location, member) for place in places for member in place.members
            if (found := NAME.fullmatch(PurePosixPath(member).name))
        ]

    def parse(self, file: TaskFile, data: bytes) -> Iterator[Question]:
        """The questions of a file in order. Raises InputError with the place that is not as published."""
        return read_squad(file, data)


def parse_json(data: bytes, path: Path) -> Any:
    """The value of a JSON file. Raises InputError with the line of the mistake."""
    text = decode(data, path)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            "expected JSON", path=f"{path}:{error.lineno}", found=error.msg, cure="download it again"
        ) from error
    if ESCAPED_SURROGATE.search(text):
        _check_characters(value, path)
    return value


def _check_characters(value: Any, path: Path) -> None:
    """Raise InputError where a text has half of a character that JSON escapes in two: it has no UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        around = error.object[max(0, error.start - 20) : error.end + 20]
        raise InputError(
            "expected whole characters", path=path, found=f"half of one in {around!a}",
            cure="take the file as it was published",
        ) from error


def get(table: Any, key: str, kind: type, where: str, path: Path) -> Any:
    """A value of an object, which must be there and of its type. Raises InputError."""
    value = table.get(key) if isinstance(table, dict) else None
    if not isinstance(value, kind):
        raise InputError(
            f"expected {where}{key} to be {TYPES[kind]}", path=path,
            found="none" if value is None else TYPES.get(type(value), type(value).__name__),
            cure="take the file as it was published",
        )
    return value


def read_squad(file: TaskFile, data: bytes) -> Iterator[Question]:
    """The questions of a file in order. Raises InputError with the place that is not as published."""
    articles = get(parse_json(data, file.path), "data", list, "", file.path)
    for number, article in enumerate(articles):
        where = f"data[{number}]."
        title = article.get("title", "") if isinstance(article, dict) else ""
        for place, paragraph in enumerate(get(article, "paragraphs", list, where, file.path)):
            yield from _questions(paragraph, str(title), f"{where}paragraphs[{place}].", file)


def _questions(paragraph: Any, title: str, where: str, file: TaskFile) -> Iterator[Question]:
    context = get(paragraph, "context", str, where, file.path)
    for number, entry in enumerate(get(paragraph, "qas", list, where, file.path)):
        here = f"{where}qas[{number}]."
        answers = [
            Answer(*(get(answer, key, kind, f"{here}answers.", file.path) for key, kind in ANSWER.items()))
            for answer in (get(entry, "answers", list, here, file.path) if "answers" in entry else [])
        ]
        id, question = (get(entry, key, str, here, file.path) for key in ("id", "question"))
        yield Question(id, file.split, title, context, question, tuple(answers), bool(entry.get("is_impossible")))


ANSWER: dict[str, type] = {"text": str, "answer_start": int}
METRICS = ("exact_match", "token_f1", *(
    f"{name}_{kind}" for kind in ("answerable", "unanswerable") for name in ("exact_match", "token_f1")
))  # of each kind only where a split has both, as v2.0 does
SQUAD = Task(
    SquadFiles(), kind="span", metrics=METRICS, submissions={"dev": "predictions.json"},
    defaults=Defaults(
        batch_size=48, learning_rate=1.5e-5, epochs=2, weight_decay=0.01, max_tokens=384, batch_sizes=(48,),
        learning_rates=(1.5e-5,),
    ),
    selected_by=("token_f1",),
)
