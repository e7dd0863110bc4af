"""Checkpoints as Hugging Face folders (`hugging_face` has the names, `model_folder` reads such folders).

    RUN/checkpoints/ ──the newest, the best, or a step──names──> MODEL/{config.json, model.safetensors,
        the tokenizer's files, manifest.json}

A next-sentence head is left out: RobertaForMaskedLM has none.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rbt.config import to_dataclass
from rbt.errors import ArtefactError, RbtError
from rbt.formats import tokenizer
from rbt.formats.checkpoint import HASH, MODEL, NEWEST, STATE, choose_checkpoint, read_checkpoint
from rbt.manifest import (
    MANIFEST,
    PROVENANCE,
    Manifest,
    is_artefact,
    load_manifest,
    read_json,
    record_files,
    to_json,
    write_manifest,
)
from rbt.stage import finished
from rbt.storage import atomic_path, sweep_siblings
from rbt.trainer.batches import FIRST_POSITION
from rbt.trainer.config import ModelConfig
from rbt.trainer.hugging_face import hugging_face_config, to_hugging_face
from rbt.trainer.model_folder import CONFIG, WEIGHTS
from rbt.trainer.staging import NO_ROOM

KIND, VERSION = "model", 1
STAGE, STAGE_VERSION = "export", 1
TOKENIZER_CONFIG = "tokenizer_config.json"
ASIDE = ".replaced-"  # prefix of the model before, while a new one takes its place


def _check_tokenizer(run: Path, expected: str) -> None:
    """Raise ArtefactError where the run's tokenizer is not the one that its checkpoints were trained with."""
    found = tokenizer.files_fingerprint(run, "copy it from PACKED")
    if found != expected:
        raise ArtefactError(
            f"expected the tokenizer's files of fingerprint {expected}, with which this run began", path=run,
            found=found, cure=f"copy them from PACKED: {', '.join(tokenizer.FILES)}",
        )


def _write_tokenizer(run: Path, folder: Path, max_tokens: int) -> None:
    for name in tokenizer.FILES:
        (folder / name).write_bytes((run / name).read_bytes())
    settings = {**read_json(run / TOKENIZER_CONFIG), "model_max_length": max_tokens}
    (folder / TOKENIZER_CONFIG).write_text(to_json(settings), "utf-8")


def _write(run: Path, checkpoint: Path, state: Mapping[str, Any], folder: Path) -> None:
    folder.mkdir()
    tables = state["config"]
    config = to_dataclass(ModelConfig, tables["model"], "model")
    tensors = load_file(checkpoint / MODEL)
    max_tokens = len(tensors["position_embedding.weight"]) - FIRST_POSITION  # more than a row's, if MODEL had them
    settings = hugging_face_config(config, tables["packed"]["vocab_size"], max_tokens)
    (folder / CONFIG).write_text(to_json(settings), "utf-8")
    save_file(to_hugging_face(tensors, config.shape.layers), folder / WEIGHTS, metadata={"format": "pt"})
    _write_tokenizer(run, folder, max_tokens)


def export(run: Path, out: Path, *, replace: bool, which: str = NEWEST) -> Path:
    """Write a run's checkpoint as a Hugging Face folder; return `out`. `which`: see `choose_checkpoint`.

    Raises ArtefactError where the run has no such checkpoint or another tokenizer, `out` holds something else, or a
    model and `replace` is off; RbtError where it cannot be written. A model that is replaced stays until the new one
    is whole.
    """
    out = out.resolve() if out.is_symlink() else out  # the link stays
    checkpoint = choose_checkpoint(run, which)
    source = read_checkpoint(checkpoint)
    state = read_json(checkpoint / STATE)
    _check_tokenizer(run, state["config"]["packed"]["tokenizer"])
    weights = next(record.hash for record in source.files if record.path == MODEL)
    inputs = {"checkpoint": source.fingerprint, "weights": weights}
    facts = {"step": state["step"], "vocab_size": state["config"]["packed"]["vocab_size"]}
    identity = Manifest(KIND, VERSION, STAGE, STAGE_VERSION, {}, inputs, (), facts)
    try:
        _settle(out)
        if finished(out, identity, replace) is not None:
            return out
        _refuse_other(out)
        sweep_siblings(out)
        with _replacing(out) as temporary:
            _write(run, checkpoint, state, temporary)
            records = record_files(temporary, (CONFIG, WEIGHTS, *tokenizer.FILES), HASH)
            write_manifest(temporary, changed(identity, files=records))
    except (OSError, SafetensorError) as error:
        raise _unwritten(out, error) from error
    return out


def _refuse_other(out: Path) -> None:
    """Raise ArtefactError where `out` holds a file that is no part of a model, with which it would go."""
    if not out.exists():
        return
    known = {MANIFEST, PROVENANCE, *(record.path for record in load_manifest(out).files)} if is_artefact(out) else set()
    others = sorted(entry.name for entry in out.iterdir() if entry.name not in known) if out.is_dir() else [out.name]
    if others:
        raise ArtefactError(
            "expected a new or empty folder, or a model and nothing beside it", path=out,
            found=f"{others[0]}" + (f" and {len(others) - 1} more" if others[1:] else ""),
            cure="choose another --out" if not known else "put that elsewhere, or choose another --out",
        )


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `out` if the block succeeds; else the model that was there is there."""
    try:
        with atomic_path(out) as temporary:
            yield temporary
            _refuse_other(out)  # what came while this was written
            if is_artefact(out):
                out.rename(_aside(out))
    finally:
        _settle(out)


def _aside(out: Path) -> Path:
    return out.with_name(f"{ASIDE}{out.name}")


def _settle(out: Path) -> None:
    """End a replacement that was cut short, in a killed process too, or undo it where nothing new is there."""
    aside = _aside(out)
    if not aside.exists():
        return
    if out.exists():
        shutil.rmtree(aside)
    else:
        aside.rename(out)


def _unwritten(out: Path, error: OSError | SafetensorError) -> RbtError:
    """What an error of the system means; safetensors has its number in words alone."""
    codes = [error.errno] if isinstance(error, OSError) else [n for n in NO_ROOM if f"os error {n})" in str(error)]
    if any(code in NO_ROOM for code in codes):
        return RbtError("expected room for a model", path=out, found=str(error), cure="free some space")
    return RbtError("expected a place to write a model to", path=out, found=str(error), cure="choose another --out")
