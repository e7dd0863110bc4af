"""The kinds of tasks by name."""

from __future__ import annotations

from rbt.errors import ConfigError
from rbt.finetune.choices import CHOICE, RANKING
from rbt.finetune.config import FinetuneConfig
from rbt.finetune.kind import Kind
from rbt.finetune.pronouns import PRONOUN
from rbt.finetune.sentences import CLASS, SCORE
from rbt.finetune.spans import SPAN
from rbt.tasks.task import Task

KINDS: dict[str, Kind] = {"class": CLASS, "score": SCORE, "choice": CHOICE, "span": SPAN, "pronoun": PRONOUN}


def kind_of(task: Task, config: FinetuneConfig) -> Kind:
    """What is done for a task: its kind, or ranking where that is asked. Raises ConfigError where it cannot be."""
    if not config.ranking:
        return KINDS[task.kind]
    if not task.answers:
        raise ConfigError(
            "[finetune] ranking: expected false, for a task whose sentences do not answer questions", found="true",
            cure="--set finetune.ranking=false",
        )
    return RANKING
