"""The audit: which removals are drawn, that they are looked at again, and what a wrong one does."""

from __future__ import annotations

import dataclasses
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus import audit as auditing
from rbt.corpus.audit import Audit, Stores, audit, clopper_pearson, draw, stores_of
from rbt.corpus.config import DeduplicateConfig
from rbt.corpus.dedup.inputs import Ingested, Known, KnownPart
from rbt.corpus.lookup import DocumentFile
from rbt.engine import LocalEngine
from rbt.errors import ArtefactError
from rbt.formats import removals
from rbt.formats.audit import CHARACTERS, SCHEMA, check_audit, list_pairs, read_pairs
from rbt.formats.parts import open_table, write_table
from rbt.ledger import Row
from rbt.rng import hash_keys, hash_text

MakeParts = Callable[..., list[Ingested]]
Removal = dict[str, Any]
ONE = LocalEngine(1)
CONFIG = DeduplicateConfig(threshold=0.8, ngram=2)
WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


class ShufflingEngine:
    """Runs tasks in place, in a random order."""

    def map(self, function: Any, tasks: Sequence[Any], on_advance: Callable[[int], object]) -> Iterator[Any]:
        return map(function, random.Random(5).sample(list(tasks), len(tasks)))


def removal(
    id: str, kept_id: str, jaccard: float = 1.0, rule: str = "exact_duplicate", size: int = 10, kept_in: str = ""
) -> Removal:
    return removals.removal(
        id, "src", "deduplicate", rule, size=size, kept_id=kept_id, kept_in=kept_in, jaccard=jaccard, threshold=".8"
    )


def write_removed(path: Path, rows: Sequence[Removal], batch: int = 3) -> Path:
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=removals.SCHEMA)
    write_table(path, table.to_batches(max_chunksize=batch), removals.SCHEMA)
    return path


def files_of(parts: Sequence[Ingested]) -> list[DocumentFile]:
    return [DocumentFile(part.path, part.hash, part.rows_path, part.rows_hash, part.cuts) for part in parts]


def look_again(
    folder: Path, removed: Path, parts: Sequence[Ingested], engine: Any = ONE, others: Stores = ()
) -> Audit:
    folder.mkdir(exist_ok=True)
    shutil.copyfile(removed, folder / removals.NAME)
    return audit(folder, [("", files_of(parts)), *others], CONFIG, 0, engine)


def corpus(copies: int) -> tuple[list[tuple[str, str]], list[Removal]]:
    """Documents of twelve words, an exact and a near copy of each, and what deduplication would record of them."""
    documents, rows = [], []
    for number in range(copies):
        text = " ".join(f"{word}{number}" for word in WORDS)
        documents += [(f"kept{number}", text), (f"same{number}", text), (f"near{number}", f"{text} more")]
        rows += [removal(f"same{number}", f"kept{number}")]
        rows += [removal(f"near{number}", f"kept{number}", 11 / 12, "near_duplicate")]
    return documents, rows


def test_all_pairs_of_a_small_corpus_are_looked_at_and_kept(make_parts: MakeParts, tmp_path: Path) -> None:
    documents, rows = corpus(3)
    parts = make_parts(tmp_path / "in", [documents[:4], documents[4:]])
    removed = write_removed(tmp_path / "removed.arrow", [*rows, removals.removal("x", "src", "f", "language", size=1)])
    found = look_again(tmp_path / "work", removed, parts)
    assert found == Audit(6, 0, 6, 6)
    pairs = open_table(tmp_path / "work" / "audit.arrow", SCHEMA).to_pylist()
    texts = dict(documents)
    assert {pair["id"] for pair in pairs} == {row["id"] for row in rows}
    for pair in pairs:
        assert (pair["text"], pair["kept_text"]) == (texts[pair["id"]], texts[pair["kept_id"]])
        assert (pair["characters"], pair["kept_characters"]) == (len(pair["text"]), len(pair["kept_text"]))
        assert pair["jaccard"] == (1.0 if pair["rule"] == "exact_duplicate" else 11 / 12)
    assert check_audit(tmp_path / "work" / "audit.arrow", removed) == []


