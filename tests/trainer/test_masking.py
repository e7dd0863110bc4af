"""Masks: the batched version is the definition bit for bit, and the definition keeps the recipe's numbers."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.errors import ConfigError
from rbt.formats.blocks import Index
from rbt.formats.tokenizer import BOS, EOS, FIRST_ORDINARY_ID, LEADING_SPECIALS, build_vocab
from rbt.trainer.batch_masking import mask_batch, mask_batches
from rbt.trainer.batches import Batch, read_batch
from rbt.trainer.config import DataConfig
from rbt.trainer.masking import mask_block, masking_rule, validation_seed

VOCABULARY = 1000
MASK = VOCABULARY - 1
BYTES = build_vocab([])
# a third of the tokens begins with a space, a third is white space alone
VOCAB = {
    **{token: number for number, token in enumerate(LEADING_SPECIALS)},
    **{f"Ġ{number}": number for number in range(4, MASK, 3)},
    **{f"{number}": number for number in range(5, MASK, 3)},
    **{"Ċ" + "Ġ" * number: number for number in range(6, MASK, 3)},
    "<mask>": MASK,
}


def random_block(generator: np.random.Generator, length: int, vocab_size: int = VOCABULARY) -> np.ndarray:
    """<s> tokens </s>, with a </s> inside longer ones."""
    ids = generator.integers(FIRST_ORDINARY_ID, vocab_size - 1, length)
    ids[0], ids[-1] = BOS, EOS
    if length > 6:
        ids[length // 2] = EOS
    return ids


def batch_of(rows: list[list[np.ndarray]], first_block: int = 0, epoch: int = 0) -> Batch:
    """A batch of rows of blocks, numbered from `first_block`."""
    blocks = [block for row in rows for block in row]
    edges = np.cumsum([0, *map(len, blocks)])
    row_edges = np.cumsum([0, *(sum(map(len, row)) for row in rows)])
    epochs = np.full(len(blocks), epoch, dtype=np.int64)
    numbers, none = first_block + np.arange(len(blocks)), np.empty(0, dtype=np.int64)
    ids = np.concatenate(blocks).astype(np.int64)
    return Batch(ids, edges, edges, row_edges, numbers, epochs, none, np.arange(len(rows)), epochs[: len(rows)])


def masked_stream(batch: Batch, data: DataConfig, vocab: dict[str, int] = VOCAB) -> tuple[np.ndarray, np.ndarray]:
    """(inputs, whether selected) of the batched version, both (tokens,)."""
    masked = mask_batch(batch, masking_rule(data, vocab))
    selected = np.zeros(len(batch.ids), dtype=bool)
    selected[masked.selected] = True
    assert masked.selected.tolist() == sorted(set(masked.selected.tolist()))
    assert np.array_equal(masked.labels, batch.ids[masked.selected])
    return masked.inputs, selected


def masked_rows(ids: np.ndarray, data: DataConfig, vocab: dict[str, int] = VOCAB) -> tuple[np.ndarray, np.ndarray]:
    """The same of rows of one block each, (rows, time) in and out."""
    inputs, selected = masked_stream(batch_of([[row] for row in ids]), data, vocab)
    return inputs.reshape(ids.shape), selected.reshape(ids.shape)


def assert_equals_definition(batch: Batch, data: DataConfig, vocab: dict[str, int] = VOCAB) -> None:
    """Compare every block of a batch with `mask_block`."""
    inputs, selected = masked_stream(batch, data, vocab)
    rule = masking_rule(data, vocab)
    for place, (start, end) in enumerate(pairwise(batch.block_edges.tolist())):
        epoch, number = int(batch.block_epochs[place]), int(batch.blocks[place])
        expected, positions = mask_block(batch.ids[start:end], rule, epoch, number)
        assert np.array_equal(inputs[start:end], expected)
        assert np.array_equal(np.flatnonzero(selected[start:end]), positions)


@given(
    lengths=st.lists(st.lists(st.integers(2, 40), min_size=1, max_size=5), min_size=1, max_size=5),
    masking=st.sampled_from(["rbt", "fairseq"]), fraction=st.sampled_from([0.0, 0.15, 0.5, 1.0]),
    words=st.booleans(), static=st.sampled_from([0, 1, 10]), seed=st.integers(0, 2**62),
    epoch=st.integers(0, 10**6), first=st.integers(0, 2**40),
)
def test_v35_batches_are_masked_as_their_blocks_alone(
    lengths: list[list[int]], masking: str, fraction: float, words: bool, static: int, seed: int, epoch: int, first: int
) -> None:
    generator = np.random.default_rng(seed % 1000)
    rows = [[random_block(generator, length) for length in row] for row in lengths]
    data = DataConfig(
        seed=seed, masking=masking, masked_fraction=fraction, whole_words=words, static_masks=static  # type: ignore[arg-type]
    )
    assert_equals_definition(batch_of(rows, first, epoch), data)


@pytest.mark.parametrize("rows", [[3, 70, 5], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]])
def test_v35_masks_of_an_index_equal_the_definition(full_index: Index, document_index: Index, rows: list[int]) -> None:
    for index in (full_index, document_index):
        numbers = np.array(rows) % index.num_rows
        batch = read_batch(index, numbers, np.arange(len(rows)) % 3)
        assert_equals_definition(batch, DataConfig(), BYTES)


@pytest.mark.parametrize("bound", [None, (1 << 60) - 1, (1 << 64) - 1])
def test_v35_masks_do_not_depend_on_what_is_sorted_at_a_time(
    monkeypatch: pytest.MonkeyPatch, bound: int | None
) -> None:
    """Also where too few hashes, or all, are below their bound, and where each group of blocks is small."""
    monkeypatch.setattr("rbt.trainer.batch_masking.HASHES", 64)
    if bound is not None:
        monkeypatch.setattr(
            "rbt.trainer.batch_masking._bounds", lambda counts, _: np.full(len(counts), bound, dtype=np.uint64)
        )
    generator = np.random.default_rng(7)
    rows = [[random_block(generator, length) for length in lengths] for lengths in ([90, 3], [2], [40, 41, 7])]
    for words in (False, True):
        assert_equals_definition(batch_of(rows), DataConfig(whole_words=words))


def test_v35_masks_do_not_depend_on_what_is_masked_together() -> None:
    generator, rule = np.random.default_rng(8), masking_rule(DataConfig(), VOCAB)
    batches = [
        batch_of([[random_block(generator, length) for length in lengths]], first, epoch)
        for lengths, first, epoch in (([90, 3], 5, 0), ([2], 7, 0), ([40, 41, 7], 0, 1))
    ]
    for batch, masked in zip(batches, mask_batches(batches, rule), strict=True):
        alone = mask_batch(batch, rule)
        assert masked.batch is batch
        assert np.array_equal(masked.inputs, alone.inputs)
        assert np.array_equal(masked.selected, alone.selected)


def test_v35_every_epoch_has_a_new_mask_and_replay_the_same() -> None:
    block = random_block(np.random.default_rng(1), 200)
    rule = masking_rule(DataConfig(), VOCAB)
    first = mask_block(block, rule, 0, 9)
    assert np.array_equal(first[0], mask_block(block, rule, 0, 9)[0])
    for epoch, number in ((1, 9), (2, 9), (0, 10)):
        assert not np.array_equal(first[1], mask_block(block, rule, epoch, number)[1])


@pytest.fixture(scope="module")
def many() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ids, inputs, selected) of 4,000 rows of 101 tokens, 99 of them maskable."""
    generator = np.random.default_rng(2)
    ids = generator.integers(FIRST_ORDINARY_ID, MASK, (4000, 101))
    ids[:, 0], ids[:, -1] = BOS, EOS
    return ids, *masked_rows(ids, DataConfig())


