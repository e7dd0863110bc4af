"""Ask fine-tuned models: `rbt predict`.

    RUN/model, RUN/config.toml ──files and settings of all tasks, looked at first──> Plan
        ──examples of a split, in the order of their file──> scores of all units
        ──averaged over the runs of an ensemble──> a prediction an example

Each example is read by one rank, once, and every rank has all predictions.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rbt.errors import ArtefactError, ConfigError, InputError
from rbt.finetune.config import FinetuneConfig
from rbt.finetune.data import TaskData, encoder_of, read_split, read_task, task_named
from rbt.finetune.features import Features, Float64
from rbt.finetune.heads import FineTuned
from rbt.finetune.kind import Asked, Kind
from rbt.finetune.kinds import kind_of
from rbt.finetune.model_folder import load_encoder, load_head
from rbt.finetune.results import Result, best_runs, check_comparable, chosen_run, read_results
from rbt.finetune.scores import MODEL_FOLDER
from rbt.finetune.submission import Predicted, check_suffix, to_write, write_predictions
from rbt.finetune.training import Evaluator
from rbt.formats import tokenizer
from rbt.manifest import read_json
from rbt.tasks.examples import Example
from rbt.tasks.sets import find_files
from rbt.trainer.attention import has_varlen
from rbt.trainer.config import RunConfig
from rbt.trainer.distributed import World, join
from rbt.trainer.model import Roberta
from rbt.trainer.model_folder import CONFIG
from rbt.trainer.training import precision_of

log = logging.getLogger(__name__)
Known = dict[tuple[Any, ...], Features]  # by task, split, and what else features depend on


def members(folders: Sequence[Path], ensemble: int) -> dict[str, list[Result]]:
    """The runs that are asked, by task: of a sweep, its chosen one; with `ensemble`, so many of all, the best.

    A diverged run that is asked is a warning. Raises ArtefactError where a folder is neither, ConfigError where runs of
    a task are too many or too few, or no ensemble.
    """
    found: dict[str, list[Result]] = {}
    for folder in folders:
        for result in read_results(folder) if ensemble else [chosen_run(folder)]:
            found.setdefault(result.task, []).append(result)
    for task, results in found.items():
        if not ensemble and len(results) > 1:
            names = " and ".join(str(result.folder) for result in results[:2])
            raise ConfigError(f"expected one run of {task}", found=names, cure="--ensemble N takes the N best together")
        found[task] = _ensemble(task, results, ensemble) if ensemble else results
    for result in [each for results in found.values() for each in results if each.has_diverged]:
        log.warning("%s has diverged: what it says of %s is worth nothing", result.folder, result.task)
    return found


def _ensemble(task: str, results: Sequence[Result], count: int) -> list[Result]:
    """The `count` best runs of a task. Raises ConfigError where they cannot be averaged."""
    check_comparable(results)
    kinds = [kind_of(task_named(task), result.config) for result in results]
    if other := next((result for result, kind in zip(results, kinds, strict=True) if kind != kinds[0]), None):
        raise ConfigError(f"--ensemble: expected runs of {task} with the same finetune.ranking",
                          found=f"{results[0].folder} and {other.folder}")
    if count > 1 and kinds[0].combine is None:
        raise ConfigError(f"expected one run of {task}, whose predictions are not averaged", found=f"{count} runs")
    if len(best := best_runs(results, count)) < count:
        raise ConfigError(f"--ensemble {count}: expected so many runs of {task} that did not diverge",
                          found=str(len(best)), cure="fine-tune with more seeds: --seeds")
    return best


@dataclass(frozen=True)
class Plan:
    """What is asked of the runs of one task."""

    results: Sequence[Result]
    data: Sequence[TaskData]

    @property
    def kind(self) -> Kind:
        """Of its runs, which is the same of all."""
        return kind_of(task_named(self.results[0].task), self.results[0].config)


def plans(chosen: Mapping[str, Sequence[Result]], data: Path, split: str, out: Path) -> list[Plan]:
    """What is asked for what goes into `out`, of all tasks, before a model is.

    Raises ArtefactError, ConfigError, InputError where that cannot be done.
    """
    for result in [each for results in chosen.values() for each in results]:
        check_labels(result.folder / MODEL_FOLDER, list(task_named(result.task).labels.values()))
    found = [Plan(results, _asked_data(results[0], data, split)) for results in chosen.values()]
    parts = [
        Predicted(each.name, name, examples, (), ())
        for plan in found for each in plan.data for name, examples in each.splits.items()
    ]
    kept = {part.task for part in to_write(out, parts)}
    return [replace(plan, data=[each for each in plan.data if each.name in kept]) for plan in found]


def predict(
    folders: Sequence[Path], data: Path, split: str, out: Path, run: RunConfig, ensemble: int = 0
) -> list[Predicted]:
    """Predict a split for each task of the runs, and for those that its model is asked, too; return what was written.

    Every rank calls it, the first writes `out`, see `submission`. Raises ArtefactError, ConfigError, InputError.
    """
    check_suffix(out)
    planned = plans(members(folders, ensemble), data, split, out)
    with join(run.device, run.patience) as world:
        found = [part for plan in planned for part in _predict_task(plan, world, run)]
        if world.is_first:
            write_predictions(out, found)
    return found


def _predict_task(plan: Plan, world: World, run: RunConfig) -> list[Predicted]:
    """Of one task, by one run or several."""
    known: Known = {}
    models, kind, found = [answers(result, plan.data, world, run, known) for result in plan.results], plan.kind, []
    for each in zip(*models, strict=True):
        first = each[0]
        scores = first.scores if kind.combine is None else kind.combine([answer.scores for answer in each])
        said = kind.predicted(first.asked, first.examples, first.features, scores)
        found.append(Predicted(first.task, first.split, first.examples, said.predictions, said.notes))
    return found


def _asked_data(result: Result, folder: Path, split: str) -> list[TaskData]:
    """The task's splits, and those of the tasks that its model is asked, too, where their files are there."""
    found = [read_split(result.task, folder, split, result.config)]
    for name in task_named(result.task).also:
        if not any(each.startswith(split) for each in task_named(name).reader.splits):
            continue
        try:
            find_files(name, folder, (split,))
        except InputError as error:
            log.warning("%s is left out: %s", name, error)
        else:
            found.append(read_task(name, folder, (split,)))
    return found


