"""Batches hold the rows of the order, whatever the grid, and the reading thread ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from rbt.errors import ArtefactError, ConfigError
from rbt.formats.blocks import Index
from rbt.formats.tokenizer import BOS, EOS, PAD
from rbt.trainer.batches import Batch, Grid, prefetched, read_batch, read_steps
from rbt.trainer.config import DataConfig
from rbt.trainer.device_masking import mask_batch
from rbt.trainer.masking import masking_rule

from .conftest import MAX_TOKENS

GRIDS = [(ranks, rows) for ranks in (1, 2, 4) for rows in (1, 3, 100)]
Seen = dict[tuple[int, int], tuple[list[int], list[int]]]


def masked_blocks(batches: list[Batch], vocab_size: int) -> Seen:
    """(epoch, block) -> (inputs, selected positions); a block seen twice in an epoch fails."""
    seen: Seen = {}
    for batch in batches:
        masked = mask_batch(batch, masking_rule(DataConfig(), vocab_size))
        width = batch.ids.shape[1]
        for line in range(len(batch.ids)):
            chosen = masked.selected[masked.selected // width == line] % width
            for segment, block in enumerate(batch.blocks[line].tolist()):
                here = batch.segments[line] == segment
                key = (int(batch.epochs[line]), block)
                if block >= 0:
                    assert key not in seen
                    columns = batch.columns[line][chosen[here[chosen]]]
                    seen[key] = (masked.inputs[line][here].tolist(), columns.tolist())
    return seen


def read_grid(index: Index, ranks: int, rows: int, first: int, last: int, global_batch: int) -> list[Batch]:
    """All ranks' micro-batches of the steps [first, last), in the order of positions."""
    ranked = [
        list(read_steps(index, Grid(rank, ranks, rows), 1, global_batch, first, last)) for rank in range(ranks)
    ]
    return [batch for step in zip(*ranked, strict=True) for share in step for batch in share]


def test_a_batch_holds_the_tokens_of_its_rows(document_index: Index) -> None:
    rows = np.array([5, 0, 17])
    batch = read_batch(document_index, rows, np.array([0, 0, 1]))
    assert batch.ids.shape[1] % 8 == 0
    for line, row in enumerate(rows):
        blocks = document_index.read_row(int(row))
        joined = np.concatenate([ids for _, ids in blocks])
        end = len(joined)
        assert np.array_equal(batch.ids[line, :end], joined)
        assert np.array_equal(batch.positions[line, :end], np.concatenate([2 + np.arange(len(i)) for _, i in blocks]))
        assert batch.segments[line, :end].tolist() == [s for s, (_, ids) in enumerate(blocks) for _ in ids]
        assert batch.blocks[line].tolist()[: len(blocks)] == [number for number, _ in blocks]
        assert (batch.blocks[line, len(blocks) :] == -1).all()
        assert (batch.ids[line, end:] == PAD).all()
        assert (batch.positions[line, end:] == PAD).all()
        assert (batch.segments[line, end:] == -1).all()
        assert all(ids[0] == BOS and ids[-1] == EOS for _, ids in blocks)
    assert batch.tokens == int((batch.segments >= 0).sum())
    assert batch.needs_isolation


def test_a_batch_holds_the_pairs_of_its_rows(pair_index: Index) -> None:
    """Each pair is one segment: both halves see each other, and positions run on from A into B."""
    batch = read_batch(pair_index, np.arange(pair_index.num_rows), np.zeros(pair_index.num_rows, dtype=np.int64))
    assert batch.ids.shape[1] <= MAX_TOKENS
    for line in range(pair_index.num_rows):
        part, first, last, number = pair_index.locate(line)
        for segment, (a_start, a_end, b_start, b_end, _) in enumerate(part.blocks[first:last].tolist()):
            here = batch.segments[line] == segment
            a, b = part.tokens.tokens[a_start:a_end].tolist(), part.tokens.tokens[b_start:b_end].tolist()
            assert batch.ids[line][here].tolist() == [BOS, *a, EOS, EOS, *b, EOS]
            assert batch.positions[line][here].tolist() == list(range(2, 2 + len(a) + len(b) + 4))
            assert batch.blocks[line, segment] == number + segment
    assert (batch.blocks[:, 1] >= 0).any()
    assert sorted(batch.blocks[batch.blocks >= 0].tolist()) == list(range(pair_index.num_blocks))


