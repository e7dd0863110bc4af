"""The stage: parts in, cuts and removals out, against the rule said slowly; the report, growth, errors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rbt.config import load_recipe
from rbt.corpus.config import DecontaminateConfig
from rbt.corpus.contamination import (
    contamination_table,
    keep_contamination,
    read_counts,
    report,
    write_counts,
)
from rbt.corpus.cuts import cut_batch, read_cut
from rbt.corpus.decontaminate import Decontaminated, decontaminate, decontaminate_parts
from rbt.corpus.evaluation import (
    Evaluation,
    find_evaluation_files,
    hash_evaluation_files,
    index_evaluation,
)
from rbt.corpus.passed import pass_filter
from rbt.engine import LocalEngine
from rbt.errors import ArtefactError, ConfigError, InputError
from rbt.formats import removals
from rbt.formats.arrays import write_array
from rbt.formats.document import SCHEMA
from rbt.formats.parts import open_table, read_batches, write_table
from rbt.ledger import Ledger
from rbt.manifest import record_files
from rbt.rng import rng
from rbt.stage import Receipt

PROSE = (
    "When the lamps were lit along the harbor wall, nobody could say who had climbed the ladder to do it, for the "
    "keeper was away and his daughter had slept through the storm from the first gust of wind to the very last one."
)
FILLER = " ".join(f"word{number} of filler number{number}," for number in range(60))  # 1,500 characters or so


@pytest.fixture
def evaluate(tmp_path: Path) -> Any:
    """Write texts as examples of RTE, index them: evaluate(texts, config) -> (evaluation, identity, config)."""

    def run(texts: Sequence[str], config: DecontaminateConfig | None = None) -> tuple[Evaluation, Any, Any]:
        config = replace(config or DecontaminateConfig(), tasks={"rte": "rte"})
        rows = [f"{place}\t{text}\t-\tentailment" for place, text in enumerate(texts)]
        (tmp_path / "rte").mkdir(exist_ok=True)
        table = "\n".join(["index\tsentence1\tsentence2\tlabel", *rows]) + "\n"
        (tmp_path / "rte" / "dev.tsv").write_text(table, encoding="utf-8")
        files = find_evaluation_files(config, tmp_path)
        identity = hash_evaluation_files(files)
        return index_evaluation(files, identity, config, tmp_path / "evaluation", LocalEngine(1)), identity, config

    return run


class Corpus:
    """Ingested and filtered parts of a few texts, and what decontamination makes of them."""

    def __init__(self, work: Path, parts: Sequence[Sequence[str]], batch: int = 3) -> None:
        self.work, self.parts = work, parts
        self.ingested, self.filtered = [], []
        for number, texts in enumerate(parts):
            name = f"00-{number:05d}"
            rows = [{**dict.fromkeys(SCHEMA.names, ""), "id": f"news:{number}-{place}", "text": text,
                     "language_score": 1.0} for place, text in enumerate(texts)]  # fmt: skip
            batches = [rows[first : first + batch] for first in range(0, len(rows), batch)]
            path = work / "ingest" / f"{name}.arrow"
            write_table(path, [pa.RecordBatch.from_pylist(part, schema=SCHEMA) for part in batches], SCHEMA)
            sizes = np.array([len(text.encode()) for text in texts], np.int64)
            passed = np.array([place for place, text in enumerate(texts) if text != "filtered"], np.int64)
            write_array(work / "filter" / f"{name}.rows.npy", passed)
            write_array(work / "filter" / f"{name}.bytes.npy", sizes[passed])
            result = {"documents": len(texts), "bytes": int(sizes.sum())}
            files = record_files(work / "ingest", [f"{name}.arrow"])
            self.ingested.append(Receipt(name, "", files, Ledger(), result))
            removals.write_removals(work / "filter" / f"{name}.removed.arrow", [])
            names = [f"{name}.{kind}" for kind in ("rows.npy", "bytes.npy", "removed.arrow")]
            files = record_files(work / "filter", names)
            self.filtered.append(Receipt(name, "", files, Ledger(), {"documents": len(passed)}))

    def decontaminate(
        self, evaluation: Evaluation, config: DecontaminateConfig, older: Sequence[Path] = (), workers: int = 1
    ) -> Decontaminated:
        """Run the stage, and check what holds for any outcome."""
        passed = pass_filter(self.ingested, self.filtered, ["news"] * len(self.parts), self.work)
        done = decontaminate_parts(passed, self.work, evaluation, config, LocalEngine(workers), older)
        for part, left, filtered, receipt in zip(passed, done.passed, self.filtered, done.receipts, strict=True):
            row = receipt.ledger.row("decontaminate", "news")
            before = np.load(self.work / "filter" / filtered.files[1].path)
            assert row.imbalance() == (0, 0)
            assert (row.incoming.documents, row.incoming.bytes) == (len(before), before.sum())
            rows, sizes, _, cuts = self.files(receipt)
            assert (row.outgoing.documents, row.outgoing.bytes) == (len(rows), sizes.sum())
            assert receipt.result["documents"] == len(rows)
            assert [left.rows, left.sizes, left.removed[-1], left.cuts[-1][0]] == self.paths(receipt)
            assert (left.removed[:-1], left.part, left.documents) == (part.removed, part.part, part.documents)
            texts = [text for batch in read_cut(part.part, [cuts]) for text in batch.column("text").to_pylist()]
            assert [len(texts[place].encode()) for place in rows.tolist()] == sizes.tolist()
        return done

    def paths(self, receipt: Receipt) -> list[Path]:
        """Where a part's rows, sizes, removals and cuts are."""
        return [self.work / "decontaminate" / record.path for record in receipt.files]

    def files(self, receipt: Receipt) -> tuple[Any, Any, list[dict[str, Any]], Path]:
        """Rows, sizes, removals and the cuts' path of a part."""
        paths = self.paths(receipt)
        return np.load(paths[0]), np.load(paths[1]), open_table(paths[2], removals.SCHEMA).to_pylist(), paths[3]

    def left(self, done: Decontaminated) -> list[list[str | None]]:
        """The texts as they would be written, None for what is dropped or was filtered."""
        found = []
        for part, receipt in zip(self.ingested, done.receipts, strict=True):
            rows, _, _, cuts = self.files(receipt)
            texts = [text for batch in read_cut(self.work / "ingest" / part.files[0].path, [cuts])
                     for text in batch.column("text").to_pylist()]  # fmt: skip
            found.append([text if place in set(rows.tolist()) else None for place, text in enumerate(texts)])
        return found

    def removed(self, done: Decontaminated) -> list[dict[str, Any]]:
        return [row for receipt in done.receipts for row in self.files(receipt)[2]]


