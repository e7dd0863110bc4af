"""Pretrain a RoBERTa on a packed folder: `rbt pretrain`, or `torchrun -m rbt.trainer.pretrain` without click.

    index ──order──> rows of the step ──read ahead──> micro-batches ──mask──> loss ──> update ──> metrics, checkpoint

A run goes on from its newest whole checkpoint, bit for bit as if it had not stopped (on one grid and a CPU). SIGTERM,
SIGINT and SIGUSR1 end it after the step it is in, with a checkpoint.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from rbt.config import load_recipe
from rbt.errors import ArtefactError, ConfigError, RbtError
from rbt.formats.blocks import Index, choose_index, is_pair_index, open_index
from rbt.formats.checkpoint import latest_checkpoint, step_folder, step_of
from rbt.formats.tokenizer import read_vocab
from rbt.progress import progress
from rbt.trainer.attention import has_varlen
from rbt.trainer.batch_masking import mask_batches
from rbt.trainer.batches import Grid, check_ranks, prefetched, read_steps
from rbt.trainer.checkpointing import Keep, Saver, load_checkpoint
from rbt.trainer.config import DataConfig, ModelConfig, RunConfig, ScheduleConfig, check_ranges
from rbt.trainer.distributed import StopRequest, World, join, stop_on_signals
from rbt.trainer.initial import Initial, initial_of, start_model
from rbt.trainer.inputs import Inputs, make_inputs, rounding_for
from rbt.trainer.launch import launch
from rbt.trainer.masking import MAX_TOKENS, masking_rule
from rbt.trainer.micro_batch import choose_micro_batch, circumstances, fits_on_gpu, forget, remember
from rbt.trainer.model import build_model
from rbt.trainer.optim import build_optimizer, check_schedule
from rbt.trainer.reporting import Pace, describe_flops
from rbt.trainer.run_folder import Metrics, describe, open_run
from rbt.trainer.session import Session
from rbt.trainer.speaking import is_rank, saying_once
from rbt.trainer.stability import LossScale, Watch
from rbt.trainer.staging import stage
from rbt.trainer.training import Training, autocast, be_deterministic, precision_of, wrap

log = logging.getLogger(__name__)
MODULE = "rbt.trainer.pretrain"


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _train(session: Session, first: int, last: int, request: StopRequest, steps: Iterator[list[Inputs]]) -> None:
    """Steps first + 1 to `last`, or to the one in which a signal came."""
    training, pace = session.training, Pace()
    total, shown, is_owed = training.schedule.max_steps, training.world.is_first, False
    with progress("pretrain", total, "step", initial=first, shown=shown) as bar:
        for step in range(first + 1, last + 1):
            training.world.reach(step)
            pace.start()
            batches = next(steps)
            pace.loaded()
            result = training.step(step, batches, request.is_asked)
            pace.stop(result.tokens)
            session.check(step, result)
            is_end = step == last or result.stop_asked
            validation_loss = None
            if _is_due(step, training.run.log_every) or step == total:
                session.report(step, result, pace, bar)
            if _is_due(step, training.run.validate_every) or step == total:
                validation_loss = session.validate(step)
            session.mind_failed_save(step)
            is_owed = is_owed or _is_due(step, training.run.checkpoint_every)
            is_sound = training.watch.skipped == 0  # else newer, worse checkpoints would push out the good ones
            if (is_owed and is_sound) or is_end:
                session.save(step, validation_loss)
                is_owed = False
            bar.update()
            if result.stop_asked:
                log.info("stopped at step %d on a signal; start again to go on", step)
                return


def _open(folder: Path, data: DataConfig) -> tuple[Index, Index]:
    train, validation = open_index(folder, "train"), open_index(folder, "validation")
    if not train.num_rows:
        raise ArtefactError("expected rows to train on", path=folder, found="none", cure="pack a larger corpus")
    if train.max_tokens > MAX_TOKENS:
        raise ArtefactError(f"expected rows of at most {MAX_TOKENS} tokens", path=folder, found=str(train.max_tokens))
    if data.isolate_documents and is_pair_index(train):
        raise ConfigError(
            "[data] isolate_documents: expected false for pairs, whose halves see each other", found="true"
        )
    return train, validation


def _build(
    world: World, out: Path, packed: Path, index: Index, initial: Initial | None, model: ModelConfig,
    data: DataConfig, schedule: ScheduleConfig, run: RunConfig, is_new: bool,
) -> Training:
    next_sentence = is_pair_index(index) and data.next_sentence_weight > 0
    if initial is None:
        network = build_model(model, index.vocab_size, index.max_tokens, data.seed, next_sentence)
    else:
        network = start_model(initial, out, index.vocab_size, data.seed, next_sentence, is_new)
    network.checkpoint_activations = run.checkpoint_activations
    network = network.to(world.device)
    precision = precision_of(run, world.device)
    if run.precision == "auto" and precision == torch.float16:
        log.info("precision is float16, and losses are scaled: %s has no bfloat16", world.device_name)
    autocasting = autocast(world.device, precision)
    by_edges = has_varlen(world.device, precision, network.config.shape.hidden // network.config.shape.heads)
    if world.device.type == "cuda" and not by_edges:
        log.warning("attention goes under a mask: this torch has no flash attention by edges for %s here", precision)
    compiled = world.device.type == "cuda" if run.compile == "auto" else run.compile
    check_ranks(data.global_batch, world.size)
    share = -(-data.global_batch // world.size)  # of the ranks that have most
    key = circumstances(world, network, index.max_tokens, precision, compiled, by_edges)
    rounding = partial(
        rounding_for, max_tokens=index.max_tokens, fraction=data.masked_fraction, compiled=compiled, by_edges=by_edges
    )
    fits = partial(
        fits_on_gpu, network, world.device, rounding=rounding, fraction=data.masked_fraction, autocasting=autocasting
    )
    rows = world.least(choose_micro_batch(data.micro_batch, share, world.device, fits, out, key))
    is_found = data.micro_batch == "auto" and world.device.type == "cuda"
    if world.is_first and is_found:
        remember(out, key, rows)
    grid = Grid(world.rank, world.size, rows)
    return Training(
        world, network, wrap(network, world, compiled), build_optimizer(network, schedule),
        masking_rule(data, read_vocab(packed)), grid, data, schedule, run,
        rounding(rows), Watch(schedule),
        LossScale(precision == torch.float16, sum(grid.micro_batches(data.global_batch))),
        partial(forget, out, key, rows) if is_found else None,
    )


def _inputs(training: Training, index: Index, first: int, last: int) -> Iterator[list[Inputs]]:
    """What this rank's steps first + 1 to `last` read."""
    data = training.data
    steps = read_steps(index, training.grid, data.seed, data.global_batch, first, last, data.isolate_documents)
    for batches in steps:
        inputs = [make_inputs(masked, training.rounding) for masked in mask_batches(batches, training.rule)]
        yield [each.pinned() for each in inputs] if training.world.device.type == "cuda" else inputs


