"""Run the rows of a table: what is there already is found, what was stopped goes on.

    CORPUS, TOKENIZER ──pack, one token store──> PACKED/<index of each format>
        ──pretrain, seeds outside, rows inside──> OUT/runs/<row>-seed<N>/
        ──held-out rows of every format, the same for all──> OUT/evaluations/<row>-seed<N>.json
        ──> OUT/table-N.md, OUT/table-N.json, written anew behind every run
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rbt.ablation.report import Heading, Result, write_table
from rbt.ablation.tables import Ablation, Plan, make_plans, used_settings
from rbt.config import to_table
from rbt.engine import Engine
from rbt.errors import ArtefactError, RbtError
from rbt.formats.blocks import index_folders, is_pair_index, open_index
from rbt.formats.checkpoint import latest_checkpoint, step_of
from rbt.manifest import fingerprint, load_manifest, read_json, to_json
from rbt.packing.config import PackConfig
from rbt.runs import CONFIG, read_run, read_settings
from rbt.stage import WORK, exclusive
from rbt.storage import write_text
from rbt.trainer.config import DataConfig, RunConfig

if TYPE_CHECKING:
    from rbt.trainer.distributed import StopRequest

log = logging.getLogger(__name__)
RUNS, EVALUATIONS = "runs", "evaluations"
MICRO_BATCH = "data.micro_batch"  # which changes no result
PAPER_EPOCHS = 40  # of 10 static masks, each met four times
FIRST_FORMAT = "full-sentences"  # the first column where a table has it: its rows are what models are used on
Indices = dict[str, Path]  # format -> folder
Packer = Callable[[PackConfig], None]


@dataclass(frozen=True)
class Job:
    """One run of a table: what is planned for a row, with the seed of this run."""

    plan: Plan
    folder: Path
    is_known: bool  # the folder holds a run that does what is planned

    @property
    def last_step(self) -> int:
        """Steps behind its newest checkpoint."""
        newest = latest_checkpoint(self.folder)
        return step_of(newest) if newest else 0

    @property
    def is_finished(self) -> bool:
        """Whether it has come to its last step."""
        return self.last_step >= self.plan.schedule.max_steps


def ablate(
    ablation: Ablation, size: str, settings: Sequence[str], run: RunConfig, seeds: int, packed: Path, out: Path,
    packer: Packer | None, gpus: int = 0,
) -> bool:
    """Train every row with `seeds` seeds, and write the table; whether all of it is there.

    `settings` are those of --set, `run` is [run] of the recipe. It ends early where a signal, or run.stop_after,
    stopped a run: the same call goes on. `packer` makes an index of `packed` where it is not there yet; without one
    they must be there. `gpus` processes of this machine train a run; 0 = this one. Raises RbtError.
    """
    from rbt.trainer.distributed import stop_on_signals
    from rbt.trainer.optim import check_schedule

    plans = make_plans(ablation, size, settings, run)
    for plan in plans:
        check_schedule(plan.schedule)
    with exclusive(out, "ablation"):
        indices = make_indices(plans, packed, packer)
        _warn_of_masks(plans, indices)
        heading = Heading(
            ablation, size, tuple(used_settings(settings)), _held_out_rows(plans[0], indices), _all_held_out(indices)
        )
        with stop_on_signals() as request:
            return _run_all(heading, plans, seeds, packed, indices, gpus, out, request)


def _run_all(
    heading: Heading, plans: Sequence[Plan], seeds: int, packed: Path, indices: Indices, gpus: int, out: Path,
    request: StopRequest,
) -> bool:
    """Train and measure what is not there yet, a table behind every run; whether it came to the end."""
    results: list[Result] = []
    for job in jobs(plans, seeds, indices, out / RUNS):
        log.info("%s, %s: row %s, seed %d", heading.ablation.name, heading.size, job.plan.row.name, job.plan.data.seed)
        if not (job.is_known and job.is_finished) and not request.is_asked:
            train(job, packed, indices[job.plan.pack.format], gpus, out / WORK)
        if request.is_asked or not job.is_finished:  # a signal may come when a run is at its end
            log.info("%s: stopped at step %d; the same command goes on", job.folder, job.last_step)
            return False
        results.append(measure(job, _held_out_masks(plans[0]), packed, indices, out))
        write_table(out, heading, plans, results)
    return True


def jobs(plans: Sequence[Plan], seeds: int, indices: Indices, runs: Path) -> Iterator[Job]:
    """All runs: every row with the first seed before any with the second, so that a table is soon there to look at."""
    for number in range(seeds):
        for plan in plans:
            seeded = dataclasses.replace(plan, data=dataclasses.replace(plan.data, seed=plan.data.seed + number))
            known = find_run(seeded, indices[plan.pack.format], runs)
            yield Job(seeded, known or _new_folder(seeded, runs), known is not None)


def _new_folder(plan: Plan, runs: Path) -> Path:
    """The folder of a run that is not there. Raises ArtefactError for one that a resumed run would change its [run] of.

    In all other keys that differ, training refuses a folder.
    """
    folder = runs / f"{plan.row.name}-seed{plan.data.seed}"
    before = read_settings(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    for key, value in _of_run(plan).items():
        if before and before[key] != value:
            raise ArtefactError(
                f"expected {key} = {before[key]!r}, with which this run began", path=folder, found=repr(value),
                cure="give it the same value, or choose another --out",
            )
    return folder


def _of_run(plan: Plan) -> dict[str, Any]:
    """The keys of [run] that change results."""
    return {f"run.{key}": getattr(plan.run, key) for key in ("precision", "deterministic")}


def find_run(plan: Plan, index: Path, runs: Path) -> Path | None:
    """The run that does what is planned, whichever row of whichever table began it; None where there is none.

    Tables share rows: `dynamic` of the first is `segment-pair` of the second.
    """
    planned = {key: value for key, value in plan.settings().items() if key != MICRO_BATCH and key[:5] != "pack."}
    planned |= {"packed.fingerprint": load_manifest(index).fingerprint, **_of_run(plan)}
    for config in sorted(runs.glob(f"*/{CONFIG}")):
        settings = read_settings(config)
        if all(settings.get(key) == value for key, value in planned.items()) and "init.weights" not in settings:
            return config.parent
    return None


def make_packer(corpus: Path, tokenizer: Path, packed: Path, engine: Engine) -> Packer:
    """What packs an index of `packed` where it is not there yet; the tokens are encoded with the first one."""
    def packer(config: PackConfig) -> None:
        from rbt.packing.pack import pack  # without a corpus, a machine that only trains needs none of it

        pack(corpus, tokenizer, packed, config, engine, replace=False)

    return packer


def make_indices(plans: Sequence[Plan], packed: Path, packer: Packer | None) -> Indices:
    """The index of each format, packed where there is a packer. Raises ArtefactError where one is missing."""
    configs = {plan.pack.format: plan.pack for plan in plans}
    if packer is not None:
        for config in configs.values():
            packer(config)
    formats = sorted(configs, key=lambda format: format != FIRST_FORMAT)
    indices: Indices = {format: find_index(packed, configs[format]) for format in formats}
    for format, count in _held_out_rows(plans[0], indices).items():
        if not count:
            raise ArtefactError(
                "expected held-out rows to compare runs on", path=indices[format], found="none",
                cure="hold out more documents: --set pack.validation_fraction=0.1 (and run.validation_rows above 0)",
            )
    return indices


def _held_out_rows(plan: Plan, indices: Indices) -> dict[str, int]:
    """How many rows of each format are evaluated."""
    most = plan.run.validation_rows
    return {format: min(most, count) for format, count in _all_held_out(indices).items()}


def _all_held_out(indices: Indices) -> dict[str, int]:
    """How many held-out rows of each format there are."""
    return {format: open_index(folder, "validation").num_rows for format, folder in indices.items()}


def find_index(packed: Path, config: PackConfig) -> Path:
    """The index of a packed folder that [pack] describes. Raises ArtefactError where there is none."""
    wanted = to_table(config)
    for folder in index_folders(packed):
        options = load_manifest(folder).config
        if all(wanted.get(key) == value for key, value in options.items()):
            return folder
    raise ArtefactError(
        f"expected an index of {config.format}, {config.max_tokens} tokens a row", path=packed,
        found=", ".join(folder.name for folder in index_folders(packed)) or "none",
        cure="name a corpus and a tokenizer, from which it is packed",
    )


def _warn_of_masks(plans: Sequence[Plan], indices: Indices) -> None:
    """Say so before training where masks do not come back, so that static ones are no different from new ones."""
    for plan in plans:
        rows, batch = open_index(indices[plan.pack.format], "train").num_rows, plan.data.global_batch
        read = plan.schedule.max_steps * batch
        if plan.data.static_masks > 0 and read <= plan.data.static_masks * rows:
            fewer = f", or a corpus of {read // PAPER_EPOCHS} rows" if read >= PAPER_EPOCHS else ""
            log.warning(
                "row %s: %.3g epochs over %d rows: none of its %d masks of a block comes back, so that they do as well "
                "as new ones; the paper's %d epochs take %d steps%s", plan.row.name, read / max(1, rows), rows,
                plan.data.static_masks, PAPER_EPOCHS, -(-PAPER_EPOCHS * rows // batch), fewer,
            )


def train(job: Job, packed: Path, index: Path, gpus: int, work: Path) -> None:
    """Begin a run, or go on with it: in this process, or in `gpus` others, which read the plan from a recipe in `work`.

    The one place that calls the trainer.
    """
    plan = job.plan
    if not gpus:
        from rbt.trainer.pretrain import pretrain

        pretrain(packed, index.name, job.folder, plan.model, plan.data, plan.schedule, plan.run)
        return
    from rbt.trainer.launch import launch
    from rbt.trainer.pretrain import MODULE
    from rbt.trainer.run_folder import to_toml

    recipe = work / f"{job.folder.name}.toml"
    tables = {name: to_table(getattr(plan, name)) for name in ("model", "data", "schedule", "run")}
    write_text(recipe, to_toml(tables))
    options = {"--packed": packed, "--format": index.name, "--out": job.folder, "--recipe": recipe}
    words = [str(word) for option in options.items() for word in option]
    words += [] if log.isEnabledFor(logging.INFO) else ["--quiet"]  # as this process is
    if code := launch(gpus, plan.run.device, MODULE, words):
        raise RbtError(
            f"expected {gpus} processes to train this run", path=job.folder, found=f"exit code {code}: see above",
            cure="the same command goes on from its newest checkpoint",
        )


def measure(job: Job, data: DataConfig, packed: Path, indices: Indices, out: Path) -> Result:
    """The result of a finished run: its records, and its loss on the held-out rows of every format.

    Those are masked as `data` says, whatever the run's own masks and seed are.
    """
    path = out / EVALUATIONS / f"{job.folder.name}.json"
    losses = {format: _evaluated(job, data, packed, folder, path) for format, folder in indices.items()}
    return Result(job.plan.row.name, job.plan.data.seed, read_run(job.folder, job.folder.name), losses)


def _evaluated(job: Job, data: DataConfig, packed: Path, folder: Path, path: Path) -> float:
    """The loss on one index, computed once for a checkpoint."""
    from rbt.trainer.evaluate import evaluate

    newest, index = latest_checkpoint(job.folder), open_index(folder, "validation")
    assert newest is not None  # the run is finished
    data = dataclasses.replace(data, isolate_documents=data.isolate_documents and not is_pair_index(index))
    key = fingerprint({
        "checkpoint": load_manifest(newest).fingerprint, "index": index.manifest.fingerprint, "data": to_table(data),
        "rows": job.plan.run.validation_rows, "precision": job.plan.run.precision,
    })
    known = read_json(path) if path.is_file() else {}
    if folder.name not in known or known[folder.name]["key"] != key:
        loss = evaluate(job.folder, index, packed, data, job.plan.run)
        known[folder.name] = {"key": key, "loss": loss}
        write_text(path, to_json(known))
    return float(known[folder.name]["loss"])


def _held_out_masks(plan: Plan) -> DataConfig:
    """How held-out rows are masked for all runs: as [data] says, but for what makes no difference to them."""
    kept = ("seed", "masked_fraction", "replaced_by_mask", "replaced_by_random", "masking", "whole_words",
            "isolate_documents")
    return DataConfig(**{name: getattr(plan.data, name) for name in kept})
