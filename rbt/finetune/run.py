"""Fine-tune a model on a task: `rbt finetune`.

    task files ──features──> steps ──an epoch──> scores on dev ──checkpoint──> the best epoch's model, predictions

    RUN/config.toml      [task] [model] [finetune] [run]: with the task's defaults filled in
    RUN/metrics.jsonl    a line a logged step and an epoch            RUN/tensorboard/
    RUN/checkpoints/     the newest and the best epoch's, until the run is finished
    RUN/model/           the best epoch's model, in Hugging Face's layout
    RUN/predictions-dev.jsonl, RUN/scores.json      written last

A run goes on from its newest checkpoint. It ends early where the score on dev has not risen for some epochs, or where
its losses are not finite any more: that run has diverged, and says so.
"""

from __future__ import annotations

import logging
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors.torch import load_file

from rbt.config import to_table
from rbt.finetune.batches import steps_an_epoch
from rbt.finetune.config import FinetuneConfig
from rbt.finetune.kind import Asked, Outcome
from rbt.finetune.metrics import score, selection
from rbt.finetune.model_folder import write_model
from rbt.finetune.scores import MODEL_FOLDER, is_finished, write_scores
from rbt.finetune.start import Encoded, Start, build_training, encode_start, read_start, tokenizer_of
from rbt.finetune.training import StepResult, Training
from rbt.formats.checkpoint import (
    FOLDER,
    MODEL,
    VALIDATION_LOSS,
    best_checkpoint,
    latest_checkpoint,
    step_folder,
    step_of,
)
from rbt.progress import Bar, progress
from rbt.stage import refuse_foreign
from rbt.trainer.checkpointing import Keep, Saver, Snapshot, load_checkpoint, take_snapshot
from rbt.trainer.config import RunConfig
from rbt.trainer.distributed import StopRequest, World, join, stop_on_signals
from rbt.trainer.optim import learning_rate
from rbt.trainer.run_folder import Metrics, Tables, check_run, open_run
from rbt.trainer.training import be_deterministic

log = logging.getLogger(__name__)
SECTIONS: dict[str, type[Any]] = {"finetune": FinetuneConfig}
SELECTION = "selection"


@dataclass
class Course:
    """How a run has gone so far; saved in its checkpoints."""

    epochs: list[dict[str, float]]  # of each, metrics by `split metric`, and SELECTION
    left_out: int = 0  # updates in a row

    @property
    def best(self) -> int:
        """The epoch with the best score, the first of equals, from 0."""
        return max(range(len(self.epochs)), key=lambda number: self.epochs[number][SELECTION])


@dataclass(frozen=True)
class Session:
    """One invocation."""

    out: Path
    start: Start
    encoded: Encoded
    training: Training
    course: Course
    tables: Tables
    metrics: Metrics
    saver: Saver

    def is_over(self, step: int) -> bool:
        """Whether there is nothing to gain, or nothing left, behind a step that ended an epoch."""
        course, patience = self.course, self.start.asked.config.early_stopping
        if step == self.training.schedule.max_steps or course.left_out >= self.training.run.skipped_steps:
            return True
        return bool(course.epochs) and 0 < patience <= len(course.epochs) - 1 - course.best

    def save(self, step: int, is_epoch_end: bool) -> None:
        """Begin to write a checkpoint; of an epoch's end, with the score that it is chosen by."""
        world = self.training.world
        if world.is_first:
            with world.working("saving a checkpoint"):
                self.saver.save(lambda: self._snapshot(step, is_epoch_end))

    def _snapshot(self, step: int, is_epoch_end: bool) -> Snapshot:
        training, course = self.training, self.course
        state = {
            "step": step, "position": step * training.batch_size, "global_batch": training.batch_size,
            "epoch": len(course.epochs), "config": {k: table for k, table in self.tables.items() if k != "run"},
            "epochs": course.epochs, "left_out": course.left_out, "loss_scale": training.loss_scale.state(),
        }
        if is_epoch_end:
            state[VALIDATION_LOSS] = -course.epochs[-1][SELECTION]  # the least is the best
        return take_snapshot(training.model, training.optimizer, state, {"weights": self.start.weights})

    def end_epoch(self, step: int) -> None:
        """Evaluate, record, and begin to save."""
        training, found = self.training, dict[str, float]()
        for number, (split, predicted) in enumerate(self.predict()[0].items()):
            scores = score(self.start.data.task, self.start.data.splits[split], predicted.predictions)
            found |= {f"{split} {name}": value for name, value in scores.items()}
            if number == 0:
                found[SELECTION] = selection(self.start.data.task, scores)
        self.course.epochs.append(found)
        self.metrics.write({"step": step, "epoch": len(self.course.epochs), **found})
        if training.world.is_first:
            words = ", ".join(f"{name} {value:.2f}" for name, value in found.items() if name != SELECTION)
            log.info("epoch %d: %s", len(self.course.epochs), words)
        self.save(step, is_epoch_end=True)

    def predict(self) -> tuple[dict[str, Outcome], Asked]:
        """Predictions of each dev split, and what is asked with what is tuned on the first. Every rank calls it."""
        kind, asked, found = self.start.kind, self.start.asked, dict[str, Outcome]()
        for split, features in self.encoded.dev.items():
            examples, scores = self.start.data.splits[split], self.training.evaluate(features)
            if asked.tuned is None:
                asked = kind.tuned(asked, examples, features, scores)
            found[split] = kind.predicted(asked, examples, features, scores)
        return found, asked

    def report(self, step: int, result: StepResult, bar: Bar) -> None:
        """Write the record of a logged step."""
        if not math.isfinite(result.loss) or not math.isfinite(result.gradient_norm):
            return
        bar.set_postfix_str(f"loss {result.loss:.3f}")
        self.metrics.write({
            "step": step, "loss": result.loss, "gradient_norm": result.gradient_norm,
            "learning_rate": learning_rate(step, self.training.schedule),
        })


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _train(session: Session, first: int, request: StopRequest) -> bool:
    """Steps from `first` + 1 on; whether the run came to its end."""
    training, run, total = session.training, session.training.run, session.training.schedule.max_steps
    an_epoch = steps_an_epoch(len(training.learned), training.batch_size)
    last = min(total, first + run.stop_after) if run.stop_after else total
    name, shown = f"finetune {session.start.data.name}", training.world.is_first
    with progress(name, total, "step", initial=first, shown=shown) as bar:
        for step in range(first + 1, last + 1):
            training.world.reach(step)
            result = training.step(step, request.is_asked)
            session.course.left_out = session.course.left_out + 1 if result.is_left_out else 0
            if _is_due(step, run.log_every):
                session.report(step, result, bar)
            bar.update()
            has_diverged = session.course.left_out >= run.skipped_steps
            if step % an_epoch == 0 or has_diverged:
                session.end_epoch(step)
                if session.is_over(step):
                    return True
            elif _is_due(step, run.checkpoint_every) or step == last or result.stop_asked:
                session.save(step, is_epoch_end=False)
            if result.stop_asked:
                log.info("stopped at step %d on a signal; start again to go on", step)
                return False
    return False


