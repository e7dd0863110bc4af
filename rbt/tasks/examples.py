"""What the readers yield: one frozen dataclass a kind of task.

    Sentences   one or two sentences with a class or a score    GLUE
    Question    a question on a passage, answered by spans      SQuAD
    Choice      a question on a passage, with options           RACE

Each has `id` (unique in its task and split), `split` and `texts`: the pieces of running text in which decontamination
looks for n-grams. N-grams never reach from one piece into the next.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sentences:
    """One or two sentences. `label` is a name of the task's labels, `score` a number where the task has none; both are
    None where the file keeps the answers to itself, as most test files do."""

    id: str
    split: str
    sentences: tuple[str, ...]
    label: str | None = None
    score: float | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """The sentences: each may stand alone in a document."""
        return self.sentences

    @property
    def group(self) -> str:
        """What examples that belong together share, for whoever divides a split."""
        return self.sentences[0]


@dataclass(frozen=True)
class Answer:
    """A span of a passage: `start` counts code points."""

    text: str
    start: int


@dataclass(frozen=True)
class Question:
    """A question on a passage. Without answers where the passage has none (`is_impossible`) or the file hides them."""

    id: str
    split: str
    title: str
    context: str
    question: str
    answers: tuple[Answer, ...] = ()
    is_impossible: bool = False

    @property
    def texts(self) -> tuple[str, ...]:
        """The passage and the question. The answers are words of the passage."""
        return self.context, self.question

    @property
    def group(self) -> str:
        """The passage."""
        return self.context


@dataclass(frozen=True)
class Choice:
    """A question on a passage with options, of which `answer` (0, 1, ...) is right."""

    id: str
    split: str
    passage: str
    question: str
    options: tuple[str, ...]
    answer: int | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """The passage, the question, and the options, which no passage holds."""
        return self.passage, self.question, *self.options

    @property
    def group(self) -> str:
        """The passage."""
        return self.passage


Example = Sentences | Question | Choice
