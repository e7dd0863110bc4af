"""What benchmarks/loader.py compares: rows of a packed folder in, masked batches out.

A job has `packed`, `index` (the name of its folder), `steps`, `global_batch` and `micro_batch` (both in rows),
`max_tokens` and `words` (whether whole words are masked). Timed, and returned with the tokens that went through: one
part of the work, or all of it as a run's reading thread does it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import checkout  # noqa: F401
from contest import Clock, Contender, Job, serve

FRACTION = 0.15
Run = Callable[[Job, Clock], dict[str, Any]]


def _steps(job: Job) -> Iterator[list[Any]]:
    """The micro-batches of each step, as they are read."""
    from rbt.formats.blocks import open_index
    from rbt.trainer.batches import Grid, read_steps

    index = open_index(Path(job["packed"]) / job["index"], "train")
    yield from read_steps(index, Grid(0, 1, job["micro_batch"]), 1, job["global_batch"], 0, job["steps"])


def _batches(job: Job) -> Iterator[Any]:
    for step in _steps(job):
        yield from step


def _rule(job: Job) -> Any:
    from rbt.formats.tokenizer import read_vocab
    from rbt.trainer.config import DataConfig
    from rbt.trainer.masking import masking_rule

    return masking_rule(DataConfig(masked_fraction=FRACTION, whole_words=job["words"]), read_vocab(Path(job["packed"])))


def _rounding(job: Job) -> Any:
    """That of a compiled run, with sizes that are padded and segments by their edges."""
    from rbt.trainer.inputs import rounding_for

    return rounding_for(job["micro_batch"], job["max_tokens"], FRACTION, True, True)


def order(job: Job, clock: Clock) -> dict[str, Any]:
    """Positions to rows."""
    from rbt.formats.blocks import open_index
    from rbt.trainer.batches import Grid

    index = open_index(Path(job["packed"]) / job["index"], "train")
    grid = Grid(0, 1, job["micro_batch"])
    with clock:
        for step in range(job["steps"]):
            grid.step_rows(step, 1, job["global_batch"], index.num_rows)
    return {"tokens": sum(len(batch.ids) for batch in _batches(job))}


def advice(job: Job, clock: Clock) -> dict[str, Any]:
    """Looking rows up, and telling the system what will be read."""
    from rbt.formats.block_stream import locate_rows, will_read
    from rbt.formats.blocks import open_index

    index = open_index(Path(job["packed"]) / job["index"], "train")
    batches = list(_batches(job))
    with clock:
        for batch in batches:
            will_read(locate_rows(index, batch.rows))
    return {"tokens": sum(len(batch.ids) for batch in batches)}


def read(job: Job, clock: Clock) -> dict[str, Any]:
    """Rows to streams."""
    from rbt.formats.blocks import open_index
    from rbt.trainer.batches import read_batch

    index = open_index(Path(job["packed"]) / job["index"], "train")
    batches = list(_batches(job))
    with clock:
        for batch in batches:
            read_batch(index, batch.rows, batch.epochs)
    return {"tokens": sum(len(batch.ids) for batch in batches)}


def mask(job: Job, clock: Clock) -> dict[str, Any]:
    """Streams to masked streams."""
    from rbt.trainer.batch_masking import mask_batches

    steps, rule = list(_steps(job)), _rule(job)
    with clock:
        masked = [len(each.labels) for batches in steps for each in mask_batches(batches, rule)]
    tokens = sum(len(batch.ids) for batches in steps for batch in batches)
    return {"tokens": tokens, "masked": sum(masked) / tokens}


def tensors(job: Job, clock: Clock) -> dict[str, Any]:
    """Masked streams to padded tensors."""
    from rbt.trainer.batch_masking import mask_batch
    from rbt.trainer.inputs import make_inputs

    rule, rounding = _rule(job), _rounding(job)
    batches = [mask_batch(batch, rule) for batch in _batches(job)]
    with clock:
        for batch in batches:
            make_inputs(batch, rounding)
    return {"tokens": sum(len(batch.batch.ids) for batch in batches)}


def everything(job: Job, clock: Clock) -> dict[str, Any]:
    """All of the above, as a run's reading thread does it."""
    from rbt.trainer.batch_masking import mask_batches
    from rbt.trainer.inputs import make_inputs

    rule, rounding, tokens = _rule(job), _rounding(job), 0
    with clock:
        for batches in _steps(job):
            tokens += sum(make_inputs(masked, rounding).tokens for masked in mask_batches(batches, rule))
    return {"tokens": tokens}


