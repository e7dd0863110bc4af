"""Deduplication from end to end, against the rule applied to all pairs."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbt.corpus.config import DeduplicateConfig
from rbt.corpus.dedup import follow, groups, sign, verify
from rbt.corpus.dedup.inputs import Ingested
from rbt.corpus.dedup.pipeline import deduplicate
from rbt.engine import LocalEngine
from rbt.errors import ArtefactError, ConfigError
from rbt.formats.signatures import SCHEMA

Shingles = Callable[[str, int], set[tuple[str, ...]]]
MakeParts = Callable[..., list[Ingested]]
Removed = dict[int, tuple[str, int, float | None]]
ReadRemoved = Callable[..., Removed]
ONE = LocalEngine(1)
ALL_WORDS = 10**9  # an n-gram of so many words is the whole text
CERTAIN = DeduplicateConfig(threshold=0.5, ngram=2, bands=64, rows=1, group_limit=10**6)  # candidates are all pairs


class ShufflingEngine:
    """Runs tasks in place, in a random order."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def map(self, function: Any, tasks: Sequence[Any], on_advance: Callable[[int], object]) -> Iterator[Any]:
        return map(function, self._random.sample(list(tasks), len(tasks)))


def by_the_rule(documents: Sequence[tuple[str, str]], config: DeduplicateConfig, shingles: Shingles) -> Removed:
    """The rule, on all pairs."""
    removed: Removed = {}
    sets = [shingles(text, config.ngram) for _, text in documents]
    ids: set[str] = set()
    for b, (id, text) in enumerate(documents):
        if id in ids:
            removed[b] = ("duplicate_id", -1, None)
            continue
        ids.add(id)
        edges = []
        for a in (number for number in range(b) if number not in removed):
            jaccard = len(sets[a] & sets[b]) / len(sets[a] | sets[b])
            is_copy = shingles(documents[a][1], ALL_WORDS) == shingles(text, ALL_WORDS)
            if (config.near and jaccard >= config.threshold) or (config.exact and is_copy):
                edges.append((-jaccard, a, "exact_duplicate" if is_copy else "near_duplicate"))
        if edges:
            jaccard, a, rule = min(edges)
            removed[b] = (rule, a, -jaccard)
    return removed


def cut(items: Sequence[Any], cuts: Sequence[int]) -> list[list[Any]]:
    edges = [0, *sorted(place % (len(items) + 1) for place in cuts), len(items)]
    return [list(items[start:stop]) for start, stop in pairwise(edges)]


def chains(seed: int) -> list[tuple[str, str]]:
    """A small corpus of texts, their copies, edits of edits, and ids that come again."""
    generator = random.Random(seed)
    documents: list[tuple[str, str]] = []
    for _ in range(generator.randrange(40)):
        words = generator.choices("abcdefgh", k=generator.randrange(25))
        if documents and generator.random() < 0.6:
            words = generator.choice(documents)[1].split()
            for _ in range(generator.randrange(3)):
                place = generator.randrange(len(words) + 1)
                words[place : place + generator.randrange(2)] = generator.choices("abcdefgh", k=generator.randrange(2))
        separator = generator.choice([" ", ", ", "\n"])  # which, like capitals, makes no other text
        documents.append((str(generator.randrange(80)), separator.join(words)))
    return documents


corpora = st.integers(0, 2**32).map(chains)
cuttings = st.lists(st.integers(0, 99), max_size=2)


@settings(max_examples=30)
@given(corpora, st.booleans(), st.booleans(), st.sampled_from([0.5, 0.8, 1.0]), cuttings)
def test_removals_are_those_of_the_rule_however_the_corpus_is_cut(
    make_parts: MakeParts, removed_numbers: ReadRemoved, reference_shingles: Shingles,
    documents: list[tuple[str, str]], is_exact: bool, is_near: bool, threshold: float, cuts: list[int],
) -> None:
    config = DeduplicateConfig(is_exact, is_near, threshold, 2, 64, 1, 10**6)
    with TemporaryDirectory() as folder:
        parts = make_parts(Path(folder) / "in", cut(documents, cuts))
        result = deduplicate(parts, config, 1, Path(folder) / "work", ONE)
        removed = removed_numbers(parts, result)
    assert removed == by_the_rule(documents, config, reference_shingles)
    assert result.counts["documents"] == len(documents)


