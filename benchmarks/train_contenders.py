"""What benchmarks/train.py compares: steps of training on the rows of one packed folder.

A job has `packed`, `index`, `max_tokens`, `size` (of the model), `step_rows`, `micro_batch` (a number or "auto"),
`compile`, `precision`, `warm_steps`, `steps`, and `cpu_time` (whether that of the process is counted). A contender
returns `tokens` a step, of the rows that it trained on, and, for each step behind the warm ones, the `milliseconds` of
the `whole`, of `waiting` for batches, of `passes` (forward and backward, with the norm of the gradients) and of the
`optimizer`; the device is waited for at each of these points. It returns the peak of `memory` in bytes (of the GPU
behind the warm steps, or of the process on a CPU), and the rate of a large `matmul` in FLOP/s.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import checkout  # noqa: F401
from contest import Clock, Contender, Job, peak_megabytes, serve

FRACTION = 0.15
LEARNING_RATE = 1e-4
Run = Callable[[Job, Clock], dict[str, Any]]


class Enough(Exception):
    """All steps are done."""


def device_of_job() -> Any:
    """The GPU, or the CPU where there is none."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision_of(job: Job) -> Any:
    """The type of matrix products."""
    import torch

    if job["precision"] == "auto":
        return torch.bfloat16 if device_of_job().type == "cuda" else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[job["precision"]]


def is_compiled(job: Job) -> bool:
    """Whether models go through torch.compile: "auto" is on a GPU, as in rbt."""
    return device_of_job().type == "cuda" if job["compile"] == "auto" else bool(job["compile"])


class Stamps:
    """When the parts of each step end, after the device has done what it was given.

    In seconds of the wall, or of the process's CPU time.
    """

    def __init__(self, job: Job) -> None:
        self.warm_steps = int(job["warm_steps"])
        self.clock = time.process_time if job["cpu_time"] else time.perf_counter
        self.steps: list[dict[str, float]] = [{}]
        self.started, self.warm_seconds = time.perf_counter(), 0.0

    def stamp(self, name: str) -> None:
        """The part ends now; "end" ends the step."""
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.steps[-1][name] = self.clock()
        if name == "end":
            self.steps.append({})
            if len(self.steps) == self.warm_steps + 1:
                self.warm_seconds = time.perf_counter() - self.started
                if torch.cuda.is_available():
                    torch.cuda.reset_peak_memory_stats()

    def milliseconds(self) -> dict[str, list[float]]:
        """Of the steps behind the warm ones; each begins where the one before ended."""
        whole = [step for step in self.steps if "end" in step]
        pairs = list(pairwise(whole))[max(0, self.warm_steps - 1) :]
        return {
            "whole": [1e3 * (step["end"] - before["end"]) for before, step in pairs],
            "waiting": [1e3 * (step["begin"] - before["end"]) for before, step in pairs],
            "passes": [1e3 * (step["passes"] - step["begin"]) for _, step in pairs],
            "optimizer": [1e3 * (step["optimizer"] - step["passes"]) for _, step in pairs],
        }


