"""How many rows a forward pass takes: `micro_batch = "auto"` is the most that fit, found once and remembered.

    trial (rows) ──forward, backward──> fits or not ──doubling, then bisection──> rows ──> RUN/micro_batch.json
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rbt.errors import ConfigError, RbtError
from rbt.manifest import read_json, to_json
from rbt.storage import write_text
from rbt.trainer.batch_masking import MaskedBatch
from rbt.trainer.batches import Batch
from rbt.trainer.inputs import Rounding, make_inputs
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


def remembered(run: Path, key: Mapping[str, Any]) -> int | None:
    """The rows that a former start found under the same circumstances."""
    path = run / REMEMBERED
    if not path.is_file():
        return None
    for entry in read_json(path):
        if entry["key"] == dict(key):
            return int(entry["rows"])
    return None


def remember(run: Path, key: Mapping[str, Any], rows: int) -> None:
    """Keep what was found."""
    path = run / REMEMBERED
    entries = read_json(path) if path.is_file() else []
    write_text(path, to_json([*entries, {"key": dict(key), "rows": rows}]))


def full_rows(rows: int, max_tokens: int, fraction: float) -> MaskedBatch:
    """A batch of full rows of one block each, the most that a pass of so many rows can hold."""
    tokens, predicted = rows * max_tokens, int(rows * (max_tokens * fraction + 1))
    edges = np.arange(0, tokens + 1, max_tokens)
    ids, none = np.full(tokens, 4, dtype=np.int64), np.empty(0, dtype=np.int64)
    numbers = np.arange(rows)
    batch = Batch(ids, edges, edges, edges, numbers, numbers, none, numbers, numbers)
    selected = np.linspace(0, tokens - 1, predicted).astype(np.int64)
    return MaskedBatch(batch, ids, selected, ids[selected])


def fits_on_gpu(
    model: torch.nn.Module, device: torch.device, rows: int, max_tokens: int, fraction: float, autocasting: Any
) -> bool:
    """Whether a pass of full rows fits, beside the optimizer's moments and the spare memory."""
    total = torch.cuda.get_device_properties(device).total_memory
    parameters = sum(parameter.numel() for parameter in model.parameters())
    try:
        reserve = torch.empty(int(8 * parameters + SPARE * total), dtype=torch.uint8, device=device)
        inputs = make_inputs(full_rows(rows, max_tokens, fraction), Rounding(max_tokens=max_tokens)).to(device)
        model.train()
        with autocasting:
            loss, _ = batch_losses(model, inputs)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.cuda.synchronize(device)
        del reserve
        return True
    except torch.cuda.OutOfMemoryError:
        return False
    finally:
        model.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()


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
    rows = largest_fitting(fits, share)
    if not rows:
        raise RbtError(
            "expected room for one row", found=f"{device} is too small",
            cure="set run.checkpoint_activations = true, or a smaller model",
        )
    return rows