def random_text(generator: np.random.Generator, words: Sequence[str], size: int) -> str:
    spaces = [" ", " ", " ", ", ", "\n", "\n\n", "-", ". ", "\u00a0"]
    return "".join(
        words[generator.integers(len(words))] + spaces[generator.integers(len(spaces))] for _ in range(size)
    ).strip()


@pytest.mark.parametrize("seed", range(6))
def test_the_rule_is_that_of_the_obvious_reference_on_random_documents(
    tmp_path: Path, evaluate: Any, reference: Any, seed: int
) -> None:
    """Documents of few words in three parts: what is cut, what is dropped, and what is counted."""
    generator = rng(seed, "decontaminate")
    words = ["a", "Bé", "c", "d_d", "中", "ก", "กำ", "x\u0301f", "g", "h" * 9, "it's", "😀j"]
    rule = reference.Rule()
    config = DecontaminateConfig(**vars(rule))
    examples = [random_text(generator, words, 2 + place % 7).replace("\n", " ") for place in range(8)]
    evaluation, _, config = evaluate(examples, config)
    parts = [[random_text(generator, words, int(size)) or "x" for size in generator.integers(1, 40, 12)]
             for _ in range(3)]  # fmt: skip
    corpus = Corpus(tmp_path / "work", parts)
    done = corpus.decontaminate(evaluation, config)
    wanted = {gram for text in examples for gram in reference.grams(text, rule.ngram, rule.minimum_words)}
    flat = [text for part in parts for text in part]
    expected, counts = reference.decontaminate(flat, wanted, rule)
    assert [text for part in corpus.left(done) for text in part] == expected
    assert sorted(done.documents[done.documents > 0].tolist()) == sorted(counts.values())
    assert (sum(text is None for text in expected), sum(receipt.result["documents_cut"] for receipt in done.receipts)) \
        == (len(corpus.removed(done)), sum(a != b for a, b in zip(expected, flat, strict=True) if a is not None))