@dataclass(frozen=True)
class Answer:
    """What one run says of a split: scores of its units, from which predictions are made."""

    task: str
    split: str
    examples: Sequence[Example]
    asked: Asked
    features: Features
    scores: Float64


def answers(result: Result, data: Sequence[TaskData], world: World, run: RunConfig, known: Known) -> list[Answer]:
    """What a run says of each split. Raises ArtefactError where its model is damaged.

    `known`: the features that runs before it were given, which those of alike runs are, too.
    """
    folder, config, task = result.folder / MODEL_FOLDER, result.config, task_named(result.task)
    kind, encode = kind_of(task, config), encoder_of(folder)
    encoder = load_encoder(folder)[0].encoder
    room = min(config.max_tokens, encoder.max_tokens)
    evaluator: Evaluator | None = None
    found = []
    for each in data:
        asked = Asked(each.task, config, room, encoder.vocab_size - 1, result.facts["tuned"])
        for split, examples in each.splits.items():
            key = (each.name, split, room, tokenizer.files_fingerprint(folder, "fine-tune again"), _alike(config))
            features = known.get(key) or known.setdefault(key, kind.features(asked, examples, encode))
            evaluator = evaluator or _evaluator(folder, encoder, kind, asked, features, world, run)
            found.append(Answer(each.name, split, examples, asked, features, evaluator.scores(features)))
    return found


def _alike(config: FinetuneConfig) -> FinetuneConfig:
    """The same of all runs of a sweep."""
    return replace(config, seed=0, batch_size=0, learning_rate=0.0, batch_sizes=(), learning_rates=())


def _evaluator(
    folder: Path, encoder: Roberta, kind: Kind, asked: Asked, features: Features, world: World, run: RunConfig
) -> Evaluator:
    """The model of a folder on this rank's device."""
    shape, precision = encoder.config.shape, precision_of(run, world.device)
    head = kind.head(asked, shape.hidden, features)
    if head is not None:
        load_head(folder, head, kind.architecture)
    by_edges = has_varlen(world.device, precision, shape.hidden // shape.heads)
    return Evaluator(world, FineTuned(encoder, head).to(world.device), run, kind, asked, by_edges)


def check_labels(folder: Path, labels: Sequence[str]) -> None:
    """Raise ArtefactError where the names of a model's classes are not those of its task, in their order."""
    names: Mapping[str, str] = read_json(folder / CONFIG).get("id2label", {})
    found = [names[key] for key in sorted(names, key=int)]
    if labels and found and found != list(labels):
        raise ArtefactError(f"expected a model of the classes {', '.join(labels)}", path=folder,
                            found=", ".join(found), cure="fine-tune again")
