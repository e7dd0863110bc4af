"""Arrays on disk as .npy files, whole under their names: read with numpy alone, memory-mapped.

    array ──write_array──> NAME.npy <──write_joined── pieces, one in memory at a time
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rbt.storage import atomic_path

Array = npt.NDArray[Any]


def write_array(path: Path, array: Array) -> None:
    """Write a .npy file atomically, in C order: a row of a table is one stretch of the file, however it was made."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, np.asarray(array, order="C"), allow_pickle=False)


def write_joined(path: Path, pieces: Iterable[Array], length: int, dtype: npt.DTypeLike) -> None:
    """Write one-dimensional pieces, one behind the other, as a .npy file of shape (length,) atomically.

    Raises ValueError where they hold another number of values.
    """
    final, written = np.dtype(dtype), 0
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        header = {"descr": np.lib.format.dtype_to_descr(final), "fortran_order": False, "shape": (length,)}
        np.lib.format.write_array_header_1_0(stream, header)
        for piece in pieces:
            stream.write(np.ascontiguousarray(piece, dtype=final).data)
            written += len(piece)
        if written != length:
            raise ValueError(f"expected {length} values for {path}; found {written}")