def wrapped(text: str, words: int) -> str:
    found = text.split()
    return "\n".join(" ".join(found[first : first + words]) for first in range(0, len(found), words))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: wrapped(text, 8),
        lambda text: wrapped(text, 1),
        lambda text: text.upper(),
        lambda text: text.replace(" ", " \u00a0\t"),
        lambda text: text.replace(",", " --").replace(".", "?!"),
        lambda text: text.replace(" ", " _ "),
    ],
    ids=["8 words a line", "a word a line", "case", "white space", "punctuation", "blanks"],
)
def test_rewrapped_text_has_the_same_score(tmp_path: Path, evaluate: Any, change: Any) -> None:
    evaluation, identity, config = evaluate([PROSE])
    tables = []
    for place, text in enumerate((PROSE, change(PROSE))):
        corpus = Corpus(tmp_path / f"work{place}", [[FILLER, f"{FILLER} {text} {FILLER}"]])
        done = corpus.decontaminate(evaluation, config)
        tables.append(report(evaluation, identity, done.total, done.receipts, config))
    assert tables[0] == tables[1]
    facts = tables[0]["tasks"]["rte"]
    assert facts["highest"] == [{"split": "dev", "id": "0", "score": 1.0}]
    assert facts["scores"] == [0] * 9 + [1]
    assert facts["documents_cut"] == 1


def test_examples_are_compared_as_a_cleaned_corpus_has_them(tmp_path: Path, evaluate: Any) -> None:
    """In NFC, and with the n't in its place that tokenized sets split off."""
    text = "the café did not open and nobody didn't know why it wouldn't do so"
    evaluation, _, config = evaluate([text.replace("é", "e\u0301").replace("n't", " n't")])
    corpus = Corpus(tmp_path / "work", [[f"{FILLER} {text} {FILLER}"]])
    assert corpus.decontaminate(evaluation, config).receipts[0].result["cut"] == {"rte": 1}


def test_a_match_is_cut_out_with_200_characters_on_each_side(tmp_path: Path, evaluate: Any) -> None:
    """The window is at least that wide and ends at words; the document is left in two pieces."""
    evaluation, _, config = evaluate([PROSE])
    text = f"{FILLER} {PROSE} {FILLER}"
    corpus = Corpus(tmp_path / "work", [[text]])
    [[left]] = corpus.left(corpus.decontaminate(evaluation, config))
    assert left is not None
    first, second = left.split("\n\n")
    assert text.startswith(first + " ")
    assert text.endswith(" " + second)
    for piece in (first, second):
        assert 200 <= len(f"{FILLER} ") - len(piece) <= 220


def test_texts_of_8_to_12_words_match_as_a_whole_and_shorter_ones_are_counted(tmp_path: Path, evaluate: Any) -> None:
    eight = "nine green lamps hung above the harbor wall"
    evaluation, identity, config = evaluate([eight, "seven green lamps hung above the wall"])
    documents = [f"{FILLER} {eight} {FILLER}", f"{FILLER} {eight[5:]} and {FILLER}",
                 f"{FILLER} seven green lamps hung above the wall {FILLER}"]  # fmt: skip
    corpus = Corpus(tmp_path / "work", [documents])
    done = corpus.decontaminate(evaluation, config)
    assert [a == b for a, b in zip(corpus.left(done)[0], documents, strict=True)] == [False, True, True]
    facts = report(evaluation, identity, done.total, done.receipts, config)["tasks"]["rte"]
    assert (facts["examples"], facts["examples_too_short"], facts["examples_colliding"]) == (2, 1, 1)
    assert facts["ngrams"] == facts["ngrams_colliding"] == 1


