"""The greedy selection, and the checks that every run makes on its own result."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus.dedup.arrays import bounds, is_member, key_ranges
from rbt.corpus.dedup.pipeline import Ingested
from rbt.corpus.dedup.select import choose, select
from rbt.corpus.dedup.verify import EDGE_SCHEMA, merge_jaccard
from rbt.errors import ArtefactError
from rbt.formats.parts import write_table

NONE = np.empty(0, dtype=np.int64)
NO_COPIES = np.empty((2, 0), dtype=np.int64)
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


def edge_file(path: Path, edges: list[tuple[int, int, float]]) -> Path:
    rows = [dict(zip(EDGE_SCHEMA.names, edge, strict=True)) for edge in edges]
    write_table(path, [pa.RecordBatch.from_pylist(rows, schema=EDGE_SCHEMA)], EDGE_SCHEMA)
    return path


def test_a_copy_goes_for_whatever_took_the_place_of_its_text(
    make_parts: Callable[..., list[Ingested]], tmp_path: Path
) -> None:
    parts = make_parts(tmp_path, [[(str(number), "text") for number in range(5)]])
    edges = [edge_file(tmp_path / "0.arrow", [(1, 0, 0.9)])]
    removals = select(parts, NONE, np.array([[3, 4], [1, 2]]), edges, 0.8)
    assert removals.number.tolist() == [1, 3, 4]
    assert removals.kept.tolist() == [0, 0, 2]
    assert removals.jaccard.tolist() == [0.9, 0.9, 1.0]


def test_a_copy_names_a_kept_document_between_the_first_of_its_text_and_itself_if_that_is_more_similar(
    make_parts: Callable[..., list[Ingested]], tmp_path: Path
) -> None:
    parts = make_parts(tmp_path, [[(str(number), "text") for number in range(7)]])
    edges = [edge_file(tmp_path / "0.arrow", [(1, 0, 0.85), (3, 1, 0.9), (5, 1, 0.95)])]
    removals = select(parts, NONE, np.array([[2, 4, 6], [1, 1, 1]]), edges, 0.8)
    assert removals.number.tolist() == [1, 2, 4, 6]
    assert removals.kept.tolist() == [0, 0, 3, 5]
    assert removals.jaccard.tolist() == [0.85, 0.85, 0.9, 0.95]


@pytest.mark.parametrize(
    ("edges", "copies", "message"),
    [
        ([(1, 0, 0.7)], NO_COPIES, "at least 0.8 similar"),
        ([(1, 0, 0.9)], np.array([[0], [2]]), "name a kept one"),
        ([(1, 0, 0.9)], np.array([[1], [0]]), "at most once"),
    ],
)
def test_v8_a_result_that_breaks_the_rule_stops_the_run(
    make_parts: Callable[..., list[Ingested]], tmp_path: Path,
    edges: list[tuple[int, int, float]], copies: np.ndarray, message: str,
) -> None:
    parts = make_parts(tmp_path, [[(str(number), "text") for number in range(3)]])
    with pytest.raises(ArtefactError, match=message):
        select(parts, NONE, copies, [edge_file(tmp_path / "0.arrow", edges)], 0.8)


@given(st.integers(1, 20), st.lists(st.integers(0, 2**64 - 1), max_size=30))
def test_key_ranges_hold_every_key_once(number: int, keys: list[int]) -> None:
    ordered = np.array(sorted(keys), dtype=np.uint64)
    found = [ordered[slice(*bounds(ordered, low, high))].tolist() for low, high in key_ranges(number)]
    assert list(chain(*found)) == ordered.tolist()
    assert len(found) == number


@given(st.lists(st.integers(-5, 50)), st.sets(st.integers(-5, 50)))
def test_membership_equals_that_of_a_set(values: list[int], members: set[int]) -> None:
    found = is_member(np.array(values, dtype=np.int64), np.array(sorted(members), dtype=np.int64))
    assert found.tolist() == [value in members for value in values]
