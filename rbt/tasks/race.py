"""RACE (Lai et al. 2017): RACE/{train,dev,test}/{middle,high}/N.txt, a JSON object a passage with its questions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from rbt.errors import InputError
from rbt.tasks.examples import Choice
from rbt.tasks.files import Place, TaskFile
from rbt.tasks.squad import get, parse_json
from rbt.tasks.task import Defaults, Task

NAME = re.compile(r"/(train|dev|test)/(?:middle|high)/[^/]+\.txt$")
LETTERS = "ABCDEFGH"


class RaceFiles:
    """All passages; the path may be the whole set, a split or a level of one."""

    splits = ("train", "dev", "test")
    layout = "{train,dev,test}/{middle,high}/*.txt, or RACE.zip"

    def find(self, name: str, places: Sequence[Place], alone: bool) -> list[TaskFile]:
        """The files that are there."""
        return [
            TaskFile(name, found[1], place.location, member) for place in places for member in place.members
            if (found := NAME.search((place.location.absolute() / member).as_posix()))
        ]

    def parse(self, file: TaskFile, data: bytes) -> Iterator[Choice]:
        """The questions of a passage. Raises InputError with the place that is not as published."""
        return read_race(file, data)


def read_race(file: TaskFile, data: bytes) -> Iterator[Choice]:
    """The questions of a passage. Raises InputError with the place that is not as published."""
    table = parse_json(data, file.path)
    id, article = (get(table, key, str, "", file.path) for key in ("id", "article"))
    columns = [get(table, key, list, "", file.path) for key in ("questions", "options", "answers")]
    if len({len(column) for column in columns}) != 1:
        raise InputError(
            "expected as many options and answers as questions", path=file.path,
            found=f"{len(columns[0])} questions, {len(columns[1])} options, {len(columns[2])} answers",
        )
    for number, (question, options, answer) in enumerate(zip(*columns, strict=True)):
        texts = [question, *options] if isinstance(options, list) else [None]
        if not all(isinstance(text, str) for text in texts) or answer not in _letters(options):
            raise InputError(
                f"expected questions[{number}] to be text, its options a list of texts and its answer a letter of one",
                path=file.path, found=repr((question, options, answer))[:100], cure="take the file as it was published",
            )
        yield Choice(f"{id}#{number}", file.split, article, question, tuple(options), LETTERS.index(answer))


def _letters(options: list[Any]) -> list[str]:
    return list(LETTERS[: len(options)])


RACE = Task(
    RaceFiles(), kind="choice", metrics=("accuracy", "accuracy_middle", "accuracy_high"),
    submissions={"test": "RACE.tsv"},
    defaults=Defaults(
        batch_size=16, learning_rate=1e-5, epochs=4, batch_sizes=(16,), learning_rates=(1e-5,),
    ),
    selected_by=("accuracy",),
)