def test_v11_a_chain_keeps_its_ends(make_parts: MakeParts, removed_numbers: ReadRemoved, tmp_path: Path) -> None:
    chain = [("a", "1 2 3 4 5 6 7"), ("b", "3 4 5 6 7 8 9"), ("c", "5 6 7 8 9 10 11")]  # 4 of 8 pairs, then 2 of 10
    parts = make_parts(tmp_path / "in", [chain])
    removed = removed_numbers(parts, deduplicate(parts, CERTAIN, 0, tmp_path / "work", ONE))
    assert removed == {1: ("near_duplicate", 0, 0.5)}


def words(generator: np.random.Generator, count: int) -> list[str]:
    return [f"w{number}" for number in generator.integers(0, 2000, count)]


def planted(copies: int) -> list[tuple[str, str]]:
    generator = np.random.default_rng(1)
    documents = [(f"unrelated-{number}", " ".join(words(generator, 120))) for number in range(40)]
    text = words(generator, 200)
    for copy in range(copies):
        documents.insert(3 * copy + 2, (f"copy-{copy}", " ".join(text)))
        documents.append((f"near-{copy}", " ".join([*text[: 199 - copy], f"end{copy}"])))
    return documents


def test_v8_of_planted_copies_exactly_one_is_kept_and_each_removed_one_names_it(
    make_parts: MakeParts, removed_numbers: ReadRemoved, tmp_path: Path
) -> None:
    documents = planted(6)
    parts = make_parts(tmp_path / "in", cut(documents, [20]))
    result = deduplicate(parts, DeduplicateConfig(), 0, tmp_path / "work", ONE)
    removed = removed_numbers(parts, result)
    is_planted = [not id.startswith("unrelated") for id, _ in documents]
    kept = [number for number in range(len(documents)) if is_planted[number] and number not in removed]
    assert kept == [2]
    assert {kept_number for _, kept_number, _ in removed.values()} == {2}
    assert all(jaccard is not None and jaccard >= 0.8 for _, _, jaccard in removed.values())
    rules = [rule for rule, _, _ in removed.values()]
    assert (rules.count("exact_duplicate"), rules.count("near_duplicate")) == (5, 6)
    assert result.counts["exact_duplicate"] == 5
    assert result.counts["near_duplicate"] == 6
    assert result.counts["verified_edges"] >= 6


def test_v7_a_corpus_without_duplicates_loses_nothing(
    make_parts: MakeParts, removed_numbers: ReadRemoved, tmp_path: Path
) -> None:
    generator = np.random.default_rng(2)
    documents = [(str(number), " ".join(words(generator, 60))) for number in range(150)]
    parts = make_parts(tmp_path / "in", [documents], batch=50)
    result = deduplicate(parts, DeduplicateConfig(), 0, tmp_path / "work", ONE)
    assert removed_numbers(parts, result) == {}
    assert result.counts["documents"] == 150


def test_v10_long_unrelated_books_are_all_kept(
    make_parts: MakeParts, removed_numbers: ReadRemoved, tmp_path: Path
) -> None:
    vocabulary = 1 / np.arange(1, 3001)  # a few words make most of every text, as in a language
    generator = np.random.default_rng(3)
    draws = generator.choice(3000, size=(60, 20_000), p=vocabulary / vocabulary.sum())
    documents = [(str(book), " ".join(f"w{word}" for word in draw)) for book, draw in enumerate(draws)]
    parts = make_parts(tmp_path / "in", [documents])
    result = deduplicate(parts, DeduplicateConfig(), 0, tmp_path / "work", ONE)
    assert removed_numbers(parts, result) == {}


def outputs(work: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(work)): path.read_bytes()
        for path in sorted(work.rglob("*")) if path.is_file() and path.parent.name != "receipts"
    }


def test_v12_the_order_in_which_tasks_run_changes_no_byte(
    make_parts: MakeParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_small(monkeypatch)
    parts = make_parts(tmp_path / "in", cut(planted(6), [9, 20, 33]))
    deduplicate(parts, DeduplicateConfig(), 0, tmp_path / "straight", ONE)
    for seed in range(2):
        deduplicate(parts, DeduplicateConfig(), 0, tmp_path / str(seed), ShufflingEngine(seed))
        assert outputs(tmp_path / str(seed)) == outputs(tmp_path / "straight")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 4, 16])
def test_v12_the_number_of_workers_changes_no_byte(make_parts: MakeParts, tmp_path: Path, workers: int) -> None:
    parts = make_parts(tmp_path / "in", cut(planted(6), [9, 20, 33]))
    deduplicate(parts, DeduplicateConfig(), 0, tmp_path / "one", ONE)
    deduplicate(parts, DeduplicateConfig(), 0, tmp_path / "many", LocalEngine(workers))
    assert outputs(tmp_path / "many") == outputs(tmp_path / "one")


