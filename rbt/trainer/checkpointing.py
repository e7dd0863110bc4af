"""Save and load checkpoints: whole or absent, every byte hashed (formats/checkpoint.py has the layout).

    model, optimizer, state ──copy──> Snapshot ──a thread──> .tmp-*/ {model, optimizer}.safetensors, state.json,
        manifest.json ──rename──> step-*/

Training goes on as soon as the copy is taken. Nothing random is stored: order, masks and dropout are functions of the
seed and the step.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rbt.errors import RbtError
from rbt.formats.checkpoint import (
    FILES,
    HASH,
    KIND,
    MODEL,
    OPTIMIZER,
    STATE,
    VALIDATION_LOSS,
    VERSION,
    best_checkpoint,
    checkpoints,
    is_whole,
    read_checkpoint,
    step_folder,
    step_of,
)
from rbt.manifest import Manifest, read_json, record_files, to_json, write_manifest
from rbt.storage import TEMPORARY, atomic_path
from rbt.trainer.distributed import World

log = logging.getLogger(__name__)
STAGE, STAGE_VERSION = "pretrain", 1
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Keep:
    """Which checkpoints stay: the newest ones (0: all), multiples of `every` steps (0: none), the best one."""

    newest: int = 3
    every: int = 0
    best: bool = True


@dataclass(frozen=True)
class Snapshot:
    """A checkpoint in main memory. `state`: step, position, global_batch, epoch, config, and what else is resumed."""

    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    state: Mapping[str, Any]
    inputs: Mapping[str, Any]


def take_snapshot(
    model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Any], inputs: Mapping[str, Any]
) -> Snapshot:
    """Copy what training will change."""
    return Snapshot(_copied(model.state_dict()), _copied(optimizer_tensors(model, optimizer)), dict(state), inputs)


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}


def _names(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of the optimizer's parameters in its own order."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Both moments of each parameter as `exp_avg.<name>` and `exp_avg_sq.<name>`, and `step`; none before an update."""
    state = optimizer.state_dict()["state"]
    if not state:
        return {}
    tensors = {
        f"{moment}.{name}": state[number][moment]
        for number, name in enumerate(_names(model, optimizer))
        for moment in MOMENTS
    }
    return {**tensors, "step": state[0]["step"]}


def restore_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` took, on the parameters' own devices."""
    if not tensors:
        return
    state = {
        number: {"step": tensors["step"].clone(), **{moment: tensors[f"{moment}.{name}"] for moment in MOMENTS}}
        for number, name in enumerate(_names(model, optimizer))
    }
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _write(folder: Path, snapshot: Snapshot) -> None:
    folder.mkdir()
    state = snapshot.state
    save_file(dict(snapshot.model), folder / MODEL, metadata={"format": "pt"})
    save_file(dict(snapshot.optimizer), folder / OPTIMIZER, metadata={"format": "pt"})
    (folder / STATE).write_text(to_json(state), "utf-8")
    config = {"step": state["step"], **state["config"]}
    facts = {key: state[key] for key in ("step", "position", "epoch", VALIDATION_LOSS) if key in state}
    records = record_files(folder, FILES, HASH)
    write_manifest(folder, Manifest(KIND, VERSION, STAGE, STAGE_VERSION, config, snapshot.inputs, records, facts))


def write_checkpoint(run: Path, snapshot: Snapshot, keep: Keep) -> Path:
    """Write a checkpoint and drop those that do not stay. One process calls it.

    Raises RbtError where there is no room; what was there before is then untouched.
    """
    folder = step_folder(run, snapshot.state["step"])
    if is_whole(folder):
        return folder
    discard(folder)
    try:
        with atomic_path(folder) as temporary:
            _write(temporary, snapshot)
    except (OSError, SafetensorError) as error:
        raise RbtError(
            "expected room for a checkpoint", path=folder, found=str(error),
            cure="free some space and start again: the run goes on from its newest checkpoint",
        ) from error
    for old in superfluous(run, keep):
        discard(old)
    log.info("saved %s", folder)
    return folder


def superfluous(run: Path, keep: Keep) -> list[Path]:
    """The whole checkpoints that do not stay."""
    folders = checkpoints(run)
    staying = set(folders[-keep.newest :] if keep.newest > 0 else folders)
    if keep.every:
        staying.update(folder for folder in folders if step_of(folder) % keep.every == 0)
    best = best_checkpoint(run)
    if keep.best and best is not None:
        staying.add(best)
    return [folder for folder in folders if folder not in staying]


class Saver:
    """Writes checkpoints in a thread, one at a time."""

    def __init__(self, run: Path, keep: Keep) -> None:
        self._run, self._keep = run, keep
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(self, take: Callable[[], Snapshot]) -> None:
        """Begin to write a checkpoint, taken as soon as the one before is written. Raises what went wrong with that."""
        self.wait()
        self._thread = threading.Thread(target=self._work, args=(take(),), name="checkpoint")
        self._thread.start()

    def _work(self, snapshot: Snapshot) -> None:
        try:
            write_checkpoint(self._run, snapshot, self._keep)
        except BaseException as error:  # it belongs to the thread that waits
            self._error = error

    @property
    def failure(self) -> BaseException | None:
        """What went wrong with the checkpoint that was begun last, as far as is known by now."""
        return self._error

    def retry(self, take: Callable[[], Snapshot]) -> None:
        """After a failure: write a checkpoint of now, and wait for it. Raises RbtError where that fails, too."""
        log.warning("%s; trying once more", self._error)
        self._error = None
        self.save(take)
        self.wait()

    def wait(self) -> None:
        """Until what was begun is written. Raises RbtError where it could not be."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error


def discard(folder: Path) -> None:
    """Delete a checkpoint; killed halfway, nothing is left that looks like one."""
    if folder.exists():
        leftover = folder.with_name(f"{TEMPORARY}old-{folder.name}")
        shutil.rmtree(leftover, ignore_errors=True)
        folder.replace(leftover)
        shutil.rmtree(leftover)


def load_checkpoint(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, world: World
) -> dict[str, Any]:
    """Fill model and optimizer from a checkpoint, and return its state.

    The first rank reads and checks every byte, and sends the tensors to the others. Every rank calls it. Raises
    ArtefactError for a damaged file.
    """
    tensors: dict[str, Tensor] = {}
    has_moments = 0
    if world.is_first:
        with world.working("loading a checkpoint"):
            read_checkpoint(folder)
            tensors, moments = load_file(folder / MODEL), load_file(folder / OPTIMIZER)
            has_moments = int(bool(moments))
        tensors.update({f"{OPTIMIZER}.{name}": tensor for name, tensor in moments.items()})
    has_moments = world.from_first(has_moments)
    model.load_state_dict({name: world.spread(tensors.get(name), like) for name, like in model.state_dict().items()})
    if has_moments:
        likes = {"step": torch.zeros((), dtype=torch.float32)}
        likes |= {f"{moment}.{name}": like.detach() for name, like in model.named_parameters() for moment in MOMENTS}
        restore_optimizer(
            model, optimizer,
            {name: world.spread(tensors.get(f"{OPTIMIZER}.{name}"), like) for name, like in likes.items()},
        )
    return dict(read_json(folder / STATE))
