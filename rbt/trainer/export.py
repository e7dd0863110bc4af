"""Checkpoints as Hugging Face folders (`hugging_face` has the names, `model_folder` reads such folders).

    RUN/checkpoints/ ──the newest, the best, or a step──names──> MODEL/{config.json, model.safetensors,
        the tokenizer's files, manifest.json}

A next-sentence head is left out: RobertaForMaskedLM has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from rbt.config import to_dataclass
from rbt.errors import ArtefactError, RbtError
from rbt.formats import tokenizer
from rbt.formats.checkpoint import HASH, MODEL, NEWEST, STATE, choose_checkpoint, read_checkpoint
from rbt.manifest import Manifest, is_artefact, read_json, record_files, to_json, write_manifest
from rbt.stage import clear, finished
from rbt.storage import atomic_path, sweep_siblings
from rbt.trainer.batches import FIRST_POSITION
from rbt.trainer.config import ModelConfig
from rbt.trainer.hugging_face import hugging_face_config, to_hugging_face
from rbt.trainer.model_folder import CONFIG, WEIGHTS

KIND, VERSION = "model", 1
STAGE, STAGE_VERSION = "export", 1
TOKENIZER_CONFIG = "tokenizer_config.json"


def _write_tokenizer(run: Path, folder: Path, max_tokens: int) -> None:
    for name in tokenizer.FILES:
        if not (run / name).is_file():
            raise ArtefactError(f"expected the tokenizer's {name}", path=run, found="none", cure="copy it from PACKED")
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

    Raises ArtefactError where the run has no such checkpoint, or `out` holds something else and `replace` is off;
    RbtError where there is no room. A model that is replaced stays until the new one is whole.
    """
    checkpoint = choose_checkpoint(run, which)
    source = read_checkpoint(checkpoint)
    state = read_json(checkpoint / STATE)
    weights = next(record.hash for record in source.files if record.path == MODEL)
    inputs = {"checkpoint": source.fingerprint, "weights": weights}
    facts = {"step": state["step"], "vocab_size": state["config"]["packed"]["vocab_size"]}
    identity = Manifest(KIND, VERSION, STAGE, STAGE_VERSION, {}, inputs, (), facts)
    if finished(out, identity, replace) is not None:
        return out
    _refuse_other(out)
    sweep_siblings(out)
    try:
        with atomic_path(out) as temporary:
            _write(run, checkpoint, state, temporary)
            records = record_files(temporary, (CONFIG, WEIGHTS, *tokenizer.FILES), HASH)
            write_manifest(temporary, changed(identity, files=records))
            if is_artefact(out):  # the old model stays until the new one is whole
                clear(out)
    except (OSError, SafetensorError) as error:
        raise RbtError("expected room for a model", path=out, found=str(error), cure="free some space") from error
    return out


def _refuse_other(out: Path) -> None:
    if not is_artefact(out) and out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ArtefactError(
            "expected a new or empty folder, or a model", path=out, found="other files", cure="choose another --out"
        )