def test_ngrams_of_more_than_ten_documents_are_common_phrases_and_stay(tmp_path: Path, evaluate: Any) -> None:
    evaluation, identity, config = evaluate([PROSE])
    text = f"{FILLER} {PROSE} {FILLER}"
    for copies, left in ((10, 0), (11, 11)):
        corpus = Corpus(tmp_path / str(copies), [[text] * 6, [text] * (copies - 6)])
        done = corpus.decontaminate(evaluation, config)
        assert sum(found == text for part in corpus.left(done) for found in part) == left
        facts = report(evaluation, identity, done.total, done.receipts, config)["tasks"]["rte"]
        assert facts["ngrams_common"] == (facts["ngrams"] if left else 0)
        assert facts["examples_colliding"] == (0 if left else 1)


def test_what_the_filter_dropped_is_neither_counted_nor_kept(tmp_path: Path, evaluate: Any) -> None:
    evaluation, _, config = evaluate(["filtered " * 8])
    corpus = Corpus(tmp_path / "work", [["filtered", FILLER, "filtered", FILLER]])
    done = corpus.decontaminate(evaluation, config)
    assert corpus.left(done) == [[None, FILLER, None, FILLER]]
    assert not done.total.any()


def test_a_document_in_too_many_pieces_or_without_any_is_dropped_and_listed(tmp_path: Path, evaluate: Any) -> None:
    evaluation, _, config = evaluate([PROSE])
    eleven = f" {PROSE} ".join([FILLER] * 11)
    twelve = f" {PROSE} ".join([FILLER] * 12)
    corpus = Corpus(tmp_path / "work", [[eleven, PROSE, f"{FILLER[:300]} {PROSE}"], [twelve]])
    done = corpus.decontaminate(evaluation, replace(config, maximum_pieces=11))
    left = corpus.left(done)
    assert left[0][0] is not None
    assert left[0][0].count("\n\n") == 10
    assert (left[0][1:], left[1]) == ([None, None], [None])
    words = len(PROSE.replace(",", "").replace(".", "").split())
    assert [(row["id"], row["rule"], row["stage"], row["value"], row["threshold"], row["bytes"])
            for row in corpus.removed(done)] == [
        ("news:0-1", "contaminated", "decontaminate", f"rte {words - 12}", "a piece of 200 characters", len(PROSE)),
        ("news:0-2", "contaminated", "decontaminate", f"rte {words - 12}", "a piece of 200 characters",
         301 + len(PROSE)),
        ("news:1-0", "contaminated", "decontaminate", f"rte {words - 12}, 12 pieces", "<= 11 pieces", len(twelve)),
    ]  # fmt: skip
    assert [receipt.result["dropped"] for receipt in done.receipts] == [{"rte": 2}, {"rte": 1}]


def test_mode_drop_drops_every_document_with_a_match(tmp_path: Path, evaluate: Any) -> None:
    evaluation, _, config = evaluate([PROSE])
    documents = [FILLER, f"{FILLER} {PROSE} {FILLER}", FILLER]
    corpus = Corpus(tmp_path / "work", [documents])
    done = corpus.decontaminate(evaluation, replace(config, mode="drop"))
    assert corpus.left(done) == [[FILLER, None, FILLER]]
    assert corpus.removed(done)[0]["threshold"] == "no n-gram"
    assert done.receipts[0].ledger.row("decontaminate", "news").shrunk == {}