def _last_step(first: int, schedule: ScheduleConfig, run: RunConfig) -> int:
    return min(schedule.max_steps, first + run.stop_after) if run.stop_after else schedule.max_steps


def pretrain(
    packed: Path, format: str, out: Path, model: ModelConfig, data: DataConfig, schedule: ScheduleConfig,
    run: RunConfig, init: Path | None = None, stage_to: Path | None = None,
) -> Path:
    """Train, or go on training, the run in `out`; return `out`. Under torchrun every rank calls it.

    `format` chooses the index of `packed` (see `choose_index`); `init` is the folder of a model to start from;
    `packed` is copied to `stage_to` first, once per node. Raises ConfigError, ArtefactError where `out` holds another
    run or an input is damaged, RbtError where the disk is full, a rank is gone, or the losses are not to be trusted.
    """
    check_ranges(model, data, schedule, run)
    check_schedule(schedule)
    if stage_to is not None:
        packed, format = stage(packed, format, stage_to)
    folder = choose_index(packed, format)
    train, validation = _open(folder, data)
    initial = initial_of(init, out, packed, train.vocab_size, train.max_tokens, model)
    tables = describe(packed, folder, train, initial, initial.model if initial else model, data, schedule, run)
    be_deterministic(run.deterministic)
    with (
        join(run.device, run.patience) as world, open_run(out, packed, tables, world) as changed,
        stop_on_signals(world.heartbeat) as request,
    ):
        newest = latest_checkpoint(out)
        first = world.from_first(step_of(newest) if newest else 0)
        if first >= schedule.max_steps:
            log.info("%s: finished at step %d; nothing to do", out, first)
            return out
        training = _build(world, out, packed, train, initial, model, data, schedule, run, is_new=not first)
        is_given = initial is not None and not first
        del initial  # the model has its weights
        if first:
            _resume(training, step_folder(out, first))
        if world.device.type == "cuda":
            log.info("%s", describe_flops(training))
        saver = Saver(out, Keep(run.keep_checkpoints, run.keep_every, run.keep_best))
        session = Session(out, tables, training, train, validation, Metrics(out, first, world), saver)
        if changed:
            log.warning("from step %d on: %s", first + 1, ", ".join(f"{key} = {changed[key]!r}" for key in changed))
            session.metrics.write({"step": first, "changed": changed})
        last = _last_step(first, schedule, run)
        try:
            if is_given:
                session.validate(0)  # what an adaptation is compared with
            with prefetched(_inputs(training, train, first, last)) as steps:
                _train(session, first, last, request, steps)
        finally:
            session.metrics.close()
            with world.working("saving a checkpoint"):
                saver.wait()
    return out


