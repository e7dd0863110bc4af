"""Blocks, pairs, order and masks as docs/formats.md writes them are those of the package."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt import rng
from rbt.packing.packers import PACKERS
from rbt.packing.pairs import part_state
from rbt.trainer.config import DataConfig
from rbt.trainer.masking import mask_block, masking_rule
from rbt.trainer.order import permute

DOCUMENTS = st.lists(st.lists(st.integers(1, 20), max_size=6), max_size=8)  # lengths of sentences
PAGE = Path(__file__).parents[2] / "docs" / "formats.md"


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """What the page's Python defines, its examples checked."""
    test = doctest.DocTestParser().get_doctest(PAGE.read_text("utf-8"), {}, PAGE.name, str(PAGE), 0)
    outcome = doctest.DocTestRunner().run(test, clear_globs=False)
    assert outcome.attempted > 8
    assert outcome.failed == 0
    return test.globs


@given(keys=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4), text=st.text(max_size=9))
def test_hashes_are_those_of_the_page(page: dict[str, Any], keys: list[int], text: str) -> None:
    assert int(rng.hash_keys(*keys)) == page["hash_keys"](*keys)
    assert rng.hash_text(text) == page["hash_text"](text)


def ends_of(documents: list[list[int]]) -> tuple[list[int], list[int]]:
    """Sentence and document ends of documents given as lengths of sentences."""
    sentence_ends = np.cumsum([length for sentences in documents for length in sentences], dtype=np.int64)
    return sentence_ends.tolist(), np.cumsum([sum(sentences) for sentences in documents], dtype=np.int64).tolist()


def packed(format: str, ends: tuple[list[int], list[int]], *options: Any) -> list[list[int]]:
    """The blocks of the package's packer."""
    arrays = (np.array(values, dtype=np.int64) for values in ends)
    blocks: list[list[int]] = PACKERS[format].blocks(*arrays, *options)[0].tolist()
    return blocks


@given(documents=DOCUMENTS, max_tokens=st.integers(3, 40), format=st.sampled_from(["full-sentences", "doc-sentences"]))
def test_v24_blocks_are_those_of_the_page(
    page: dict[str, Any], documents: list[list[int]], max_tokens: int, format: str
) -> None:
    ends = ends_of(documents)
    expected = page["whole_blocks"](*ends, max_tokens, cross=format == "full-sentences")
    assert packed(format, ends, max_tokens, False) == expected


@given(
    documents=DOCUMENTS, max_tokens=st.integers(6, 40), seed=st.integers(0, 2**62), part=st.integers(0, 99),
    short=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_v27_pairs_are_those_of_the_page(
    page: dict[str, Any], documents: list[list[int]], max_tokens: int, seed: int, part: int, short: float
) -> None:
    ends, stem = ends_of(documents), f"train-{part:05d}"
    segments = page["pairs"](*ends, max_tokens, seed, stem, short=short)
    assert packed("segment-pair", ends, max_tokens, part_state(seed, stem), short) == segments
    sentences = page["pairs"](*ends, max_tokens, seed, stem, single=True)
    assert packed("sentence-pair", ends, max_tokens, part_state(seed, stem)) == sentences


@given(
    num_rows=st.integers(1, 10**6), seed=st.integers(0, 2**62), epoch=st.integers(0, 1000), place=st.floats(0, 0.999),
)
def test_v32_the_order_is_that_of_the_page(
    page: dict[str, Any], num_rows: int, seed: int, epoch: int, place: float
) -> None:
    position = int(place * num_rows)
    assert int(permute(position, seed, epoch, num_rows)) == page["permute"](position, seed, epoch, num_rows)


@given(
    length=st.integers(1, 60), seed=st.integers(0, 2**62), epoch=st.integers(0, 1000), block=st.integers(0, 2**40),
    fairseq=st.booleans(), words=st.booleans(), fraction=st.sampled_from([0.0, 0.15, 0.4, 1.0]),
)
def test_v35_masks_are_those_of_the_page(
    page: dict[str, Any], length: int, seed: int, epoch: int, block: int, fairseq: bool, words: bool, fraction: float
) -> None:
    ids = [0, *((7 * seed + 13 * np.arange(length)) % 290 + 4).tolist(), 2]
    vocab = {f"{'' if number % 3 else 'Ġ'}{number}": number for number in range(4, 294)}
    vocab |= {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 294}
    masking = "fairseq" if fairseq else "rbt"
    data = DataConfig(seed=seed, masked_fraction=fraction, masking=masking, whole_words=words)  # type: ignore[arg-type]
    inputs, selected = mask_block(np.array(ids), masking_rule(data, vocab), epoch, block)

    def begins_word(ids: list[int], place: int) -> bool:
        return not words or place == 0 or ids[place] % 3 == 0 or ids[place] < 4 or ids[place - 1] < 4

    expected = page["mask"](
        ids, 295, seed, epoch, block, masked=fraction, fairseq=fairseq, begins_word=begins_word
    )
    assert (selected.tolist(), inputs[selected].tolist()) == expected