def test_older_generations_count_and_what_they_count_is_kept_by_ngram(tmp_path: Path, evaluate: Any) -> None:
    """Eight documents before and three now make a phrase common; n-grams of no document are not listed."""
    evaluation, _, config = evaluate([PROSE, "another example of nine words that is nowhere found"])
    text = f"{FILLER} {PROSE} {FILLER}"
    old = Corpus(tmp_path / "old", [[text] * 8])
    before = old.decontaminate(evaluation, config)
    paths = [tmp_path / f"contamination{place}.arrow" for place in range(2)]
    write_counts(paths[0], evaluation.ngrams.keys, before.documents)
    assert open_table(paths[0], open_table_schema(paths[0])).num_rows == (before.documents > 0).sum()
    assert read_counts(paths[:1], evaluation.ngrams.keys).tolist() == before.documents.tolist()
    new = Corpus(tmp_path / "new", [[text, text], [text]])
    assert all(found != text for part in new.left(new.decontaminate(evaluation, config)) for found in part)
    done = new.decontaminate(evaluation, config, older=paths[:1])
    assert new.left(done) == [[text, text], [text]]
    assert set(done.total.tolist()) == {0, 11}
    assert set(done.documents.tolist()) == {0, 3}
    write_counts(paths[1], evaluation.ngrams.keys, done.documents)
    other, _, _ = evaluate(["an n-gram set that knows no old n-gram at all in it"])
    assert not read_counts(paths, other.ngrams.keys).any()


def open_table_schema(path: Path) -> pa.Schema:
    return pa.ipc.open_file(str(path)).schema


