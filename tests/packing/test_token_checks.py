"""`check_tokens` and `check_index` find each kind of damage that hashes cannot tell from intent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rbt.engine import LocalEngine
from rbt.formats.arrays import write_array
from rbt.formats.blocks import PAIR_FORMATS, open_index
from rbt.formats.index_check import check_index
from rbt.formats.tokens import check_tokens
from rbt.manifest import load_manifest, write_manifest
from rbt.packing.bpe import train_bpe
from rbt.packing.config import BpeConfig, PackConfig
from rbt.packing.pack import index_name, pack

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


@pytest.fixture
def pairs(packed: Path, tmp_path: Path) -> Path:
    """Both pair indices beside the other one; the folder of the one of sentences."""
    for format in PAIR_FORMATS:
        config = PackConfig(format, 64, validation_fraction=0.1)  # type: ignore[arg-type]
        pack(tmp_path / "corpus", tmp_path / "tokenizer", packed, config, LocalEngine(1), replace=False)
        assert check_index(packed / index_name(config)) == []
    return packed / "sentence-pair-64-seed1"


def first(blocks: np.ndarray[Any, Any], is_next: int) -> int:
    return int(np.flatnonzero(blocks[:, 4] == is_next)[3])


def exchange(blocks: np.ndarray[Any, Any]) -> None:
    """Give two pairs the other's second half, which is of another document."""
    one, other = np.flatnonzero(blocks[:, 4] == 1)[[0, -1]]
    blocks[[one, other], 2:4] = blocks[[other, one], 2:4]


def follow(blocks: np.ndarray[Any, Any]) -> None:
    """Let a pair that is not next repeat its own first half."""
    place = first(blocks, 0)
    blocks[place, 2:4] = blocks[place, :2]


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (exchange, "halves that follow each other where is_next is 1"),
        (follow, "of two documents where it is 0"),
        (lambda blocks: blocks.__setitem__((first(blocks, 0), 4), 1), "halves that follow each other"),
        (lambda blocks: blocks.__setitem__((first(blocks, 1), 4), 0), "of two documents where it is 0"),
        (lambda blocks: blocks.__setitem__((0, 4), 7), "of two documents where it is 0"),
        (lambda blocks: blocks.__setitem__((0, 3), 10**6), "two stretches of tokens"),
        (lambda blocks: blocks.__setitem__((0, 1), blocks[0, 0]), "two stretches of tokens"),
        (lambda blocks: blocks.__setitem__((0, 2), blocks[0, 2] + 1), "whole sentences in a pair"),
        (lambda blocks: blocks.__setitem__(first(blocks, 0), blocks[first(blocks, 0) + 1]), "in exactly one block"),
    ],
)
def test_damaged_pairs_are_found(pairs: Path, damage: Callable[[Any], None], problem: str) -> None:
    path = pairs / f"{STEM}.blocks.npy"
    blocks = np.load(path)
    damage(blocks)
    write_array(path, blocks)
    (found,) = check_index(pairs)
    assert problem in found and STEM in found


def test_segments_over_two_documents_or_of_several_sentences_are_found(pairs: Path) -> None:
    """A half that runs on into the next document, and segments where single sentences are promised."""
    segments = pairs.parent / "segment-pair-64-seed1"
    path, document_ends = segments / f"{STEM}.blocks.npy", open_index(segments, "train").parts[0].tokens.document_ends
    blocks = np.load(path)
    write_array(pairs / f"{STEM}.blocks.npy", blocks)
    write_array(pairs / f"{STEM}.rows.npy", np.load(segments / f"{STEM}.rows.npy"))
    assert "whole sentences in a pair" in check_index(pairs)[0]
    blocks[first(blocks, 0), 2:4] = [0, document_ends[1]]
    write_array(path, blocks)
    assert "each half of a pair in one document" in check_index(segments)[0]


@pytest.mark.parametrize("name", ["tokens_in_blocks", "next", "tokens_repeated", "ids", "rows"])
def test_counts_that_are_not_those_of_the_ledger_are_found(pairs: Path, name: str) -> None:
    manifest = load_manifest(pairs)
    manifest.ledger.row("blocks", "train").count(name, -1)
    write_manifest(pairs, manifest)
    (found,) = check_index(pairs)
    assert f" {name} in train as in the ledger" in found


def test_pairs_that_a_part_of_one_document_lost_are_missed_in_the_ledger(pairs: Path) -> None:
    """Such a part may leave out its last sentence; more than was counted is a loss."""
    document_ends = pairs.parent / "tokens" / f"{STEM}.document_ends.npy"
    write_array(document_ends, np.load(document_ends)[-1:])
    write_array(pairs / f"{STEM}.blocks.npy", np.empty((0, 5), dtype=np.int64))
    write_array(pairs / f"{STEM}.rows.npy", np.zeros(1, dtype=np.int64))
    assert any("dropped_no_other_document in train as in the ledger" in problem for problem in check_index(pairs))
