"""What a fine-tuning run begins with: task, model, features, and the tables of its config.toml."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rbt.config import to_table
from rbt.errors import ArtefactError, ConfigError, InputError
from rbt.finetune.batches import steps_an_epoch
from rbt.finetune.config import FinetuneConfig
from rbt.finetune.data import TaskData, encoder_of, read_for_training
from rbt.finetune.features import Features
from rbt.finetune.heads import FineTuned, fresh
from rbt.finetune.kind import Asked, Kind
from rbt.finetune.kinds import kind_of
from rbt.finetune.model_folder import load_encoder
from rbt.finetune.scores import origin_of
from rbt.finetune.training import Training
from rbt.formats import tokenizer
from rbt.packing.hugging_face import import_hugging_face
from rbt.tasks.task import Defaults
from rbt.trainer.attention import has_varlen
from rbt.trainer.config import ModelConfig, RunConfig, ScheduleConfig
from rbt.trainer.distributed import World
from rbt.trainer.optim import build_optimizer
from rbt.trainer.order import Int64
from rbt.trainer.run_folder import Tables
from rbt.trainer.stability import LossScale
from rbt.trainer.training import precision_of, wrap

log = logging.getLogger(__name__)
LEAST_TOKENS = 8  # of a sequence: four special tokens, and some of each text


def resolved(config: FinetuneConfig, defaults: Defaults) -> FinetuneConfig:
    """The configuration with the task's own values where it gives none."""
    return replace(
        config, batch_size=config.batch_size or defaults.batch_size,
        learning_rate=config.learning_rate or defaults.learning_rate, epochs=config.epochs or defaults.epochs,
        weight_decay=defaults.weight_decay if config.weight_decay < 0 else config.weight_decay,
        max_tokens=config.max_tokens or defaults.max_tokens,
        batch_sizes=config.batch_sizes or defaults.batch_sizes,
        learning_rates=config.learning_rates or defaults.learning_rates,
    )


def check_config(config: FinetuneConfig) -> None:
    """Raise ConfigError for a number outside its range."""
    ranges = {
        **dict.fromkeys(("batch_size", "epochs", "max_tokens", "train_examples", "early_stopping"), 1 << 31),
        **dict.fromkeys(("learning_rate", "clip_norm", "epsilon", "margin_alpha", "margin_beta"), float("inf")),
        **dict.fromkeys(
            ("dropout", "attention_dropout", "head_dropout", "warmup_fraction", "dev_fraction", "beta1", "beta2"), 1
        ),
        "seed": 1 << 63,
    }
    least = {"batch_tokens": 1, "question_tokens": 1, "answer_tokens": 1, "option_tokens": 3, "stride": 1}
    for key, above in ranges.items():
        if not 0 <= getattr(config, key) < above:
            raise ConfigError(f"[finetune] {key}: expected 0 to below {above}", found=str(getattr(config, key)))
    if config.max_tokens:
        least["max_tokens"] = LEAST_TOKENS
    for key, value in least.items():
        if getattr(config, key) < value:
            raise ConfigError(f"[finetune] {key}: expected at least {value}", found=str(getattr(config, key)))


@dataclass(frozen=True)
class Start:
    """Task and model, before anything is encoded."""

    data: TaskData
    asked: Asked
    kind: Kind
    encoder: FineTuned
    weights: str  # hash of the model's
    origin: Mapping[str, Any]  # see `scores.origin_of`

    @property
    def tables(self) -> Tables:
        """[task], [model] and [finetune] of config.toml: what a resumed run may not change."""
        task = {"name": self.data.name, "data": self.data.digest, "weights": self.weights}
        model = to_table(self.encoder.encoder.config)
        return {"task": task, "model": model, "finetune": to_table(self.asked.config)}


