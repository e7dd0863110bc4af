"""One invocation of a run: what it trains, on what, and where it reports.

    step ──> record in metrics.jsonl, checkpoint, validation; an update that was left out ──> its rows and blocks
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path

from rbt.errors import RbtError
from rbt.formats.blocks import Index
from rbt.formats.checkpoint import VALIDATION_LOSS
from rbt.progress import Bar
from rbt.trainer.checkpointing import Saver, Snapshot, take_snapshot
from rbt.trainer.reporting import Pace, perplexity, skip_record, step_record, validation_record
from rbt.trainer.run_folder import METRICS, Metrics, Tables
from rbt.trainer.training import StepResult, Training

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Session:
    """One invocation: what is trained, on what, and where it reports."""

    out: Path
    tables: Tables
    training: Training
    train: Index
    validation: Index
    metrics: Metrics
    saver: Saver

    def position(self, step: int) -> int:
        """Rows read in all after `step` steps: the one integer of data state."""
        return step * self.training.data.global_batch

    def save(self, step: int, validation_loss: float | None) -> None:
        """Begin to write the checkpoint of a step; the other ranks go on."""
        world = self.training.world
        if world.is_first:
            with world.working("saving a checkpoint"):
                self.saver.save(lambda: self._snapshot(step, validation_loss))

    def mind_failed_save(self, step: int) -> None:
        """Where the newest checkpoint could not be written, try again now. Raises RbtError where that fails, too."""
        world = self.training.world
        if world.is_first and self.saver.failure is not None:
            with world.working("saving a checkpoint"):
                self.saver.retry(lambda: self._snapshot(step, None))

    def _snapshot(self, step: int, validation_loss: float | None) -> Snapshot:
        training = self.training
        state = {
            "step": step, "position": self.position(step), "global_batch": training.data.global_batch,
            "epoch": self.position(step) // self.train.num_rows,
            "config": {name: table for name, table in self.tables.items() if name != "run"},
            "watch": training.watch.state(), "loss_scale": training.loss_scale.state(),
        }
        if validation_loss is not None and math.isfinite(validation_loss):
            state[VALIDATION_LOSS] = validation_loss
        inputs = {"index": self.train.manifest.fingerprint, "tokenizer": self.tables["packed"]["tokenizer"]}
        return take_snapshot(training.model, training.optimizer, state, inputs)

    def report(self, step: int, result: StepResult, pace: Pace, bar: Bar) -> None:
        """Write the record of a logged step."""
        record = step_record(step, self.position(step) / self.train.num_rows, result, pace, self.training)
        if math.isfinite(result.loss) and math.isfinite(result.gradient_norm):
            self.metrics.write(record)
        rate = record["tokens_per_second"]
        bar.set_postfix_str(f"loss {result.loss:.3f}, perplexity {perplexity(result.loss):.2f}, {rate:,.0f} tokens/s")

    def validate(self, step: int) -> float | None:
        """Write the record of a validation, where there are held-out rows to look at; its loss."""
        if min(self.validation.num_rows, self.training.run.validation_rows) == 0:
            return None
        loss, next_loss = self.training.validate(self.validation)
        self.metrics.write(validation_record(step, loss, next_loss))
        if not math.isfinite(loss):
            log.warning("step %d: the validation loss is %s", step, loss)
        return loss

    def check(self, step: int, result: StepResult) -> None:
        """Record an update that was left out. Raises RbtError where too many were, one behind the other."""
        if not result.skipped:
            return
        training = self.training
        rank, number = result.culprit
        grid = replace(training.grid, rank=rank)
        _, rows = grid.step_rows(step - 1, training.data.seed, training.data.global_batch, self.train.num_rows)[number]
        blocks = [block for row in rows.tolist() for block in self.train.row_blocks(row)]
        where = {"rank": rank, "micro_batch": number, "rows": rows.tolist(), "blocks": blocks}
        self.metrics.write(skip_record(step, result, where))
        log.warning(
            "step %d: update left out (%s; loss %.3f, gradient norm %.3g); %s has the rows of its worst micro-batch, "
            "`rbt trace --step %d` its documents", step, result.skipped, result.loss, result.gradient_norm, METRICS,
            step,
        )
        if training.watch.skipped >= training.run.skipped_steps:
            raise RbtError(
                f"expected an update in {training.run.skipped_steps} steps", path=self.out,
                found=f"all left out up to step {step}: {result.skipped}",
                cure="lower schedule.peak_learning_rate or set schedule.clip_norm, and start again with "
                "run.new_schedule=true; it goes on from the newest checkpoint: delete those in which it went wrong",
            )