def assert_share(hits: int, trials: int, share: float) -> None:
    """Within 4.5 standard deviations of a binomial."""
    assert abs(hits - trials * share) < 4.5 * math.sqrt(trials * share * (1 - share))


def test_v34_the_count_is_exact_and_randomly_rounded(many: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    counts = many[2].sum(axis=1)
    assert set(counts.tolist()) == {14, 15}  # 0.15 x 99 = 14.85
    assert_share(int((counts == 15).sum()), len(counts), 0.85)


def test_v34_positions_are_selected_evenly(many: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    hits = many[2][:, 1:-1].sum(axis=0)
    for count in hits.tolist():
        assert_share(count, len(many[2]), 0.15)


def test_v34_actions_are_80_10_10(many: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    ids, inputs, selected = many
    total = int(selected.sum())
    assert_share(int((inputs[selected] == MASK).sum()), total, 0.8)
    drawn = 0.1 * (VOCABULARY - 6) / (VOCABULARY - 5)  # a draw may be the token itself
    changed = selected & (inputs != MASK) & (inputs != ids)
    assert_share(int(changed.sum()), total, drawn)
    assert np.array_equal(inputs[~selected], ids[~selected])


def test_v34_specials_are_neither_selected_nor_drawn(many: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    ids, inputs, selected = many
    assert not selected[:, [0, -1]].any()
    drawn = inputs[selected & (inputs != MASK) & (inputs != ids)]
    assert drawn.min() >= FIRST_ORDINARY_ID
    assert drawn.max() < MASK
    thirds = np.histogram(drawn, bins=3, range=(FIRST_ORDINARY_ID, MASK))[0]
    for count in thirds.tolist():
        assert_share(count, len(drawn), 1 / 3)


def test_v34_the_released_behavior_masks_specials_and_draws_the_mask() -> None:
    ids = np.full((3000, 8), 5)
    ids[:, 0], ids[:, -1] = BOS, EOS
    data = DataConfig(masking="fairseq", replaced_by_mask=0.0, replaced_by_random=1.0)
    inputs, selected = masked_rows(ids, data, dict(list(VOCAB.items())[:4]) | {f"{n}": n for n in range(4, 10)})
    assert set(selected.sum(axis=1).tolist()) == {1, 2}  # 0.15 x 8 = 1.2
    for position in (0, 4, 7):
        assert_share(int(selected[:, position].sum()), 3000, 0.15)
    assert set(inputs[selected].tolist()) == {4, 5, 6, 7, 8, 9}


def test_v36_at_least_one_masked_token_a_block() -> None:
    rule = masking_rule(DataConfig(), VOCAB)
    for number in range(50):
        assert len(mask_block(np.array([BOS, 7, EOS]), rule, 0, number)[1]) == 1
    assert len(mask_block(np.array([BOS, EOS]), rule, 0, 0)[1]) == 0  # nothing maskable


def test_v38_probabilities_are_parameters() -> None:
    block = random_block(np.random.default_rng(4), 400)
    maskable = int((block >= FIRST_ORDINARY_ID).sum())
    base = DataConfig(masked_fraction=1.0)

    def inputs(**changes: float) -> np.ndarray:
        rule = masking_rule(dataclasses.replace(base, **changes), VOCAB)  # type: ignore[arg-type]
        return mask_block(block, rule, 0, 0)[0]

    assert (inputs(replaced_by_mask=1.0, replaced_by_random=0.0) == MASK).sum() == maskable
    assert np.array_equal(inputs(replaced_by_mask=0.0, replaced_by_random=0.0), block)
    assert (inputs(replaced_by_mask=0.0, replaced_by_random=1.0) != block).sum() > 0.98 * maskable
    assert_share(int((inputs(replaced_by_mask=0.3, replaced_by_random=0.0) == MASK).sum()), maskable, 0.3)
    few = mask_block(block, masking_rule(DataConfig(masked_fraction=0.4), VOCAB), 0, 0)[1]
    assert len(few) in (math.floor(0.4 * maskable), math.floor(0.4 * maskable) + 1)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"masked_fraction": 1.5}, "masked_fraction"),
        ({"replaced_by_mask": -0.1}, "replaced_by_mask"),
        ({"replaced_by_mask": 0.9, "replaced_by_random": 0.2}, "replaced_by_mask \\+ replaced_by_random"),
    ],
)
def test_impossible_probabilities_are_an_error_that_names_the_key(changes: dict[str, float], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        masking_rule(DataConfig(**changes), VOCAB)  # type: ignore[arg-type]


def test_masks_are_pinned() -> None:
    """A change of these positions would change what every published run has predicted."""
    block = np.array([BOS, *range(10, 50), EOS])
    inputs, selected = mask_block(block, masking_rule(DataConfig(seed=1), VOCAB), 0, 0)
    assert selected.tolist() == [6, 12, 18, 25, 26, 33]
    assert inputs[selected].tolist() == [103, 315, 27, 34, 999, 999]


def test_validation_masks_differ_from_those_of_training() -> None:
    assert validation_seed(1) not in (1, validation_seed(2))


def words_of(texts: list[str]) -> tuple[np.ndarray, dict[str, int]]:
    """(ids of a block of these tokens, a vocabulary that has them)."""
    vocab = {token: number for number, token in enumerate([*LEADING_SPECIALS, *dict.fromkeys(texts), "<mask>"])}
    return np.array([BOS, *(vocab[text] for text in texts), EOS], dtype=np.int64), vocab


def test_v37_whole_words_are_masked_and_nothing_else() -> None:
    """A word goes on until white space, which begins the next one or is one."""
    ids, vocab = words_of(["un", "do", "able", ",", "Ġre", "do", "Ċ", "it", "s"])
    words = [{1, 2, 3, 4}, {5, 6}, {7}, {8, 9}]  # a comma belongs to the word that it stands behind
    data = DataConfig(whole_words=True, masked_fraction=0.5, replaced_by_mask=1.0, replaced_by_random=0.0)
    rule = masking_rule(data, vocab)
    seen = set()
    for block in range(60):
        inputs, selected = mask_block(ids, rule, 0, block)
        whole = [word for word in words if word <= set(selected.tolist())]
        assert set().union(*whole) == set(selected.tolist()) and len(whole) == 2
        assert (inputs[selected] == rule.mask_id).all()
        seen.update(map(min, whole))
    assert seen == {1, 5, 7, 8}


def test_v37_a_word_has_one_action() -> None:
    ids, vocab = words_of(["a", "b", "c", "Ġd", "e", "f"] * 5)
    rule = masking_rule(DataConfig(whole_words=True, masked_fraction=1.0, replaced_by_random=0.0), vocab)
    kept = masked = 0
    for block in range(50):
        inputs, _ = mask_block(ids, rule, 0, block)
        for start in [*range(4, 31, 6), *range(7, 29, 6)]:
            is_mask = set((inputs[start : start + 3] == rule.mask_id).tolist())
            assert len(is_mask) == 1
            kept, masked = kept + (is_mask == {False}), masked + (is_mask == {True})
    assert_share(masked, kept + masked, 0.8)


def test_static_masks_come_in_turn() -> None:
    """Ten masks over forty epochs: each is seen four times, in the order of epochs."""
    block = random_block(np.random.default_rng(1), 200)
    rule = masking_rule(DataConfig(static_masks=10), VOCAB)
    masks = [tuple(mask_block(block, rule, epoch, 3)[1].tolist()) for epoch in range(40)]
    assert masks[:10] * 4 == masks
    assert len(set(masks)) == 10
    dynamic = masking_rule(DataConfig(), VOCAB)
    assert masks[:10] == [tuple(mask_block(block, dynamic, epoch, 3)[1].tolist()) for epoch in range(10)]
    with pytest.raises(ConfigError, match="static_masks: expected 0 or more"):
        masking_rule(DataConfig(static_masks=-1), VOCAB)


def test_a_batch_of_more_blocks_than_a_key_can_tell_apart_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rbt.trainer.batch_masking.MAX_BLOCKS", 2)
    with pytest.raises(ConfigError, match="micro_batch: expected at most 2 blocks"):
        mask_batch(batch_of([[random_block(np.random.default_rng(0), 4)] * 3]), masking_rule(DataConfig(), VOCAB))
