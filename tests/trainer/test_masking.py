"""Masks: the batched version is the definition bit for bit, and the definition keeps the recipe's numbers."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rbt.errors import ConfigError
from rbt.formats.blocks import Index
from rbt.formats.tokenizer import BOS, EOS, FIRST_ORDINARY_ID, PAD
from rbt.rng import hash_keys, mix64
from rbt.trainer import device_masking
from rbt.trainer.batches import Batch, read_batch
from rbt.trainer.config import DataConfig
from rbt.trainer.device_masking import mask_batch
from rbt.trainer.masking import mask_block, masking_rule, validation_seed

VOCABULARY = 1000
MASK = VOCABULARY - 1


def random_block(generator: np.random.Generator, length: int, vocab_size: int = VOCABULARY) -> np.ndarray:
    """<s> tokens </s>, with a </s> inside longer ones."""
    ids = generator.integers(FIRST_ORDINARY_ID, vocab_size - 1, length)
    ids[0], ids[-1] = BOS, EOS
    if length > 6:
        ids[length // 2] = EOS
    return ids


def batch_of(rows: list[list[np.ndarray]], first_block: int = 0, epoch: int = 0) -> Batch:
    """A batch of rows of blocks, numbered from `first_block`."""
    width = max(sum(map(len, row)) for row in rows) + 3
    ids, positions, segments = (np.full((len(rows), width), fill) for fill in (PAD, PAD, -1))
    blocks = np.full((len(rows), max(map(len, rows))), -1, dtype=np.int64)
    number = first_block
    for line, row in enumerate(rows):
        start = 0
        for segment, block in enumerate(row):
            part = np.s_[line, start : start + len(block)]
            ids[part], positions[part], segments[part] = block, np.arange(2, 2 + len(block)), segment
            blocks[line, segment] = number
            start, number = start + len(block), number + 1
    tensors = [torch.from_numpy(array.astype(np.int64)) for array in (ids, positions, segments)]
    epochs = np.full(len(rows), epoch, dtype=np.int64)
    return Batch(*tensors, blocks, np.arange(len(rows)), epochs, 0, True)


def masked_rows(batch: Batch, data: DataConfig, vocab_size: int = VOCABULARY) -> tuple[np.ndarray, np.ndarray]:
    """(inputs, selected) of the batched version, both (rows, time)."""
    masked = mask_batch(batch, masking_rule(data, vocab_size))
    selected = np.zeros(batch.ids.numel(), dtype=bool)
    selected[masked.selected.cpu().numpy()] = True
    assert torch.equal(masked.labels, batch.ids.flatten()[masked.selected])
    return masked.inputs.cpu().numpy(), selected.reshape(batch.ids.shape)


def assert_equals_definition(batch: Batch, data: DataConfig, vocab_size: int = VOCABULARY) -> None:
    """Compare every block of a batch with `mask_block`, and padding with padding."""
    inputs, selected = masked_rows(batch, data, vocab_size)
    ids, segments = batch.ids.cpu().numpy(), batch.segments.cpu().numpy()
    rule = masking_rule(data, vocab_size)
    for line in range(len(ids)):
        for segment, block in enumerate(batch.blocks[line]):
            here = segments[line] == segment
            if block >= 0:
                expected, positions = mask_block(ids[line][here], rule, int(batch.epochs[line]), int(block))
                assert np.array_equal(inputs[line][here], expected)
                assert np.array_equal(np.flatnonzero(selected[line][here]), positions)
        assert not selected[line][segments[line] < 0].any()
        assert (inputs[line][segments[line] < 0] == PAD).all()


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20), st.integers(0, 2**64 - 1))
def test_hashes_in_torch_equal_those_in_numpy(values: list[int], seed: int) -> None:
    array = np.array(values, dtype=np.int64)
    keys = torch.from_numpy(array)
    assert np.array_equal(device_masking.mix64(keys).numpy().view(np.uint64), mix64(array))
    state = torch.from_numpy(np.full(len(array), hash_keys(seed)).view(np.int64))
    assert np.array_equal(device_masking._fold(state, keys).numpy().view(np.uint64), hash_keys(seed, array))


@given(
    lengths=st.lists(st.lists(st.integers(2, 40), min_size=1, max_size=5), min_size=1, max_size=5),
    masking=st.sampled_from(["rbt", "fairseq"]), fraction=st.sampled_from([0.0, 0.15, 0.5, 1.0]),
    seed=st.integers(0, 2**62), epoch=st.integers(0, 10**6), first=st.integers(0, 2**40),
)
def test_v35_batches_are_masked_as_their_blocks_alone(
    lengths: list[list[int]], masking: str, fraction: float, seed: int, epoch: int, first: int
) -> None:
    generator = np.random.default_rng(seed % 1000)
    rows = [[random_block(generator, length) for length in row] for row in lengths]
    data = DataConfig(seed=seed, masking=masking, masked_fraction=fraction)  # type: ignore[arg-type]
    assert_equals_definition(batch_of(rows, first, epoch), data)


@pytest.mark.parametrize("rows", [[3, 70, 5], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]])
def test_v35_masks_of_an_index_equal_the_definition(full_index: Index, document_index: Index, rows: list[int]) -> None:
    for index in (full_index, document_index):
        numbers = np.array(rows) % index.num_rows
        batch = read_batch(index, numbers, np.arange(len(rows)) % 3)
        assert_equals_definition(batch, DataConfig(), index.vocab_size)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_v35_masks_are_the_same_bits_on_a_gpu() -> None:
    generator = np.random.default_rng(0)
    batch = batch_of([[random_block(generator, 60) for _ in range(3)] for _ in range(16)])
    on_cpu, on_gpu = masked_rows(batch, DataConfig()), masked_rows(batch.to(torch.device("cuda")), DataConfig())
    assert np.array_equal(on_cpu[0], on_gpu[0])
    assert np.array_equal(on_cpu[1], on_gpu[1])


def test_v35_every_epoch_has_a_new_mask_and_replay_the_same() -> None:
    block = random_block(np.random.default_rng(1), 200)
    rule = masking_rule(DataConfig(), VOCABULARY)
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
    inputs, selected = masked_rows(batch_of([[row] for row in ids]), DataConfig())
    return ids, inputs[:, :101], selected[:, :101]


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
    inputs, selected = masked_rows(batch_of([[row] for row in ids]), data, 10)
    inputs, selected = inputs[:, :8], selected[:, :8]
    assert set(selected.sum(axis=1).tolist()) == {1, 2}  # 0.15 x 8 = 1.2
    for position in (0, 4, 7):
        assert_share(int(selected[:, position].sum()), 3000, 0.15)
    assert set(inputs[selected].tolist()) == {4, 5, 6, 7, 8, 9}


def test_v36_at_least_one_masked_token_a_block() -> None:
    rule = masking_rule(DataConfig(), VOCABULARY)
    for number in range(50):
        assert len(mask_block(np.array([BOS, 7, EOS]), rule, 0, number)[1]) == 1
    assert len(mask_block(np.array([BOS, EOS]), rule, 0, 0)[1]) == 0  # nothing maskable


def test_v38_probabilities_are_parameters() -> None:
    block = random_block(np.random.default_rng(4), 400)
    maskable = int((block >= FIRST_ORDINARY_ID).sum())
    base = DataConfig(masked_fraction=1.0)

    def inputs(**changes: float) -> np.ndarray:
        rule = masking_rule(dataclasses.replace(base, **changes), VOCABULARY)  # type: ignore[arg-type]
        return mask_block(block, rule, 0, 0)[0]

    assert (inputs(replaced_by_mask=1.0, replaced_by_random=0.0) == MASK).sum() == maskable
    assert np.array_equal(inputs(replaced_by_mask=0.0, replaced_by_random=0.0), block)
    assert (inputs(replaced_by_mask=0.0, replaced_by_random=1.0) != block).sum() > 0.98 * maskable
    assert_share(int((inputs(replaced_by_mask=0.3, replaced_by_random=0.0) == MASK).sum()), maskable, 0.3)
    few = mask_block(block, masking_rule(DataConfig(masked_fraction=0.4), VOCABULARY), 0, 0)[1]
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
        masking_rule(DataConfig(**changes), VOCABULARY)  # type: ignore[arg-type]


def test_masks_are_pinned() -> None:
    """A change of these positions would change what every published run has predicted."""
    block = np.array([BOS, *range(10, 50), EOS])
    inputs, selected = mask_block(block, masking_rule(DataConfig(seed=1), VOCABULARY), 0, 0)
    assert selected.tolist() == [6, 12, 18, 25, 26, 33]
    assert inputs[selected].tolist() == [103, 315, 27, 34, 999, 999]


def test_validation_masks_differ_from_those_of_training() -> None:
    assert validation_seed(1) not in (1, validation_seed(2))
