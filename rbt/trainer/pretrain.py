"""Pretrain a RoBERTa on a packed folder: `rbt pretrain`, or `torchrun -m rbt.trainer.pretrain` without click.

    index ──order──> rows of the step ──read ahead──> micro-batches ──mask──> loss ──> update ──> metrics, checkpoint

A run goes on from its newest whole checkpoint, bit for bit as if it had not stopped (on one grid and a CPU). SIGTERM
and SIGINT end it after the step it is in, with a checkpoint.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from rbt.config import load_recipe
from rbt.errors import ArtefactError, RbtError
from rbt.formats.blocks import Index, choose_index, open_index
from rbt.formats.checkpoint import latest_checkpoint, step_folder, step_of
from rbt.progress import Bar, progress
from rbt.trainer.batches import Batch, prefetched, read_steps
from rbt.trainer.checkpointing import load_checkpoint, save_checkpoint
from rbt.trainer.config import DataConfig, ModelConfig, RunConfig, ScheduleConfig
from rbt.trainer.distributed import StopRequest, World, join, stop_on_signals
from rbt.trainer.flops import peak_flops, training_flops_per_token
from rbt.trainer.masking import MAX_TOKENS, masking_rule
from rbt.trainer.model import build_model
from rbt.trainer.optim import build_optimizer, check_schedule, learning_rate
from rbt.trainer.run_folder import Metrics, Tables, describe, open_run
from rbt.trainer.training import StepResult, Training, grid_for, wrap

log = logging.getLogger(__name__)


@dataclass
class Pace:
    """Tokens and seconds of the steps since the last record."""

    tokens: int = 0
    seconds: float = 0.0
    _started: float = field(default_factory=time.perf_counter)

    def start(self) -> None:
        """A step begins."""
        self._started = time.perf_counter()

    def stop(self, tokens: int) -> None:
        """A step ends."""
        self.tokens += tokens
        self.seconds += time.perf_counter() - self._started

    def take(self) -> float:
        """Tokens a second, over all ranks; counting begins anew."""
        rate = self.tokens / max(self.seconds, 1e-9)
        self.tokens, self.seconds = 0, 0.0
        return rate


@dataclass(frozen=True)
class Session:
    """One invocation: what is trained, on what, and where it reports."""

    out: Path
    tables: Tables
    training: Training
    train: Index
    validation: Index
    metrics: Metrics

    def position(self, step: int) -> int:
        """Rows read in all after `step` steps: the one integer of data state."""
        return step * self.training.data.global_batch

    def save(self, step: int) -> None:
        """Write the checkpoint of a step; the other ranks go on."""
        if not self.training.world.is_first:
            return
        state = {
            "step": step, "position": self.position(step), "global_batch": self.training.data.global_batch,
            "epoch": self.position(step) // self.train.num_rows,
            "config": {name: table for name, table in self.tables.items() if name != "run"},
        }
        inputs = {"index": self.train.manifest.fingerprint, "tokenizer": self.tables["packed"]["tokenizer"]}
        keep = self.training.run.keep_checkpoints
        save_checkpoint(self.out, self.training.model, self.training.optimizer, state, inputs, keep)

    def report(self, step: int, result: StepResult, pace: Pace, bar: Bar) -> None:
        """Write the record of a logged step."""
        training = self.training
        loss = training.world.sum([result.local_loss])[0] / max(1, result.masked_tokens)
        rate = pace.take()
        record = {
            "step": step, "loss": loss, "perplexity": perplexity(loss),
            "learning_rate": learning_rate(step, training.schedule), "gradient_norm": result.gradient_norm,
            "tokens": result.tokens, "masked_tokens": result.masked_tokens,
            "epoch": self.position(step) / self.train.num_rows, "tokens_per_second": rate,
        }
        share = self._utilization(rate)
        self.metrics.write(record if share is None else {**record, "model_flops_utilization": share})
        bar.set_postfix_str(f"loss {loss:.3f}, perplexity {perplexity(loss):.2f}, {rate:,.0f} tokens/s")

    def _utilization(self, tokens_per_second: float) -> float | None:
        world, model = self.training.world, self.training.model
        peak = peak_flops(torch.cuda.get_device_name(world.device)) if world.device.type == "cuda" else None
        if peak is None:
            return None
        predicted = self.training.data.masked_fraction
        flops = training_flops_per_token(model.config.shape, model.max_tokens, model.vocab_size, predicted)
        return tokens_per_second * flops / (peak * world.size)

    def validate(self, step: int) -> None:
        """Write the record of a validation, where there are held-out rows to look at."""
        if min(self.validation.num_rows, self.training.run.validation_rows) > 0:
            loss = self.training.validate(self.validation)
            record = {"step": step, "validation_loss": loss, "validation_perplexity": perplexity(loss)}
            self.metrics.write(record)

    def check(self, step: int, result: StepResult) -> None:
        """Raise RbtError where a step's loss or gradients are not finite; its update was left out."""
        if not math.isfinite(result.gradient_norm):
            raise RbtError(
                f"expected finite gradients at step {step}", path=self.out, found=f"norm {result.gradient_norm}",
                cure="lower schedule.peak_learning_rate, or set schedule.clip_norm; checkpoints before it are intact",
            )


