"""Pair packers against a slow one over lists of sentences, and by what a pair promises."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.formats.blocks import block_ids, block_lengths, cover_problem, own_stretches, tokens_to_hold
from rbt.formats.tokenizer import BOS, EOS
from rbt.formats.tokens import TokenPart
from rbt.kernels import kernel
from rbt.packing.draws import below, draw
from rbt.packing.packers import PACKERS
from rbt.packing.pairs import COIN, DOCUMENT, SENTENCE, SHORT, SPLIT, TARGET, part_state
from rbt.rng import hash_keys

from .conftest import FIRST_ID, make_part

FORMATS = ("segment-pair", "sentence-pair")
STATE = part_state(1, "train-00000")
documents = st.lists(st.lists(st.integers(1, 20), max_size=7), max_size=9)  # sentence lengths; [] is an empty document
many = st.lists(st.lists(st.integers(1, 20), min_size=1, max_size=7), min_size=2, max_size=9)
Piece = tuple[int, int]  # [start, end)


def pack(part: TokenPart, format: str, max_tokens: int, state: int = STATE) -> tuple[np.ndarray[Any, Any], int]:
    return PACKERS[format].blocks(part.sentence_ends, part.document_ends, max_tokens, state)


def texts_of(part: TokenPart, max_tokens: int) -> list[list[Piece]]:
    """The documents that have text, as sentences of which those longer than half the room are cut."""
    longest = (max_tokens - 4) // 2
    texts: list[list[Piece]] = []
    for start, end in pairwise([0, *part.document_ends.tolist()]):
        edges = [start, *(edge for edge in part.sentence_ends.tolist() if start < edge <= end)]
        pieces = [(cut, min(cut + longest, b)) for a, b in pairwise(edges) for cut in range(a, b, longest)]
        texts += [pieces] if pieces else []
    return texts


def size(pieces: list[Piece]) -> int:
    return sum(end - start for start, end in pieces)


def taken(pieces: list[Piece], least: int, target: int, room: int) -> list[Piece]:
    """The first pieces: `least` of them, and more while they are shorter than the target and fit into the room."""
    chunk = pieces[:least]
    for piece in pieces[least:]:
        if size(chunk) >= target or size([*chunk, piece]) > room:
            break
        chunk.append(piece)
    return chunk


def slow_pairs(part: TokenPart, format: str, max_tokens: int, state: int, short: float = 0.0) -> list[list[int]]:
    """The sampling as the format page tells it, one sentence at a time."""
    def drawn(tag: int, token: int, count: int = 1 << 32) -> int:
        return (int(hash_keys(state, tag, token)) >> 32) * count >> 32

    texts, single, room = texts_of(part, max_tokens), format == "sentence-pair", max_tokens - 4
    pairs, owed = [], 0
    for number, text in enumerate(texts):
        others = texts[:number] + texts[number + 1 :]
        is_short = drawn(SHORT, text[0][0]) < short * 2**32
        target = 2 + drawn(TARGET, text[0][0], room - 1) if is_short else room
        left = list(text)
        while left and (others or len(left) > 1):
            here = left[0][0]
            chunk = left[:2] if single else taken(left, 2, target, room)
            middle = 1 + drawn(SPLIT, here, len(chunk) - 1) if len(chunk) > 1 else 1
            is_next = len(chunk) > 1 and (not others or owed > 0 or drawn(COIN, here) < 2**31)
            a, b = chunk[:middle], chunk[middle:]
            if others:
                owed = owed + 1 if len(chunk) == 1 else max(0, owed - 1)
            if not is_next:
                other = others[drawn(DOCUMENT, here, len(others))]
                rest = other[drawn(SENTENCE, here, len(other)) :]
                while size(a) + size(rest[:1]) > room:
                    a.pop()
                b = rest[:1] if single else taken(rest, 1, target - size(a), room - size(a))
            pairs.append([a[0][0], a[-1][1], b[0][0], b[-1][1], int(is_next)])
            left = left[len(a) + (len(b) if is_next else 0) :]
    return pairs


@pytest.mark.parametrize("format", FORMATS)
@given(documents=documents, max_tokens=st.integers(6, 40), seed=st.integers(0, 99))
def test_v23_pairs_are_those_of_a_slow_packer(
    format: str, documents: list[list[int]], max_tokens: int, seed: int
) -> None:
    part, state = make_part(documents), part_state(seed, "train-00000")
    blocks, cut = pack(part, format, max_tokens, state)
    assert blocks.tolist() == slow_pairs(part, format, max_tokens, state)
    assert cut == sum(length > (max_tokens - 4) // 2 for sentences in documents for length in sentences)


@given(documents=documents, max_tokens=st.integers(6, 40), short=st.sampled_from([0.1, 0.5, 1.0]))
def test_v23_short_segments_are_those_of_a_slow_packer(
    documents: list[list[int]], max_tokens: int, short: float
) -> None:
    part = make_part(documents)
    blocks, _ = PACKERS["segment-pair"].blocks(part.sentence_ends, part.document_ends, max_tokens, STATE, short)
    assert blocks.tolist() == slow_pairs(part, "segment-pair", max_tokens, STATE, short)


@pytest.mark.parametrize("format", FORMATS)
@given(documents=documents, max_tokens=st.integers(6, 40))
def test_v23_every_token_is_in_one_pair_of_its_own_or_is_the_last_sentence_of_the_only_document(
    format: str, documents: list[list[int]], max_tokens: int
) -> None:
    part = make_part(documents)
    blocks, _ = pack(part, format, max_tokens)
    times = np.zeros(len(part.tokens), dtype=int)
    for a_start, a_end, b_start, b_end, is_next in blocks.tolist():
        times[a_start:a_end] += 1
        times[b_start:b_end] += is_next
    texts = texts_of(part, max_tokens)
    if len(texts) == 1 and times[-1] == 0:
        start, end = texts[0][-1]
        assert (times[start:end] == 0).all()
        times[start:end] = 1
    assert (times == 1).all()
    assert cover_problem(own_stretches(blocks), tokens_to_hold(part, blocks)) == ""


@pytest.mark.parametrize("format", FORMATS)
@given(documents=documents, max_tokens=st.integers(6, 40))
def test_v24_a_pair_reads_as_its_grammar_says(format: str, documents: list[list[int]], max_tokens: int) -> None:
    part = make_part(documents)
    blocks, _ = pack(part, format, max_tokens)
    texts = [block_ids(part, block, "document").tolist() for block in blocks]
    assert [len(ids) for ids in texts] == block_lengths(part, blocks, "document").tolist()
    pieces = [piece for text in texts_of(part, max_tokens) for piece in text]
    starts, ends = ({piece[side] for piece in pieces} for side in (0, 1))
    for (a_start, a_end, b_start, b_end, _), ids in zip(blocks.tolist(), texts, strict=True):
        a, b = (list(range(FIRST_ID + start, FIRST_ID + end)) for start, end in ((a_start, a_end), (b_start, b_end)))
        assert ids == [BOS, *a, EOS, EOS, *b, EOS]
        assert a and b and len(ids) <= max_tokens
        assert {a_start, b_start} <= starts and {a_end, b_end} <= ends
        if format == "sentence-pair":
            assert {(a_start, a_end), (b_start, b_end)} <= set(pieces)


@given(documents=many, max_tokens=st.integers(8, 60))
def test_no_segment_pair_could_have_taken_the_next_sentence(documents: list[list[int]], max_tokens: int) -> None:
    part = make_part(documents)
    texts = texts_of(part, max_tokens)
    following = {a: b for text in texts for a, b in pairwise(text)}
    behind = {piece[1]: following.get(piece) for text in texts for piece in text}
    for a_start, a_end, b_start, b_end, _ in pack(part, "segment-pair", max_tokens)[0].tolist():
        if (piece := behind[b_end]) is not None:
            assert a_end - a_start + piece[1] - b_start > max_tokens - 4


@pytest.mark.parametrize("format", FORMATS)
@given(documents=many, max_tokens=st.integers(6, 40), seed=st.integers(0, 99))
def test_v27_halves_follow_each_other_or_come_from_two_documents(
    format: str, documents: list[list[int]], max_tokens: int, seed: int
) -> None:
    part = make_part(documents)
    blocks, _ = pack(part, format, max_tokens, part_state(seed, "train-00000"))
    for a_start, a_end, b_start, b_end, is_next in blocks.tolist():
        a, b = (
            {number for number, end in enumerate(part.document_ends.tolist()) if start < end and stop <= end}
            - {number for number, end in enumerate(part.document_ends.tolist()) if end <= start or stop > end}
            for start, stop in ((a_start, a_end), (b_start, b_end))
        )
        assert a and b  # each half is in one document
        assert (min(a) == min(b)) == bool(is_next)
        assert b_start == a_end or not is_next


def random_part(seed: int, count: int, sentences: tuple[int, int]) -> TokenPart:
    generator = np.random.default_rng(seed)
    return make_part(
        [generator.integers(1, 40, generator.integers(*sentences)).tolist() for _ in range(count)]
    )


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("sentences", [(2, 60), (1, 6), (40, 41)])
def test_v27_half_of_the_pairs_are_next(format: str, sentences: tuple[int, int]) -> None:
    """Within the 99 % interval of as many coins, also where documents often end in a sentence without a choice."""
    for seed in range(4):
        blocks, _ = pack(random_part(seed, 1500, sentences), format, 128, part_state(seed, "train-00000"))
        assert len(blocks) > 1500
        assert abs(blocks[:, 4].sum() - len(blocks) / 2) < 2.576 * np.sqrt(len(blocks)) / 2


def test_v27_halves_are_drawn_evenly() -> None:
    """Where a chunk is split, which other document and which sentence of it: each within five deviations."""
    part = make_part([[5, 5, 5, 5]] * 2000)
    blocks, _ = pack(part, "segment-pair", 24)
    sentences = blocks[:, :4] // 5
    is_next = blocks[:, 4] == 1
    whole = is_next & (sentences[:, 3] - sentences[:, 0] == 4)  # chunks of a whole document
    splits = np.bincount((sentences[:, 1] - sentences[:, 0])[whole], minlength=4)[1:]
    assert whole.sum() > 500
    assert (abs(splits - splits.mean()) < 5 * np.sqrt(splits.mean())).all()
    firsts, documents = np.bincount(sentences[~is_next, 2] % 4), np.bincount(sentences[~is_next, 2] // 400)
    for counts in (firsts, documents):
        assert (abs(counts - counts.mean()) < 5 * np.sqrt(counts.mean())).all()


def test_other_seeds_parts_and_splits_draw_other_pairs() -> None:
    part = random_part(0, 50, (2, 60))
    states = [part_state(1, "train-00000"), part_state(2, "train-00000"), part_state(1, "train-00001"),
              part_state(1, "validation-00000")]
    assert len({pack(part, "segment-pair", 128, state)[0].tobytes() for state in states}) == 4


@pytest.mark.parametrize("format", FORMATS)
def test_v27_pairs_of_the_only_document_are_all_next(format: str) -> None:
    part = make_part([[], [3, 4, 5, 6, 7], []])
    blocks, _ = pack(part, format, 64)
    assert blocks[:, 4].all()
    expected = {"segment-pair": [(0, 25)], "sentence-pair": [(0, 7), (7, 18)]}  # the last sentence has no partner
    assert [(start, end) for start, _, _, end, _ in blocks.tolist()] == expected[format]
    assert len(pack(make_part([[3]]), format, 64)[0]) == 0


@pytest.mark.parametrize("format", FORMATS)
def test_v25_pairs_of_documents_of_about_the_size_of_a_block(format: str) -> None:
    lengths = [0, 1, 509, 510, 511, 512, 513]
    part = make_part([[length] if length else [] for length in lengths])
    blocks, cut = pack(part, format, 512)
    assert cut == 5
    assert blocks.tolist() == slow_pairs(part, format, 512, STATE)
    assert cover_problem(own_stretches(blocks), sum(lengths)) == ""
    assert blocks[:, :4].max() == sum(lengths)  # the last document is there to its end


def test_v25_an_empty_part_has_no_pair() -> None:
    for documents in ([], [[]], [[], []]):
        for format in FORMATS:
            blocks, cut = pack(make_part(documents), format, 512)
            assert blocks.shape == (0, 5) and cut == 0


@pytest.mark.parametrize("format", FORMATS)
def test_v28_pairs_beyond_32_bits_are_packed(format: str) -> None:
    far, piece = 1 << 33, 1 << 20
    sentence_ends = np.array([far, far + 5, far + 10, far + 12], dtype=np.int64)
    document_ends = np.array([far, far + 10, far + 12], dtype=np.int64)
    part = TokenPart("train-00000", np.empty(0, dtype=np.uint16), sentence_ends, document_ends)
    blocks, cut = pack(part, format, 2 * piece + 4)
    assert cut == 1 and blocks.tolist() == slow_pairs(part, format, 2 * piece + 4, STATE)
    assert cover_problem(own_stretches(blocks), far + 12) == ""


@kernel
def _drawn(state: np.uint64, key: int, count: int) -> tuple[np.uint64, int]:
    drawn = draw(state, key)
    return drawn, below(drawn, count)


@given(keys=st.lists(st.integers(0, 2**63 - 1), min_size=2, max_size=4), count=st.integers(1, 2**32 - 1))
def test_draws_of_kernels_are_those_of_rng(keys: list[int], count: int) -> None:
    expected = int(hash_keys(*keys)) >> 32
    drawn, number = _drawn(np.uint64(hash_keys(*keys[:-1])), keys[-1], count)
    assert (int(drawn), int(number)) == (expected, expected * count >> 32)
