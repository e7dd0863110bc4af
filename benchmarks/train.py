"""Tokens a second of masked batches and of training steps, on the device at hand.

    python benchmarks/train.py --size small --steps 5

Random tokens in full rows of 512; medians of `--repeats` runs. "read" is rows to padded tensors in one thread; "mask"
is masks of batches that are already on the device; "read and mask" is both. The peer is the collator of Hugging Face
transformers (coin flips, no exact counts), on the same rows as lists of ids, where it is installed. A training step
is forward, backward and update of one micro-batch, at the precision that a run would choose.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rbt.trainer.device_masking import mask_batch

from rbt.formats import blocks, tokenizer, tokens
from rbt.formats.blocks import Index, open_index
from rbt.manifest import Manifest, record_files, write_manifest
from rbt.trainer.batches import Batch, Grid, read_batch
from rbt.trainer.config import SIZES, DataConfig, ModelConfig, RunConfig, ScheduleConfig
from rbt.trainer.distributed import World, choose_device
from rbt.trainer.flops import peak_flops, training_flops_per_token
from rbt.trainer.masking import masking_rule
from rbt.trainer.model import build_model
from rbt.trainer.optim import build_optimizer
from rbt.trainer.order import rows_at
from rbt.trainer.training import Training, wrap

MAX_TOKENS = 512


def random_index(folder: Path, rows: int, vocab_size: int) -> Index:
    """An index of full rows over one part of random tokens with documents of about 700 tokens."""
    store, index = folder / "tokens", folder / "full-sentences-512"
    store.mkdir()
    index.mkdir()
    length = MAX_TOKENS - 4  # room for two specials and two separators
    generator = np.random.default_rng(1)
    generator.integers(4, vocab_size - 1, rows * length).astype(tokens.token_dtype(vocab_size)).tofile(
        store / "train-00000.tokens.bin"
    )
    ends = np.append(np.arange(700, rows * length, 700), rows * length)
    for name in ("sentence_ends", "document_ends"):
        np.save(store / f"train-00000.{name}.npy", ends)
    cuts = np.arange(rows + 1) * length
    np.save(index / "train-00000.blocks.npy", np.stack([cuts[:-1], cuts[1:]], axis=1))
    np.save(index / "train-00000.rows.npy", np.arange(rows + 1))
    facts = {"vocab_size": vocab_size, "parts": [{"stem": "train-00000", "split": "train"}]}
    files = record_files(store, [path.name for path in sorted(store.iterdir())], "blake2b")
    of_tokenizer = write_manifest(folder, Manifest(tokenizer.KIND, tokenizer.VERSION, "bpe", 1, {}, {}, ()))
    origin = {"tokenizer": of_tokenizer.fingerprint}
    manifest = write_manifest(store, Manifest(tokens.KIND, tokens.VERSION, "tokens", 1, {}, origin, files, facts))
    config = {"format": "full-sentences", "max_tokens": MAX_TOKENS, "separator": "document"}
    inputs = {"tokens": manifest.fingerprint}
    files = record_files(index, [path.name for path in sorted(index.iterdir())], "blake2b")
    write_manifest(index, Manifest(blocks.KIND, blocks.VERSION, "index", 1, config, inputs, files))
    return open_index(index, "train")


def median_seconds(work: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Median wall time of `work`, after one run that is not counted."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def batch_rates(index: Index, rows: int, repeats: int, device: torch.device) -> list[tuple[str, float]]:
    """(what, tokens a second) of reading and masking batches of 64 rows."""
    epochs, numbers = rows_at(np.arange(rows), 1, index.num_rows)
    cuts = [slice(start, start + 64) for start in range(0, rows, 64)]
    rule = masking_rule(DataConfig(), index.vocab_size)

    def read() -> list[Batch]:
        return [read_batch(index, numbers[cut], epochs[cut]) for cut in cuts]

    ready = [batch.to(device) for batch in read()]
    count = sum(batch.tokens for batch in ready)
    works: list[tuple[str, Callable[[], object]]] = [
        ("order", lambda: rows_at(np.arange(rows), 1, index.num_rows)),
        ("read", read),
        ("mask", lambda: [mask_batch(batch, rule) for batch in ready]),
        ("read and mask", lambda: [mask_batch(batch.to(device), rule) for batch in read()]),
    ]
    return [(what, count / median_seconds(work, repeats, device)) for what, work in works]


def peer_rate(index: Index, rows: int, repeats: int, folder: Path) -> float | None:
    """Tokens a second of transformers' collator on batches of 64 rows, None where it is not installed."""
    if importlib.util.find_spec("transformers") is None:
        return None
    from transformers import DataCollatorForLanguageModeling, RobertaTokenizerFast

    from rbt.formats.tokenizer import write_tokenizer

    write_tokenizer(folder, [])
    collator = DataCollatorForLanguageModeling(RobertaTokenizerFast.from_pretrained(folder), mlm_probability=0.15)
    texts = [{"input_ids": index.read_row(row)[0][1].tolist()} for row in range(rows)]
    cuts = [texts[start : start + 64] for start in range(0, rows, 64)]
    count = sum(len(text["input_ids"]) for text in texts)
    return count / median_seconds(lambda: [collator(cut) for cut in cuts], repeats, torch.device("cpu"))


