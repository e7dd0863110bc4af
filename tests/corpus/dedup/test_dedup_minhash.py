"""MinHash signatures against datasketch, and the share of candidates against the formula."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from datasketch import MinHash
from hypothesis import given
from hypothesis import strategies as st

from rbt import rng
from rbt.corpus.dedup.curve import Banding
from rbt.corpus.dedup.minhash import permutations, sign_texts
from rbt.corpus.dedup.shingles import shingle_sets
from rbt.errors import ConfigError


def sketch(shingles: np.ndarray, number: int, seed: int) -> list[int]:
    minhash = MinHash(number, seed=seed, scheme="affine32", hashfunc=lambda value: int(value) & 0xFFFFFFFF)
    minhash.update_batch(shingles)
    return minhash.hashvalues.tolist()


@given(
    st.lists(st.text(alphabet="abc é中 ", max_size=80), min_size=1, max_size=5),
    st.integers(1, 5), st.integers(1, 7), st.integers(1, 5), st.integers(0, 2**32 - 1),
)
def test_minima_equal_datasketch_affine32(
    documents: list[str], ngram: int, bands: int, rows: int, seed: int
) -> None:
    array = pa.array(documents, pa.string())
    minima = sign_texts(array, np.arange(len(documents)), ngram, bands, rows, seed).minima
    for shingles, found in zip(shingle_sets(array, ngram), minima, strict=True):
        assert found.tolist() == sketch(shingles, bands * rows, seed)


def test_band_keys_are_hashes_of_the_band_and_its_minima() -> None:
    signed = sign_texts(pa.array(["some words to sign here", "and other words"]), np.array([0, 1]), 2, 4, 3, 7)
    minima, keys = signed.minima, signed.band_keys
    for document in range(2):
        for band in range(4):
            key = rng.mix64(band + 1)
            for minimum in minima[document, band * 3 : band * 3 + 3].tolist():
                key = rng.mix64(key ^ rng.mix64(minimum + 1))
            assert int(keys[document, band]) == int(key)


def test_only_the_rows_asked_for_are_signed() -> None:
    array = pa.array(["first words", "second words", "third words"])
    everything = sign_texts(array, np.arange(3), 1, 3, 2, 0).band_keys
    assert (sign_texts(array, np.array([0, 2]), 1, 3, 2, 0).band_keys == everything[[0, 2]]).all()
    assert sign_texts(array, np.empty(0, dtype=np.int64), 1, 3, 2, 0).band_keys.shape == (0, 3)


def test_a_seed_without_32_bits_is_an_error() -> None:
    for seed in (-1, 1 << 32):
        with pytest.raises(ConfigError, match="seed"):
            permutations(8, seed)


@pytest.mark.parametrize("similarity", [0.5, 0.65, 0.8, 0.9, 0.95])
def test_v9_the_share_of_candidates_follows_the_formula(similarity: float) -> None:
    bands, rows, pairs, union = 20, 6, 400, 200
    common = round(similarity * union)
    random = np.random.default_rng(5)
    documents = []
    for pair in range(pairs):
        words = [f"p{pair}w{number}" for number in random.integers(0, 1 << 60, union)]
        half = common + (union - common) // 2
        documents += [" ".join(words[:half]), " ".join(words[:common] + words[half:])]
    keys = sign_texts(pa.array(documents), np.arange(2 * pairs), 1, bands, rows, 3).band_keys
    found = int((keys[0::2] == keys[1::2]).any(axis=1).sum())
    expected = Banding(bands, rows).probability(common / union)
    assert expected == pytest.approx(1 - (1 - (common / union) ** rows) ** bands)
    assert abs(found - pairs * expected) <= 4 * math.sqrt(pairs * expected * (1 - expected)) + 1
