"""Configuration of pretraining: sections [model], [data], [schedule], [run] of a recipe.

Sizes and optimizer: RoBERTa paper, table 9. Where the paper and fairseq differ, the paper's value is the default.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rbt.errors import ConfigError


@dataclass(frozen=True)
class Shape:
    """The sizes of a model."""

    layers: int
    hidden: int
    heads: int
    feed_forward: int


SIZES = {
    "tiny": Shape(2, 128, 2, 512),
    "small": Shape(4, 256, 4, 1024),
    "base": Shape(12, 768, 12, 3072),
    "large": Shape(24, 1024, 16, 4096),
}


@dataclass(frozen=True)
class ModelConfig:
    """[model]. A size of 0 is taken from `size`."""

    size: Literal["tiny", "small", "base", "large"] = "base"
    layers: int = 0
    hidden: int = 0
    heads: int = 0
    feed_forward: int = 0
    dropout: float = 0.1
    attention_dropout: float = 0.1

    @property
    def shape(self) -> Shape:
        """The sizes, each the named size's unless it is given."""
        named = SIZES[self.size]
        return Shape(
            self.layers or named.layers, self.hidden or named.hidden,
            self.heads or named.heads, self.feed_forward or named.feed_forward,
        )


@dataclass(frozen=True)
class DataConfig:
    """[data]."""

    seed: int = 1  # of initial weights, order, masks and dropout
    global_batch: int = 8192  # rows a step, over all ranks and micro-batches
    micro_batch: int | Literal["auto"] = "auto"  # rows a forward pass and rank
    masked_fraction: float = 0.15
    replaced_by_mask: float = 0.8  # of the selected positions
    replaced_by_random: float = 0.1
    masking: Literal["rbt", "fairseq"] = "rbt"  # fairseq: special tokens are maskable, draws from ids >= 4
    whole_words: bool = False  # select words, all of whose tokens are masked alike; a word starts behind a space
    static_masks: int = 0  # masks a block is given in turn, one an epoch; 0 = a new one every epoch; the paper's: 10
    isolate_documents: bool = False  # of full-sentences: no attention to another document, positions restart
    next_sentence_weight: float = 1.0  # of the loss of is_next, for the pair formats; 0 = no such head


@dataclass(frozen=True)
class ScheduleConfig:
    """[schedule]: AdamW, linear warmup, linear decay to zero."""

    max_steps: int = 500_000
    warmup_steps: int = 24_000
    peak_learning_rate: float = 6e-4
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.98
    epsilon: float = 1e-6
    decay_all: bool = True  # fairseq decays every parameter; false spares biases and LayerNorm, as BERT does
    clip_norm: float = 0.0  # 0 = off; the norm is logged all the same
    spike_nats: float = 2.0  # an update is left out where its loss is so far above the median before; 0 = off
    spike_window: int = 100  # updates of that median; none is left out before there are so many


@dataclass(frozen=True)
class RunConfig:
    """[run]: what a resumed run may change.

    Precision "auto" is float16, with a scaled loss, on a GPU that can only imitate bfloat16 (a V100, a T4).
    """

    log_every: int = 10  # steps; 0 = at the end alone
    checkpoint_every: int = 1000  # steps; 0 = at the end alone
    keep_checkpoints: int = 3  # newest kept; 0 keeps all
    keep_every: int = 0  # steps; checkpoints at their multiples are kept, too; 0 = none
    keep_best: bool = True  # keep the checkpoint of the lowest validation loss, too
    validate_every: int = 1000  # steps; 0 = only at the end
    validation_rows: int = 2048  # at most
    stop_after: int = 0  # steps after which this invocation stops, resumable; 0 = never
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # auto: GPU: bfloat16/float16, CPU: float32
    compile: bool | Literal["auto"] = "auto"  # torch.compile the model; auto: on a GPU
    deterministic: bool = False  # kernels that give the same bits every time; an operation that has none is an error
    checkpoint_activations: bool = False  # compute layers anew in the backward pass: less memory, a third more work
    new_schedule: bool = False  # go on with the recipe's [schedule] where the run began with another one
    skipped_steps: int = 10  # in a row, after which the run stops: losses that are not finite, or spikes
    patience: int = 900  # seconds a rank waits for the others before it ends the job and names who is missing


# key -> (least, below what); sizes of 0 are those of the named size
RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "model": {
        **dict.fromkeys(("layers", "hidden", "heads", "feed_forward"), (0, math.inf)),
        **dict.fromkeys(("dropout", "attention_dropout"), (0, 1)),
    },
    "data": {
        "seed": (0, 1 << 63), "global_batch": (1, 1 << 31), "micro_batch": (1, 1 << 31), "static_masks": (0, 1 << 31),
        "next_sentence_weight": (0, math.inf),
    },
    "schedule": {
        "beta1": (0, 1), "beta2": (0, 1),
        "spike_window": (1, 1 << 31),
        **dict.fromkeys(("peak_learning_rate", "weight_decay", "epsilon", "clip_norm", "spike_nats"), (0, math.inf)),
    },
    "run": {
        **dict.fromkeys(("skipped_steps", "patience"), (1, 1 << 31)),
        **dict.fromkeys(
            (
                "log_every", "checkpoint_every", "keep_checkpoints", "keep_every", "validate_every", "validation_rows",
                "stop_after",
            ),
            (0, 1 << 31),
        ),
    },
}


def check_ranges(model: ModelConfig, data: DataConfig, schedule: ScheduleConfig, run: RunConfig) -> None:
    """Raise ConfigError for a number outside its range, or one that is not finite."""
    sections: dict[str, dict[str, Any]] = {
        "model": asdict(model), "data": asdict(data), "schedule": asdict(schedule), "run": asdict(run),
    }
    for name, ranges in RANGES.items():
        for key, (least, above) in ranges.items():
            value = sections[name][key]
            if isinstance(value, int | float) and not least <= value < above:
                limit = "finite" if above == math.inf else f"below {above:,}"
                raise ConfigError(
                    f"[{name}] {key}: expected at least {least}, {limit}", found=str(value),
                    cure=f"--set {name}.{key}=...",
                )
