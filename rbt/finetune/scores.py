"""What a run says at its end: predictions on dev, scores, and whether it diverged.

    RUN/predictions-dev.jsonl   a line an example: its id, what is predicted, and the notes of its kind
    RUN/scores.json             metrics of each dev split, of the best epoch and of all, and how it was trained
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rbt.errors import ArtefactError
from rbt.finetune.data import TaskData
from rbt.finetune.kind import Outcome
from rbt.finetune.metrics import answer, is_constant
from rbt.manifest import read_json, to_json
from rbt.storage import as_text, write_text
from rbt.tasks.examples import Example

log = logging.getLogger(__name__)
SCORES, MODEL_FOLDER = "scores.json", "model"
FACTS = frozenset({
    "task", "scores", "diverged", "best_epoch", "tuned", "pretrained", "pretrained_weights", "learned_before"
})  # of scores.json, that others read


def is_collapsed(examples: Sequence[Example], predictions: Sequence[Any]) -> bool:
    """Whether a model says the same of all examples, though their answers differ: the mark of a run that diverged.

    Scores are the same where they differ by noise alone.
    """
    right = [answer(each) for each in examples]
    if len(set(right)) < 2:
        return False
    is_score = all(isinstance(each, float) for each in right)
    return is_constant(predictions, right) if is_score else len(set(predictions)) == 1


def is_finished(run: Path) -> bool:
    """Whether a run has come to its end."""
    return (run / SCORES).is_file()


def is_of_a_run(scores: Any) -> bool:
    """Whether what a scores.json holds is a run's: other programs have files of this name."""
    return isinstance(scores, dict) and scores.keys() >= FACTS


def read_scores(run: Path) -> dict[str, Any]:
    """scores.json of a finished run. Raises ArtefactError."""
    if not is_finished(run):
        raise ArtefactError(
            "expected a finished fine-tuning run", path=run, found=f"no {SCORES}", cure="run `rbt finetune`"
        )
    found: dict[str, Any] = read_json(run / SCORES)
    return found


def origin_of(model: Path, weights: str) -> dict[str, Any]:
    """Which pretrained model a run comes from that starts from a folder, and what it was fine-tuned on before."""
    run = model.resolve().parent
    found: Any = None
    if model.resolve().name == MODEL_FOLDER and is_finished(run):
        try:
            found = read_scores(run)
        except ArtefactError as error:
            log.warning("%s: taken for a pretrained model: %s", model, error)
    if is_of_a_run(found):
        learned = [*found["learned_before"], found["task"]]
        return {key: found[key] for key in ("pretrained", "pretrained_weights")} | {"learned_before": learned}
    return {"pretrained": as_text(str(model)), "pretrained_weights": weights, "learned_before": []}


def predictions_file(split: str) -> str:
    """Name of the file of a split's predictions in a run."""
    return f"predictions-{split}.jsonl"


def write_predictions(path: Path, examples: Sequence[Example], predicted: Outcome) -> None:
    """A JSON object a line, in the order of the examples: `id`, `prediction`, and its notes."""
    lines = [
        json.dumps({"id": example.id, "prediction": prediction, **notes}, ensure_ascii=False)
        for example, prediction, notes in zip(examples, predicted.predictions, predicted.notes, strict=True)
    ]
    write_text(path, "".join(f"{line}\n" for line in lines))


def write_scores(
    run: Path, data: TaskData, predicted: Mapping[str, Outcome], epochs: Sequence[Mapping[str, float]],
    best: int, facts: Mapping[str, Any],
) -> None:
    """Write the predictions of each dev split, and then scores.json. `epochs`: scores of each, `best` one of them."""
    for split, found in predicted.items():
        write_predictions(run / predictions_file(split), data.splits[split], found)
    first = data.dev_splits[0]
    has_collapsed = is_collapsed(data.splits[first], predicted[first].predictions)
    table = {
        "task": data.name, "scores": dict(epochs[best]), "best_epoch": best + 1,
        "diverged": has_collapsed or facts["not_finite"], "epochs": [dict(each) for each in epochs],
        "examples": {split: len(examples) for split, examples in data.splits.items()}, **facts,
    }
    write_text(run / SCORES, to_json(table))
