"""Save and load checkpoints: whole or absent, every byte hashed (formats/checkpoint.py has the layout).

    model, optimizer, step ──> .tmp-*/ {model, optimizer}.safetensors, state.json, manifest.json ──rename──> step-*/

Nothing random is stored: order, masks and dropout are functions of the seed and the step.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
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
    VERSION,
    checkpoints,
    is_whole,
    read_checkpoint,
    step_folder,
)
from rbt.manifest import Manifest, read_json, record_files, to_json, write_manifest
from rbt.storage import TEMPORARY, atomic_path

log = logging.getLogger(__name__)
STAGE, STAGE_VERSION = "pretrain", 1
MOMENTS = ("exp_avg", "exp_avg_sq")


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}


def _names(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of the optimizer's parameters in its own order."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Both moments of each parameter as `exp_avg.<name>` and `exp_avg_sq.<name>`, and `step`."""
    state = optimizer.state_dict()["state"]
    tensors = {
        f"{moment}.{name}": state[number][moment]
        for number, name in enumerate(_names(model, optimizer))
        for moment in MOMENTS
    }
    return {**tensors, "step": state[0]["step"]}


def restore_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` took, on the parameters' own devices."""
    state = {
        number: {"step": tensors["step"].clone(), **{moment: tensors[f"{moment}.{name}"] for moment in MOMENTS}}
        for number, name in enumerate(_names(model, optimizer))
    }
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _write(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Any],
    inputs: Mapping[str, Any],
) -> None:
    folder.mkdir()
    save_file(_on_cpu(model.state_dict()), folder / MODEL, metadata={"format": "pt"})
    save_file(_on_cpu(optimizer_tensors(model, optimizer)), folder / OPTIMIZER, metadata={"format": "pt"})
    (folder / STATE).write_text(to_json(state), "utf-8")
    config = {"step": state["step"], **state["config"]}
    facts = {key: state[key] for key in ("step", "position", "epoch")}
    records = record_files(folder, FILES, HASH)
    write_manifest(folder, Manifest(KIND, VERSION, STAGE, STAGE_VERSION, config, inputs, records, facts))


def save_checkpoint(
    run: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Any],
    inputs: Mapping[str, Any], keep: int,
) -> Path:
    """Write the checkpoint of `state["step"]` and drop all but the newest `keep` (0 keeps all). One process calls it.

    `state`: step, position, global_batch, epoch, config. Raises RbtError where there is no room; what was there
    before is then untouched.
    """
    folder = step_folder(run, state["step"])
    if is_whole(folder):
        return folder
    discard(folder)
    try:
        with atomic_path(folder) as temporary:
            _write(temporary, model, optimizer, state, inputs)
    except (OSError, SafetensorError) as error:
        raise RbtError(
            "expected room for a checkpoint", path=folder, found=str(error),
            cure="free some space and start again: the run goes on from its newest checkpoint",
        ) from error
    for old in checkpoints(run)[:-keep] if keep else []:
        discard(old)
    log.info("saved %s", folder)
    return folder


def discard(folder: Path) -> None:
    """Delete a checkpoint; killed halfway, nothing is left that looks like one."""
    if folder.exists():
        leftover = folder.with_name(f"{TEMPORARY}old-{folder.name}")
        shutil.rmtree(leftover, ignore_errors=True)
        folder.replace(leftover)
        shutil.rmtree(leftover)


def load_checkpoint(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Check every hash, fill model and optimizer, and return the state. Raises ArtefactError for a damaged file."""
    read_checkpoint(folder)
    model.load_state_dict(load_file(folder / MODEL))
    restore_optimizer(model, optimizer, load_file(folder / OPTIMIZER))
    state: dict[str, Any] = read_json(folder / STATE)
    return state