@given(st.lists(st.integers(0, 10**6), unique=True, max_size=40), st.integers(0, 9), st.integers(1, 9), st.randoms())
def test_the_sample_is_the_ids_of_the_smallest_hashes_in_whatever_order_they_come(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], seed: int, batch: int, shuffle: random.Random
) -> None:
    path = tmp_path_factory.mktemp("draw") / "removed.arrow"
    rows = [removal(str(number), "k", size=number) for number in numbers]
    rows += [removals.removal(f"no{number}", "s", "deduplicate", "duplicate_id", size=1) for number in numbers]
    shuffle.shuffle(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auditing, "SAMPLE", 7)
        patch.setattr(auditing, "LONGEST_BYTES", 800_000)
        sample, counts = draw(write_removed(path, rows, batch), seed)
    short = [str(number) for number in numbers if number <= 800_000]
    wanted = sorted(short, key=lambda id: int(hash_keys(seed, hash_text("audit"), hash_text(id))))[:7]
    assert [pair["id"] for pair in sample] == wanted
    assert (counts.removals, counts.too_long) == (len(numbers), len(numbers) - len(short))


def test_the_sample_ends_where_its_text_reaches_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [removal(str(number), "k", size=100) for number in range(30)]
    path = write_removed(tmp_path / "removed.arrow", rows)
    whole, _ = draw(path, 0)
    monkeypatch.setattr(auditing, "SAMPLE_BYTES", 450)
    sample, counts = draw(path, 0)
    assert sample == whole[:5]
    assert counts.removals == 30


def test_another_seed_draws_another_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "SAMPLE", 5)
    path = write_removed(tmp_path / "removed.arrow", [removal(str(number), "k") for number in range(200)])
    samples = [frozenset(pair["id"] for pair in draw(path, seed)[0]) for seed in range(20)]
    assert len(set(samples)) == 20
    assert len(frozenset[str]().union(*samples)) > 60  # of at most 100: no part of the ids is favored


def test_v12_neither_workers_nor_the_order_of_tasks_nor_the_cut_of_files_changes_a_byte(
    make_parts: MakeParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "TASK_PAIRS", 3)
    documents, rows = corpus(8)
    written = []
    for name, cuts, engine in (("a", [24], ONE), ("b", [5, 11, 17], ShufflingEngine()), ("c", [12], ShufflingEngine())):
        edges = [0, *cuts, 24]
        parts = make_parts(tmp_path / name, [documents[a:b] for a, b in pairwise(edges)])
        removed = write_removed(tmp_path / f"{name}.arrow", rows, batch=len(cuts))
        assert look_again(tmp_path / f"work-{name}", removed, parts, engine) == Audit(16, 0, 16, 16)
        written.append((tmp_path / f"work-{name}" / "audit.arrow").read_bytes())
    assert written[0] == written[1] == written[2]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"jaccard": 0.9}, "0.9"),  # not what it is
        ({"kept_id": "kept2"}, "found 0 "),  # another document
        ({"id": "near2"}, "found 0 "),
    ],
)
def test_v8_a_tampered_removal_stops_the_run_and_both_ids_are_named(
    make_parts: MakeParts, tmp_path: Path, change: Removal, found: str
) -> None:
    documents, rows = corpus(3)
    parts = make_parts(tmp_path / "in", [documents])
    rows = [row for row in rows if row["id"] != change.get("id")]
    rows[1] |= change
    removed = write_removed(tmp_path / "removed.arrow", rows)
    with pytest.raises(ArtefactError, match=found) as error:
        look_again(tmp_path / "work", removed, parts)
    assert f"expected {rows[1]['id']} to resemble {rows[1]['kept_id']}" in str(error.value)
    assert not (tmp_path / "work" / "audit.arrow").exists()
    with pytest.raises(ArtefactError, match=rows[1]["kept_id"]):  # and again from the receipts
        look_again(tmp_path / "work", removed, parts)


