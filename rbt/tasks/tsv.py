"""Tasks whose splits are tables of tab-separated columns, as GLUE publishes them.

    bytes ──lines──> rows ──the first layout that fits──> Sentences

Nothing is quoted in these files: a quotation mark is a character of the sentence, and only a line feed ends a row.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from rbt.errors import InputError
from rbt.tasks.examples import Sentences
from rbt.tasks.files import Place, TaskFile, decode, read_member

log = logging.getLogger(__name__)
Column = str | int  # a name in the header, or a position where there is none
TORN_SHARE = 0.001  # of the rows of a task that has torn ones

PLAIN = {"train": ("train.tsv",), "dev": ("dev.tsv",), "test": ("test.tsv",)}


@dataclass(frozen=True)
class Layout:
    """Where a row has what. Columns are names, or positions if the file has `width` columns and no header."""

    sentences: tuple[Column, ...]
    label: Column = "label"
    id: tuple[Column, ...] = ("index",)  # without such columns a row's id is its number
    width: int = 0

    def places(self, first: Sequence[str]) -> tuple[list[int], int, list[int]] | None:
        """Positions of (sentences, label or -1, id) given the first row; None where the layout does not fit."""
        names: Sequence[Column] = range(self.width) if self.width else first
        if len(names) != len(first) or not set(self.sentences) <= set(names):
            return None
        found = {name: place for place, name in enumerate(names)}
        ids = [found[name] for name in self.id] if set(self.id) <= set(names) else []
        return [found[name] for name in self.sentences], found.get(self.label, -1), ids

    def __str__(self) -> str:
        columns = ", ".join(str(column) for column in self.sentences)
        return f"{self.width} columns without a header" if self.width else f"a header with the columns {columns}"


@dataclass(frozen=True)
class TableTask:
    """A task of one or two sentences. `labels`: as files have them -> their names, in the order of their ids; a task
    without labels has scores. `files`: split -> file names, of which the first that is there is read."""

    folders: tuple[str, ...]
    layouts: tuple[Layout, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: PLAIN)
    held_out: tuple[str, ...] = ()  # names of the file that lists the ids of dev, if rows of train and dev share one
    torn: bool = False  # published rows of train and dev are torn by a line feed in a sentence: these are skipped

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that are published."""
        return tuple(self.files)

    @property
    def layout(self) -> str:
        """The files, for a message."""
        names = [file for files in self.files.values() for file in files[:1]]
        if self.held_out:
            names += [f"or {self.files['train'][1]} with {self.held_out[0]}"]
        return f"{self.folders[0]}/ with {', '.join(names)}"

    def find(self, name: str, places: Sequence[Place], alone: bool) -> list[TaskFile]:
        """The file of each split that is there: in the task's own folder or zip, or, where that has none, and `alone`
        says that the path was given for this task, the topmost. Raises InputError where several could be meant.
        """
        return self._find(name, places, alone=False) or (self._find(name, places, alone=True) if alone else [])

    def _find(self, name: str, places: Sequence[Place], alone: bool) -> list[TaskFile]:
        found = {}
        for split, names in self.files.items():
            for file in names:
                if (hit := _choose(name, self, places, file, alone)) is not None:
                    found[split] = TaskFile(name, split, *hit)
                    break
        if self.held_out and "train" in found and found["train"].member.rpartition("/")[2] != PLAIN["train"][0]:
            _share_train(name, self, places, alone, found)
        return list(found.values())

    def parse(self, file: TaskFile, data: bytes) -> Iterator[Sentences]:
        """The examples of a file. Raises InputError with the line that is not as the layout says."""
        return _read_table(self, file, data)


def _share_train(
    name: str, task: TableTask, places: Sequence[Place], alone: bool, found: dict[str, TaskFile]
) -> None:
    """The published train file holds the rows of dev: without the list of their ids, there is no dev."""
    both = found["train"]
    lists = [hit for file in task.held_out if (hit := _choose(name, task, places, file, alone)) is not None]
    lists = [hit for hit in lists if hit[0] == both.location]
    if lists:
        found["train"] = TaskFile(name, "train", both.location, both.member, lists[0][1])
        found.setdefault("dev", TaskFile(name, "dev", both.location, both.member, lists[0][1]))