def read_start(name: str, model: Path, folder: Path, config: FinetuneConfig) -> Start:
    """Read the task's files and the model's. Raises ArtefactError, ConfigError, InputError."""
    check_config(config)
    data = read_for_training(name, folder, config)
    config = resolved(config, data.task.defaults)
    dropouts = ModelConfig(dropout=config.dropout, attention_dropout=config.attention_dropout)
    kind = kind_of(data.task, config)
    encoder, weights = load_encoder(model, dropouts, needs_head=kind.places is not None)
    most = encoder.encoder.max_tokens
    if most < LEAST_TOKENS:
        raise ArtefactError(f"expected a model with positions for {LEAST_TOKENS} tokens", path=model, found=str(most))
    if config.max_tokens > most:
        log.info("%s has positions for %d tokens: longer sequences are cut there", model, most)
    asked = Asked(data.task, config, min(config.max_tokens, most), encoder.encoder.vocab_size - 1)
    return Start(data, asked, kind, encoder, weights, origin_of(model, weights))


def tokenizer_of(model: Path, spare: Path, vocab_size: int) -> Path:
    """The folder of a model's tokenizer: its own, or `spare` with the five files made of its.

    Raises InputError; ArtefactError where it has another number of ids than the model.
    """
    folder = model
    if not all((model / name).is_file() for name in tokenizer.FILES):
        import_hugging_face(model, spare, replace=True)
        folder = spare
    if (found := len(tokenizer.read_model(folder)[0])) != vocab_size:
        raise ArtefactError(
            f"expected a tokenizer of {vocab_size} ids, as the model has", path=model, found=str(found),
            cure=f"take the model's own, or transformers' model.resize_token_embeddings({found})",
        )
    return folder


@dataclass(frozen=True)
class Encoded:
    """The features of a run, and the model with its head."""

    train: Features
    dev: Mapping[str, Features]
    model: FineTuned

    @property
    def learned(self) -> Int64:
        """Numbers of the units that have a target."""
        return np.flatnonzero(self.train.has_target)


def encode_start(start: Start, tokenizer_folder: Path) -> Encoded:
    """Encode train and dev, and put a fresh head on the encoder. Raises InputError where nothing can be learned."""
    encode, data, encoder = encoder_of(tokenizer_folder), start.data, start.encoder.encoder
    train = start.kind.features(start.asked, data.splits["train"], encode)
    dev = {split: start.kind.features(start.asked, data.splits[split], encode) for split in data.dev_splits}
    head = start.kind.head(start.asked, encoder.config.shape.hidden, train)
    model = FineTuned(encoder, None if head is None else fresh(head, start.asked.config.seed))
    found = Encoded(train, dev, model)
    if not len(found.learned):
        raise InputError(f"expected examples of {data.name} to learn from", found="none with an answer")
    return found


def schedule_of(config: FinetuneConfig, steps: int) -> ScheduleConfig:
    """Warmup over a fraction of all steps, linear decay to 0 over the others."""
    return ScheduleConfig(
        max_steps=steps, warmup_steps=min(round(config.warmup_fraction * steps), steps - 1),
        peak_learning_rate=config.learning_rate, weight_decay=config.weight_decay, beta1=config.beta1,
        beta2=config.beta2, epsilon=config.epsilon, clip_norm=config.clip_norm,
    )


def build_training(start: Start, encoded: Encoded, world: World, run: RunConfig) -> Training:
    """Model, optimizer and what else a step needs, on this rank's device."""
    config, model, learned = start.asked.config, encoded.model.to(world.device), encoded.learned
    schedule = schedule_of(config, config.epochs * steps_an_epoch(len(learned), config.batch_size))
    precision, shape = precision_of(run, world.device), model.encoder.config.shape
    module: nn.Module = wrap(model, world, run.compile is True)
    return Training(
        world, model, module, build_optimizer(model, schedule), schedule, run, start.kind, start.asked, encoded.train,
        learned, config.batch_size, has_varlen(world.device, precision, shape.hidden // shape.heads),
        LossScale(precision == torch.float16, 1),
    )
