"""Batches hold the rows of the order, whatever the grid, and the reading thread ends."""

from __future__ import annotations

import dataclasses
import errno
import threading
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from rbt.errors import ArtefactError, ConfigError
from rbt.formats import tokens
from rbt.formats.blocks import Index
from rbt.formats.tokenizer import BOS, EOS
from rbt.trainer.batch_masking import mask_batch
from rbt.trainer.batches import Batch, Grid, check_ranks, prefetched, read_batch, read_steps
from rbt.trainer.config import DataConfig
from rbt.trainer.masking import masking_rule

from .conftest import VOCAB

GRIDS = [(ranks, rows) for ranks in (1, 2, 3, 4) for rows in (1, 3, 100)]
Seen = dict[tuple[int, int], tuple[list[int], list[int]]]


def masked_blocks(batches: list[Batch]) -> Seen:
    """(epoch, block) -> (inputs, selected positions); a block seen twice in an epoch fails."""
    seen: Seen = {}
    for batch in batches:
        masked = mask_batch(batch, masking_rule(DataConfig(), VOCAB))
        for place, (start, end) in enumerate(pairwise(batch.block_edges.tolist())):
            key = (int(batch.block_epochs[place]), int(batch.blocks[place]))
            assert key not in seen
            here = masked.selected[(masked.selected >= start) & (masked.selected < end)] - start
            seen[key] = (masked.inputs[start:end].tolist(), here.tolist())
    return seen


def read_grid(index: Index, ranks: int, rows: int, first: int, last: int, global_batch: int) -> list[Batch]:
    """All ranks' micro-batches of the steps [first, last), in the order of positions."""
    ranked = [
        list(read_steps(index, Grid(rank, ranks, rows), 1, global_batch, first, last)) for rank in range(ranks)
    ]
    return [batch for step in zip(*ranked, strict=True) for share in step for batch in share]


@pytest.mark.parametrize("name", ["full_index", "document_index", "sentence_index"])
def test_a_batch_holds_the_blocks_of_its_rows(request: pytest.FixtureRequest, name: str) -> None:
    """In the order of the rows, as `read_row` gives them, whatever the separator."""
    assert read_all(request.getfixturevalue(name)).is_next.tolist() == []


def test_a_batch_holds_the_pairs_of_its_rows(pair_index: Index) -> None:
    """Each pair is one segment: both halves see each other, and positions run on from A into B."""
    flags = np.concatenate([part.blocks[:, 4] for part in pair_index.parts])
    batch = read_all(pair_index)
    assert batch.is_next.tolist() == flags[batch.blocks].tolist()
    assert 0 < flags.sum() < len(flags)


def read_all(index: Index) -> Batch:
    """All rows of an index in some order, compared with `read_row`."""
    rows = np.random.default_rng(3).permutation(index.num_rows)
    batch = read_batch(index, rows, np.arange(len(rows)) % 3)
    content = [index.read_row(int(row)) for row in rows]
    blocks = [block for row in content for block in row]
    assert batch.blocks.tolist() == [number for number, _ in blocks]
    assert batch.ids.tolist() == [token for _, ids in blocks for token in ids.tolist()]
    assert np.diff(batch.block_edges).tolist() == [len(ids) for _, ids in blocks]
    assert np.diff(batch.row_edges).tolist() == [sum(len(ids) for _, ids in row) for row in content]
    assert batch.positions.tolist() == [2 + place for _, ids in blocks for place in range(len(ids))]
    assert batch.segment_edges.tolist() == batch.block_edges.tolist()
    assert batch.block_epochs.tolist() == [place % 3 for place, row in enumerate(content) for _ in row]
    assert (batch.rows.tolist(), batch.epochs.tolist()) == (rows.tolist(), (np.arange(len(rows)) % 3).tolist())
    assert all(ids[0] == BOS and ids[-1] == EOS for _, ids in blocks)
    return batch


def test_isolated_documents_are_segments_of_their_own(full_index: Index) -> None:
    """A segment begins behind the </s> that ends a document, and positions with it; masks know only blocks."""
    rows = np.arange(full_index.num_rows)
    batch = read_batch(full_index, rows, np.zeros_like(rows), isolate_documents=True)
    joint = read_batch(full_index, rows, np.zeros_like(rows))
    assert np.array_equal(batch.ids, joint.ids) and np.array_equal(batch.block_edges, joint.block_edges)
    starts = [start for start in range(1, len(batch.ids)) if batch.ids[start - 1] == EOS]
    assert batch.segment_edges.tolist() == [0, *starts, len(batch.ids)]
    assert len(batch.segment_edges) > len(batch.block_edges)
    assert batch.positions.tolist() == [
        2 + place for start, end in pairwise(batch.segment_edges.tolist()) for place in range(end - start)
    ]
    assert np.array_equal(*(mask_batch(each, masking_rule(DataConfig(), VOCAB)).inputs for each in (batch, joint)))


def test_documents_are_isolated_beside_the_ends_of_sentences(sentence_index: Index) -> None:
    rows = np.arange(sentence_index.num_rows)
    batch = read_batch(sentence_index, rows, np.zeros_like(rows), isolate_documents=True)
    inner = set(batch.segment_edges.tolist()) - set(batch.block_edges.tolist())
    twice = [place for place in range(2, len(batch.ids)) if batch.ids[place - 2 : place].tolist() == [EOS, EOS]]
    assert inner == set(twice) and inner


