"""The second way to compute a similarity: the same words, and the same values as the kernels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus.dedup.recompute import jaccard, shingles, words
from rbt.corpus.dedup.shingles import shingle_sets

texts = st.one_of(
    st.text(alphabet="aAb1_ .-İςΣßœé中日かカไทย한국\u0301", max_size=60),
    st.text(alphabet="ab ", max_size=40),
    st.text(st.characters(codec="utf-8"), max_size=40),
)


@given(texts, texts, st.integers(1, 6))
def test_the_similarity_is_that_of_the_kernels_to_the_last_bit(first: str, second: str, ngram: int) -> None:
    a, b = shingle_sets(pa.array([first, second], pa.string()), ngram)
    common = len(np.intersect1d(a, b))
    assert jaccard(first, second, ngram) == common / (len(a) + len(b) - common)


@given(texts, st.integers(1, 6))
def test_the_shingles_are_those_of_the_definition(
    reference_shingles: Callable[[str, int], set[tuple[str, ...]]], text: str, ngram: int
) -> None:
    assert shingles(text, ngram) == reference_shingles(text, ngram)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't PANIC, 42 times_over!", ["don", "t", "panic", "42", "times_over"]),
        ("Straße İstanbul ΟΔΟΣ", ["straße", "istanbul", "οδοσ"]),
        ("東京2024 tower", ["東", "京", "2024", "tower"]),
        ("...", []),
    ],
)
def test_words_are_runs_in_lower_case(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_texts_without_words_or_with_few_have_one_shingle() -> None:
    assert shingles("?!", 5) == {()}
    assert shingles("two words", 5) == {("two", "words")}
    assert jaccard("?!", "--", 5) == 1.0
    assert jaccard("", "word", 5) == 0.0
