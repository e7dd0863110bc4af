"""Run by test_gradients.py, once a rank: one step in float64, whose gradients rank 0 writes."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from rbt.formats.blocks import is_pair_index, open_index
from rbt.formats.tokenizer import build_vocab
from rbt.trainer.batch_masking import mask_batch
from rbt.trainer.batches import Grid, read_steps
from rbt.trainer.config import DataConfig, ModelConfig, RunConfig, ScheduleConfig
from rbt.trainer.distributed import join
from rbt.trainer.inputs import Rounding, make_inputs
from rbt.trainer.masking import masking_rule
from rbt.trainer.model import build_model
from rbt.trainer.optim import build_optimizer
from rbt.trainer.stability import LossScale, Watch
from rbt.trainer.training import Training, wrap

MODEL = ModelConfig(layers=1, hidden=16, heads=2, feed_forward=24, dropout=0.0, attention_dropout=0.0)
DATA = DataConfig(global_batch=16)
SCHEDULE = ScheduleConfig(max_steps=10, warmup_steps=2)


def write_gradients(index_folder: Path, micro_batch: int, out: Path) -> None:
    """One step of the global batch on this process's share of it."""
    torch.set_num_threads(1)
    index = open_index(index_folder, "train")
    with join("cpu") as world:
        network = build_model(MODEL, index.vocab_size, index.max_tokens, 1, is_pair_index(index)).double()
        grid = Grid(world.rank, world.size, micro_batch)
        rule = masking_rule(DATA, build_vocab([]))
        training = Training(
            world, network, wrap(network, world, False), build_optimizer(network, SCHEDULE), rule, grid, DATA,
            SCHEDULE, RunConfig(device="cpu"), Rounding(), Watch(SCHEDULE), LossScale(False, 1),
        )
        (batches,) = read_steps(index, grid, DATA.seed, DATA.global_batch, 3, 4)
        inputs = [make_inputs(mask_batch(batch, rule), training.rounding) for batch in batches]
        result = training.step(1, inputs, False)
        loss = result.loss
        if world.is_first:
            gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
            numbers = {"loss": loss, "norm": result.gradient_norm, "masked_tokens": result.masked_tokens}
            scalars = {name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()}
            save_file({**{k: v for k, v in gradients.items() if v is not None}, **scalars}, out)


if __name__ == "__main__":
    write_gradients(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