def test_a_removal_below_the_threshold_stops_the_run_even_if_it_is_recorded_as_it_is(
    make_parts: MakeParts, tmp_path: Path
) -> None:
    text = " ".join(WORDS)
    parts = make_parts(tmp_path / "in", [[("a", text), ("b", f"{text} x y z")]])
    removed = write_removed(tmp_path / "removed.arrow", [removal("b", "a", 11 / 14, "near_duplicate")])
    with pytest.raises(ArtefactError, match=r"expected b to resemble a.* at least at 0\.8"):
        look_again(tmp_path / "work", removed, parts)


@pytest.mark.parametrize(("id", "kept_id", "missing"), [("nobody", "kept0", "nobody"), ("same0", "nobody", "nobody")])
def test_a_removal_that_names_a_document_that_is_not_there_stops_the_run(
    make_parts: MakeParts, tmp_path: Path, id: str, kept_id: str, missing: str
) -> None:
    parts = make_parts(tmp_path / "in", [corpus(1)[0]])
    removed = write_removed(tmp_path / "removed.arrow", [removal(id, kept_id)])
    with pytest.raises(ArtefactError, match=f"expected the text of {missing}, since {id} was removed for {kept_id}"):
        look_again(tmp_path / "work", removed, parts)


def test_of_documents_with_one_id_the_first_that_passed_the_filter_counts(
    make_parts: MakeParts, tmp_path: Path
) -> None:
    text = " ".join(WORDS)
    documents = [[("b", "dropped by the filter"), ("a", text), ("b", text), ("b", "came again")], [("a", "again")]]
    parts = make_parts(tmp_path / "in", documents, rows=[[1, 2, 3], [0]], batch=2)
    removed = write_removed(tmp_path / "removed.arrow", [removal("b", "a")])
    assert look_again(tmp_path / "work", removed, parts).confirmed == 1


def test_a_kept_document_may_be_in_another_corpus(make_parts: MakeParts, tmp_path: Path) -> None:
    text = " ".join(WORDS)
    ours = make_parts(tmp_path / "ours", [[("a", "something of ours"), ("b", text), ("c", text)]])
    theirs = files_of(make_parts(tmp_path / "theirs", [[("a", text)]]))
    rule = "exact_duplicate_elsewhere"
    rows = [removal(id, "a", rule=rule, kept_in="old") for id in "bc"]
    removed = write_removed(tmp_path / "removed.arrow", rows)
    assert look_again(tmp_path / "work", removed, ours, others=[("old", theirs)]) == Audit(2, 0, 2, 2)
    pairs = open_table(tmp_path / "work" / "audit.arrow", SCHEMA).to_pylist()
    assert {(pair["id"], pair["kept_in"], pair["kept_text"]) for pair in pairs} == {
        ("b", "old", text), ("c", "old", text)
    }
    with pytest.raises(ArtefactError, match=r"expected the text of a, since [bc] was removed for a of corpus old"):
        look_again(tmp_path / "other", removed, ours, others=[("new", theirs)])


def test_what_this_corpus_has_under_the_same_id_is_no_match(make_parts: MakeParts, tmp_path: Path) -> None:
    text = " ".join(WORDS)
    ours = make_parts(tmp_path / "ours", [[("a", text), ("b", text), ("c", text)]])
    theirs = files_of(make_parts(tmp_path / "theirs", [[("a", "other words than those")]]))
    rows = [removal("c", "a"), removal("b", "a", rule="exact_duplicate_elsewhere", kept_in="old")]
    removed = write_removed(tmp_path / "removed.arrow", rows)
    with pytest.raises(ArtefactError, match="expected b to resemble a"):
        look_again(tmp_path / "work", removed, ours, others=[("old", theirs)])


