"""The audit of deduplication: a sample of its removals is looked at again, by other code, and kept for people to read.

    removed.arrow ──smallest hashes of ids──> sample.arrow ──lookup──> both texts of a pair ──Jaccard──> audit.arrow

The sample is a simple random one. It depends on the seed and the ids alone; its size is SAMPLE pairs, or as many in
the order of their hashes as reach SAMPLE_BYTES of removed text. A removal that does not come out as it is recorded is
a defect of rbt, and stops the build.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rbt.corpus.config import DeduplicateConfig
from rbt.corpus.dedup.inputs import Ingested, Known
from rbt.corpus.dedup.recompute import jaccard
from rbt.corpus.lookup import DocumentFile, Places, locate, read_texts
from rbt.engine import Engine
from rbt.errors import ArtefactError
from rbt.formats import audit as formats
from rbt.formats import removals
from rbt.formats.parts import open_table, read_batches, rebatch, write_table
from rbt.ledger import Row
from rbt.manifest import fingerprint
from rbt.rng import hash_keys, hash_text
from rbt.stage import Receipt, Task, TaskOutput, run_tasks
from rbt.storage import hash_file

STAGE, VERSION = "audit", 1
SAMPLE = 1000  # pairs
SAMPLE_BYTES = 100_000_000  # of removed text, so that a sample of books takes minutes on a core and not hours
LONGEST_BYTES = 8_000_000  # of a removed text; a pair of them takes 0.7 GB as Python sets. Longer ones are counted
TASK_PAIRS, TASK_BYTES = 50, 4_000_000  # of a task that compares, in removed text
TOLERANCE = 1e-9
CONFIDENCE = 0.95
COLUMNS = ("id", "source", "rule", "jaccard", "kept_id", "kept_in", "bytes")
SAMPLE_SCHEMA = pa.schema([formats.SCHEMA.field(name) for name in COLUMNS[:-1]] + [("bytes", pa.int64())])
Pair = dict[str, Any]  # a row of SAMPLE_SCHEMA
Stores = Sequence[tuple[str, Sequence[DocumentFile]]]  # name and files of the corpus that is made (""), then of others


@dataclass(frozen=True)
class Audit:
    """What came out: how many removals there are, how many of them too long to be drawn, the sample's size, and how
    many of the sample are right."""

    removals: int
    too_long: int
    sampled: int
    confirmed: int

    def interval(self) -> tuple[float, float]:
        """The interval of the precision; a point where every removal was looked at."""
        if self.sampled == self.removals:
            return self.confirmed / self.sampled, self.confirmed / self.sampled
        return clopper_pearson(self.confirmed, self.sampled)

    def count(self, row: Row) -> None:
        """Write it into a row of the ledger, if anything was removed."""
        if self.sampled:
            lower, upper = self.interval()
            row.count("precision_sampled", self.sampled)
            row.count("precision_confirmed", self.confirmed)
            row.count("precision_lower_ppm", math.floor(1e6 * lower))
            row.count("precision_upper_ppm", math.ceil(1e6 * upper))
        if self.too_long:
            row.count("precision_too_long", self.too_long)


def clopper_pearson(right: int, number: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact interval of a proportion, `right` of `number` (Clopper and Pearson, Biometrika 26, 1934)."""
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    lower = float(betaincinv(right, number - right + 1, tail)) if right else 0.0
    upper = float(betaincinv(right + 1, number - right, 1 - tail)) if right < number else 1.0
    return lower, upper


def stores_of(inputs: Sequence[Ingested], known: Known) -> Stores:
    """Where documents are looked up: those of older generations and the new ones, then each other corpus by itself."""
    own: list[DocumentFile] = []
    others: dict[tuple[int, str], list[DocumentFile]] = {}
    for part in known.parts:
        if part.path is not None:
            files = others.setdefault((part.shift, part.corpus), []) if part.corpus else own
            files.append(DocumentFile(part.path, part.hash))
    for item in inputs:
        own.append(DocumentFile(item.path, item.hash, item.rows_path, item.rows_hash, item.cuts))
    return [("", own), *((name, files) for (_, name), files in others.items())]