def matmul_rate(precision: Any, clock: Callable[[], float]) -> float:
    """FLOP/s of the product of two large square matrices of random numbers, median of ten."""
    import torch

    device = device_of_job()
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device).to(precision) for _ in range(2))
    seconds = []
    for _ in range(13):
        started = clock()
        torch.mm(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(clock() - started)
    return 2 * size**3 / statistics.median(seconds[3:])


def _facts(job: Job, tokens: float, micro_batch: int, stamps: Stamps) -> dict[str, Any]:
    import torch

    on_gpu = device_of_job().type == "cuda"
    memory = torch.cuda.max_memory_allocated() if on_gpu else peak_megabytes() * 1e6
    return {
        "tokens": tokens, "micro_batch": micro_batch, "milliseconds": stamps.milliseconds(), "memory": memory,
        "warm_seconds": stamps.warm_seconds, "matmul": matmul_rate(precision_of(job), stamps.clock),
        "device": torch.cuda.get_device_name() if on_gpu else "CPU", "threads": torch.get_num_threads(),
        "precision": str(precision_of(job)).removeprefix("torch."), "compiled": is_compiled(job),
    }


def by_rbt(job: Job, clock: Clock) -> dict[str, Any]:
    """`rbt pretrain` itself, ended behind its last step."""
    from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

    from rbt.trainer.config import DataConfig, ModelConfig, RunConfig, ScheduleConfig
    from rbt.trainer.pretrain import pretrain
    from rbt.trainer.training import Training

    stamps, tokens, rows = Stamps(job), list[int](), set[int]()
    step_of_training = Training.step

    def step(self: Training, *arguments: Any) -> Any:
        stamps.stamp("begin")
        result = step_of_training(self, *arguments)
        stamps.stamp("end")
        tokens.append(result.tokens)
        rows.add(self.grid.micro_batch)
        if len(tokens) == job["warm_steps"] + job["steps"]:
            raise Enough
        return result

    Training.step = step  # type: ignore[method-assign]
    register_optimizer_step_pre_hook(lambda *_: stamps.stamp("passes"))
    register_optimizer_step_post_hook(lambda *_: stamps.stamp("optimizer"))
    data = DataConfig(global_batch=job["step_rows"], micro_batch=job["micro_batch"])
    precision = str(precision_of(job)).removeprefix("torch.")  # all contenders take the same one
    run = RunConfig(log_every=1, validate_every=0, precision=precision, compile=job["compile"])
    with clock, suppress(Enough):
        pretrain(
            Path(job["packed"]), job["index"], Path(job["work"]) / "run", ModelConfig(size=job["size"]), data,
            ScheduleConfig(peak_learning_rate=LEARNING_RATE), run,
        )
    return _facts(job, statistics.mean(tokens[job["warm_steps"] :]), rows.pop(), stamps)


class Rows:
    """The rows of an index as run_mlm's collator takes them: lists of ids, and which are special."""

    def __init__(self, job: Job, are_rejoined: bool) -> None:
        """`are_rejoined`: cut anew into rows that are full, as run_mlm does, and not padded."""
        import numpy as np

        from rbt.formats.blocks import open_index

        index = open_index(Path(job["packed"]) / job["index"], "train")
        count = min(index.num_rows, (job["warm_steps"] + job["steps"] + 4) * job["step_rows"])
        self.rows = [np.concatenate([ids for _, ids in index.read_row(row)]) for row in range(count)]
        if are_rejoined:
            joined, width = np.concatenate(self.rows), index.max_tokens
            self.rows = list(joined[: len(joined) // width * width].reshape(-1, width))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, list[int]]:
        row = self.rows[number]
        return {"input_ids": row.tolist(), "special_tokens_mask": (row < 4).astype(int).tolist()}

    def tokens(self) -> float:
        """Tokens a row."""
        return sum(map(len, self.rows)) / len(self.rows)


def _model_and_collator(job: Job) -> tuple[Any, Any]:
    from transformers import AutoModelForMaskedLM, DataCollatorForLanguageModeling, RobertaConfig, RobertaTokenizerFast

    from rbt.trainer.config import SIZES

    shape, tokenizer = SIZES[job["size"]], RobertaTokenizerFast.from_pretrained(job["packed"])
    config = RobertaConfig(
        vocab_size=len(tokenizer), hidden_size=shape.hidden, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, intermediate_size=shape.feed_forward, type_vocab_size=1,
        max_position_embeddings=job["max_tokens"] + 2, layer_norm_eps=1e-5, pad_token_id=1, bos_token_id=0,
        eos_token_id=2,
    )
    model = AutoModelForMaskedLM.from_config(config, attn_implementation="sdpa")
    collator = DataCollatorForLanguageModeling(
        tokenizer, mlm_probability=FRACTION, pad_to_multiple_of=job["max_tokens"]
    )
    return model, collator


def _passes(job: Job) -> tuple[int, int]:
    """(rows a pass, passes a step) of peers, which leave out the rows of a step that fill no pass."""
    rows = job["step_rows"] if job["micro_batch"] == "auto" else min(job["step_rows"], job["micro_batch"])
    return rows, job["step_rows"] // rows


def _workers() -> int:
    """Loader processes: a GPU's collators need several cores, a CPU's would take the step's."""
    return max(1, min(12, (os.cpu_count() or 1) - 2)) if device_of_job().type == "cuda" else 0


def by_trainer(are_rejoined: bool) -> Run:
    """Hugging Face's Trainer, as run_mlm uses it."""
    def run(job: Job, clock: Clock) -> dict[str, Any]:
        import torch
        from transformers import Trainer, TrainerCallback, TrainingArguments

        stamps, rows, (micro_batch, passes) = Stamps(job), Rows(job, are_rejoined), _passes(job)
        names = {
            "step_begin": "begin", "pre_optimizer_step": "passes", "optimizer_step": "optimizer", "step_end": "end"
        }
        stamping = type("Stamping", (TrainerCallback,), {
            f"on_{event}": lambda *_, name=name, **__: stamps.stamp(name) for event, name in names.items()
        })
        model, collator = _model_and_collator(job)
        on_gpu = device_of_job().type == "cuda"
        arguments = TrainingArguments(
            output_dir=str(Path(job["work"]) / "run"), max_steps=job["warm_steps"] + job["steps"],
            per_device_train_batch_size=micro_batch, gradient_accumulation_steps=passes,
            learning_rate=LEARNING_RATE, bf16=precision_of(job) == torch.bfloat16, torch_compile=is_compiled(job),
            optim="adamw_torch_fused" if on_gpu else "adamw_torch", dataloader_num_workers=_workers(),
            dataloader_pin_memory=on_gpu, use_cpu=not on_gpu, save_strategy="no", logging_strategy="no",
            report_to="none", disable_tqdm=True, remove_unused_columns=False,
        )
        trainer = Trainer(model, arguments, data_collator=collator, train_dataset=rows, callbacks=[stamping()])
        with clock:
            trainer.train()
        return _facts(job, rows.tokens() * micro_batch * passes, micro_batch, stamps)

    return run


def by_loop(job: Job, clock: Clock) -> dict[str, Any]:
    """The same model, collator and rows in a plain loop, for where the Trainer's accelerate is not installed."""
    import torch
    from torch.utils.data import DataLoader

    stamps, rows, (micro_batch, passes) = Stamps(job), Rows(job, True), _passes(job)
    device, precision = device_of_job(), precision_of(job)
    model, collator = _model_and_collator(job)
    model = model.to(device).train()
    module = torch.compile(model) if is_compiled(job) else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=device.type == "cuda")
    loader = DataLoader(
        rows, micro_batch, shuffle=True, collate_fn=collator, num_workers=_workers(), pin_memory=device.type == "cuda",
        drop_last=True,
    )
    batches = iter(loader)
    with clock:
        for _ in range(job["warm_steps"] + job["steps"]):
            parts = [next(batches) for _ in range(passes)]
            stamps.stamp("begin")
            for part in parts:
                inputs = {name: value.to(device, non_blocking=True) for name, value in part.items()}
                with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                    loss = module(**inputs).loss / passes
                loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            stamps.stamp("passes")
            optimizer.step()
            optimizer.zero_grad()
            stamps.stamp("optimizer")
            stamps.stamp("end")
    return _facts(job, rows.tokens() * micro_batch * passes, micro_batch, stamps)


HUGGING_FACE = ("transformers", "torch")
TRAINER = (*HUGGING_FACE, "accelerate")
CONTENDERS = {
    "rbt": Contender(by_rbt, ("rbt", "torch"), ("torch", "numpy")),
    "Trainer, run_mlm's rows": Contender(by_trainer(True), TRAINER, TRAINER),
    "Trainer, rbt's rows, padded": Contender(by_trainer(False), TRAINER, TRAINER),
    "no Trainer, a plain loop, run_mlm's rows": Contender(by_loop, HUGGING_FACE, HUGGING_FACE),
}

if __name__ == "__main__":
    serve(CONTENDERS)
