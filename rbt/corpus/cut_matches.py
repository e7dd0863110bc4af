"""The second pass of decontamination: what becomes of the documents that hold evaluation text. One task a part.

    rows with matches ──find again, less the common n-grams──> spans ──plan_cuts──> pieces, cuts ──> cut, or dropped

Writes what the filter writes, for the documents and sizes after the cuts, and the cuts beside it:

    <task>.rows.npy (int64, rows kept)  <task>.bytes.npy (int64, text bytes)  <task>.removed.arrow  <task>.cuts.npy
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rbt.config import to_dataclass, to_table
from rbt.corpus.config import DecontaminateConfig
from rbt.corpus.cut_rule import kinds_table, plan_cuts
from rbt.corpus.cuts import cut_sizes
from rbt.corpus.dedup.arrays import Int64
from rbt.corpus.evaluation import Evaluation, open_evaluation
from rbt.corpus.ngram_matches import find_ngrams, word_places
from rbt.corpus.passed import Passed
from rbt.formats import document, removals
from rbt.formats.arrays import Array, write_array
from rbt.formats.parts import open_file, string_buffers
from rbt.ledger import Ledger
from rbt.stage import Receipt, Task, TaskOutput
from rbt.tasks.sets import TASKS

STAGE, RULE = "decontaminate", "contaminated"


def cut_task(
    part: Passed, hits: Receipt, folder: Path, evaluation: Evaluation, config: DecontaminateConfig, common: Path,
    common_hash: str,
) -> Task:
    """The task of one part. `hits`: the receipt of its first pass, whose files are in `folder`."""
    payload = {
        "part": part.hashes, "sizes": part.sizes_hash, "hits": hits.files[1].hash, "source": part.source,
        "ngrams": list(evaluation.hashes), "common": common_hash, "rule": rule_table(config),
    }
    context = {
        "part": str(part.part), "rows": str(part.rows), "bytes": str(part.sizes), "common": str(common),
        "hits": str(folder / hits.files[1].path), **evaluation.place(),
    }
    return Task(part.name, payload, size=max(part.documents, 1), context=context)


def rule_table(config: DecontaminateConfig) -> dict[str, Any]:
    """What of the configuration shapes the cuts: not where the evaluation files are."""
    return {key: value for key, value in to_table(config).items() if key != "tasks"}


@dataclass(frozen=True)
class _Document:
    """What becomes of one document: dropped for a reason, or cut. `tasks`: n-grams found, by evaluation task."""

    row: int
    tasks: dict[str, int]
    cuts: Int64  # (2, n), bytes of the text
    dropped: tuple[str, str] = ("", "")  # what it has, what was asked of it
    removal: dict[str, Any] = field(default_factory=dict)


def cut_part(task: Task, folder: Path) -> TaskOutput:
    """The task: decide about the rows that have matches; write what is kept, removed and cut."""
    decided = list(_decided(task))
    dropped = [item for item in decided if item.removal]
    cut = [item for item in decided if not item.removal]
    rows, sizes = np.load(task.context["rows"]), np.load(task.context["bytes"])
    cuts = np.concatenate(
        [np.empty((3, 0), np.int64), *(np.insert(item.cuts, 0, item.row, axis=0) for item in cut)], axis=1
    )
    after = cut_sizes(sizes, np.searchsorted(rows, cuts[0]), cuts[1:])
    keeps = ~np.isin(rows, [item.row for item in dropped])
    names = [f"{task.name}.{kind}" for kind in ("rows.npy", "bytes.npy", "removed.arrow", "cuts.npy")]
    for name, array in ((names[0], rows[keeps]), (names[1], after[keeps]), (names[3], cuts)):
        write_array(folder / name, array)
    removals.write_removals(folder / names[2], [item.removal for item in dropped])
    result = {
        "documents": int(keeps.sum()), "cut": _by_task(cut), "dropped": _by_task(dropped),
        "documents_cut": len(cut), "documents_dropped": len(dropped),
    }
    return TaskOutput(names, _ledger(task, sizes, after, keeps, len(cut)), result)


def _ledger(task: Task, sizes: Int64, after: Int64, keeps: Array, cut: int) -> Ledger:
    ledger = Ledger()
    row = ledger.row(STAGE, task.payload["source"])
    row.take(int(sizes.sum()), len(sizes))
    row.keep(int(after[keeps].sum()), int(keeps.sum()))
    if not keeps.all():
        row.drop(RULE, int(sizes[~keeps].sum()), int((~keeps).sum()))
    if cut:
        row.shrink(RULE, int((sizes - after)[keeps].sum()))
        row.count("documents_cut", cut)
    return ledger


def _by_task(documents: Sequence[_Document]) -> dict[str, int]:
    """Documents by evaluation task, in the order of TASKS."""
    found = {name: sum(name in item.tasks for item in documents) for name in TASKS}
    return {name: count for name, count in found.items() if count}


def _decided(task: Task) -> Iterator[_Document]:
    """The documents of a part that have matches which are not common, in order."""
    rule = to_dataclass(DecontaminateConfig, task.payload["rule"], "decontaminate")
    evaluation = open_evaluation(task.context)
    common: Int64 = np.load(task.context["common"])
    for batch, first, rows in _hit_batches(task):
        texts = batch.column("text")
        found = find_ngrams(texts, rows, evaluation.ngrams)
        found = found[:, ~np.isin(found[2], common)]
        for row in np.unique(found[0]).tolist():
            _, words, ngrams = found[:, found[0] == row]
            item = _decide(texts, row, words, ngrams, evaluation, rule)
            removal = _removal(batch, row, task.payload["source"], item) if any(item.dropped) else {}
            yield _Document(first + row, item.tasks, item.cuts, item.dropped, removal)


def _hit_batches(task: Task) -> Iterator[tuple[pa.RecordBatch, int, Int64]]:
    """(batch, its first row, rows in it that have matches) of a part; other batches are not read."""
    numbers, firsts, rows = np.load(task.context["hits"])
    reader = open_file(Path(task.context["part"]), document.SCHEMA)
    for number in np.unique(numbers).tolist():
        mine = numbers == number
        first = int(firsts[mine][0])
        yield reader.get_batch(number), first, rows[mine] - first


def _decide(
    texts: pa.Array, row: int, words: Int64, ngrams: Int64, evaluation: Evaluation, rule: DecontaminateConfig
) -> _Document:
    """What becomes of the text `row` with n-grams `ngrams` at words `words`."""
    tasks = _tasks(evaluation.tasks[np.unique(ngrams)])
    if rule.mode == "drop":
        return _Document(row, tasks, np.empty((2, 0), np.int64), (_words(tasks), "no n-gram"))
    data, offsets = string_buffers(texts)
    start, stop = int(offsets[row]), int(offsets[row + 1])
    starts, stops = word_places(data, start, stop)
    spans = np.stack([starts[words], stops[words + evaluation.ngrams.lengths[ngrams] - 1]])
    pieces, cuts = plan_cuts(
        data, start, stop, spans, rule.window_characters, rule.minimum_piece_characters, kinds_table()
    )
    dropped = ("", "")
    if pieces > rule.maximum_pieces:
        dropped = f"{_words(tasks)}, {pieces} pieces", f"<= {rule.maximum_pieces} pieces"
    elif cuts[0, 0] == start and cuts[1, 0] == stop:
        dropped = _words(tasks), f"a piece of {rule.minimum_piece_characters} characters"
    return _Document(row, tasks, cuts - start, dropped)


def _tasks(bits: Array) -> dict[str, int]:
    """N-grams by task."""
    found = {name: int(((bits >> np.uint32(place)) & np.uint32(1)).sum()) for place, name in enumerate(TASKS)}
    return {name: count for name, count in found.items() if count}


def _words(tasks: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in tasks.items())


def _removal(batch: pa.RecordBatch, row: int, source: str, item: _Document) -> dict[str, Any]:
    value, threshold = item.dropped
    size = len(batch.column("text")[row].as_buffer())
    id = batch.column("id")[row].as_py()
    return removals.removal(id, source, STAGE, RULE, size=size, value=value, threshold=threshold)
