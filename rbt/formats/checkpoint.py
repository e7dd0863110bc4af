"""Checkpoints: RUN/checkpoints/step-00001000/, whole or absent.

    model.safetensors  optimizer.safetensors  state.json  manifest.json

The folder is made under a temporary name and renamed when complete. state.json holds one integer of data state:
position = step x global_batch, running across epochs. Hashes are BLAKE2b, so that a bare image can write them.
"""

from __future__ import annotations

import re
from pathlib import Path

from rbt.errors import ArtefactError, ConfigError
from rbt.manifest import Manifest, is_artefact, load_manifest, read_manifest

KIND, VERSION = "checkpoint", 1
MADE_BY = "rbt pretrain"
FOLDER = "checkpoints"
MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
FILES = (MODEL, OPTIMIZER, STATE)
HASH = "blake2b"
NAME = re.compile(r"step-\d{8,}")
NEWEST, BEST = "newest", "best"  # of a run's checkpoints; the best by validation loss
VALIDATION_LOSS = "validation_loss"  # fact of a checkpoint whose step was validated


def step_folder(run: Path, step: int) -> Path:
    """Folder of the checkpoint after `step` steps."""
    return run / FOLDER / f"step-{step:08d}"


def step_of(folder: Path) -> int:
    """Number of steps behind a checkpoint folder."""
    return int(folder.name.removeprefix("step-"))


def is_step_folder(folder: Path) -> bool:
    """Whether a name is one that rbt gives; a copy that somebody made under another is not looked at."""
    return NAME.fullmatch(folder.name) is not None


def is_whole(folder: Path) -> bool:
    """Whether every file of the checkpoint is there in full size."""
    return is_artefact(folder) and all(record.is_present(folder) for record in load_manifest(folder).files)


def checkpoints(run: Path) -> list[Path]:
    """Whole checkpoints of a run, oldest first."""
    return [path for path in sorted((run / FOLDER).glob("step-*")) if is_step_folder(path) and is_whole(path)]


def latest_checkpoint(run: Path) -> Path | None:
    """The newest whole checkpoint, or None."""
    return max(checkpoints(run), key=step_of, default=None)


def best_checkpoint(run: Path) -> Path | None:
    """The whole checkpoint with the lowest validation loss, the older one of equals; None where none has one."""
    facts = {path: load_manifest(path).facts for path in checkpoints(run)}
    losses: dict[Path, float] = {path: each[VALIDATION_LOSS] for path, each in facts.items() if VALIDATION_LOSS in each}
    return min(losses, key=losses.__getitem__, default=None)


def choose_checkpoint(run: Path, which: str) -> Path:
    """The whole checkpoint that is NEWEST, BEST, or after a number of steps.

    Raises ArtefactError where there is none; ConfigError for another word.
    """
    if which not in (NEWEST, BEST) and not (which.isascii() and which.isdecimal()):
        raise ConfigError(f"expected a checkpoint: {NEWEST}, {BEST} or a number of steps", found=repr(which))
    found = checkpoints(run)
    if not found:
        raise ArtefactError("expected a run with a checkpoint", path=run, found="none", cure=f"run `{MADE_BY}`")
    if which == NEWEST:
        return max(found, key=step_of)
    chosen = best_checkpoint(run) if which == BEST else step_folder(run, int(which))
    if chosen is None:
        raise ArtefactError(
            "expected a checkpoint of a step that was validated", path=run, found="none",
            cure="train with run.validate_every = run.checkpoint_every, on a packed folder with held-out rows",
        )
    if chosen not in found:
        steps = ", ".join(f"{step_of(folder):,}" for folder in found)
        raise ArtefactError(f"expected a checkpoint of step {which}", path=run, found=f"those of {steps}")
    return chosen


def read_checkpoint(folder: Path) -> Manifest:
    """Check every hash of a checkpoint and return its manifest. Raises ArtefactError."""
    manifest = read_manifest(folder, KIND, VERSION, MADE_BY)
    for record in manifest.files:
        if damage := record.damage(folder):
            raise ArtefactError(
                "expected the file as it was saved", path=folder / record.path, found=damage,
                cure="delete this checkpoint: the one before it will be used",
            )
    return manifest