def audit(work: Path, stores: Stores, config: DeduplicateConfig, seed: int, engine: Engine) -> Audit:
    """Draw a sample of the removals in WORK/removed.arrow, look at it again, and write it to WORK/audit.arrow.

    Files of `stores` come in the order of priority: of documents with one id the first counts. Corpora may share a
    name; then a kept document is looked for in each. Raises ArtefactError where a text is missing or a removal wrong.
    """
    pairs, drawn = draw(work / removals.NAME, seed)
    folder = work / STAGE
    sample = folder / "sample.arrow"
    write_table(sample, [pa.RecordBatch.from_pylist(pairs, schema=SAMPLE_SCHEMA)], SAMPLE_SCHEMA)
    wanted = [{pair["kept_id"] for pair in pairs if pair["kept_in"] == name} for name, _ in stores]
    wanted[0] |= {pair["id"] for pair in pairs}
    places = locate(wanted, [files for _, files in stores], folder / "texts", engine)
    sides = [_sides(pair, [name for name, _ in stores], places) for pair in pairs]
    compared = compare(sample, pairs, sides, places, config, folder / "pairs", engine)
    _stop_where_wrong(compared, config.threshold, folder / "pairs")
    files = [folder / "pairs" / receipt.files[0].path for receipt in compared]
    batches = (batch for path in files for batch in read_batches(path, formats.SCHEMA))
    write_table(work / formats.NAME, rebatch(batches, "text"), formats.SCHEMA)
    return Audit(drawn.removals, drawn.too_long, len(pairs), sum(receipt.result["confirmed"] for receipt in compared))


def draw(removed: Path, seed: int) -> tuple[list[Pair], Audit]:
    """(the sample in the order of its hashes, what it was drawn from). One batch and the sample are in memory."""
    best: list[tuple[int, str, Pair]] = []
    number = too_long = 0
    for batch in read_batches(removed, removals.SCHEMA):
        batch = batch.filter(pc.is_in(batch.column("rule"), value_set=pa.array(formats.RULES)))
        ids = np.array([hash_text(id) for id in batch.column("id").to_pylist()], dtype=np.uint64)
        hashes = hash_keys(seed, hash_text("audit"), ids)
        is_short = batch.column("bytes").to_numpy() <= LONGEST_BYTES
        limit = best[-1][0] if len(best) == SAMPLE else np.iinfo(np.uint64).max
        places = np.flatnonzero(is_short & (hashes <= np.uint64(limit)))
        rows = batch.take(pa.array(places, pa.int64())).to_pylist()
        found = [(hash, row["id"], row) for hash, row in zip(hashes[places].tolist(), rows, strict=True)]
        best = heapq.nsmallest(SAMPLE, [*best, *found], key=lambda item: item[:2])
        number += batch.num_rows
        too_long += batch.num_rows - int(np.count_nonzero(is_short))
    return list(_within_budget(row for _, _, row in best)), Audit(number, too_long, 0, 0)


def _within_budget(rows: Iterable[dict[str, Any]]) -> Iterator[Pair]:
    room = SAMPLE_BYTES
    for row in rows:
        if room <= 0:
            return
        room -= row["bytes"]
        yield {name: row[name] for name in COLUMNS}


def _sides(pair: Pair, names: Sequence[str], places: Sequence[Places]) -> list[tuple[int, str]]:
    """(store, id) of the removed document, then of every one that may be the kept one."""
    removed = [(0, pair["id"])] if pair["id"] in places[0] else []
    kept = [(store, pair["kept_id"]) for store, name in enumerate(names) if name == pair["kept_in"]]
    kept = [(store, id) for store, id in kept if id in places[store]]
    if not removed or not kept:
        raise ArtefactError(
            f"deduplication: expected the text of {pair['kept_id'] if removed else pair['id']}, since {pair['id']} was "
            f"removed for {pair['kept_id']}" + (f" of corpus {pair['kept_in']}" if pair["kept_in"] else ""),
            found="no such document", cure="this is a defect of rbt: please report it",
        )
    return removed + kept


