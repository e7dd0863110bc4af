"""Matches, word places and cuts against regular expressions and one character at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus.cut_rule import kinds_table, plan_cuts
from rbt.corpus.cuts import cut_texts
from rbt.corpus.dedup.shingles import hash_shingles
from rbt.corpus.ngram_matches import (
    NgramSet,
    find_ngrams,
    hash_pieces,
    ngram_set,
    roll_prefixes,
    word_places,
)
from rbt.rng import mix64

VOCABULARY = ["a", "B", "é", "中", "カ", "กำ", "x_y", "_", "½", "Σς", "İ", "don't", "한국", "e\u0301", "😀",
              "\U00020000", "ก\u0e34", "カ\u3099"]  # fmt: skip
SPACES = [" ", "  ", "\n", "\t", ", ", "\u00a0", "\n\n", ". ", "\u2028", "-"]
texts = st.lists(st.sampled_from([*VOCABULARY, *SPACES]), max_size=40).map("".join)


def ngrams_of(pieces: list[str], ngram: int, minimum: int) -> NgramSet:
    _, keys, prefixes, lengths = hash_pieces(pa.array(pieces, pa.string()), ngram, minimum)
    return ngram_set(keys, lengths, prefixes, minimum)


def byte_place(text: str, place: int) -> int:
    return len(text[:place].encode())


@given(texts)
def test_word_places_are_those_of_regular_expressions(reference: Any, text: str) -> None:
    data = np.frombuffer(b"\xff" + text.encode() + b"z", np.uint8)
    places = word_places(data, 1, len(data) - 1)
    expected = [(1 + byte_place(text, start), 1 + byte_place(text, stop)) for _, start, stop in reference.words(text)]
    assert places.T.tolist() == [list(pair) for pair in expected]


@given(st.lists(texts, max_size=5), st.integers(1, 4), st.integers(0, 3))
def test_a_text_is_looked_for_by_its_ngrams_or_as_a_whole(
    reference: Any, pieces: list[str], minimum: int, more: int
) -> None:
    ngram = minimum + more
    facts, keys, prefixes, lengths = hash_pieces(pa.array(pieces, pa.string()), ngram, minimum)
    expected = [reference.grams(piece, ngram, minimum) for piece in pieces]
    assert facts[0].tolist() == [len(reference.words(piece)) for piece in pieces]
    assert facts[1].tolist() == [len(grams) for grams in expected]
    flat = [gram for grams in expected for gram in grams]
    assert lengths.tolist() == [len(gram) for gram in flat]
    for values, names in ((keys, flat), (prefixes, [gram[:minimum] for gram in flat])):
        assert len(set(values.tolist())) == len(set(names))
        assert len(set(zip(values.tolist(), names, strict=True))) == len(set(names))


@given(st.lists(texts, min_size=1, max_size=4), st.lists(texts, min_size=1, max_size=4), st.integers(1, 3))
def test_matches_are_those_that_comparing_words_finds(
    reference: Any, pieces: list[str], documents: list[str], minimum: int
) -> None:
    ngram = minimum + 1
    wanted = {gram for piece in pieces for gram in reference.grams(piece, ngram, minimum)}
    if not wanted:
        return
    ngrams = ngrams_of(pieces, ngram, minimum)
    array = pa.array(["skipped", *documents], pa.string())
    rows, words, numbers = find_ngrams(array, np.arange(1, len(array)), ngrams)
    found = []
    for row, word, number in zip(rows.tolist(), words.tolist(), numbers.tolist(), strict=True):
        size = int(ngrams.lengths[number])
        found.append((row - 1, tuple(w for w, *_ in reference.words(documents[row - 1])[word : word + size])))
    expected = [(row, gram) for row, text in enumerate(documents) for gram, *_ in reference.matches(text, wanted)]
    assert found == expected


def test_more_matches_than_the_first_room_holds_are_all_found() -> None:
    text = "one two three " * 5000
    found = find_ngrams(pa.array([text]), np.array([0]), ngrams_of([text], 13, 8))
    assert found.shape == (3, 15_000 - 12)
    assert found[1].tolist() == list(range(15_000 - 12))


def test_prefixes_that_share_a_slot_or_a_bitmap_word_are_told_apart() -> None:
    """1,000 n-grams in a table made for them: each is found once, no other text is."""
    pieces = [" ".join(f"w{number}x{place}" for place in range(8 + number % 6)) for number in range(1000)]
    ngrams = ngrams_of(pieces, 13, 8)
    assert find_ngrams(pa.array(pieces), np.arange(1000), ngrams)[0].tolist() == list(range(1000))
    others = pa.array([piece.replace("x7", "y7") for piece in pieces])
    assert find_ngrams(others, np.arange(1000), ngrams).shape[1] == 0


@given(st.lists(st.integers(0, 2**64 - 1), max_size=30), st.integers(1, 8))
def test_rolling_gives_the_sum_of_each_run(words: list[int], minimum: int) -> None:
    hashes = np.empty(len(words) + 1, np.uint64)
    total = roll_prefixes(np.array(words, np.uint64), len(words), minimum, hashes)
    assert total == max(len(words) - minimum + 1, 0)
    for place in range(total):
        expected = 0
        for word in words[place : place + minimum]:
            expected = (expected * 0x9E3779B97F4A7C15 + word) % 2**64
        assert int(hashes[place]) == expected


def test_a_key_is_the_shingle_hash_of_deduplication() -> None:
    words = np.arange(1, 14, dtype=np.uint64)
    shingle = np.empty(1, np.uint64)
    hash_shingles(words, 13, 13, shingle)
    rolled = np.empty(1, np.uint64)
    roll_prefixes(words, 13, 13, rolled)
    assert shingle[0] == mix64(rolled)[0]


RULES = st.tuples(st.integers(0, 6), st.integers(0, 8))


@given(texts, st.data(), RULES)
def test_v15_cuts_are_those_of_marking_characters_and_never_inside_a_code_point(
    reference: Any, text: str, draw: st.DataObject, rule: tuple[int, int]
) -> None:
    window, minimum = rule
    words = reference.words(text)
    if not words:
        return
    chosen = st.tuples(st.integers(0, len(words) - 1), st.integers(0, 6))  # a word, and how many more
    spans = [(words[place][1], words[min(place + more, len(words) - 1)][2])
             for place, more in sorted(draw.draw(st.sets(chosen, min_size=1, max_size=4)))]  # fmt: skip
    data = np.frombuffer(b"ab " + text.encode() + b" cd", np.uint8)
    in_bytes = np.array([[3 + byte_place(text, place) for place in span] for span in spans], np.int64).T.copy()
    pieces, cuts = plan_cuts(data, 3, len(data) - 3, in_bytes, window, minimum, kinds_table())
    left = reference.pieces(text, spans, window)
    assert pieces == len(left)
    [result] = cut_texts(pa.array([text]), np.zeros(cuts.shape[1], np.int64), cuts - 3).to_pylist()
    assert result == "\n\n".join(text[start:stop] for start, stop in left if stop - start >= max(minimum, 1))
    assert (cuts[0, 1:] > cuts[1, :-1]).all()


@pytest.mark.parametrize(
    ("text", "word", "window", "expected"),
    [
        ("The old ship sank near the pier.", "ship", 0, "The old\n\nsank near the pier."),
        ("The old ship sank near the pier.", "ship", 1, "The old\n\nsank near the pier."),
        ("The old ship sank near the pier.", "ship", 2, "The\n\nnear the pier."),
        ("The (ship), sank.", "ship", 0, "The\n\nsank."),
        ("ship ahoy", "ship", 0, "ahoy"),
        ("One.\n\nTwo ship.\n\nThree.", "ship", 0, "One.\n\nTwo\n\nThree."),
        ("漢字ship漢字", "ship", 0, "漢字\n\n漢字"),
        ("漢字ship漢字", "ship", 1, "漢\n\n字"),
        ("กำ ship", "ship", 0, "กำ"),
        ("กก\u0e34\u0e34xship", "ship", 2, "ก"),
    ],
)
def test_a_cut_ends_at_borders_of_words_and_leaves_a_blank_line(
    text: str, word: str, window: int, expected: str
) -> None:
    data = np.frombuffer(text.encode(), np.uint8)
    start = byte_place(text, text.index(word))
    spans = np.array([[start], [start + len(word)]], np.int64)
    _, cuts = plan_cuts(data, 0, len(data), spans, window, 0, kinds_table())
    assert cut_texts(pa.array([text]), np.zeros(cuts.shape[1], np.int64), cuts).to_pylist() == [expected]


def test_a_span_within_another_changes_no_cut() -> None:
    data = np.frombuffer(b"one two three four five six seven", np.uint8)
    for inner in ((8, 13), (8, 18), (4, 7)):
        spans = np.array([[4, 4, inner[0]], [7, 23, inner[1]]], np.int64)
        pieces, cuts = plan_cuts(data, 0, len(data), spans, 0, 0, kinds_table())
        assert (pieces, cuts.tolist()) == (2, [[3], [24]])