def make_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits so small that every step has many runs, ranges, chunks and buckets."""
    monkeypatch.setattr(sign, "RUN_DOCUMENTS", 4)
    monkeypatch.setattr(groups, "PARTITION_BYTES", 900)
    monkeypatch.setattr(groups, "PIECE_ROWS", 3)
    monkeypatch.setattr(groups, "READ_ROWS", 5)
    monkeypatch.setattr(groups, "CHUNK_PAIRS", 5)
    monkeypatch.setattr(follow, "RANGE_COPIES", 2)
    monkeypatch.setattr(verify, "BUCKET_PAIRS", 12)
    monkeypatch.setattr(verify, "SET_BYTES", 3000)


def test_runs_ranges_chunks_and_buckets_of_any_size_give_the_same_removals(
    make_parts: MakeParts, removed_numbers: ReadRemoved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = make_parts(tmp_path / "in", cut(planted(8), [9, 20, 33]))
    large = deduplicate(parts, CERTAIN, 0, tmp_path / "large", ONE)
    make_small(monkeypatch)
    small = deduplicate(parts, CERTAIN, 0, tmp_path / "small", ONE)
    several = {
        "sign": "*.00001.*.npy", "ids": "receipts/*.json", "bands": "*-00001.npy", "verify": "*.arrow",
        "select": "near-*.npy",
    }
    for step, pattern in several.items():
        assert len(list((tmp_path / "small" / step).glob(pattern))) > 1, step
    assert removed_numbers(parts, small) == removed_numbers(parts, large)
    assert small.counts == large.counts
    assert len(removed_numbers(parts, small)) == 15


@pytest.mark.parametrize("seed", range(5))
def test_ranges_that_split_down_to_one_key_give_the_same_pairs(
    make_parts: MakeParts, removed_numbers: ReadRemoved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    config = DeduplicateConfig(threshold=0.5, ngram=2, bands=8, rows=1, group_limit=2)
    alike = [(f"like{number}", f"same same x{number}") for number in range(9)]
    documents = [*chains(seed), *chains(seed + 100), *alike]
    parts = make_parts(tmp_path / "in", cut(documents, [7, 31]))
    large = deduplicate(parts, config, 0, tmp_path / "large", ONE)
    make_small(monkeypatch)
    small = deduplicate(parts, config, 0, tmp_path / "small", ONE)
    assert removed_numbers(parts, small) == removed_numbers(parts, large)
    assert small.counts == large.counts
    assert large.counts["pairs_not_compared"] > 0


def test_v14_an_intermediate_file_that_was_cut_is_made_again(make_parts: MakeParts, tmp_path: Path) -> None:
    parts = make_parts(tmp_path / "in", cut(planted(4), [20]))
    work = tmp_path / "work"
    first = deduplicate(parts, DeduplicateConfig(), 0, work, ONE)
    whole = outputs(work)
    generator = random.Random(4)
    for name, content in whole.items():
        (work / name).write_bytes(content[: generator.randrange(len(content))])
        assert deduplicate(parts, DeduplicateConfig(), 0, work, ONE) == first
        assert outputs(work) == whole, name


def test_v16_document_numbers_beyond_32_bits(
    make_parts: MakeParts, removed_numbers: ReadRemoved, tmp_path: Path
) -> None:
    documents = planted(3)
    parts = make_parts(tmp_path / "in", cut(documents, [20]), firsts=[2**33 + 5, 2**40])
    result = deduplicate(parts, DeduplicateConfig(), 0, tmp_path / "work", ONE)
    removed = removed_numbers(parts, result)
    assert {kept for _, kept, _ in removed.values()} == {2**33 + 7}
    assert max(removed) >= 2**40
    numbers = [pa.ipc.open_file(path).read_all()["number"].to_pylist() for path, _ in result.signatures]
    assert numbers == [list(range(2**33 + 5, 2**33 + 25)), list(range(2**40, 2**40 + len(documents) - 20))]


def test_rows_that_did_not_pass_the_filter_take_no_part(
    make_parts: MakeParts, removed_numbers: ReadRemoved, tmp_path: Path
) -> None:
    text = "the same text again and again"
    parts = make_parts(
        tmp_path / "in", [[("x", text), ("y", "something else"), ("z", text)], [("x", text)], []],
        rows=[[1, 2], [0], []], batch=1,
    )
    result = deduplicate(parts, DeduplicateConfig(), 0, tmp_path / "work", ONE)
    assert removed_numbers(parts, result) == {3: ("exact_duplicate", 2, 1.0)}
    lines = [pa.ipc.open_file(path).read_all() for path, _ in result.signatures]
    assert [table["number"].to_pylist() for table in lines] == [[1, 2], [3], []]


def test_signatures_have_one_schema_with_and_without_bands(make_parts: MakeParts, tmp_path: Path) -> None:
    parts = make_parts(tmp_path / "in", [[("a", "one two"), ("b", "drei")]])
    for near, bands in ((True, 20), (False, 0)):
        result = deduplicate(parts, DeduplicateConfig(near=near), 0, tmp_path / str(near), ONE)
        table = pa.ipc.open_file(result.signatures[0][0]).read_all()
        assert table.schema == SCHEMA
        assert [len(keys) for keys in table["band_keys"].to_pylist()] == [bands, bands]


def test_a_group_meets_its_first_members_and_the_rest_is_counted(
    make_parts: MakeParts, removed_numbers: ReadRemoved, tmp_path: Path
) -> None:
    texts = [" ".join(["same", "words", "here"] * 3 + [f"only{number}"]) for number in range(9)]
    parts = make_parts(tmp_path / "in", [[(str(number), text) for number, text in enumerate(texts)]])
    config = DeduplicateConfig(threshold=0.5, ngram=1, bands=1, rows=1, group_limit=2)
    seed = next(
        seed for seed in range(99)
        if deduplicate(parts, config, seed, tmp_path / str(seed), ONE).counts["pairs_not_compared"] == 21
    )  # all nine in one group: 1 + 2 * 7 pairs compared, of 36
    result = deduplicate(parts, config, seed, tmp_path / str(seed), ONE)
    assert result.counts["candidate_pairs"] == 15
    assert {kept for _, kept, _ in removed_numbers(parts, result).values()} == {0}
    assert len(removed_numbers(parts, result)) == 8


def test_a_changed_threshold_verifies_again_and_signs_nothing_again(make_parts: MakeParts, tmp_path: Path) -> None:
    parts = make_parts(tmp_path / "in", [planted(4)])
    work = tmp_path / "work"
    deduplicate(parts, DeduplicateConfig(), 0, work, ONE)
    stamps = {path: path.stat().st_mtime_ns for path in (work / "sign").glob("*.npy")}
    strict = deduplicate(parts, DeduplicateConfig(threshold=1.0), 0, work, ONE)
    assert (strict.counts["exact_duplicate"], strict.counts["near_duplicate"]) == (3, 0)
    assert {path: path.stat().st_mtime_ns for path in (work / "sign").glob("*.npy")} == stamps


def test_a_changed_text_is_compared_again_even_where_the_candidates_stay_the_same(
    make_parts: MakeParts, removed_numbers: ReadRemoved, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    first = make_parts(tmp_path / "first", [[("a", "1 2 3 4 5 6 7")], [("b", "1 2 3 4 5 6 8")]])
    assert removed_numbers(first, deduplicate(first, CERTAIN, 0, work, ONE)) == {1: ("near_duplicate", 0, 5 / 7)}
    second = make_parts(tmp_path / "second", [[("a", "1 2 3 4 5 6 7")], [("b", "1 2 3 0 5 6 8")]])
    result = deduplicate(second, CERTAIN, 0, work, ONE)
    assert result.counts["candidate_pairs"] == 1
    assert removed_numbers(second, result) == {}


@pytest.mark.parametrize("key", ["ngram", "bands", "rows", "group_limit", "threshold"])
def test_a_value_that_makes_no_sense_is_an_error_that_names_its_key(
    make_parts: MakeParts, tmp_path: Path, key: str
) -> None:
    parts = make_parts(tmp_path / "in", [[("a", "text")]])
    with pytest.raises(ConfigError, match=key):
        deduplicate(parts, DeduplicateConfig(**{key: 0}), 0, tmp_path / "work", ONE)


def test_parts_whose_numbers_overlap_are_an_error(make_parts: MakeParts, tmp_path: Path) -> None:
    parts = make_parts(tmp_path / "in", [[("a", "x"), ("b", "y")], [("c", "z")]], firsts=[0, 1])
    with pytest.raises(ArtefactError, match="numbered"):
        deduplicate(parts, DeduplicateConfig(), 0, tmp_path / "work", ONE)