def test_v34_pairs_are_masked_by_block_and_their_specials_never(pair_index: Index) -> None:
    batch = read_batch(pair_index, np.arange(pair_index.num_rows), np.zeros(pair_index.num_rows, dtype=np.int64))
    seen = masked_blocks([batch])
    assert len(seen) == pair_index.num_blocks
    for row in range(pair_index.num_rows):
        for number, ids in pair_index.read_row(row):
            inputs, selected = seen[0, number]
            assert len(selected) >= 1 and (ids[selected] >= 4).all()
            assert [place for place, id in enumerate(inputs) if id != ids[place] and place not in selected] == []


@pytest.mark.parametrize(("ranks", "rows"), GRIDS)
def test_v29_an_epoch_visits_each_block_once_on_every_grid(document_index: Index, ranks: int, rows: int) -> None:
    global_batch, count = 8, document_index.num_rows
    batches = read_grid(document_index, ranks, rows, 0, -(-count // global_batch), global_batch)
    seen = [block for batch in batches for block in batch.blocks[batch.block_epochs == 0].tolist()]
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
    straight = masked_blocks(read_grid(index, 1, 12, 0, end, global_batch))
    before = read_grid(index, 2, 5, 0, cut, global_batch)
    after = read_grid(index, ranks, rows, cut, end, global_batch)
    assert masked_blocks(before + after) == straight
    assert {epoch for epoch, _ in straight} == {0, 1, 2}


def test_a_global_batch_without_a_row_for_each_rank_names_the_key() -> None:
    check_ranks(8, 8)
    with pytest.raises(ConfigError, match=r"global_batch: expected a row for each of 9 ranks; found 8"):
        check_ranks(8, 9)


@pytest.mark.parametrize(("ranks", "rows"), [(1, 3), (2, 3), (3, 1), (3, 2), (5, 4), (8, 1)])
def test_ranks_have_as_many_micro_batches_as_they_say(ranks: int, rows: int) -> None:
    grids = [Grid(rank, ranks, rows) for rank in range(ranks)]
    parts = [grid.step_rows(5, 1, 8, 100) for grid in grids]
    assert [len(part) for part in parts] == grids[0].micro_batches(8)
    shares = [sum(len(rows) for _, rows in part) for part in parts]
    assert sum(shares) == 8 and max(shares) - min(shares) <= 1


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


def damaged(index: Index, row: int, block: list[int]) -> Index:
    """An index whose row begins with another block."""
    number = int(np.searchsorted(index.first_row, row, side="right")) - 1
    part = index.parts[number]
    blocks = np.array(part.blocks)
    blocks[part.rows[row - index.first_row[number]], : len(block)] = block
    parts = [*index.parts]
    parts[number] = dataclasses.replace(part, blocks=blocks)
    return dataclasses.replace(index, parts=tuple(parts))


@pytest.mark.parametrize("block", [
    [10**6, 10**6 + 20], [5, 10**6], [-9, 4], [-9, -4], [20, 20], [20, 11], [2**62, 2**62 + 9], [2**62, -(2**62)],
])
@pytest.mark.parametrize("name", ["full_index", "sentence_index"])
def test_a_block_of_tokens_that_are_not_there_is_an_error_with_its_row(
    request: pytest.FixtureRequest, name: str, block: list[int]
) -> None:
    """Also where it is told of ahead, which is advice alone: the error comes when the row is read."""
    index = damaged(request.getfixturevalue(name), 7, block)
    count = len(index.parts[0].tokens.tokens)
    message = f"expected blocks of tokens 0 to {count} of train-00000 in row 7 .*; found {block[0]} to {block[1]}"
    with pytest.raises(ArtefactError, match=message):
        read_batch(index, np.array([3, 7, 4]), np.zeros(3, dtype=np.int64))
    steps = read_steps(index, Grid(0, 1, 4), 1, 8, 0, index.num_rows // 8 + 1)
    with pytest.raises(ArtefactError, match="in row 7 of the index"):
        list(steps)


@pytest.mark.parametrize("half", [0, 2])
def test_a_half_of_a_pair_that_is_not_there_is_an_error_with_its_row(pair_index: Index, half: int) -> None:
    row = pair_index.parts[0].blocks[pair_index.parts[0].rows[7]].tolist()
    row[half : half + 2] = [10**6, 10**6 + 4]
    index = damaged(pair_index, 7, row)
    with pytest.raises(ArtefactError, match=rf"in row 7 .*; found {row[0]} to {row[1]} and {row[2]} to {row[3]} "):
        read_batch(index, np.array([7]), np.array([0]))


class Refusing:
    """A mapped file of a system that takes no advice."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def madvise(self, option: int, start: int, length: int) -> None:
        self.asked.append((start, length))
        raise OSError(errno.EINVAL, "not here")


def test_a_system_that_takes_no_advice_is_no_error(full_index: Index, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, where details are asked for."""
    part, mapping = dataclasses.replace(full_index.parts[0].tokens), Refusing()
    vars(part)["_mapping"] = mapping
    tokens._say_refused.cache_clear()
    with caplog.at_level("DEBUG", "rbt.formats.tokens"):
        for start in (0, 3):
            part.will_read(start, 40)
    assert mapping.asked == [(0, 80), (0, 80)]
    assert [record.levelname for record in caplog.records] == ["DEBUG"]
    for start, end in ((-1, 3), (4, 4), (5, 4), (0, len(part.tokens) + 1)):
        part.will_read(start, end)
    assert len(mapping.asked) == 2


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