def perplexity(loss: float) -> float:
    """e^loss, over the selected positions alone, as in the paper; finite for any loss."""
    return math.exp(min(loss, 700.0))


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _train(session: Session, first: int, last: int, request: StopRequest, batches: Iterator[list[Batch]]) -> None:
    """Steps first + 1 to `last`, or to the one in which a signal came."""
    training, pace = session.training, Pace()
    total, shown = training.schedule.max_steps, training.world.is_first
    with progress("pretrain", total, "step", initial=first, shown=shown) as bar:
        for step in range(first + 1, last + 1):
            pace.start()
            result = training.step(step, next(batches), request.is_asked)
            pace.stop(result.tokens)
            session.check(step, result)
            is_end = step == last or result.stop_asked
            if _is_due(step, training.run.log_every) or step == total:
                session.report(step, result, pace, bar)
            if _is_due(step, training.run.validate_every) or step == total:
                session.validate(step)
            if _is_due(step, training.run.checkpoint_every) or is_end:
                session.save(step)
            bar.update()
            if result.stop_asked:
                log.info("stopped at step %d on a signal; start again to go on", step)
                return


def _open(folder: Path) -> tuple[Index, Index]:
    train, validation = open_index(folder, "train"), open_index(folder, "validation")
    if not train.num_rows:
        raise ArtefactError("expected rows to train on", path=folder, found="none", cure="pack a larger corpus")
    if train.max_tokens > MAX_TOKENS:
        raise ArtefactError(f"expected rows of at most {MAX_TOKENS} tokens", path=folder, found=str(train.max_tokens))
    return train, validation


def _build(
    world: World, index: Index, model: ModelConfig, data: DataConfig, schedule: ScheduleConfig, run: RunConfig
) -> Training:
    network = build_model(model, index.vocab_size, index.max_tokens, data.seed).to(world.device)
    return Training(
        world, network, wrap(network, world, run.compile), build_optimizer(network, schedule),
        masking_rule(data, index.vocab_size), grid_for(network, data, world), data, schedule, run,
    )


def _last_step(first: int, schedule: ScheduleConfig, run: RunConfig) -> int:
    return min(schedule.max_steps, first + run.stop_after) if run.stop_after else schedule.max_steps


def pretrain(
    packed: Path, format: str, out: Path, model: ModelConfig, data: DataConfig, schedule: ScheduleConfig,
    run: RunConfig,
) -> Path:
    """Train, or go on training, the run in `out`; return `out`. Under torchrun every rank calls it.

    `format` chooses the index of `packed` (see `choose_index`). Raises ConfigError, ArtefactError where `out` holds
    another run or an input is damaged, RbtError where the disk is full or the loss is not finite.
    """
    check_schedule(schedule)
    folder = choose_index(packed, format)
    train, validation = _open(folder)
    tables = describe(packed, folder, train, model, data, schedule, run)
    with join(run.device) as world, open_run(out, packed, tables, world), stop_on_signals() as request:
        newest = latest_checkpoint(out)
        first = world.from_first(step_of(newest) if newest else 0)
        if first >= schedule.max_steps:
            log.info("%s: finished at step %d; nothing to do", out, first)
            return out
        training = _build(world, train, model, data, schedule, run)
        if first:
            load_checkpoint(step_folder(out, first), training.model, training.optimizer)
            log.info("%s: going on after step %d", out, first)
        session = Session(out, tables, training, train, validation, Metrics(out, first, world))
        last = _last_step(first, schedule, run)
        steps = read_steps(train, training.grid, data.seed, data.global_batch, first, last)
        try:
            with prefetched(steps) as batches:
                _train(session, first, last, request, batches)
        finally:
            session.metrics.close()
    return out


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rbt.trainer.pretrain", description="Pretrain a RoBERTa on a packed folder.")
    parser.add_argument("--packed", type=Path, required=True, help="folder that `rbt pack` wrote")
    parser.add_argument("--format", default="", help="format of the index, or its folder's name")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; a run in it is resumed")
    parser.add_argument("--recipe", help="recipe file or the name of a shipped recipe")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="SECTION.KEY=VALUE")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of `torchrun -m rbt.trainer.pretrain`: 0, or 2 with one line for an RbtError."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        recipe = load_recipe(options.recipe, options.settings)
        pretrain(
            options.packed, options.format, options.out,
            recipe.section("model", ModelConfig), recipe.section("data", DataConfig),
            recipe.section("schedule", ScheduleConfig), recipe.section("run", RunConfig),
        )
    except (RbtError, OSError) as error:  # a full disk, a missing permission: the system's words name the file
        sys.stderr.write(f"Error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