def _choose(
    name: str, task: TableTask, places: Sequence[Place], file: str, alone: bool
) -> tuple[Path, str] | None:
    """(location, member) of a file name: in a folder or zip of the task's name, or a file of it; else the topmost."""
    hits = [
        (place.location, member)
        for place in places for member in place.members if PurePosixPath(member).name.lower() == file.lower()
    ]
    own = [hit for hit in hits if _names(*hit) & {_plain(folder) for folder in (name, *task.folders)}]
    if not own and alone:
        top = min((len(PurePosixPath(member).parts) for _, member in hits), default=0)
        own = [hit for hit in hits if len(PurePosixPath(hit[1]).parts) == top]
    if len(own) > 1:
        raise InputError(
            f"expected one {file} of {name}", path=own[0][0], found=" and ".join(str(Path(*hit)) for hit in own[:2]),
            cure="name the folder that holds the one to read",
        )
    return own[0] if own else None


def _names(location: Path, member: str) -> set[str]:
    place = [location.stem if location.is_file() else location.name]
    return {_plain(part) for part in (*place, *PurePosixPath(member).parent.parts, PurePosixPath(member).stem)}


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def _read_table(task: TableTask, file: TaskFile, data: bytes) -> Iterator[Sentences]:
    lines = decode(data, file.path).split("\n")
    rows = [line.removesuffix("\r").split("\t") for line in lines if line not in ("", "\r")]
    if not rows:
        raise InputError("expected rows", path=file.path, found="an empty file", cure="download it again")
    layout, (sentences, label, id) = _fit(task, rows[0], file)
    if label < 0 and not file.split.startswith("test"):
        raise InputError(
            f"expected the column {layout.label!r} of labels", path=file.path, found=", ".join(rows[0]),
            cure="take the file as it was published",
        )
    chosen = _held_out(file)
    torn = 0
    for number, row in enumerate(rows if layout.width else rows[1:]):
        if len(row) != len(rows[0]):
            torn += 1
            may_skip = task.torn and not file.split.startswith("test")  # a submission has all rows of test
            if not may_skip or torn > max(1, TORN_SHARE * len(rows)):
                raise _bad_row(file, lines, row, f"{len(rows[0])} columns", f"{len(row)}: {' | '.join(row)[:60]}")
            continue
        name = "-".join(row[place] for place in id) or str(number)
        if chosen is None or (name in chosen) == (file.split == "dev"):
            answer = {} if label < 0 else _answer(task, row[label])
            if answer is None:
                wanted = f"one of {', '.join(task.labels)}" if task.labels else "a number"
                raise _bad_row(file, lines, row, f"{wanted} as the label", repr(row[label]))
            yield Sentences(name, file.split, tuple(row[place] for place in sentences), **answer)
    if torn:
        log.warning("%s: %d rows are torn by line ends, as published, and are skipped", file.path, torn)


def _fit(task: TableTask, first: list[str], file: TaskFile) -> tuple[Layout, tuple[list[int], int, list[int]]]:
    fitting = [(layout, places) for layout in task.layouts if (places := layout.places(first)) is not None]
    if fitting:
        return min(fitting, key=lambda fit: (fit[0].width > 0, fit[1][1] < 0))  # by a header, with the labels
    raise InputError(
        f"expected {', or '.join(map(str, task.layouts))}", path=f"{file.path}:1",
        found=f"{len(first)} columns: {', '.join(first)[:100]}", cure=f"take the file of {file.task} as GLUE has it",
    )


def _bad_row(file: TaskFile, lines: list[str], row: list[str], expected: str, found: str) -> InputError:
    line = next(number for number, text in enumerate(lines, start=1) if text.removesuffix("\r").split("\t") == row)
    return InputError(
        f"expected {expected}", path=f"{file.path}:{line}", found=found,
        cure="download it again; a table program may have quoted or joined its rows",
    )


def _answer(task: TableTask, value: str) -> dict[str, Any] | None:
    """`label` or `score`; None where the value is neither."""
    if task.labels:
        return {"label": task.labels[value]} if value in task.labels else None
    try:
        score = float(value)
    except ValueError:
        return None
    return {"score": score} if math.isfinite(score) else None


def _held_out(file: TaskFile) -> set[str] | None:
    """The ids of the rows of dev, where they share the file with train."""
    if not file.held_out:
        return None
    lines = decode(read_member(file.location, file.held_out), file.location / file.held_out).split("\n")
    return {"-".join(line.split()) for line in lines if line.strip()}
