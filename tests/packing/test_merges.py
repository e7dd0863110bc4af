"""Merges against Hugging Face tokenizers and a naive trainer; the trainer's structures against slow ones."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbt.packing import merges as merges_module
from rbt.packing.merge_words import count_pairs
from rbt.packing.merges import byte_ids, learn_merges
from rbt.packing.pair_queue import COUNT, KEY, compact, drop_top, find, move_rows, push, settle

from .conftest import prose
from .merge_reference import NaiveTrainer, hugging_face_merges, laid_words, learned, words_of

ALPHABETS = ["a", "ab", "abc", "aab ", "abé 1'"]
texts_of_few_letters = st.sampled_from(ALPHABETS).flatmap(
    lambda alphabet: st.lists(st.text(alphabet=alphabet, max_size=40), max_size=12)
)


@contextmanager
def settings_of_the_trainer(**values: float) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setattr(merges_module, name, value)
        yield


def some_texts(generator: random.Random) -> list[str]:
    alphabet = generator.choice(ALPHABETS)
    return [
        "".join(generator.choices(alphabet, k=generator.randrange(1, 60))) for _ in range(generator.randrange(1, 15))
    ]


@given(texts=texts_of_few_letters, merges=st.integers(1, 60))
def test_v19_merges_are_those_of_a_naive_trainer(texts: list[str], merges: int) -> None:
    assert learned(words_of(texts), 256 + merges) == NaiveTrainer(words_of(texts)).train(256 + merges)


@settings(max_examples=60)
@given(texts=texts_of_few_letters, merges=st.integers(1, 200))
def test_merges_are_those_of_hugging_face_tokenizers(texts: list[str], merges: int) -> None:
    assert learned(words_of(texts), 256 + merges) == hugging_face_merges(texts, 256 + merges)


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_many_random_texts_have_the_merges_of_hugging_face_tokenizers(alphabet: str) -> None:
    generator = random.Random(alphabet)
    for _ in range(60):
        texts = [
            "".join(generator.choices(alphabet, k=generator.randrange(1, 70))) for _ in range(generator.randrange(1, 9))
        ]
        assert learned(words_of(texts), 700) == hugging_face_merges(texts, 700)


@pytest.mark.parametrize("share", [(10.0, 0.9), (100.0, 0.5), (1.0, 0.01)])
def test_the_floors_of_the_trainer_change_no_merge(share: tuple[float, float]) -> None:
    """Pairs that are too rare to follow are found when their turn comes."""
    generator = random.Random(4)
    for _ in range(80):
        texts = [text * generator.randrange(1, 9) for text in some_texts(generator)]
        expected = hugging_face_merges(texts, 600)
        with settings_of_the_trainer(FIRST_SHARE=share[0], NEXT_SHARE=share[1]):
            assert learned(words_of(texts), 600) == expected


@pytest.mark.parametrize("compacted", [0.0, 1.0])
def test_structures_that_grow_and_compact_change_no_merge(compacted: float) -> None:
    words = words_of(prose(number) + f" {number**5} {number**7:x}" for number in range(150))
    expected = learned(words, 900)
    assert len(expected) > 500
    for share in (1 / 32, 50.0):
        with settings_of_the_trainer(SMALLEST=4, GROWTH=1.0, COMPACTED=compacted, FIRST_SHARE=share):
            assert learned(words, 900) == expected


def test_v18_every_merge_had_the_highest_count_when_it_was_chosen() -> None:
    words = words_of(prose(number) for number in range(30))
    found = learned(words, 450)
    trainer = NaiveTrainer(words)
    for left, right in found:
        counts = trainer.pair_counts()
        pair = trainer.spelled.index(left), trainer.spelled.index(right)
        assert counts[pair] == max(counts.values())
        assert pair == min(other for other, count in counts.items() if count == counts[pair])
        trainer.merge(pair)
    assert len(found) == 450 - 256


@pytest.mark.parametrize(
    ("length", "count"),
    [(40_000, 60_000), (65_537, 32_768), (65_537, 65_536), (3, 1 << 31), (3, (1 << 32) + 7), (2, 1 << 61)],
)
def test_v17_counts_beyond_32_bits_are_the_highest(length: int, count: int) -> None:
    """Hugging Face tokenizers merges (b, c) first; that takes the text itself, so it is in benchmarks/bpe.py."""
    words = {b"a" * length: count, b"bc": 50}
    assert learned(words, 257) == [(b"a", b"a")]
    assert learned({b"bc": 50, b"ad": 1, **words}, 257) == [(b"a", b"a")]


def test_v17_sums_beyond_32_bits_are_the_highest() -> None:
    """Of many words, none of them frequent alone; what a merge takes away and adds is beyond 32 bits too."""
    words = {f"{number}ab".encode(): 60_000_000 for number in range(100)} | {b"xy": 5_999_999_999}
    assert learned(words, 258) == [(b"a", b"b"), (b"x", b"y")]
    assert learned(words | {b"xy": 6_000_000_001}, 258) == [(b"x", b"y"), (b"a", b"b")]
    words = {b"abc": 5 << 32, b"abd": 1, b"bc": 4 << 32, b"bd": 3}
    assert learned(words, 260) == NaiveTrainer(words).train(260)


@given(texts=texts_of_few_letters, frequency=st.integers(0, 9))
def test_the_minimum_frequency_is_that_of_hugging_face_tokenizers(texts: list[str], frequency: int) -> None:
    expected = hugging_face_merges(texts, 400, min_frequency=frequency)
    assert learned(words_of(texts), 400, minimum_frequency=frequency) == expected
    with settings_of_the_trainer(FIRST_SHARE=50.0):
        assert learned(words_of(texts), 400, minimum_frequency=frequency) == expected


@given(texts=texts_of_few_letters, most=st.integers(2, 6))
def test_no_token_is_longer_than_asked_and_the_rest_is_unchanged(texts: list[str], most: int) -> None:
    found = learned(words_of(texts), 330, most_bytes=most)
    assert all(len(left + right) <= most for left, right in found)
    assert found == NaiveTrainer(words_of(texts), most).train(330)
    with settings_of_the_trainer(FIRST_SHARE=50.0):
        assert learned(words_of(texts), 330, most_bytes=most) == found


def test_every_pair_is_heard_of_as_it_is_merged() -> None:
    heard: list[tuple[bytes, bytes]] = []
    words = words_of(prose(number) for number in range(5))
    found = learn_merges(laid_words(words, 300), 300, on_merge=lambda *pair: heard.append(pair))
    assert heard == found and len(heard) == 44


@pytest.mark.parametrize("words", [{}, {b"a": 5}, {b"a": 5, b"\xff": 1 << 40}])
def test_words_of_one_byte_have_no_merges(words: dict[bytes, int]) -> None:
    assert learned(words, 300) == []


def test_words_lie_by_count_whatever_their_batches_and_order() -> None:
    words = {b"ab": 3, b"xyz": 7, b"q": 9, b"cd": 3, b"\x00\xff": 7}
    for num_ids, dtype in ((300, np.uint16), ((1 << 16) - 2, np.uint16), ((1 << 16) - 1, np.uint32)):
        for batch in (1, 2, 9):
            laid = laid_words(words, num_ids, batch)
            boundary = np.iinfo(dtype).max
            assert laid.symbols.dtype == dtype
            assert (laid.weights.tolist(), laid.step_starts.tolist()) == ([7, 3], [1, 8, 14])
            assert (laid.pairs, laid.words) == (3 + 14 + 3 + 7, 5)
            expected = [boundary]
            for word in (b"xyz", b"\x00\xff", b"ab", b"cd"):
                expected += [*byte_ids()[list(word)].tolist(), boundary]
            assert laid.symbols.tolist() == expected


@pytest.mark.slow
def test_wide_symbols_give_the_same_merges() -> None:
    words = words_of(prose(number) for number in range(9))
    assert learn_merges(laid_words(words, 1 << 16), 400) == learned(words, 400)


@pytest.mark.parametrize("rows", [8, 256])
def test_pairs_are_counted_as_by_a_counter(rows: int) -> None:
    words = {b"abab": 5, b"aaa": 2, b"xab": 1 << 40, b"pqrstuvw": 1}
    laid, ids = laid_words(words, 300), byte_ids().tolist()
    counts, numbers = Counter[int](), Counter[int]()
    for word, count in words.items():
        for left, right in zip(word, word[1:], strict=False):  # noqa: RUF007 (bytes)
            counts[ids[left] << 32 | ids[right]] += count
            numbers[ids[left] << 32 | ids[right]] += 1
    tracked, found = np.zeros((4, 2), dtype=np.int64), np.zeros((rows, 3), dtype=np.int64)
    lengths = np.ones(300, dtype=np.int64)
    stops = place = 0
    while place < len(laid.symbols):
        place, _ = count_pairs(
            laid.symbols, lengths, laid.step_starts, laid.weights, tracked, 9, place, found
        )
        if place < len(laid.symbols):
            larger = np.zeros((2 * len(found), 3), dtype=np.int64)
            move_rows(found, larger)
            found, stops = larger, stops + 1
    assert {int(key) - 1: (count, number) for key, count, number in found.tolist() if key} == {
        key: (counts[key], numbers[key]) for key in counts
    }
    assert (stops > 0) == (rows == 8)


@given(entries=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 1 << 40)), max_size=40, unique_by=lambda e: e[1]))
def test_the_queue_gives_pairs_by_count_and_then_by_key(entries: list[tuple[int, int]]) -> None:
    heap, table = np.empty((64, 4), dtype=np.int64), np.zeros((128, 2), dtype=np.int64)
    size, slow = 0, list[tuple[int, int]]()
    for number, (count, key) in enumerate(entries):
        size = push(heap, size, count, key, number, 1)
        lower = count - number % 3  # what the table says by now
        table[find(key, table)] = key + 1, lower
        heapq.heappush(slow, (-lower, key))
    while size:
        settle(heap, size, table)
        assert (-int(heap[0, COUNT]), int(heap[0, KEY])) == heapq.heappop(slow)
        size = drop_top(heap, size)
    assert not slow


@given(keys=st.sets(st.integers(0, (1 << 62) - 1), max_size=30))
def test_a_table_holds_its_pairs_when_it_is_moved(keys: set[int]) -> None:
    table, larger = np.zeros((64, 2), dtype=np.int64), np.zeros((128, 2), dtype=np.int64)
    for key in keys:
        table[find(key, table)] = key + 1, key // 3
    move_rows(table, larger)
    assert {key: int(larger[find(key, larger), 1]) for key in keys} == {key: key // 3 for key in keys}
    assert np.count_nonzero(larger[:, 0]) == len(keys)


def test_positions_move_together_in_their_order() -> None:
    heap = np.array([[1, 10, 7, 2], [1, 11, 0, 3], [1, 12, 4, 1], [0, 0, 0, 0]], dtype=np.int64)
    positions = np.arange(100, 110, dtype=np.uint32)
    assert compact(heap, 3, np.array([1, 2, 0]), positions) == 6
    assert positions[:6].tolist() == [100, 101, 102, 104, 107, 108]
    assert heap[:3, 2].tolist() == [4, 0, 3]