def _resume(training: Training, checkpoint: Path) -> None:
    state = load_checkpoint(checkpoint, training.model, training.optimizer, training.world)
    training.watch.restore(state.get("watch", {}))
    training.loss_scale.restore(state.get("loss_scale", {}))
    log.info("%s: going on after step %d", checkpoint.parent.parent, state["step"])


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number from 0 on; found {text}")
    return int(text)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rbt.trainer.pretrain", description="Pretrain a RoBERTa on a packed folder.")
    parser.add_argument("--packed", type=Path, required=True, help="folder that `rbt pack` wrote")
    parser.add_argument("--format", help="format of the index, or its folder's name; default: the recipe's")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; a run in it is resumed")
    parser.add_argument("--init", type=Path, help="folder of a model to start from")
    parser.add_argument("--stage-to", type=Path, metavar="DIR", help="copy the packed folder here first, once per node")
    parser.add_argument("--gpus", type=_count, default=0, help="processes to start on this machine; 0: this one alone")
    parser.add_argument("--recipe", help="recipe file or the name of a shipped recipe")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--quiet", action="store_true", help="warnings and errors only")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of `torchrun -m rbt.trainer.pretrain`: 0, or 2 with one line for an RbtError."""
    options = _parse(arguments)
    level = logging.WARNING if options.quiet else logging.INFO
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    try:
        recipe = load_recipe(options.recipe, options.settings)
        model, data = recipe.section("model", ModelConfig), recipe.section("data", DataConfig)
        schedule, run = recipe.section("schedule", ScheduleConfig), recipe.section("run", RunConfig)
        check_ranges(model, data, schedule, run)
        if options.gpus and not is_rank():
            return launch(options.gpus, run.device, MODULE, sys.argv[1:] if arguments is None else arguments)
        format = options.format or recipe.sections["pack"].format
        with saying_once():
            pretrain(options.packed, format, options.out, model, data, schedule, run, options.init, options.stage_to)
    except (RbtError, OSError) as error:  # a full disk, a missing permission: the system's words name the file
        sys.stderr.write(f"Error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
