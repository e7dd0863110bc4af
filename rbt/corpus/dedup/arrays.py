"""Integer arrays on disk, sorted by their first row: what one step of deduplication leaves for the next to shuffle.

A file is a .npy of shape (rows, n), each row contiguous, so that a memory map answers "which columns have a first
value in this range" from a few pages. A reader takes the same range from every file; nobody sorts a whole corpus.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rbt.errors import ArtefactError
from rbt.formats.arrays import Array

Int64 = npt.NDArray[np.int64]
KEY_SPACE = 1 << 64  # keys are uint64


def open_array(path: Path) -> Array:
    """Memory-map a .npy file. Raises ArtefactError where it is missing or cut."""
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ArtefactError(
            "expected a .npy file of an earlier step", path=path, found=str(error), cure="delete it and run again"
        ) from error
    return array


def read_range(paths: Sequence[Path], low: int, high: int) -> Array:
    """Columns of all files with low <= first value < high, files one behind the other: (rows, n), in memory."""
    pieces = [array[:, slice(*bounds(array[0], low, high))] for array in map(open_array, paths)]
    return np.concatenate(pieces, axis=1)


def bounds(values: Array, low: int, high: int) -> tuple[int, int]:
    """(start, stop) of the values in [low, high) of an ascending integer array."""
    return tuple(  # type: ignore[return-value]
        len(values) if edge > np.iinfo(values.dtype).max else int(np.searchsorted(values, values.dtype.type(edge)))
        for edge in (low, high)
    )


def key_ranges(number: int) -> Iterator[tuple[int, int]]:
    """Cut the space of 64-bit keys into `number` ranges [low, high) of equal width."""
    edges = [KEY_SPACE * place // number for place in range(number + 1)]
    return pairwise(edges)


def is_member(values: Int64, ascending: Int64) -> npt.NDArray[np.bool_]:
    """Which values occur in an ascending array (which may be a memory map): bool, of the shape of `values`."""
    if not len(ascending):
        return np.zeros(values.shape, dtype=np.bool_)
    places = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    found: npt.NDArray[np.bool_] = ascending[places] == values
    return found