def step_rate(
    index: Index, size: str, rows: int, steps: int, device: torch.device, compiled: bool
) -> tuple[float, float]:
    """(tokens a second, FLOP a token) of training steps with one micro-batch of `rows` rows."""
    model = ModelConfig(size=size)  # type: ignore[arg-type]
    data = DataConfig(global_batch=rows, micro_batch=rows)
    schedule, world = ScheduleConfig(), World(0, 1, device, False)
    network = build_model(model, index.vocab_size, MAX_TOKENS, 1).to(device)
    training = Training(
        world, network, wrap(network, world, compiled), build_optimizer(network, schedule),
        masking_rule(data, index.vocab_size), Grid(0, 1, rows), data, schedule, RunConfig(),
    )
    epochs, numbers = rows_at(np.arange(rows), 1, index.num_rows)
    batch = read_batch(index, numbers, epochs)
    seconds = median_seconds(lambda: training.step(1, [batch], False), steps, device)
    flops = training_flops_per_token(model.shape, MAX_TOKENS, index.vocab_size, data.masked_fraction)
    return batch.tokens / seconds, flops


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Tokens a second of batches and training steps.")
    parser.add_argument("--size", choices=sorted(SIZES), default="small")
    parser.add_argument("--vocab-size", type=int, default=50_265)
    parser.add_argument("--rows", type=int, default=4096, help="rows read and masked")
    parser.add_argument("--step-rows", type=int, default=8, help="rows of a training step")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--compile", action="store_true", help="run the step through torch.compile")
    options = parser.parse_args()
    device = choose_device(options.device, 0)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    print(f"python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}")
    print(f"device {device.type} ({name}), {os.cpu_count()} cores, {torch.get_num_threads()} torch threads\n")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        index = random_index(folder, options.rows, options.vocab_size)
        for what, rate in batch_rates(index, options.rows, options.repeats, device):
            print(f"{what:<28}{rate / 1e6:10.2f} M tokens/s")
        if (peer := peer_rate(index, min(options.rows, 1024), options.repeats, folder)) is not None:
            print(f"{'transformers collator':<28}{peer / 1e6:10.2f} M tokens/s")
        rate, flops = step_rate(index, options.size, options.step_rows, options.steps, device, options.compile)
    peak = peak_flops(name)
    share = f", {rate * flops / peak:.1%} of the peak" if peak else ""
    what = f"training step, {options.size}{', compiled' if options.compile else ''}"
    print(f"{what:<28}{rate / 1e6:10.4f} M tokens/s, {rate * flops / 1e12:.3f} TFLOP/s{share}")


if __name__ == "__main__":
    main()
