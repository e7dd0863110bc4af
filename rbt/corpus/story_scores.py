"""The first pass of Stories from scratch: the score of every page, and the score at which the best share of them ends.

    WARC or WET ──read_pages──> text ──overlap_score──> <task>.npy, float64 (pages,), NaN where a page has no text
    all <task>.npy of a source ──radix selection──> threshold: the k-th greatest score, k = top_fraction of the scored

One task a raw file, with a receipt, so another `top_fraction` or one file more scores no page again. The threshold is
exact, over all files of the source together and whatever the number of workers: every page that scores as much is kept,
so ties at the threshold (copies of a page, mostly) make a few more than k. Its memory is 65,536 counters and the scores
of one file, since scores are at least 0, and such floats sort as their bits do. Pages of every language are scored and
count, as do copies. No text is kept: the pages that are chosen are extracted once more when they are ingested.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Sequence
from fractions import Fraction
from math import ceil, nan
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rbt.config import to_dataclass, to_table
from rbt.corpus.config import SourceConfig
from rbt.corpus.dedup.arrays import open_array
from rbt.corpus.dedup.shingles import table_fingerprint
from rbt.corpus.extract.ngram_overlap import QuestionNgrams, overlap_score, question_ngrams
from rbt.corpus.extract.questions import parse_questions
from rbt.corpus.ingest import VERSION as INGEST_VERSION
from rbt.corpus.raw_files import RawFile
from rbt.corpus.reading import Reading
from rbt.corpus.sources.stories import PageNumbers
from rbt.corpus.sources.warc import WarcRecord
from rbt.corpus.sources.web import read_pages
from rbt.engine import Engine
from rbt.errors import InputError
from rbt.formats.arrays import write_array
from rbt.stage import Receipt, Task, TaskOutput, run_tasks
from rbt.storage import open_input

log = logging.getLogger(__name__)
STAGE, VERSION = "score stories", 1
DIGIT_BITS = 16  # of a score's 64, looked at in one pass over all scores

UInt64 = npt.NDArray[np.uint64]


def select_stories(files: Sequence[RawFile], work: Path, engine: Engine) -> dict[str, dict[str, Any]]:
    """What `rbt.corpus.sources.stories` must know of each raw file that is to be chosen from, by `RawFile.task`.

    `selection` (path of its scores), `selection_hash`, `threshold`, `raw_hash` (of the file as it was scored).
    Raises InputError for questions that cannot be read, and where a source has no page to score.
    """
    by_source: dict[str, list[RawFile]] = {}
    for raw in files:
        if raw.source.questions:
            by_source.setdefault(raw.source.label, []).append(raw)
    if not by_source:
        return {}
    for label, ours in by_source.items():
        log.info("%s: %d questions to score pages against", label, len(read_questions(ours[0].source.questions)))
    folder = work / "stories"
    tasks = [_as_task(raw) for ours in by_source.values() for raw in ours]
    finished = run_tasks(STAGE, VERSION, {}, tasks, score_file, folder, engine, unit="B")
    receipts = {receipt.task: receipt for receipt in finished}
    return {
        task: facts for ours in by_source.values()
        for task, facts in _facts(ours[0].source, [receipts[raw.task] for raw in ours], folder).items()
    }


def _facts(source: SourceConfig, receipts: Sequence[Receipt], folder: Path) -> dict[str, dict[str, Any]]:
    """The facts of one source's files, by task."""
    threshold = _threshold(source, receipts, folder)
    return {
        receipt.task: {
            "selection": str((folder / receipt.files[0].path).absolute()), "selection_hash": receipt.files[0].hash,
            "threshold": threshold, "raw_hash": receipt.result["raw_hash"],
        }
        for receipt in receipts
    }


def read_questions(paths: Sequence[str]) -> list[str]:
    """The questions of all files. Raises InputError where one of them cannot be read."""
    questions: list[str] = []
    for path in paths:
        with open_input(path) as stream:
            data = stream.read()
        try:
            questions += parse_questions(data)
        except ValueError as error:
            cure = "give the files of PDP-60 and WSC-273, as XML or text"
            raise InputError("expected a file of questions", path=path, found=str(error), cure=cure) from error
    return questions


def _as_task(raw: RawFile) -> Task:
    source = raw.source
    payload = {
        "questions": raw.resources["questions"], "extractor": source.extractor, "page_bytes": source.page_bytes,
        "ingest": INGEST_VERSION, "words": table_fingerprint(),
    }
    context = {"location": raw.location, "origin": raw.origin, "source": to_table(source)}
    return Task(raw.task, payload, int(raw.stamp["size"]), raw.stamp, context)


def score_file(task: Task, folder: Path) -> TaskOutput:
    """The task: score the pages of one raw file. Result: pages, scored, raw_hash."""
    source = to_dataclass(SourceConfig, task.context["source"], "source")
    reading = Reading(source.label, task.context["origin"])
    scores = score_pages(task.context["location"], source, question_ngrams(read_questions(source.questions)), reading)
    name = f"{task.name}.npy"
    write_array(folder / name, scores)
    result = {"pages": len(scores), "scored": int(np.isfinite(scores).sum()), "raw_hash": reading.raw_hash}
    return TaskOutput([name], result=result)


def score_pages(
    location: str, source: SourceConfig, questions: QuestionNgrams, reading: Reading
) -> npt.NDArray[np.float64]:
    """The scores of the pages of one file, in the order in which the reader asks about them; NaN: no document."""
    scores, numbers = array("d"), PageNumbers()

    def meet(record: WarcRecord) -> str:
        numbers.take(record, numbers.ask())
        scores.append(nan)
        return ""

    for document in read_pages(location, source, reading, meet):
        scores[numbers.of(document)] = overlap_score(document.text, questions)
    return np.array(scores, dtype=np.float64)


def _threshold(source: SourceConfig, receipts: Sequence[Receipt], folder: Path) -> float:
    scored = sum(receipt.result["scored"] for receipt in receipts)
    if not scored:
        raise InputError(
            f"source {source.label!r} ({', '.join(source.paths)}): expected pages to score", found="none",
            cure="with `questions`, `paths` are WARC or WET files",
        )
    wanted = ceil(Fraction(str(source.top_fraction)) * scored)
    threshold = kth_greatest([folder / receipt.files[0].path for receipt in receipts], wanted)
    log.info("%s: the best %d of %d pages score %.4f or more", source.label, wanted, scored, threshold)
    return threshold


def kth_greatest(paths: Sequence[Path], k: int) -> float:
    """The k-th greatest (from 1) of the numbers at least 0 in float64 .npy files; NaNs do not count."""
    prefix, digits = 0, 1 << DIGIT_BITS
    for shift in range(64 - DIGIT_BITS, -1, -DIGIT_BITS):
        counts = np.zeros(digits, dtype=np.int64)
        for path in paths:
            bits = _bits(path)
            bits = bits >> np.uint64(shift)
            bits = bits[bits >> np.uint64(DIGIT_BITS) == prefix]
            counts += np.bincount((bits & np.uint64(digits - 1)).astype(np.int64), minlength=digits)
        from_above = np.cumsum(counts[::-1])
        place = int(np.searchsorted(from_above, k))  # the first digit, from the greatest, with k numbers or more
        k -= int(from_above[place - 1]) if place else 0
        prefix = (prefix << DIGIT_BITS) | (digits - 1 - place)
    return float(np.array(prefix, dtype=np.uint64).view(np.float64))


def _bits(path: Path) -> UInt64:
    scores = open_array(path)
    bits: UInt64 = scores[np.isfinite(scores)].view(np.uint64)
    return bits
