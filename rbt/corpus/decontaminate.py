"""Evaluation text out of the corpus, by the rule of GPT-3 (Brown et al. 2020, arXiv 2005.14165, appendix C).

    rows that passed the filter ──match──> documents by n-gram, rows that have any        one task a part
    all parts' counts ──sum──> common n-grams: in more than `maximum_documents` documents
    rows that have any ──cut──> <task>.rows.npy, .bytes.npy, .removed.arrow, .cuts.npy    one task a part

The rule: an n-gram that an evaluation example shares with a document is cut out with `window_characters` on each side.
Pieces shorter than `minimum_piece_characters` go too. A document that the cuts split into more than `maximum_pieces`
pieces, short ones counted, or of which nothing stays, is dropped; `mode = "drop"` drops every document with a match.
N-grams in more than `maximum_documents` documents are common phrases, and are ignored. Documents are counted as they
reach this stage, before duplicates are removed, and with those of older generations.

The first pass reads all text and leaves 16 bytes an n-gram that it found and 24 a row; the second (`cut_matches.py`)
reads the batches with such rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from rbt import engine as engines
from rbt.corpus import cut_matches
from rbt.corpus.config import DecontaminateConfig
from rbt.corpus.contamination import COUNTS, REPORT, read_counts, report, write_counts, write_report
from rbt.corpus.dedup.arrays import Int64
from rbt.corpus.evaluation import Evaluation, hash_evaluation_files, index_evaluation, open_evaluation
from rbt.corpus.ngram_matches import find_ngrams
from rbt.corpus.passed import Passed
from rbt.engine import Engine
from rbt.formats.arrays import write_array
from rbt.formats.parts import read_batches, string_buffers
from rbt.ledger import Ledger
from rbt.stage import Receipt, Task, TaskOutput, run_tasks
from rbt.storage import hash_file
from rbt.tasks.files import TaskFile

MATCH, STAGE, VERSION = "match", cut_matches.STAGE, 1
COMMON = "common.npy"


@dataclass(frozen=True)
class Decontaminated:
    """What decontamination leaves: the parts; receipts of the second pass (results `documents`, and `cut` and `dropped`
    by task); and for each n-gram the documents of this build, and those of all generations."""

    passed: list[Passed]
    receipts: list[Receipt]
    documents: Int64  # (n-grams,)
    total: Int64  # (n-grams,)


def decontaminate(
    passed: Sequence[Passed], files: Sequence[TaskFile], config: DecontaminateConfig, work: Path, engine: Engine,
    older: Sequence[Path] = (),
) -> tuple[list[Passed], Ledger]:
    """The whole stage: (the parts, its ledger). `files`: of `find_evaluation_files`; `older`: see below.

    Leaves `contamination.json` and this generation's `contamination.arrow` in WORK, for `keep_contamination`.
    """
    identity = hash_evaluation_files(files)
    evaluation = index_evaluation(files, identity, config, work / "evaluation", engine)
    done = decontaminate_parts(passed, work, evaluation, config, engine, older)
    write_counts(work / COUNTS, evaluation.ngrams.keys, done.documents)
    write_report(work / REPORT, report(evaluation, identity, done.total, done.receipts, config))
    ledger = Ledger()
    for receipt in done.receipts:
        ledger.merge(receipt.ledger)
    return done.passed, ledger


def decontaminate_parts(
    passed: Sequence[Passed], work: Path, evaluation: Evaluation, config: DecontaminateConfig, engine: Engine,
    older: Sequence[Path] = (),
) -> Decontaminated:
    """Decontaminate what passed the filter, in parts that nothing was cut out of yet.

    `older` are the `contamination.arrow` of older generations: their documents count, their text is not touched.
    """
    assert not any(part.cuts for part in passed)
    matched = match_parts(passed, work, evaluation, engine)
    documents = np.zeros(len(evaluation.ngrams.keys), np.int64)
    for receipt in matched:
        ngrams, counts = np.load(work / MATCH / receipt.files[0].path)
        documents[ngrams] += counts
    total = documents + read_counts(older, evaluation.ngrams.keys)
    common = work / STAGE / COMMON
    write_array(common, np.flatnonzero(total > config.maximum_documents))
    tasks = [
        cut_matches.cut_task(part, hits, work / MATCH, evaluation, config, common, hash_file(common))
        for part, hits in zip(passed, matched, strict=True)
    ]
    receipts = run_tasks(STAGE, VERSION, {}, tasks, cut_matches.cut_part, work / STAGE, engine, unit="document")
    left = [_left(part, receipt, work / STAGE) for part, receipt in zip(passed, receipts, strict=True)]
    return Decontaminated(left, receipts, documents, total)


def _left(part: Passed, receipt: Receipt, folder: Path) -> Passed:
    rows, sizes, removed, cuts = receipt.files
    return replace(
        part, rows=folder / rows.path, rows_hash=rows.hash, sizes=folder / sizes.path, sizes_hash=sizes.hash,
        cuts=((folder / cuts.path, cuts.hash),), removed=(*part.removed, folder / removed.path),
    )


def match_parts(passed: Sequence[Passed], work: Path, evaluation: Evaluation, engine: Engine) -> list[Receipt]:
    """The first pass over all parts; receipts in order. Files: `<task>.counts.npy`, int64 (2, n) of n-gram and
    documents; `<task>.hits.npy`, int64 (3, n) of batch, its first row, and a row of the part that has a match."""
    tasks = [
        Task(
            part.name, {"part": part.hashes, "ngrams": list(evaluation.hashes)}, size=max(part.bytes, 1),
            context={"part": str(part.part), "rows": str(part.rows), **evaluation.place()},
        )
        for part in passed
    ]
    return run_tasks(MATCH, VERSION, {}, tasks, match_part, work / MATCH, engine, unit="B")


def match_part(task: Task, folder: Path) -> TaskOutput:
    """The task of the first pass: find the rows of a part that have matches, and count documents by n-gram."""
    ngrams = open_evaluation(task.context).ngrams
    counts, hits = np.empty((2, 0), np.int64), [np.empty((3, 0), np.int64)]
    for number, (batch, chosen, first) in enumerate(_kept_rows(task)):
        texts = batch.column("text")
        found = find_ngrams(texts, chosen, ngrams)
        if found.shape[1]:
            counts = _add(counts, np.unique(found[[0, 2]], axis=1)[1])
            rows = np.unique(found[0]) + first
            hits.append(np.stack([np.full_like(rows, number), np.full_like(rows, first), rows]))
        _, offsets = string_buffers(texts)
        engines.advance(int(offsets[-1] - offsets[0]))
    names = [f"{task.name}.counts.npy", f"{task.name}.hits.npy"]
    write_array(folder / names[0], counts)
    write_array(folder / names[1], np.concatenate(hits, axis=1))
    return TaskOutput(names)


def _kept_rows(task: Task) -> Iterator[tuple[pa.RecordBatch, Int64, int]]:
    """(batch, rows in it that passed the filter, its first row) of a part."""
    rows: Int64 = np.load(task.context["rows"])
    first = 0
    for batch in read_batches(Path(task.context["part"])):
        low, high = np.searchsorted(rows, [first, first + batch.num_rows])
        yield batch, rows[low:high] - first, first
        first += batch.num_rows


def _add(counts: Int64, ngrams: Int64) -> Int64:
    """Counts (2, n) with one more for each of some n-grams, which may repeat."""
    numbers, places = np.unique(np.concatenate([counts[0], ngrams]), return_inverse=True)
    sums = np.zeros(len(numbers), np.int64)
    np.add.at(sums, places, np.concatenate([counts[1], np.ones_like(ngrams)]))
    return np.stack([numbers, sums])
