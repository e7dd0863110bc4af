"""Integer arrays on disk: what one step of deduplication leaves for the next to shuffle.

    run      (rows, n): a key (one or two rows of uint64) and a document number a column, by the key's leading bits
    pairs    (rows, n): ordered by their first row
    flags    bool (documents,): one byte a document, the only thing that grows with the corpus in a process

A file is a .npy with contiguous rows, so that a memory map answers "which columns have a first value in this range"
from a few pages. A reader takes the same range from every file; nobody sorts a whole corpus.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rbt.errors import ArtefactError
from rbt.formats.arrays import Array, write_array
from rbt.kernels import kernel

Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
KEY_BITS, LEADING_BITS = 64, 12  # keys are uint64; runs are in the order of that many of their leading bits
SAMPLES = 1 << 20  # values looked at to cut ranges of about equal size


def open_array(path: Path) -> Array:
    """Memory-map a .npy file, read-only. Raises ArtefactError where it is missing or cut.

    The map holds no file descriptor (`np.load` keeps one an array): a task opens one file a part, thousands of them.
    """
    try:
        with path.open("rb") as stream, pa.memory_map(str(path)) as mapped:
            if (version := np.lib.format.read_magic(stream)) != (1, 0):
                raise ValueError(f".npy version {version}")
            shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
            values = np.frombuffer(mapped.read_buffer()[stream.tell() :], dtype, math.prod(shape))
            return values.reshape(shape, order="F" if is_fortran else "C")
    except (OSError, ValueError, EOFError) as error:
        raise ArtefactError(
            "expected a .npy file of an earlier step", path=path, found=str(error), cure="delete it and run again"
        ) from error


def open_range(path: Path, low: int, high: int) -> Array:
    """Columns with low <= first value < high, as a view of the file: (rows, n). Edges of a run's range are multiples
    of 2 ** (KEY_BITS - LEADING_BITS)."""
    array = open_array(path)
    return array[:, slice(*bounds(array[0], low, high))]


def read_range(paths: Sequence[Path], low: int, high: int, rows: int, dtype: npt.DTypeLike = np.int64) -> Array:
    """Columns of all files with low <= first value < high, one file behind the other: (rows, n), in memory."""
    return np.concatenate([np.empty((rows, 0), dtype), *(open_range(path, low, high) for path in paths)], axis=1)


def bounds(values: Array, low: int, high: int) -> tuple[int, int]:
    """(start, stop) of the values in [low, high) of an integer array in which the values below an edge come first."""
    return tuple(  # type: ignore[return-value]
        len(values) if edge > np.iinfo(values.dtype).max else int(np.searchsorted(values, values.dtype.type(edge)))
        for edge in (low, high)
    )


def key_ranges(number: int) -> Iterator[tuple[int, int]]:
    """Cut the space of keys into at least `number` ranges [low, high) of equal width, 2 ** LEADING_BITS at most."""
    number = 1 << min(max(number - 1, 0).bit_length(), LEADING_BITS)
    return pairwise((1 << KEY_BITS) * place // number for place in range(number + 1))


@kernel
def order_by_leading_bits(keys: npt.NDArray[np.uint64], bits: int) -> Int64:
    """Places of `keys` in the order of their leading `bits`, equals as they come: int64 (n,)."""
    shift = np.uint64(64 - bits)
    starts = np.zeros((1 << bits) + 1, dtype=np.int64)
    for place in range(len(keys)):
        starts[np.int64(keys[place] >> shift) + 1] += 1
    for bucket in range(1 << bits):
        starts[bucket + 1] += starts[bucket]
    order = np.empty(len(keys), dtype=np.int64)
    for place in range(len(keys)):
        bucket = int(keys[place] >> shift)
        order[starts[bucket]] = place
        starts[bucket] += 1
    return order


def write_run(path: Path, keys: Sequence[Array], numbers: Int64) -> None:
    """Write a run: `keys` uint64 (n,) each, `numbers` (n,)."""
    order = order_by_leading_bits(keys[0], LEADING_BITS)
    write_array(path, np.stack([row[order] for row in (*keys, numbers.astype(np.uint64))]))


@kernel
def gather(source: Array, starts: Int64, stops: Int64, out: Array) -> None:
    """Copy the stretches source[starts[i]:stops[i]] into `out`, one behind the other."""
    done = 0
    for stretch in range(len(starts)):
        for place in range(starts[stretch], stops[stretch]):
            out[done] = source[place]
            done += 1


def chunk_ends(sizes: Int64, limit: int) -> Iterator[tuple[int, int]]:
    """Cut a list of sizes into ranges [start, stop) of at most `limit` in all, or of one."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        done = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, done + limit, side="right")), start + 1)
        yield start, stop
        start = stop


def cut_ranges(columns: Sequence[Array], size: int) -> list[tuple[int, int]]:
    """Ranges [low, high) that hold about `size` values each, of ascending integer arrays; values that are equal stay
    together. None where there is no value."""
    total = sum(len(values) for values in columns)
    if not total:
        return []
    stride = max(1, total // SAMPLES)
    sample = np.sort(np.concatenate([values[stride - 1 :: stride] for values in columns]))
    inner = np.unique(sample[size // stride :: max(1, size // stride)])
    first = min(int(values[0]) for values in columns if len(values))
    last = max(int(values[-1]) for values in columns if len(values))
    edges = [first, *(int(edge) for edge in inner if edge > first), last + 1]  # an edge is some value: none is empty
    return list(pairwise(edges))


def write_flags(path: Path, documents: int, positions: Iterable[Int64]) -> Path:
    """Write which documents are flagged, from their positions: bool (documents,)."""
    flags = np.zeros(documents, dtype=np.bool_)
    for found in positions:
        flags[found] = True
    write_array(path, flags)
    return path