def collator(job: Job, clock: Clock) -> dict[str, Any]:
    """DataCollatorForLanguageModeling over rows that lie in memory as lists of ids: masks and padding alone."""
    import numpy as np
    from transformers import DataCollatorForLanguageModeling, RobertaTokenizerFast

    tokenizer = RobertaTokenizerFast.from_pretrained(job["packed"])
    masking = DataCollatorForLanguageModeling(tokenizer, mlm_probability=FRACTION, pad_to_multiple_of=8)
    batches = []
    for batch in _batches(job):
        rows = np.split(batch.ids, batch.row_edges[1:-1])
        batches.append([{"input_ids": row.tolist()} for row in rows])
    with clock:
        for rows in batches:
            masking(rows)
    return {"tokens": sum(len(row["input_ids"]) for rows in batches for row in rows)}


def resume(job: Job, clock: Clock) -> dict[str, Any]:
    """The first masked micro-batches of step 1,000,000, from a packed folder that is not open yet."""
    from rbt.formats.blocks import open_index
    from rbt.trainer.batch_masking import mask_batches
    from rbt.trainer.batches import Grid, read_steps

    rule, step = _rule(job), 1_000_000
    with clock:
        index = open_index(Path(job["packed"]) / job["index"], "train")
        grid = Grid(0, 1, job["micro_batch"])
        masked = mask_batches(next(read_steps(index, grid, 1, job["global_batch"], step, step + 1)), rule)
    return {"tokens": sum(len(each.batch.ids) for each in masked), "epoch": int(masked[0].batch.epochs[0])}


def _forget(folder: Path) -> None:
    """Ask the system to drop what it holds in memory of a folder's token files."""
    for path in sorted(folder.glob("*.tokens.bin")):
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cold(advised: bool) -> Run:
    """Reading batches of tokens that are not in memory; the system told of a step's rows before the step, or not."""
    def run(job: Job, clock: Clock) -> dict[str, Any]:
        from rbt.formats.block_stream import locate_rows, will_read
        from rbt.formats.blocks import open_index
        from rbt.trainer.batches import Grid, read_batch

        _forget(Path(job["packed"]) / "tokens")
        index = open_index(Path(job["packed"]) / job["index"], "train")
        grid, tokens = Grid(0, 1, job["micro_batch"]), 0
        with clock:
            for step in range(job["steps"]):
                parts = grid.step_rows(step, 1, job["global_batch"], index.num_rows)
                if advised:
                    for _, rows in parts:
                        will_read(locate_rows(index, rows))
                tokens += sum(len(read_batch(index, rows, epochs).ids) for epochs, rows in parts)
        return {"tokens": tokens, "rows": job["steps"] * job["global_batch"]}

    return run


RBT, TORCH = ("numpy",), ("numpy", "torch")
HUGGING_FACE = ("transformers", "torch")
CONTENDERS = {
    "rbt: order": Contender(order, ("rbt",), RBT),
    "rbt: advice": Contender(advice, ("rbt",), RBT),
    "rbt: read": Contender(read, ("rbt",), RBT),
    "rbt: mask": Contender(mask, ("rbt",), RBT),
    "rbt: tensors": Contender(tensors, ("rbt", "torch"), TORCH),
    "rbt: all of it": Contender(everything, ("rbt", "torch"), TORCH),
    "transformers' collator": Contender(collator, ("transformers", "torch"), HUGGING_FACE),
    "rbt: resume at step 1,000,000": Contender(resume, ("rbt",), RBT),
    "rbt: from disk, not told": Contender(cold(False), ("rbt",), RBT),
    "rbt: from disk, told before": Contender(cold(True), ("rbt",), RBT),
}

if __name__ == "__main__":
    serve(CONTENDERS)