def compare(
    sample: Path, pairs: Sequence[Pair], sides: Sequence[Sequence[tuple[int, str]]], places: Sequence[Places],
    config: DeduplicateConfig, folder: Path, engine: Engine,
) -> list[Receipt]:
    """Compute every pair's Jaccard similarity anew; files of `formats.SCHEMA`, results `confirmed`, `problems`."""
    tasks, sample_hash = [], hash_file(sample)
    for number, (start, stop) in enumerate(_cut(pairs)):
        found = [[(store, id, *places[store][id]) for store, id in side] for side in sides[start:stop]]
        texts = fingerprint([[(store, id, hash) for store, id, _, hash in side] for side in found])
        payload = {
            "threshold": config.threshold, "ngram": config.ngram, "sample": sample_hash, "start": start, "stop": stop,
            "texts": texts,
        }
        context = {
            "sample": str(sample), "sides": [[(store, id, str(path)) for store, id, path, _ in side] for side in found]
        }
        tasks.append(Task(f"{number:05d}", payload, stop - start, context=context))
    return run_tasks(STAGE, VERSION, {}, tasks, compare_pairs, folder, engine, unit="pair")


def _cut(pairs: Sequence[Pair]) -> Iterator[tuple[int, int]]:
    """Stretches of at most TASK_PAIRS pairs that end where they reach TASK_BYTES."""
    start = size = 0
    for stop, pair in enumerate(pairs, 1):
        size += pair["bytes"]
        if size >= TASK_BYTES or stop - start == TASK_PAIRS or stop == len(pairs):
            yield start, stop
            start, size = stop, 0


def compare_pairs(task: Task, folder: Path) -> TaskOutput:
    """The task: compare some pairs of the sample."""
    pairs = open_table(Path(task.context["sample"]), SAMPLE_SCHEMA).to_pylist()
    pairs = pairs[task.payload["start"] : task.payload["stop"]]
    texts = _texts_by_side(task.context["sides"])
    rows, problems = [], []
    for pair, (removed, *candidates) in zip(pairs, task.context["sides"], strict=True):
        text = texts[removed[0], removed[1]]
        kept_texts = [texts[store, id] for store, id, _ in candidates]
        found = [(jaccard(text, other, task.payload["ngram"]), other) for other in kept_texts]
        similarity, kept = min(found, key=partial(_distance, pair["jaccard"]))
        if similarity < task.payload["threshold"] or abs(similarity - pair["jaccard"]) > TOLERANCE:
            problems.append({**pair, "found": similarity})
        rows.append(
            {
                **pair, "text": text[: formats.CHARACTERS], "kept_text": kept[: formats.CHARACTERS],
                "characters": len(text), "kept_characters": len(kept),
            }
        )
    name = f"{task.name}.arrow"
    write_table(folder / name, [pa.RecordBatch.from_pylist(rows, schema=formats.SCHEMA)], formats.SCHEMA)
    return TaskOutput([name], result={"confirmed": len(pairs) - len(problems), "problems": problems})


def _distance(recorded: float, found: tuple[float, str]) -> float:
    return abs(found[0] - recorded)


def _texts_by_side(sides: Sequence[Sequence[tuple[int, str, str]]]) -> dict[tuple[int, str], str]:
    """The texts of all sides by (store, id)."""
    paths: dict[int, dict[str, str]] = {}
    for store, id, path in (entry for side in sides for entry in side):
        paths.setdefault(store, {})[id] = path
    return {(store, id): text for store, found in paths.items() for id, text in read_texts(found).items()}


def _stop_where_wrong(compared: Sequence[Receipt], threshold: float, folder: Path) -> None:
    for receipt in compared:
        for pair in receipt.result["problems"]:
            raise ArtefactError(
                f"deduplication: expected {pair['id']} to resemble {pair['kept_id']}, for which it was removed, at the "
                f"recorded Jaccard {pair['jaccard']:.9g} and at least at {threshold:g}",
                path=folder / receipt.files[0].path, found=f"{pair['found']:.9g}",
                cure="the build stops before anything is lost; this is a defect of rbt: please report both texts",
            )
