"""Documents as they are written: with the cuts of decontamination and of shared paragraphs made.

    <task>.arrow, <task>.cuts.npy ... ──read_cut──> batches of documents, column `text` cut

A cuts file is int64 (3, n): row in the part, start and stop in bytes of the text, ascending; the cuts of a text are
disjoint and apart, and lie between characters. What a cut inside a text leaves on its two sides is joined by a blank
line, as paragraphs are; a cut at an end leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from rbt.corpus.dedup.arrays import Int64, open_array
from rbt.corpus.dedup.shingles import UInt8
from rbt.errors import ArtefactError
from rbt.formats.parts import read_batches, string_buffers
from rbt.kernels import kernel

LINE_FEED, JOINT_BYTES = 10, 2


def read_cut(path: Path, cuts: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    """The batches of an ingested part with the cuts of each file made, one file after the other.

    Raises ArtefactError where the cuts are of another part.
    """
    batches = read_batches(path)
    for file in cuts:
        batches = _make_cuts(batches, file)
    return batches


def _make_cuts(batches: Iterator[pa.RecordBatch], file: Path) -> Iterator[pa.RecordBatch]:
    """The batches with a file's cuts made; a batch that has none passes as it is."""
    places = open_array(file)
    first = used = 0
    for batch in batches:
        low, high = np.searchsorted(places[0], [first, first + batch.num_rows])
        yield cut_batch(batch, places[0, low:high] - first, places[1:, low:high]) if low < high else batch
        used += int(high - low)
        first += batch.num_rows
    if used != places.shape[1]:
        raise ArtefactError(
            f"expected cuts in rows below {first}", path=file, found=f"row {places[0, -1]}",
            cure="delete the work folder and run again",
        )


def cut_batch(batch: pa.RecordBatch, rows: Int64, cuts: Int64) -> pa.RecordBatch:
    """A batch with the cuts (2, n) in its rows (n,) made."""
    column = batch.schema.get_field_index("text")
    return batch.set_column(column, batch.schema.field(column), cut_texts(batch.column(column), rows, cuts))


def cut_texts(texts: pa.Array, rows: Int64, cuts: Int64) -> pa.Array:
    """An Arrow string array without the bytes start to stop of some texts: rows (n,), cuts (2, n), both ascending."""
    data, offsets = string_buffers(texts)
    offsets = offsets.astype(np.int64)
    ends = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(cut_sizes(np.diff(offsets), rows, cuts), out=ends[1:])
    joined = np.empty(ends[-1], np.uint8)
    _copy(data, offsets, np.ascontiguousarray(rows), np.ascontiguousarray(cuts), joined, ends)
    width = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    return pa.Array.from_buffers(
        texts.type, len(texts), [None, pa.py_buffer(ends.astype(width)), pa.py_buffer(joined)]
    )


def cut_sizes(sizes: Int64, rows: Int64, cuts: Int64) -> Int64:
    """Bytes of texts after their cuts, int64 as `sizes`."""
    inside = (cuts[0] > 0) & (cuts[1] < sizes[rows])
    left = sizes.copy()
    np.subtract.at(left, rows, cuts[1] - cuts[0] - JOINT_BYTES * inside)
    return left


@kernel
def _copy(data: UInt8, offsets: Int64, rows: Int64, cuts: Int64, joined: UInt8, ends: Int64) -> None:
    number = 0
    for row in range(len(offsets) - 1):
        out, place = ends[row], offsets[row]
        while number < len(rows) and rows[number] == row:
            start, stop = offsets[row] + cuts[0, number], offsets[row] + cuts[1, number]
            joined[out : out + start - place] = data[place:start]
            out += start - place
            if start > offsets[row] and stop < offsets[row + 1]:
                joined[out : out + JOINT_BYTES] = LINE_FEED
                out += JOINT_BYTES
            place = stop
            number += 1
        joined[out : out + offsets[row + 1] - place] = data[place : offsets[row + 1]]
