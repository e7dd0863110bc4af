"""A trained run on held-out rows of any index over the same tokenizer, whatever it was trained on.

    RUN/checkpoints/newest ──> model, index ──validation rows, fixed masks──> mean loss over the masked tokens

Rows and masks are those of validation under the seed that is given, so that runs of different seeds and formats meet
the same text with the same tokens hidden.
"""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file

from rbt.config import to_dataclass
from rbt.errors import ArtefactError
from rbt.formats.blocks import Index
from rbt.formats.checkpoint import MODEL, STATE, latest_checkpoint, read_checkpoint
from rbt.formats.tokenizer import read_vocab
from rbt.manifest import read_json
from rbt.trainer.attention import has_varlen
from rbt.trainer.batches import Grid
from rbt.trainer.config import DataConfig, ModelConfig, RunConfig, ScheduleConfig
from rbt.trainer.distributed import World, join
from rbt.trainer.inputs import Rounding
from rbt.trainer.masking import masking_rule
from rbt.trainer.model import Roberta, empty_model
from rbt.trainer.optim import build_optimizer
from rbt.trainer.stability import LossScale, Watch
from rbt.trainer.training import Training, precision_of

PASS_ROWS = 16  # that are read together


def load_run(run: Path) -> Roberta:
    """The model of a run's newest checkpoint, on the CPU. Raises ArtefactError."""
    checkpoint = latest_checkpoint(run)
    if checkpoint is None:
        raise ArtefactError("expected a run with a checkpoint", path=run, found="none", cure="run `rbt pretrain`")
    read_checkpoint(checkpoint)
    tables, tensors = read_json(checkpoint / STATE)["config"], load_file(checkpoint / MODEL)
    max_tokens = tables.get("init", tables["packed"])["max_tokens"]
    config = to_dataclass(ModelConfig, tables["model"], "model")
    model = empty_model(config, tables["packed"]["vocab_size"], max_tokens, "next_output.weight" in tensors)
    model.load_state_dict(tensors)
    return model


def evaluate(run: Path, index: Index, packed: Path, data: DataConfig, options: RunConfig) -> float:
    """Mean loss of a run over the masked tokens of held-out rows, in nats.

    `index` is a validation split in `packed`; `data` says how it is masked, and the seed of that; `options` how many
    rows are read, at most, and where. Raises ArtefactError where the model cannot read them.
    """
    model = load_run(run)
    if model.vocab_size != index.vocab_size or model.max_tokens < index.max_tokens:
        raise ArtefactError(
            f"expected a model of {index.vocab_size} ids and rows of {index.max_tokens} tokens", path=run,
            found=f"{model.vocab_size} ids, {model.max_tokens} tokens",
        )
    with join(options.device) as world:
        loss, _ = _only_validating(world, model, packed, index, data, options).validate(index)
    return loss


def _only_validating(
    world: World, model: Roberta, packed: Path, index: Index, data: DataConfig, options: RunConfig
) -> Training:
    """The training that a model would go on in, of which validation alone is used."""
    schedule, shape = ScheduleConfig(), model.config.shape
    model = model.to(world.device)
    by_edges = has_varlen(world.device, precision_of(options, world.device), shape.hidden // shape.heads)
    return Training(
        world, model, model, build_optimizer(model, schedule), masking_rule(data, read_vocab(packed)),
        Grid(world.rank, world.size, PASS_ROWS), data, schedule, options,
        Rounding(max_tokens=index.max_tokens, by_edges=by_edges), Watch(schedule), LossScale(False, 1),
    )
