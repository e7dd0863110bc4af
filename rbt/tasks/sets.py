"""The evaluation sets by name: how their files are found and read.

    find_files(name, path, splits) ──> TaskFile ...      read_examples(files) ──> Example ...
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rbt.errors import InputError
from rbt.tasks.examples import Example
from rbt.tasks.files import TaskFile, list_places, read_all
from rbt.tasks.glue import GLUE
from rbt.tasks.race import RACE
from rbt.tasks.squad import SQUAD
from rbt.tasks.task import Task

TASKS: dict[str, Task] = {**GLUE, "squad": SQUAD, "race": RACE}
GLUE_SET = "glue"  # the name of all of its tasks together
SPLITS = ("train", "dev", "test")


def tasks_of(name: str) -> tuple[str, ...]:
    """The tasks of a set: of GLUE, or the one of that name."""
    return tuple(GLUE) if name == GLUE_SET else (name,)


def find_files(name: str, path: Path, splits: Sequence[str]) -> list[TaskFile]:
    """The files of a set (GLUE_SET or a task) below a folder, in a zip, or the file itself, for some of SPLITS.

    A split that was never published, or is not there, is passed over; a task of which nothing is there is an
    InputError, since a set that is read in part would be taken for the whole.
    """
    places = list_places(path, name)
    found = []
    for task in tasks_of(name):
        reader = TASKS[task].reader
        files = [
            file for file in reader.find(task, places, alone=name != GLUE_SET) if file.split.startswith(tuple(splits))
        ]
        if not files and any(split.startswith(tuple(splits)) for split in reader.splits):
            raise InputError(
                f"expected files of {task} ({' or '.join(splits)})", path=path, found="none",
                cure=f"put {reader.layout} there" + (", or name tasks one by one" if name == GLUE_SET else ""),
            )
        found += files
    return found


def read_examples(files: Iterable[TaskFile]) -> Iterator[tuple[TaskFile, Example]]:
    """The examples of files in order, with the file of each. Raises InputError at the first that is malformed."""
    for file, data in read_all(files):
        for example in TASKS[file.task].reader.parse(file, data):
            yield file, example
