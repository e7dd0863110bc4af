"""Texts with something cut out (placeholder until decontamination lands)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from rbt.formats.parts import read_batches


def read_cut(path: Path, cuts: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    """The batches of a part."""
    batches = read_batches(path)
    for file in cuts:
        batches = apply_cuts(batches, np.load(file))
    return batches


def apply_cuts(batches: Iterator[pa.RecordBatch], cuts: np.ndarray) -> Iterator[pa.RecordBatch]:
    first = 0
    for batch in batches:
        texts = [text.encode() for text in batch.column("text").to_pylist()]
        for row, start, stop in cuts.T[::-1].tolist():
            if first <= row < first + len(texts):
                texts[row - first] = texts[row - first][:start] + texts[row - first][stop:]
        place = batch.schema.get_field_index("text")
        yield batch.set_column(place, batch.schema.field(place), pa.array([text.decode() for text in texts]))
        first += batch.num_rows
