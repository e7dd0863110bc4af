"""Packers against a brute-force packer that asks the reader how long each block is."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.formats.arrays import write_array
from rbt.formats.blocks import block_ids, block_lengths, cover_problem, separator_positions
from rbt.formats.tokenizer import BOS, EOS
from rbt.formats.tokens import TokenPart, open_part
from rbt.packing.packers import PACKERS

from .conftest import FIRST_ID, make_part

FORMATS = ("full-sentences", "doc-sentences")
SEPARATORS = ("document", "sentence")
documents = st.lists(st.lists(st.integers(1, 20), max_size=5), max_size=12)  # sentence lengths; [] is an empty document


def pieces(part: TokenPart, room: int) -> list[tuple[int, int]]:
    """Sentences as [start, end), those longer than the room cut."""
    edges = [0, *part.sentence_ends.tolist()]
    found = []
    for start, end in pairwise(edges):
        found += [(cut, min(cut + room, end)) for cut in range(start, end, room)]
    return found


def brute_force(part: TokenPart, max_tokens: int, separator: str, cross: bool) -> list[list[int]]:
    """Grow a block piece by piece while the reader says that it fits."""
    blocks: list[list[int]] = []
    for start, end in pieces(part, max_tokens - 2):
        starts_document = start in part.document_ends.tolist()
        if blocks and (cross or not starts_document):
            grown = np.array([blocks[-1][0], end])
            if len(block_ids(part, grown, separator)) <= max_tokens:
                blocks[-1][1] = end
                continue
        blocks.append([start, end])
    return blocks


def pack(part: TokenPart, format: str, max_tokens: int, separator: str) -> tuple[np.ndarray[Any, Any], int]:
    return PACKERS[format].blocks(part.sentence_ends, part.document_ends, max_tokens, separator == "sentence")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("separator", SEPARATORS)
@given(documents=documents, max_tokens=st.integers(3, 24))
def test_v23_blocks_are_those_of_a_brute_force_packer(
    format: str, separator: str, documents: list[list[int]], max_tokens: int
) -> None:
    part = make_part(documents)
    blocks, cut = pack(part, format, max_tokens, separator)
    assert blocks.tolist() == brute_force(part, max_tokens, separator, format == "full-sentences")
    assert cut == sum(length > max_tokens - 2 for sentences in documents for length in sentences)
    assert cover_problem(blocks, len(part.tokens)) == ""


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("separator", SEPARATORS)
@given(documents=documents, max_tokens=st.integers(3, 24))
def test_v24_a_block_reads_as_its_grammar_says(
    format: str, separator: str, documents: list[list[int]], max_tokens: int
) -> None:
    part = make_part(documents)
    blocks, _ = pack(part, format, max_tokens, separator)
    texts = [block_ids(part, block, separator).tolist() for block in blocks]
    assert [len(ids) for ids in texts] == block_lengths(part, blocks, separator).tolist()
    for (start, end), ids in zip(blocks.tolist(), texts, strict=True):
        assert len(ids) <= max_tokens
        assert (ids[0], ids[-1]) == (BOS, EOS) and EOS not in (ids[1], ids[-2])
        assert [id - FIRST_ID for id in ids if id != EOS][1:] == list(range(start, end))
        assert ids[1:-1].count(EOS) == expected_separators(part, start, end, separator)
    if format == "doc-sentences":
        inside = {end for block in blocks for end in separator_positions(part, *block, "document")}
        assert inside == set()


def expected_separators(part: TokenPart, start: int, end: int, separator: str) -> int:
    """Ends strictly inside, by counting tokens one at a time."""
    inside = range(start + 1, end)
    count = len(set(inside) & set(part.document_ends.tolist()))
    return count + (len(set(inside) & set(part.sentence_ends.tolist())) if separator == "sentence" else 0)


def test_sentence_separators_stand_where_fairseq_puts_them() -> None:
    part = make_part([[2, 1], [1]])
    blocks, _ = pack(part, "full-sentences", 16, "sentence")
    a, b, c, d = range(FIRST_ID, FIRST_ID + 4)
    assert block_ids(part, blocks[0], "sentence").tolist() == [BOS, a, b, EOS, c, EOS, EOS, d, EOS]


def test_an_empty_document_leaves_no_separator() -> None:
    part = make_part([[], [2], [], [], [1], []])
    blocks, _ = pack(part, "full-sentences", 16, "document")
    a, b, c = range(FIRST_ID, FIRST_ID + 3)
    assert [block_ids(part, block, "document").tolist() for block in blocks] == [[BOS, a, b, EOS, c, EOS]]


@pytest.mark.parametrize("format", FORMATS)
def test_v25_documents_of_about_the_size_of_a_block(format: str) -> None:
    lengths = [0, 1, 509, 510, 511, 512, 513]
    part = make_part([[length] if length else [] for length in lengths])
    blocks, cut = pack(part, format, 512, "document")
    expected = {
        "full-sentences": [1, 509, 510, 510, 1, 510, 2, 510, 3], "doc-sentences": [1, 509, 510, 510, 1, 510, 2, 510, 3],
    }
    assert np.diff(blocks, axis=1).ravel().tolist() == expected[format]
    assert cut == 3


def test_a_document_end_costs_one_place_of_a_full_block() -> None:
    fits, too_long = make_part([[300], [209]]), make_part([[300], [210]])
    assert len(pack(fits, "full-sentences", 512, "document")[0]) == 1
    assert len(pack(too_long, "full-sentences", 512, "document")[0]) == 2


def test_an_empty_part_has_no_block() -> None:
    part = make_part([])
    for format in FORMATS:
        blocks, cut = pack(part, format, 512, "document")
        assert blocks.shape == (0, 2) and cut == 0


def test_v28_positions_beyond_32_bits_are_packed() -> None:
    far = 1 << 33
    sentence_ends = np.array([far + 5, far + 10], dtype=np.int64)
    document_ends = np.array([far + 5, far + 10], dtype=np.int64)
    blocks, cut = PACKERS["full-sentences"].blocks(sentence_ends, document_ends, (1 << 20) + 2, False)
    assert cut == 1 and len(blocks) == 1 + (far >> 20)
    assert blocks[-1].tolist() == [far, far + 10]


def test_v28_blocks_beyond_32_bits_are_read(tmp_path: Path) -> None:
    count = (1 << 32) + 20
    with (tmp_path / "train-00000.tokens.bin").open("wb") as stream:  # sparse: takes no room on disk
        stream.truncate(2 * count)
        stream.seek(2 * (count - 3))
        stream.write(np.array([7, 8, 9], dtype="<u2").tobytes())
    for name in ("sentence_ends", "document_ends"):
        write_array(tmp_path / f"train-00000.{name}.npy", np.array([count - 2, count], dtype=np.int64))
    part = open_part(tmp_path, "train-00000", np.dtype("<u2"))
    block = np.array([count - 3, count], dtype=np.int64)
    assert block_ids(part, block, "document").tolist() == [BOS, 7, EOS, 8, 9, EOS]
    assert block_lengths(part, block[np.newaxis], "document").tolist() == [6]


@pytest.mark.parametrize(
    ("blocks", "problem"),
    [
        ([[0, 3], [3, 5]], ""),
        ([[3, 5], [0, 3]], ""),
        ([[0, 3], [4, 5]], "ends at token 3"),
        ([[0, 3], [2, 5]], "ends at token 3"),
        ([[1, 5]], "ends at token 0"),
        ([[0, 4]], "ends at token 4"),
        ([[0, 0], [0, 5]], "block 0 is"),
        ([], "no block for 5 tokens"),
    ],
)
def test_blocks_that_miss_or_repeat_a_token_are_told(blocks: list[list[int]], problem: str) -> None:
    found = cover_problem(np.array(blocks, dtype=np.int64).reshape(-1, 2), 5)
    assert problem in found and (problem != "") == (found != "")


def test_the_packers_are_the_formats_of_the_recipe() -> None:
    from typing import get_args

    from rbt.formats.blocks import PAIR_FORMATS
    from rbt.packing.config import Format

    assert set(PACKERS) == set(get_args(Format)) == {*FORMATS, *PAIR_FORMATS}
