"""Errors that torch raises in a pass and a user can cure, as one line each.

Memory that runs out, and, under `--deterministic`, an operation without a deterministic kernel.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from rbt.errors import RbtError

# torch's error, and what CUDA and cuBLAS say where they allocate for themselves
_NO_MEMORY = ("CUDA out of memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
_NO_KERNEL = " does not have a deterministic implementation"  # behind the operation's name
_NO_WORKSPACE = "not deterministic because it uses CuBLAS"
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def ran_out(error: RuntimeError) -> bool:
    """Whether a device's memory ran out."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _NO_MEMORY)


@contextmanager
def naming_operations() -> Iterator[None]:
    """Turn torch's error about an operation without a deterministic kernel into an RbtError that names it."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if _NO_KERNEL in text:
            found, cure = text.partition(_NO_KERNEL)[0].splitlines()[-1] + " has none", "leave out --deterministic"
        elif _NO_WORKSPACE in text:
            found = f"cuBLAS with {WORKSPACE}={os.environ.get(WORKSPACE, '')}"
            cure = f"unset {WORKSPACE}, or leave out --deterministic"
        else:
            raise
        raise RbtError("expected kernels that give the same bits every time", found=found, cure=cure) from error


@contextmanager
def naming_rows(rows: int, forget: Callable[[], None] | None) -> Iterator[None]:
    """Turn memory that runs out in a pass of so many rows into an RbtError with a cure.

    `forget`, where the number was found and not set, is called first, so that the next start tries fewer.
    """
    try:
        yield
    except RuntimeError as error:
        if not ran_out(error):
            raise
        if forget is not None:
            forget()
        fewer = f"data.micro_batch below {rows}, or " if rows > 1 else ""
        again = "" if forget is None else "start again, with fewer rows; or "
        raise RbtError(
            "expected room for a pass", found=f"out of memory with a micro-batch of {rows} rows",
            cure=f"{again}set {fewer}run.checkpoint_activations = true",
        ) from error