def test_texts_are_compared_with_what_is_cut_out_of_them(make_parts: MakeParts, tmp_path: Path) -> None:
    text = " ".join(WORDS)
    end = " and what comes at the end of every page"
    (part,) = make_parts(tmp_path / "in", [[("a", text), ("b", text + end)]])
    np.save(tmp_path / "cuts.npy", np.array([[1], [len(text)], [len(text + end)]]))  # row, start, stop in bytes
    removed = write_removed(tmp_path / "removed.arrow", [removal("b", "a")])
    with pytest.raises(ArtefactError, match="expected b to resemble a"):
        look_again(tmp_path / "whole", removed, [part])
    cut = dataclasses.replace(part, cuts=((tmp_path / "cuts.npy", "hash"),))
    assert look_again(tmp_path / "cut", removed, [cut]).confirmed == 1
    (pair,) = open_table(tmp_path / "cut" / "audit.arrow", SCHEMA).to_pylist()
    assert pair["text"] == text


def test_of_corpora_with_one_name_the_one_that_fits_counts(make_parts: MakeParts, tmp_path: Path) -> None:
    text = " ".join(WORDS)
    ours = make_parts(tmp_path / "ours", [[("b", text)]])
    first, second = (
        files_of(make_parts(tmp_path / name, [[("a", found)]])) for name, found in (("x", "other words"), ("y", text))
    )
    row = removal("b", "a", rule="exact_duplicate_elsewhere", kept_in="corpus")
    removed = write_removed(tmp_path / "removed.arrow", [row])
    for number, others in enumerate(([first, second], [second, first])):
        stores = [("corpus", files) for files in others]
        assert look_again(tmp_path / str(number), removed, ours, others=stores).confirmed == 1
    with pytest.raises(ArtefactError, match="expected b to resemble a"):
        look_again(tmp_path / "wrong", removed, ours, others=[("corpus", first)])


def test_documents_are_looked_up_in_older_generations_first_and_in_each_other_corpus_apart() -> None:
    def part(name: str, shift: int, corpus: str = "", path: Path | None = Path("p")) -> KnownPart:
        return KnownPart(name, path and path / name, f"hash-{name}", Path("s"), "", 1, shift, corpus)

    known = Known((part("a", 0, "x"), part("b", 0, "x"), part("c", 9, "x"), part("d", 11), part("e", 11, path=None)))
    item = Ingested("n", Path("n"), "hash-n", Path("r"), "hash-r", 12, 3, 100, ((Path("cuts"), "hash-cuts"),))
    stores = stores_of([item], known)
    assert [(name, [file.hash for file in files]) for name, files in stores] == [
        ("", ["hash-d", "hash-n"]), ("x", ["hash-a", "hash-b"]), ("x", ["hash-c"])
    ]
    new = stores[0][1][1]
    assert (new.path, new.rows, new.rows_hash) == (Path("n"), Path("r"), "hash-r")
    assert new.cuts == ((Path("cuts"), "hash-cuts"),)


def test_long_texts_are_compared_whole_and_kept_in_part(make_parts: MakeParts, tmp_path: Path) -> None:
    start = " ".join(f"w{number}" for number in range(5000))
    assert len(start) > CHARACTERS
    parts = make_parts(tmp_path / "in", [[("a", start + " the end"), ("b", start + " an end")]])
    exact = 4999 / 5003  # pairs of words: 5001 each, the last two differ
    removed = write_removed(tmp_path / "removed.arrow", [removal("b", "a", exact, "near_duplicate")])
    assert look_again(tmp_path / "work", removed, parts).confirmed == 1
    (pair,) = open_table(tmp_path / "work" / "audit.arrow", SCHEMA).to_pylist()
    assert pair["text"] == pair["kept_text"] == start[:CHARACTERS]
    assert (pair["characters"], pair["kept_characters"]) == (len(start) + 7, len(start) + 8)


