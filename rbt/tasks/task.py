"""What a task is: how its files are found and read, what is learned from its examples, and how that is scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from rbt.tasks.examples import Example
from rbt.tasks.files import Place, TaskFile

# What is learned: a class or a score of sentences, a span of a passage, one of some options, or whether a pronoun
# stands for a phrase. `finetune/kinds.py` says how.
KindName = Literal["class", "score", "span", "choice", "pronoun"]


class Reader(Protocol):
    """How the files of a task are found and read."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that are published, such as train, dev_matched and test."""

    @property
    def layout(self) -> str:
        """The files, for a message."""

    def find(self, name: str, places: Sequence[Place], alone: bool) -> list[TaskFile]:
        """The files that are there. `alone`: the path was given for this task and holds no other."""

    def parse(self, file: TaskFile, data: bytes) -> Iterator[Example]:
        """The examples in the bytes of a file. Raises InputError."""


@dataclass(frozen=True)
class Defaults:
    """Fine-tuning where neither recipe nor command says otherwise; the grids are those of a sweep.

    Source: paper, table 10 and section 5.1; of a single run of GLUE: fairseq examples/roberta/config/finetuning.
    """

    batch_size: int = 16
    learning_rate: float = 1e-5
    epochs: int = 10
    weight_decay: float = 0.1
    max_tokens: int = 512
    batch_sizes: tuple[int, ...] = (16, 32)
    learning_rates: tuple[float, ...] = (1e-5, 2e-5, 3e-5)


@dataclass(frozen=True)
class Task:
    """An entry of TASKS.

    `labels`: as files have them -> their names, in the order of their numbers. `metrics`: names of
    `finetune/metrics.py`; the mean of those of `selected_by` on the first dev split chooses among epochs and runs, with
    none there of all. `submissions`: split -> the file of the leaderboard. `also`: tasks that its model is asked, too.
    `bounds`: of scores, to which those that are handed in are cut. `answers`: the label of sentences that answer their
    question, where those of a question can be compared.
    """

    reader: Reader
    kind: KindName
    metrics: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    submissions: Mapping[str, str] = field(default_factory=dict)
    defaults: Defaults = Defaults()
    also: tuple[str, ...] = ()
    selected_by: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None
    answers: str = ""

    @property
    def dev_splits(self) -> tuple[str, ...]:
        """The splits that runs are compared on."""
        return tuple(split for split in self.reader.splits if split.startswith("dev"))
