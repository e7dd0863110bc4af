"""The greedy selection, and the checks that every run makes on its own result."""

from __future__ import annotations

from itertools import chain, groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus.dedup.arrays import (
    LEADING_BITS,
    bounds,
    cut_ranges,
    key_ranges,
    open_array,
    order_by_leading_bits,
    write_flags,
)
from rbt.corpus.dedup.collect import REMOVAL_SCHEMA, collect
from rbt.corpus.dedup.follow import follow
from rbt.corpus.dedup.groups import maybe_shared
from rbt.corpus.dedup.inputs import NOTHING_KNOWN, Ingested, Numbering
from rbt.corpus.dedup.select import choose, runs_named, select
from rbt.corpus.dedup.verify import EDGE_SCHEMA, merge_jaccard
from rbt.engine import LocalEngine
from rbt.errors import ArtefactError
from rbt.formats.arrays import write_array
from rbt.formats.parts import open_table, write_table

ONE = LocalEngine(1)
pairs = st.tuples(st.integers(0, 11), st.integers(0, 11)).filter(lambda pair: pair[0] > pair[1])


@given(st.dictionaries(pairs, st.sampled_from([0.8, 0.9, 1.0]), max_size=40), st.sets(st.integers(0, 11), max_size=3))
def test_choose_is_greedy_by_priority_and_names_the_most_similar(
    edges: dict[tuple[int, int], float], gone: set[int]
) -> None:
    edges = {pair: jaccard for pair, jaccard in edges.items() if not gone & set(pair)}
    removed, expected = set(gone), []
    for b, group in groupby(sorted(edges), key=lambda pair: pair[0]):
        kept = [(-edges[b, a], a) for _, a in group if a not in removed]
        if kept:
            removed.add(b)
            expected.append((b, min(kept)[1]))
    order = sorted(edges)
    b, a = (np.array([pair[side] for pair in order], dtype=np.int64) for side in (0, 1))
    is_removed = np.isin(np.arange(12), list(gone))
    places = choose(b, a, np.array([edges[pair] for pair in order], dtype=np.float64), is_removed)
    assert list(zip(b[places].tolist(), a[places].tolist(), strict=True)) == expected
    assert set(np.flatnonzero(is_removed).tolist()) == removed


@given(st.lists(st.sets(st.integers(0, 30), min_size=1), min_size=1, max_size=6))
def test_merged_jaccard_equals_that_of_python_sets(sets: list[set[int]]) -> None:
    values = np.concatenate([np.array(sorted(item), dtype=np.uint64) for item in sets])
    starts = np.cumsum([0, *(len(item) for item in sets)]).astype(np.int64)
    left, right = (side.ravel() for side in np.meshgrid(np.arange(len(sets)), np.arange(len(sets))))
    expected = [len(sets[a] & sets[b]) / len(sets[a] | sets[b]) for a, b in zip(left, right, strict=True)]
    assert merge_jaccard(values, starts, left, right).tolist() == expected


def by_select(folder: Path, documents: int, edges: list[tuple[int, int, float]], copies: np.ndarray) -> pa.Table:
    """What goes of so many documents; `copies` are rows (first, copy)."""
    folder.mkdir()
    part = Ingested("00", folder, "", folder, "", 0, documents, 0)
    numbering = Numbering.of(NOTHING_KNOWN, [part])
    rows = [dict(zip(EDGE_SCHEMA.names, edge, strict=True)) for edge in edges]
    write_table(folder / "edges.arrow", [pa.RecordBatch.from_pylist(rows, schema=EDGE_SCHEMA)], EDGE_SCHEMA)
    write_array(folder / "copies.npy", copies)
    runs = [(folder / "copies.npy", "")]
    gone = write_flags(folder / "gone.npy", documents, [copies[1]])
    chosen = [select([(folder / "edges.arrow", "")], runs, gone, numbering, folder, ONE)]
    removed = runs_named(chosen, folder, "removed")[0]
    near, between = (runs_named(chosen, folder, stem) for stem in ("near", "between"))
    followed = runs_named(follow(runs, near, between, removed, numbering, 0, folder / "follow", ONE), folder / "follow")
    receipts = collect(
        [part], NOTHING_KNOWN, [], near, followed, removed, 0.8, numbering, folder / "collect", ONE
    )
    return open_table(folder / "collect" / receipts[0].files[0].path, REMOVAL_SCHEMA)


def test_a_copy_goes_for_whatever_took_the_place_of_its_text(tmp_path: Path) -> None:
    table = by_select(tmp_path / "a", 5, [(1, 0, 0.9)], np.array([[1, 2], [3, 4]]))
    assert table["row"].to_pylist() == [1, 3, 4]
    assert table["kept_number"].to_pylist() == [0, 0, 2]
    assert table["jaccard"].to_pylist() == [0.9, 0.9, 1.0]