def test_a_corpus_without_duplicates_has_an_empty_audit_and_no_estimate(make_parts: MakeParts, tmp_path: Path) -> None:
    parts = make_parts(tmp_path / "in", [[("a", "text")]])
    found = look_again(tmp_path / "work", write_removed(tmp_path / "removed.arrow", []), parts)
    row = Row()
    found.count(row)
    assert row == Row()
    assert open_table(tmp_path / "work" / "audit.arrow", SCHEMA).num_rows == 0


@pytest.mark.parametrize(("right", "number"), [(0, 5), (3, 7), (999, 1000), (1000, 1000)])
def test_the_ends_of_the_interval_are_where_the_outcome_would_be_one_of_the_rarest(right: int, number: int) -> None:
    from scipy.stats import binom

    lower, upper = clopper_pearson(right, number)
    assert lower == 0 if right == 0 else binom.sf(right - 1, number, lower) == pytest.approx(0.025)
    assert upper == 1 if right == number else binom.cdf(right, number, upper) == pytest.approx(0.025)


def test_the_ledger_has_the_interval_in_millionths_rounded_outward() -> None:
    row = Row()
    Audit(removals=27_310, too_long=4, sampled=1000, confirmed=1000).count(row)
    assert row.other == {
        "precision_sampled": 1000, "precision_confirmed": 1000, "precision_lower_ppm": 996_317,
        "precision_upper_ppm": 1_000_000, "precision_too_long": 4,
    }
    whole = Row()
    Audit(12, 0, 12, 12).count(whole)  # all were looked at: nothing is estimated
    assert whole.other["precision_lower_ppm"] == 1_000_000


def test_an_audit_that_is_not_of_these_removals_is_found(make_parts: MakeParts, tmp_path: Path) -> None:
    documents, rows = corpus(2)
    parts = make_parts(tmp_path / "in", [documents])
    look_again(tmp_path / "work", write_removed(tmp_path / "removed.arrow", rows), parts)
    path = tmp_path / "work" / "audit.arrow"
    assert check_audit(path, write_removed(tmp_path / "other.arrow", rows[1:])) == [
        "audit.arrow: same0, exact_duplicate of kept0, is not in other.arrow"
    ]
    pairs = open_table(path, SCHEMA).to_pylist()
    pairs[2]["text"] = "cut"
    write_table(path, pa.Table.from_pylist(pairs, schema=SCHEMA).to_batches(), SCHEMA)
    assert check_audit(path, tmp_path / "removed.arrow") == [
        f"audit.arrow: {pairs[2]['id']}: text is not of the length that characters says"
    ]
    write_table(path, pa.Table.from_pylist(pairs * 2, schema=SCHEMA).to_batches(), SCHEMA)
    assert check_audit(path, tmp_path / "removed.arrow") == ["audit.arrow: a pair occurs twice"]


def test_pairs_are_listed_without_texts_and_read_by_their_places(make_parts: MakeParts, tmp_path: Path) -> None:
    documents, rows = corpus(4)
    parts = make_parts(tmp_path / "in", [documents])
    paths = []
    for name in ("one", "two"):
        look_again(tmp_path / name, write_removed(tmp_path / f"{name}.arrow", rows), parts)
        pairs = open_table(tmp_path / name / "audit.arrow", SCHEMA)
        write_table(tmp_path / name / "audit.arrow", pairs.to_batches(max_chunksize=3), SCHEMA)
        paths.append(tmp_path / name / "audit.arrow")
    listed = list_pairs(paths)
    assert len(listed) == 16
    assert not {"text", "kept_text"} & listed[0].keys()
    chosen = [listed[place] for place in (1, 4, 15)]
    read = read_pairs(paths, [pair["place"] for pair in chosen])
    assert [pair["id"] for pair in read] == [pair["id"] for pair in chosen]
    assert [pair["text"] for pair in read] == [dict(documents)[pair["id"]] for pair in chosen]
