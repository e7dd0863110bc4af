"""How many rows a forward pass takes: `micro_batch = "auto"` is the most that fit, found once and remembered.

    trial (rows) ──forward, backward──> fits or not ──doubling, then bisection──> rows ──> RUN/micro_batch.json
    memory that runs out in training ──> those rows were too many ──> the next start tries fewer

A trial is a pass of full rows, laid out as the run's batches are. It is not compiled, which would take a minute for
each trial: what a compiled pass keeps for the backward pass is a part of what any other keeps, the rest is computed
anew. That is what its partitioner is made for, and was not measured here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rbt.config import to_table
from rbt.errors import ConfigError, RbtError
from rbt.manifest import read_json, to_json
from rbt.storage import write_text
from rbt.trainer.batch_masking import MaskedBatch
from rbt.trainer.batches import Batch
from rbt.trainer.device_errors import naming_operations, ran_out
from rbt.trainer.distributed import World
from rbt.trainer.inputs import Rounding, make_inputs
from rbt.trainer.model import Roberta
from rbt.trainer.training import batch_losses

REMEMBERED = "micro_batch.json"
CPU_ROWS = 16  # a larger pass is not faster there, and memory is shared with everything else
FINENESS = 8  # the result is within 1/8 of the largest that fits
SPARE = 0.04  # of the device's memory, left to the allocator and to communication


def largest_fitting(fits: Callable[[int], bool], most: int) -> int:
    """The largest number of rows up to `most` that `fits`, to within 1/8 of it; 0 where not even one does."""
    good, bad = 0, most + 1
    trial = min(8, most)
    while trial > good and good < most:
        if fits(trial):
            good, trial = trial, min(2 * trial, most, bad - 1)
        else:
            bad = trial
            break
    while bad - good > max(1, good // FINENESS):
        middle = (good + bad) // 2
        if fits(middle):
            good = middle
        else:
            bad = middle
    return good


def circumstances(
    world: World, model: Roberta, max_tokens: int, precision: torch.dtype, compiled: bool, by_edges: bool
) -> dict[str, Any]:
    """What decides how many rows fit, and may differ from one start of a run to the next."""
    return {
        "model": to_table(model.config), "max_tokens": max_tokens, "precision": str(precision),
        "checkpoint_activations": model.checkpoint_activations, "compile": compiled, "by_edges": by_edges,
        "ranks": world.size, "device": world.device_name, "torch": str(torch.__version__),
    }


def _entries(run: Path) -> list[dict[str, Any]]:
    """Each with a `key`, and `rows` that were found, or `too_many` that memory ran out with, or both."""
    path = run / REMEMBERED
    return list(read_json(path)) if path.is_file() else []


def _entry(run: Path, key: Mapping[str, Any]) -> dict[str, Any]:
    return next((entry for entry in _entries(run) if entry["key"] == dict(key)), {"key": dict(key)})


def _write_entry(run: Path, entry: Mapping[str, Any]) -> None:
    others = [each for each in _entries(run) if each["key"] != entry["key"]]
    write_text(run / REMEMBERED, to_json([*others, entry]))


def remembered(run: Path, key: Mapping[str, Any]) -> int | None:
    """The rows that a former start found under the same circumstances."""
    rows = _entry(run, key).get("rows")
    return None if rows is None else int(rows)


def remember(run: Path, key: Mapping[str, Any], rows: int) -> None:
    """Keep what was found."""
    if remembered(run, key) != rows:
        _write_entry(run, {**_entry(run, key), "rows": rows})


def forget(run: Path, key: Mapping[str, Any], rows: int) -> None:
    """Memory ran out with what was found: keep that so many rows are too many, in place of it."""
    _write_entry(run, {"key": dict(key), "too_many": rows})


def most_to_try(run: Path, key: Mapping[str, Any], share: int) -> int:
    """The share, or 1/8 below the rows that memory ran out with."""
    too_many = _entry(run, key).get("too_many")
    return share if too_many is None else min(share, int(too_many) - max(1, int(too_many) // FINENESS))


def full_rows(rows: int, max_tokens: int, fraction: float) -> MaskedBatch:
    """A batch of full rows, the most that a pass of so many rows can hold.

    The first is two blocks and the others one, so that attention goes as it does where rows differ.
    """
    tokens, predicted = rows * max_tokens, int(rows * (max_tokens * fraction + 1))
    row_edges = np.arange(0, tokens + 1, max_tokens)
    edges = np.insert(row_edges, 1, max_tokens // 3)
    ids, none = np.full(tokens, 4, dtype=np.int64), np.empty(0, dtype=np.int64)
    numbers, blocks = np.arange(rows), np.arange(rows + 1)
    batch = Batch(ids, edges, edges, row_edges, blocks, np.zeros_like(blocks), none, numbers, numbers)
    selected = np.linspace(0, tokens - 1, predicted).astype(np.int64)
    return MaskedBatch(batch, ids, selected, ids[selected])


def _try_pass(
    model: torch.nn.Module, device: torch.device, rows: int, rounding: Rounding, fraction: float, autocasting: Any
) -> None:
    total = torch.cuda.get_device_properties(device).total_memory
    parameters = sum(parameter.numel() for parameter in model.parameters())
    reserve = torch.empty(int(8 * parameters + SPARE * total), dtype=torch.uint8, device=device)
    inputs = make_inputs(full_rows(rows, rounding.max_tokens, fraction), rounding).to(device)
    model.train()
    with autocasting:
        loss, _ = batch_losses(model, inputs)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.cuda.synchronize(device)
    del reserve


def fits_on_gpu(
    model: torch.nn.Module, device: torch.device, rows: int, rounding: Callable[[int], Rounding], fraction: float,
    autocasting: Any,
) -> bool:
    """Whether a pass of full rows fits, beside the optimizer's moments and the spare memory.

    `rounding`: of micro-batches of so many rows. The device's peak of memory is counted anew from the end.
    """
    try:
        with naming_operations():
            _try_pass(model, device, rows, rounding(rows), fraction, autocasting)
        return True
    except RuntimeError as error:
        if not ran_out(error):
            raise
        return False
    finally:  # what the trial held is gone here, with the error
        model.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def choose_micro_batch(
    setting: int | str, share: int, device: torch.device, fits: Callable[[int], bool], run: Path, key: Mapping[str, Any]
) -> int:
    """Rows a forward pass of this rank: the setting, or for "auto" the most that fit, never more than its share."""
    if isinstance(setting, int):
        if setting < 1:
            raise ConfigError('[data] micro_batch: expected "auto" or at least 1', found=repr(setting))
        return min(setting, share)
    if device.type == "cpu":
        return min(share, CPU_ROWS)
    if (rows := remembered(run, key)) is not None:
        return min(rows, share)
    rows = largest_fitting(fits, most_to_try(run, key, share))
    if not rows:
        raise RbtError(
            "expected room for one row", found=f"{device} is too small",
            cure="set run.checkpoint_activations = true, or a smaller model",
        )
    return rows
