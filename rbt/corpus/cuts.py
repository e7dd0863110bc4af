"""Texts with something cut out (placeholder until decontamination lands)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from rbt.formats.parts import read_batches


def read_cut(path: Path, cuts: Path | None) -> Iterator[pa.RecordBatch]:
    """The batches of a part."""
    assert cuts is None
    return read_batches(path)