def test_a_copy_names_a_kept_document_between_the_first_of_its_text_and_itself_if_that_is_more_similar(
    tmp_path: Path
) -> None:
    edges = [(1, 0, 0.85), (3, 1, 0.9), (5, 1, 0.95)]
    table = by_select(tmp_path / "a", 7, edges, np.array([[1, 1, 1], [2, 4, 6]]))
    assert table["row"].to_pylist() == [1, 2, 4, 6]
    assert table["kept_number"].to_pylist() == [0, 0, 3, 5]
    assert table["jaccard"].to_pylist() == [0.85, 0.85, 0.9, 0.95]


@pytest.mark.parametrize(
    ("near", "removed", "message"),
    [
        ([(1, 0, 0.7)], [1], "at least 0.8 similar"),
        ([(1, 0, 0.9), (2, 1, 0.9)], [1, 2], "name a kept one"),
        ([(1, 0, 0.9)], [1, 2], "removed once"),
        ([(1, 0, 0.9), (1, 0, 0.9)], [1, 2], "removed once"),
    ],
)
def test_v8_a_result_that_breaks_the_rule_stops_the_run(
    tmp_path: Path, near: list[tuple[int, int, float]], removed: list[int], message: str
) -> None:
    part = Ingested("00", tmp_path, "", tmp_path, "", 0, 3, 0)
    numbers, kept, jaccard = (np.array(column) for column in zip(*near, strict=True))
    write_array(tmp_path / "near.npy", np.stack([numbers, kept, jaccard.view(np.int64)]))
    flags = write_flags(tmp_path / "removed.npy", 3, [np.array(removed)])
    numbering = Numbering.of(NOTHING_KNOWN, [part])
    with pytest.raises(ArtefactError, match=message):
        collect(
            [part], NOTHING_KNOWN, [], [(tmp_path / "near.npy", "")], [], (flags, ""), 0.8, numbering,
            tmp_path / "collect", ONE,
        )


@given(st.integers(1, 5000), st.lists(st.integers(0, 2**64 - 1), max_size=30))
def test_key_ranges_hold_every_key_of_a_run_once(number: int, keys: list[int]) -> None:
    array = np.array(keys, dtype=np.uint64)
    run = array[order_by_leading_bits(array, LEADING_BITS)]
    ranges = list(key_ranges(number))
    found = [run[slice(*bounds(run, low, high))].tolist() for low, high in ranges]
    assert sorted(chain(*found)) == sorted(keys)
    assert all(low <= key < high for (low, high), part in zip(ranges, found, strict=True) for key in part)
    assert min(number, 1 << LEADING_BITS) <= len(ranges) < 2 * number


@given(st.lists(st.integers(0, 2**64 - 1), max_size=40), st.integers(1, 12))
def test_the_order_by_leading_bits_is_stable(keys: list[int], bits: int) -> None:
    order = order_by_leading_bits(np.array(keys, dtype=np.uint64), bits)
    assert order.tolist() == sorted(range(len(keys)), key=lambda place: keys[place] >> (64 - bits))


@given(st.lists(st.lists(st.integers(0, 20), max_size=20), min_size=1, max_size=4), st.integers(1, 10))
def test_ranges_of_about_equal_size_hold_every_value_once(columns: list[list[int]], size: int) -> None:
    arrays = [np.array(sorted(column), dtype=np.int64) for column in columns]
    ranges = cut_ranges(arrays, size)
    values = sorted(chain(*columns))
    assert [value for low, high in ranges for value in values if low <= value < high] == values
    assert all(any(low <= value < high for value in values) for low, high in ranges)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=60))
def test_no_shared_key_is_overlooked(keys: list[int]) -> None:
    keys = [key % 23 if key % 2 else key for key in keys]
    found = maybe_shared(np.array(keys, dtype=np.uint64)).tolist()
    assert found == sorted(set(found))
    assert {place for place, key in enumerate(keys) if keys.count(key) > 1} <= set(found)


@pytest.mark.parametrize("shape", [(0,), (5,), (3, 0), (2, 3)])
@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.bool_])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_open_array_is_what_was_saved(tmp_path: Path, shape: tuple[int, ...], dtype: type, order: str) -> None:
    array = np.asarray(np.arange(np.prod(shape)).reshape(shape) % 3, dtype=dtype, order=order)
    np.save(tmp_path / "a.npy", array)
    opened = open_array(tmp_path / "a.npy")
    assert (opened.dtype, opened.tolist()) == (array.dtype, array.tolist())


def test_open_arrays_hold_no_descriptors_of_which_a_process_may_have_few(tmp_path: Path) -> None:
    write_array(tmp_path / "a.npy", np.arange(9))
    before = len(list(Path("/proc/self/fd").iterdir()))
    opened = [open_array(tmp_path / "a.npy") for _ in range(50)]
    assert len(list(Path("/proc/self/fd").iterdir())) < before + 10
    assert all(array.sum() == 36 for array in opened)
