"""Arrays as numpy reads them, whole or not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.formats.arrays import write_array, write_joined

PIECES = st.lists(st.lists(st.integers(0, 2**32 - 1), max_size=5), max_size=5)


@given(pieces=PIECES, dtype=st.sampled_from(["<u8", "<i8"]))
def test_joined_pieces_are_the_array(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[list[int]], dtype: str
) -> None:
    """Byte for byte what numpy writes of the whole, from pieces of another type and layout too."""
    folder = tmp_path_factory.mktemp("arrays")
    whole = np.array([value for piece in pieces for value in piece], dtype=dtype)
    views = [np.repeat(np.array(piece, dtype=np.uint32), 2)[::2] for piece in pieces]
    write_joined(folder / "joined.npy", views, len(whole), dtype)
    write_array(folder / "whole.npy", whole)
    assert (folder / "joined.npy").read_bytes() == (folder / "whole.npy").read_bytes()
    assert np.array_equal(np.load(folder / "joined.npy", mmap_mode="r"), whole)


def test_pieces_of_another_number_leave_nothing(tmp_path: Path) -> None:
    """A header that promises other than what follows would be a damaged file."""
    with pytest.raises(ValueError, match="expected 3 values"):
        write_joined(tmp_path / "a.npy", [np.arange(2)], 3, np.int64)
    assert not list(tmp_path.iterdir())


def test_objects_are_not_written(tmp_path: Path) -> None:
    """No pickle, which whoever reads would have to run."""
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        write_array(tmp_path / "a.npy", np.array([{}], dtype=object))
    assert not list(tmp_path.iterdir())


def test_a_row_of_a_table_is_one_stretch_of_the_file(tmp_path: Path) -> None:
    """Also of one that numpy has put in another order, as it does where columns are chosen."""
    chosen = np.arange(12).reshape(3, 4)[:, np.array([2, 0, 3])]
    assert not chosen.flags.c_contiguous
    write_array(tmp_path / "a.npy", chosen)
    written = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert written.flags.c_contiguous
    assert np.array_equal(written, chosen)