def _finish(session: Session) -> None:
    """Write the best epoch's model, its predictions and the scores, and drop the checkpoints."""
    start, training, out = session.start, session.training, session.out
    world, course, config = training.world, session.course, start.asked.config
    with world.working("saving a checkpoint"):
        session.saver.wait()
    best = best_checkpoint(out) if world.is_first else None
    number = world.from_first(step_of(best) if best is not None else 0)
    training.model.load_state_dict(load_file(step_folder(out, number) / MODEL))
    predicted, asked = session.predict()
    if world.is_first:
        if not (folder := out / MODEL_FOLDER).is_dir():
            with world.working("writing the model"):
                write_model(folder, training.model, start.kind.architecture, start.data.task, start.data.name, out)
        facts = {
            "seed": config.seed, "learning_rate": config.learning_rate, "batch_size": config.batch_size,
            "weights": start.weights, "left_out": course.left_out, "tuned": dict(asked.tuned or {}),
            "not_finite": course.left_out >= training.run.skipped_steps, **start.origin,
        }
        write_scores(out, start.data, predicted, course.epochs, course.best, facts)
    world.from_first(0)  # every rank has read the best checkpoint
    _drop_checkpoints(out, world)


def _drop_checkpoints(out: Path, world: World) -> None:
    if world.is_first and (out / FOLDER).is_dir():
        shutil.rmtree(out / FOLDER)


def _open_session(
    out: Path, start: Start, encoded: Encoded, tables: Tables, world: World, run: RunConfig
) -> tuple[Session, int]:
    """The session, and the step that it goes on after."""
    training, course = build_training(start, encoded, world, run), Course([])
    newest = latest_checkpoint(out)
    first = world.from_first(step_of(newest) if newest else 0)
    if first:
        state = load_checkpoint(step_folder(out, first), training.model, training.optimizer, world)
        course = Course(state["epochs"], state["left_out"])
        training.loss_scale.restore(state["loss_scale"])
        log.info("%s: going on after step %d", out, first)
    metrics, saver = Metrics(out, first, world), Saver(out, Keep(newest=1))
    return Session(out, start, encoded, training, course, tables, metrics, saver), first


def finetune(name: str, model: Path, data: Path, out: Path, config: FinetuneConfig, run: RunConfig) -> Path:
    """Fine-tune, or go on with the run in `out`; return `out`. Under torchrun every rank calls it.

    Raises ArtefactError, ConfigError, InputError, RbtError where an input is missing or damaged, or `out` holds
    another run.
    """
    be_deterministic(run.deterministic)
    start = read_start(name, model, data, config)
    tables = {**start.tables, "run": to_table(run)}
    with (
        TemporaryDirectory() as temporary, join(run.device, run.patience) as world,
        stop_on_signals(world.heartbeat) as request,
    ):
        tokenizer = tokenizer_of(model, Path(temporary) / "tokenizer", start.encoder.encoder.vocab_size)
        refuse_foreign(out)
        check_run(out, tables, SECTIONS)
        encoded = None if is_finished(out) else encode_start(start, tokenizer)  # what cannot be learned begins no run
        with open_run(out, tokenizer, tables, world, SECTIONS):
            if encoded is None or is_finished(out):
                log.info("%s: finished; nothing to do", out)
                _drop_checkpoints(out, world)  # of a run that was killed after its last word
                return out
            session, first = _open_session(out, start, encoded, tables, world, run)
            try:
                if (first and session.is_over(first)) or _train(session, first, request):
                    _finish(session)
            finally:
                session.metrics.close()
                session.saver.wait()
    return out
