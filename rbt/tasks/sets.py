"""The evaluation sets by name: how their files are found and read.

    find_files(name, path, splits) ──> TaskFile ...      read_examples(files) ──> Example ...
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rbt.errors import InputError
from rbt.tasks.examples import Example
from rbt.tasks.files import Place, TaskFile, list_places, read_all
from rbt.tasks.glue import GLUE
from rbt.tasks.race import find_race_files, read_race
from rbt.tasks.squad import find_squad_files, read_squad
from rbt.tasks.tsv import find_table_files, read_table

TASKS = (*GLUE, "squad", "race")  # what examples are counted by
SETS: dict[str, tuple[str, ...]] = {"glue": tuple(GLUE), **{name: (name,) for name in TASKS}}
SPLITS = ("train", "dev", "test")
LAYOUTS = {
    "squad": "train-v*.json, dev-v*.json",
    "race": "{train,dev,test}/{middle,high}/*.txt, or RACE.zip",
}


def find_files(name: str, path: Path, splits: Sequence[str]) -> list[TaskFile]:
    """The files of a set (a name of SETS) below a folder, in a zip, or the file itself, for some of SPLITS.

    A split that was never published, or is not there, is passed over; a task of which nothing is there is an
    InputError, since a set that is read in part would be taken for the whole.
    """
    places = list_places(path, name)
    found = []
    for task in SETS[name]:
        files = [file for file in _find(task, places, alone=name != "glue") if file.split.startswith(tuple(splits))]
        if not files and _publishes(task, splits):
            raise InputError(
                f"expected files of {task} ({' or '.join(splits)})", path=path, found="none",
                cure=f"put {_layout(task)} there, or name tasks one by one in the recipe",
            )
        found += files
    return found


def _find(task: str, places: Sequence[Place], alone: bool) -> list[TaskFile]:
    if task in GLUE:
        return find_table_files(task, GLUE[task], places, alone)
    return find_squad_files(places) if task == "squad" else find_race_files(places)


def _publishes(task: str, splits: Sequence[str]) -> bool:
    return task not in GLUE or any(split.startswith(tuple(splits)) for split in GLUE[task].files)


def _layout(task: str) -> str:
    if task not in GLUE:
        return LAYOUTS[task]
    names = [file for files in GLUE[task].files.values() for file in files[:1]]
    if GLUE[task].held_out:
        names += [f"or {GLUE[task].files['train'][1]} with {GLUE[task].held_out[0]}"]
    return f"{GLUE[task].folders[0]}/ with {', '.join(names)}"


def read_examples(files: Iterable[TaskFile]) -> Iterator[tuple[TaskFile, Example]]:
    """The examples of files in order, with the file of each. Raises InputError at the first that is malformed."""
    for file, data in read_all(files):
        for example in parse_examples(file, data):
            yield file, example


def parse_examples(file: TaskFile, data: bytes) -> Iterator[Example]:
    """The examples in the bytes of a file."""
    if file.task in GLUE:
        return iter(read_table(GLUE[file.task], file, data))
    return iter(read_squad(file, data) if file.task == "squad" else read_race(file, data))