def test_v34_pairs_are_masked_by_block_and_their_specials_never(pair_index: Index) -> None:
    batch = read_batch(pair_index, np.arange(pair_index.num_rows), np.zeros(pair_index.num_rows, dtype=np.int64))
    seen = masked_blocks([batch], pair_index.vocab_size)
    assert len(seen) == pair_index.num_blocks
    for row in range(pair_index.num_rows):
        for number, ids in pair_index.read_row(row):
            inputs, selected = seen[0, number]
            assert len(selected) >= 1 and (ids[selected] >= 4).all()
            assert [place for place, id in enumerate(inputs) if id != ids[place] and place not in selected] == []


def test_rows_of_one_full_block_need_no_isolation(full_index: Index) -> None:
    full = [row for row in range(full_index.num_rows) if len(full_index.read_row(row)[0][1]) == full_index.max_tokens]
    batch = read_batch(full_index, np.array(full[:4]), np.zeros(4, dtype=np.int64))
    assert not batch.needs_isolation
    assert batch.ids.shape == (4, full_index.max_tokens)


@pytest.mark.parametrize(("ranks", "rows"), GRIDS)
def test_v29_an_epoch_visits_each_block_once_on_every_grid(document_index: Index, ranks: int, rows: int) -> None:
    global_batch, count = 8, document_index.num_rows
    batches = read_grid(document_index, ranks, rows, 0, -(-count // global_batch), global_batch)
    seen = [
        block for batch in batches for line in np.flatnonzero(batch.epochs == 0)
        for block in batch.blocks[line].tolist() if block >= 0
    ]
    assert sorted(seen) == list(range(document_index.num_blocks))


@pytest.mark.parametrize(("ranks", "rows"), GRIDS)
@pytest.mark.parametrize("format", ["full_index", "document_index"])
def test_v30_v31_another_grid_goes_on_with_the_same_blocks_and_masks(
    request: pytest.FixtureRequest, format: str, ranks: int, rows: int
) -> None:
    """Also across the ends of epochs 0 and 1."""
    index: Index = request.getfixturevalue(format)
    global_batch, cut = 12, 5
    end = 2 * index.num_rows // global_batch + 1
    straight = masked_blocks(read_grid(index, 1, 12, 0, end, global_batch), index.vocab_size)
    before = read_grid(index, 2, 5, 0, cut, global_batch)
    after = read_grid(index, ranks, rows, cut, end, global_batch)
    assert masked_blocks(before + after, index.vocab_size) == straight
    assert {epoch for epoch, _ in straight} == {0, 1, 2}


def test_a_global_batch_that_ranks_do_not_divide_names_the_key() -> None:
    with pytest.raises(ConfigError, match=r"global_batch: expected a multiple of the 3 ranks; found 8"):
        Grid(0, 3, 2).step_rows(0, 1, 8, 100)
    assert Grid(0, 2, 3).micro_batches(8) == 2


def test_a_row_longer_than_the_index_allows_is_named(full_index: Index) -> None:
    manifest = full_index.manifest
    shorter = type(manifest)(**{**vars(manifest), "config": {**manifest.config, "max_tokens": 8}})
    index = Index(shorter, full_index.vocab_size, full_index.parts, full_index.first_row, full_index.first_block)
    with pytest.raises(ArtefactError, match="expected 1 to 8 tokens in row 3"):
        read_batch(index, np.array([3]), np.array([0]))


def test_an_id_beyond_the_vocabulary_is_named(full_index: Index) -> None:
    index = Index(full_index.manifest, 5, full_index.parts, full_index.first_row, full_index.first_block)
    with pytest.raises(ArtefactError, match="expected token ids below 5 in row 3"):
        read_batch(index, np.array([3]), np.array([0]))


def prefetch_threads() -> int:
    """How many reading threads are alive."""
    return sum(thread.name == "prefetch" for thread in threading.enumerate())


def test_prefetching_keeps_the_order_and_its_thread_ends() -> None:
    with prefetched(iter(range(100)), depth=3) as items:
        assert list(items) == list(range(100))
    assert prefetch_threads() == 0


def test_prefetching_stays_at_most_its_depth_ahead() -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(1000):
            made.append(number)
            yield number

    with prefetched(numbers(), depth=2) as items:
        for _ in range(5):
            next(items)
        assert len(made) <= 5 + 2 + 1  # taken, waiting, and one in hand
    assert prefetch_threads() == 0
    assert len(made) < 20


def test_an_error_while_reading_ahead_is_raised_in_its_place() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise ArtefactError("expected a file")

    with pytest.raises(ArtefactError, match="expected a file"), prefetched(numbers()) as items:
        assert next(items) == 1
        next(items)
    assert prefetch_threads() == 0
