"""Shingle hashes from Arrow buffers, against regular expressions and Python integers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt import rng
from rbt.corpus.dedup.shingles import character_table, shingle_sets, table_fingerprint
from rbt.formats.parts import string_buffers

Shingles = Callable[[str, int], set[tuple[str, ...]]]
MODULUS = 1 << 64

# Latin, Greek sigmas, dotted I, digits of many scripts, combining marks, CJK, kana, Thai, Hangul, emoji, controls.
ALPHABET = "aZé_0٣²½ΣςσİıßŁ\u0301\u0307中〇ひカｶーกำ한국\U00020000😀\u200d\u00a0 \n-.'\x00"
texts = st.one_of(st.text(alphabet=ALPHABET, max_size=60), st.text(max_size=30))


def hash_word(word: str) -> int:
    state = 0xCBF29CE484222325
    for character in word:
        state = (state ^ ord(character)) * 0x100000001B3 % MODULUS
    return int(rng.mix64(np.uint64(state)))


def hash_shingle(words: tuple[str, ...]) -> int:
    total = 0
    for word in words:
        total = (total * 0x9E3779B97F4A7C15 + hash_word(word)) % MODULUS
    return int(rng.mix64(np.uint64(total)))


@given(st.lists(texts, min_size=1, max_size=8), st.integers(1, 6))
def test_shingle_hashes_equal_the_obvious_reference(
    reference_shingles: Shingles, documents: list[str], ngram: int
) -> None:
    sets = shingle_sets(pa.array(documents, pa.string()), ngram)
    for document, found in zip(documents, sets, strict=True):
        assert found.tolist() == sorted(hash_shingle(shingle) for shingle in reference_shingles(document, ngram))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't STOP_it: 3.14", ["don", "t", "stop_it", "3", "14"]),
        ("ΟΔΟΣ İzmir STRAẞE", ["οδοσ", "izmir", "straße"]),
        ("漢字かなカナ mixed文字", ["漢", "字", "か", "な", "カ", "ナ", "mixed", "文", "字"]),
        ("กขค 한국어 텍스트", ["ก", "ข", "ค", "한국어", "텍스트"]),
        ("x² ½ ٣٤", ["x²", "½", "٣٤"]),
        ("", []),
        ("... !? \u200b", []),
    ],
)
def test_words_are_lower_cased_runs_of_word_characters(text: str, words: list[str]) -> None:
    expected = {hash_shingle((word,)) for word in words} or {hash_shingle(())}
    assert set(shingle_sets(pa.array([text]), 1)[0].tolist()) == expected


def test_a_text_shorter_than_the_ngram_is_one_shingle_of_all_its_words() -> None:
    short, longer = shingle_sets(pa.array(["one Two", "one two three"]), 3)
    assert short.tolist() == [hash_shingle(("one", "two"))]
    assert longer.tolist() == [hash_shingle(("one", "two", "three"))]


def test_slices_and_64_bit_offsets_give_the_same_shingles() -> None:
    array = pa.array(["skipped", "an é in the middle", "", "中文 text here", "cut off"])
    expected = [found.tolist() for found in shingle_sets(array, 2)][1:4]
    for view in (array.slice(1, 3), array.cast(pa.large_string()).slice(1, 3)):
        assert [found.tolist() for found in shingle_sets(view, 2)] == expected
    assert shingle_sets(pa.array([], pa.string()), 2) == []
    assert [found.tolist() for found in shingle_sets(pa.array(["", ""]), 2)] == [[hash_shingle(())]] * 2


@given(st.binary(max_size=40), st.binary(max_size=4))
def test_bytes_that_are_no_utf8_never_read_into_the_next_text(garbage: bytes, cut: bytes) -> None:
    alone = pa.array([garbage + cut], pa.binary()).view(pa.string())
    beside = pa.array([garbage + cut, b"\x80\xbf\xbfwords"], pa.binary()).view(pa.string())
    assert shingle_sets(alone, 2)[0].tolist() == shingle_sets(beside, 2)[0].tolist()


def test_v15_every_prefix_of_a_text_has_the_words_of_that_prefix(reference_shingles: Shingles) -> None:
    text = "naïve 中é😀x ก"
    prefixes = [text[:end] for end in range(len(text) + 1)]
    for prefix, found in zip(prefixes, shingle_sets(pa.array(prefixes), 1), strict=True):
        assert set(found.tolist()) == {hash_shingle(shingle) for shingle in reference_shingles(prefix, 1)}


def test_buffers_are_views_of_the_array() -> None:
    data, offsets = string_buffers(pa.array(["ab", "c"]))
    assert data[offsets[0] : offsets[2]].tobytes() == b"abc"


def test_the_table_knows_every_code_point_and_has_a_fingerprint() -> None:
    table = character_table()
    assert table.shape == (0x110000,)
    assert not table[0xD800:0xE000].any()
    assert len(table_fingerprint()) == 32


def test_real_novels_have_as_many_shingles_as_regular_expressions_find(
    data: Path, reference_shingles: Shingles
) -> None:
    for path in sorted((data / "books" / "100_english_novels").glob("Lee_*.txt")):
        text = path.read_text("utf-8-sig")
        reference = reference_shingles(text, 5)
        found = shingle_sets(pa.array([text]), 5)[0]
        assert len(found) == len(reference)
        sample = sorted(reference)[:500]
        assert np.isin(np.array([hash_shingle(shingle) for shingle in sample], dtype=np.uint64), found).all()


def test_different_word_sequences_have_different_hashes() -> None:
    words = [f"w{number}" for number in range(40)]
    texts = [f"{a} {b}" for a, b in combinations(words, 2)] + [f"{b} {a}" for a, b in combinations(words, 2)]
    hashes = [int(found[0]) for found in shingle_sets(pa.array(texts), 2)]
    assert len(set(hashes)) == len(texts)
