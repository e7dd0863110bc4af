"""A fine-tuned model as a folder: Hugging Face's layout, read by their class for the task and by rbt.

    config.json           sizes, the class's name, the names of the labels
    model.safetensors     encoder and head under their names
    the tokenizer's files
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rbt.errors import ArtefactError
from rbt.finetune.heads import FineTuned, SequenceHead
from rbt.formats import tokenizer
from rbt.manifest import read_json, to_json
from rbt.storage import atomic_path
from rbt.tasks.task import Task
from rbt.trainer.config import ModelConfig
from rbt.trainer.hugging_face import hugging_face_config, to_hugging_face
from rbt.trainer.model import empty_model
from rbt.trainer.model_folder import CONFIG, WEIGHTS, read_model_folder, weight_files

# by their class: what a head's weights are called there
NAMES: dict[str, dict[str, str]] = {
    "RobertaForSequenceClassification": {"dense": "classifier.dense", "output": "classifier.out_proj"},
    "RobertaForMultipleChoice": {"dense": "roberta.pooler.dense", "output": "classifier"},
    "RobertaForQuestionAnswering": {
        "output": "qa_outputs", "answerable.dense": "answerable.dense", "answerable.output": "answerable.output",
    },
    "RobertaForMaskedLM": {},
}


def _their_name(name: str, architecture: str) -> str:
    module, _, kind = name.rpartition(".")
    return f"{NAMES[architecture][module]}.{kind}"


def model_tensors(model: FineTuned, architecture: str) -> dict[str, Tensor]:
    """Encoder and head under Hugging Face's names, float32."""
    encoder = {name: tensor.detach().cpu() for name, tensor in model.encoder.state_dict().items()}
    found = to_hugging_face(encoder, model.encoder.config.shape.layers, model.head is None)
    head = {} if model.head is None else model.head.state_dict()
    found |= {_their_name(name, architecture): tensor.detach().cpu().clone() for name, tensor in head.items()}
    return {name: tensor.contiguous() for name, tensor in found.items()}


def model_settings(model: FineTuned, architecture: str, task: Task, name: str) -> dict[str, Any]:
    """config.json: of labels, their names in the order of their numbers."""
    encoder = model.encoder
    settings = hugging_face_config(encoder.config, encoder.vocab_size, encoder.max_tokens)
    settings |= {"architectures": [architecture], "finetuning_task": name}
    if architecture == "RobertaForSequenceClassification":
        labels = list(task.labels.values()) or ["LABEL_0"]
        settings |= {
            "id2label": {str(number): label for number, label in enumerate(labels)},
            "label2id": {label: number for number, label in enumerate(labels)},
            "problem_type": "single_label_classification" if task.labels else "regression",
            "classifier_dropout": model.head.dropout if isinstance(model.head, SequenceHead) else None,
        }
    return settings


def write_model(out: Path, model: FineTuned, architecture: str, task: Task, name: str, tokenizer_folder: Path) -> None:
    """Write the folder, whole or not at all; what was there before is replaced."""
    with atomic_path(out) as temporary:
        temporary.mkdir()
        save_file(model_tensors(model, architecture), temporary / WEIGHTS, metadata={"format": "pt"})
        (temporary / CONFIG).write_text(to_json(model_settings(model, architecture, task, name)), "utf-8")
        for file in tokenizer.FILES:
            (temporary / file).write_bytes((tokenizer_folder / file).read_bytes())


def load_encoder(
    folder: Path, dropouts: ModelConfig | None = None, needs_head: bool = False
) -> tuple[FineTuned, str]:
    """(model of any RoBERTa folder without a head of a task, hash of its weights).

    Raises ArtefactError, also where a masked-language head is needed and the folder has none.
    """
    found = read_model_folder(folder)
    if needs_head and not found.has_head:
        raise ArtefactError(
            "expected the weights of a masked-language model", path=folder, found="an encoder alone",
            cure="start from a pretrained model",
        )
    config = found.config
    if dropouts is not None:
        config = ModelConfig(**{
            **vars(config), "dropout": dropouts.dropout, "attention_dropout": dropouts.attention_dropout
        })
    encoder = empty_model(config, found.vocab_size, found.max_tokens)
    missing, _ = encoder.load_state_dict(found.tensors, strict=False)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if name in missing:  # a masked-language head, which no task but of pronouns reads
                parameter.zero_()
    return FineTuned(encoder, None), found.weights


def load_head(folder: Path, head: nn.Module, architecture: str) -> None:
    """Fill a head from a folder that `write_model` wrote. Raises ArtefactError where it has no such head."""
    tensors: dict[str, Tensor] = {}
    for path in weight_files(folder):
        tensors.update(load_file(path))
    expected: Mapping[str, Tensor] = head.state_dict()
    names = {name: _their_name(name, architecture) for name in expected}
    for name, theirs in names.items():
        if theirs not in tensors or tensors[theirs].shape != expected[name].shape:
            raise ArtefactError(
                f"expected a {architecture} with {theirs} of shape {tuple(expected[name].shape)}", path=folder,
                found="none" if theirs not in tensors else str(tuple(tensors[theirs].shape)),
            )
    head.load_state_dict({name: tensors[theirs] for name, theirs in names.items()})


def architecture_of(folder: Path) -> str:
    """The class that config.json names."""
    found = read_json(folder / CONFIG).get("architectures") or [""]
    return str(found[0])