def test_v12_the_same_files_for_any_number_of_workers_and_a_second_run_reads_nothing(
    tmp_path: Path, evaluate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation, _, config = evaluate([PROSE])
    parts = [[FILLER, f"{FILLER} {PROSE} {FILLER}"], [f"{PROSE} {FILLER}"], [FILLER]]
    hashes = []
    for workers in (1, 2):
        corpus = Corpus(tmp_path / str(workers), parts)
        done = corpus.decontaminate(evaluation, config, workers=workers)
        hashes.append([record.hash for receipt in done.receipts for record in receipt.files])
    assert hashes[0] == hashes[1]
    monkeypatch.setattr("rbt.corpus.decontaminate.match_part", None)
    monkeypatch.setattr("rbt.corpus.cut_matches.cut_part", None)
    again = corpus.decontaminate(evaluation, config)
    assert [record.hash for receipt in again.receipts for record in receipt.files] == hashes[0]


def test_another_rule_reads_no_text_again_but_cuts_anew(
    tmp_path: Path, evaluate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation, _, config = evaluate([PROSE])
    corpus = Corpus(tmp_path / "work", [[f"{FILLER} {PROSE} {FILLER}"]])
    first = corpus.left(corpus.decontaminate(evaluation, config))
    monkeypatch.setattr("rbt.corpus.decontaminate.match_part", None)
    wider = corpus.left(corpus.decontaminate(evaluation, replace(config, window_characters=400)))
    assert len(wider[0][0] or "") < len(first[0][0] or "") - 390


def test_batches_without_cuts_pass_untouched_and_cuts_of_another_part_are_an_error(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, [["abc déf ghi", "second", "third", "fourth é last"]], batch=2)
    path = tmp_path / "ingest" / corpus.ingested[0].files[0].path
    whole = [batch.column("text").to_pylist() for batch in read_cut(path, [])]
    assert whole == [["abc déf ghi", "second"], ["third", "fourth é last"]]
    write_array(tmp_path / "cuts.npy", np.array([[0, 3, 3], [3, 0, 9], [9, 7, 14]], np.int64))
    first, second = read_cut(path, [tmp_path / "cuts.npy"])
    assert first.column("text").to_pylist() == ["abc\n\nghi", "second"]
    assert second.column("text").to_pylist() == ["third", "é"]
    assert second.drop_columns("text").equals(list(read_batches(path))[1].drop_columns("text"))
    write_array(tmp_path / "cuts.npy", np.array([[4], [0], [1]], np.int64))
    with pytest.raises(ArtefactError, match=r"expected cuts in rows below 4; found row 4"):
        list(read_cut(path, [tmp_path / "cuts.npy"]))


def test_cuts_of_a_slice_of_a_batch_are_made_in_that_slice() -> None:
    batch = pa.RecordBatch.from_pydict({"id": ["a", "b", "c"], "text": ["skipped", "one two", "three"]}).slice(1)
    found = cut_batch(batch, np.array([0]), np.array([[0], [4]]))
    assert found.to_pydict() == {"id": ["b", "c"], "text": ["two", "three"]}


def test_the_table_says_what_the_report_says(tmp_path: Path, evaluate: Any) -> None:
    evaluation, identity, config = evaluate([PROSE, "short"])
    corpus = Corpus(tmp_path / "work", [[f"{FILLER} {PROSE} {FILLER}", PROSE]])
    done = corpus.decontaminate(evaluation, config)
    table = report(evaluation, identity, done.total, done.receipts, config)
    assert (table["documents_cut"], table["documents_dropped"]) == (1, 1)
    assert json.loads(json.dumps(table)) == table
    head, line = contamination_table(table)
    assert head.split()[0] == "evaluation"
    assert line.split() == ["rte", "2", "1", "1", str(table["tasks"]["rte"]["ngrams"]), "0", "1", "1"]


def test_the_whole_stage_leaves_a_report_and_counts_that_do_not_depend_on_workers(tmp_path: Path) -> None:
    (tmp_path / "rte").mkdir()
    (tmp_path / "rte" / "dev.tsv").write_text(f"index\tsentence1\tsentence2\tlabel\n0\t{PROSE}\t-\tentailment\n")
    config = DecontaminateConfig(tasks={"rte": "rte"})
    files = find_evaluation_files(config, tmp_path)
    kept = []
    for workers in (1, 2):
        corpus = Corpus(tmp_path / f"work{workers}", [[f"{FILLER} {PROSE} {FILLER}", FILLER], [PROSE]])
        passed = pass_filter(corpus.ingested, corpus.filtered, ["news", "web"], corpus.work)
        left, ledger = decontaminate(passed, files, config, corpus.work, LocalEngine(workers))
        assert [part.rows_hash != before.rows_hash for part, before in zip(left, passed, strict=True)] == [False, True]
        assert ledger.row("decontaminate", "web").dropped["contaminated"].documents == 1
        assert ledger.row("decontaminate", "news").other == {"documents_cut": 1}
        names = keep_contamination(corpus.work, tmp_path / f"out{workers}")
        assert names == ["contamination.json", "signatures/contamination.arrow"]
        kept.append([(tmp_path / f"out{workers}" / name).read_bytes() for name in names])
    assert kept[0] == kept[1]
    facts = json.loads(kept[0][0])["tasks"]["rte"]
    assert (facts["documents_cut"], facts["documents_dropped"], facts["examples_colliding"]) == (1, 1, 1)


def test_evaluation_files_that_change_are_looked_for_anew(evaluate: Any, tmp_path: Path) -> None:
    first, before, _ = evaluate([PROSE])
    keys = np.array(first.ngrams.keys)
    again, same, _ = evaluate([PROSE])
    second, after, _ = evaluate([PROSE.replace("harbor", "castle")])
    assert before == same != after
    assert again.hashes == first.hashes != second.hashes
    assert not np.array_equal(second.ngrams.keys, keys)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("decontaminate.tasks={ rte = 1 }", r"\[decontaminate\] tasks: expected a table"),
        ("decontaminate.splits=['all']", r"\[decontaminate\] splits: expected a list"),
    ],
)
def test_what_cannot_be_sets_or_splits_is_refused_when_the_recipe_is_read(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe("demo", [setting])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"minimum_words": 14}, ConfigError, "expected 1 <= minimum_words <= ngram <= 64; found minimum_words = 14"),
        ({"maximum_pieces": -1}, ConfigError, "maximum_pieces: expected 0 or more; found -1"),
        ({"splits": ()}, ConfigError, "splits: expected at least one"),
        ({"tasks": {"superglue": "x"}}, ConfigError, "tasks: expected names of sets; found 'superglue'"),
        ({"tasks": {"race": "raw/race"}}, InputError, "raw/race: expected the files of race; found no such folder"),
    ],
)
def test_values_that_cannot_work_are_errors_before_anything_is_read(
    tmp_path: Path, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    config = replace(DecontaminateConfig(tasks={"rte": "rte"}), **change)
    with pytest.raises(error, match=message):
        find_evaluation_files(config, tmp_path)


