"""`check_tokens` and `check_index` find each kind of damage that hashes cannot tell from intent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rbt.engine import LocalEngine
from rbt.formats.arrays import write_array
from rbt.formats.blocks import check_index, open_index
from rbt.formats.tokens import check_tokens
from rbt.packing.bpe import train_bpe
from rbt.packing.config import BpeConfig, PackConfig
from rbt.packing.pack import pack

STEM = "train-00000"


@pytest.fixture
def packed(corpus: Path, tmp_path: Path) -> Path:
    train_bpe(corpus, tmp_path / "tokenizer", BpeConfig(400), LocalEngine(1), replace=False)
    config = PackConfig("doc-sentences", 64, validation_fraction=0.1)
    pack(corpus, tmp_path / "tokenizer", tmp_path / "packed", config, LocalEngine(1), replace=False)
    return tmp_path / "packed"


def edit(path: Path, place: int, value: int) -> None:
    array = np.load(path)
    array[place] = value
    write_array(path, array)


def test_what_pack_wrote_is_sound(packed: Path) -> None:
    assert check_tokens(packed / "tokens") == [] == check_index(packed / "doc-sentences-64")


@pytest.mark.parametrize(
    ("name", "place", "value", "problem"),
    [
        ("sentence_ends", 1, 0, "sentence ends strictly ascending"),
        ("document_ends", 1, 0, "document ends ascending"),
        ("document_ends", 0, 1, "every document to end where a sentence ends"),
        ("sentence_ends", -1, 5, "last sentence and document to end at token"),
    ],
)
def test_ends_out_of_order_are_found(packed: Path, name: str, place: int, value: int, problem: str) -> None:
    edit(packed / "tokens" / f"{STEM}.{name}.npy", place, value)
    (found,) = check_tokens(packed / "tokens")
    assert problem in found and STEM in found


def test_an_id_outside_the_vocabulary_is_found(packed: Path) -> None:
    path = packed / "tokens" / f"{STEM}.tokens.bin"
    tokens = np.fromfile(path, dtype="<u2")
    tokens[-1] = 400
    path.write_bytes(tokens.tobytes())
    (found,) = check_tokens(packed / "tokens")
    assert "expected ids below 400; found 400" in found


def test_a_lost_document_end_is_found(packed: Path) -> None:
    path = packed / "tokens" / f"{STEM}.document_ends.npy"
    write_array(path, np.load(path)[1:])
    (found,) = check_tokens(packed / "tokens")
    assert "documents; found" in found


def test_a_missing_folder_is_a_problem(tmp_path: Path) -> None:
    assert "expected a finished tokens" in check_tokens(tmp_path)[0]
    assert len(check_index(tmp_path)) == 2


@pytest.mark.parametrize(
    ("name", "place", "value", "problem"),
    [
        ("blocks", (0, 0), 1, "each token in exactly one block"),
        ("blocks", (0, 1), 10**6, "each token in exactly one block"),
        ("rows", 1, 0, "row offsets ascending"),
        ("rows", -1, 3, "row offsets ascending"),
    ],
)
def test_a_damaged_index_is_found(
    packed: Path, name: str, place: int | tuple[int, int], value: int, problem: str
) -> None:
    folder = packed / "doc-sentences-64"
    array = np.load(folder / f"{STEM}.{name}.npy")
    array[place] = value
    write_array(folder / f"{STEM}.{name}.npy", array)
    (found,) = check_index(folder)
    assert problem in found and STEM in found


def test_rows_that_are_too_long_or_blocks_of_another_shape_are_found(packed: Path) -> None:
    folder = packed / "doc-sentences-64"
    blocks = len(open_index(folder, "train").parts[0].blocks)
    write_array(folder / f"{STEM}.rows.npy", np.array([0, blocks]))
    assert "rows of at most 64 ids" in check_index(folder)[0]
    write_array(folder / f"{STEM}.blocks.npy", np.zeros(3, dtype=np.int64))
    assert "blocks of shape (n, 2)" in check_index(folder)[0]
