"""`rbt bpe count`: the words of each corpus part, counted into a sorted file; one task a part.

    part ──batches──> counter ──full: sorted run──> runs ──merge──> part-NNNNN.words.arrow

A task's receipt depends on the part's hash alone: when a corpus grows, its old parts are not read again. Memory shapes
how many runs there are, and nothing in the file.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

from rbt import engine as engines
from rbt.engine import Engine
from rbt.errors import ArtefactError
from rbt.formats.parts import Corpus, Part, open_corpus, read_batches, text_bytes
from rbt.formats.word_counts import ANY_COUNTS, KIND, VERSION, counts_name, write_counts
from rbt.ledger import Ledger
from rbt.manifest import MANIFEST, Manifest, write_manifest
from rbt.packing.word_counts import WordCounter
from rbt.packing.word_runs import RUN, as_batch, merge_runs
from rbt.stage import WORK, Receipt, Task, TaskOutput, exclusive, finished, run_tasks

log = logging.getLogger(__name__)
STAGE, STAGE_VERSION = "words", 1
MEMORY_BYTES = 1_000_000_000  # of a worker that counts


def count_corpus(
    corpus: Path, out: Path, engine: Engine, *, replace: bool, memory_bytes: int = MEMORY_BYTES
) -> Manifest:
    """Count the words of all of a corpus into `out`, or find that they are there. Raises ArtefactError."""
    opened = open_documents(corpus)
    identity = Manifest(KIND, VERSION, STAGE, STAGE_VERSION, {}, {"corpus": opened.fingerprint}, ())
    with exclusive(out, KIND):
        if (manifest := finished(out, identity, replace)) is not None:
            log.info("%s: already counted", out)
            return manifest
        (out / MANIFEST).unlink(missing_ok=True)  # the counts stay: where the corpus has grown, they need no text
        receipts = count_parts(opened, out, out / WORK / STAGE, engine, memory_bytes)
        ledger = Ledger()
        for receipt in receipts:
            ledger.merge(receipt.ledger)
        ledger.chain([STAGE])
        records = tuple(record for receipt in receipts for record in receipt.files)
        facts = {"parts": [dict(receipt.result) for receipt in receipts]}
        return write_manifest(out, changed(identity, files=records, facts=facts, ledger=ledger))


def open_documents(corpus: Path) -> Corpus:
    """Open a corpus that has documents. Raises ArtefactError."""
    opened = open_corpus(corpus)
    if opened.documents() == 0:
        raise ArtefactError("expected at least one document", path=corpus, found="none")
    return opened


def count_parts(
    corpus: Corpus, folder: Path, receipts: Path, engine: Engine, memory_bytes: int
) -> list[Receipt]:
    """Count all parts into files of `folder`; receipts in part order, with the facts of each part."""
    tasks = [
        Task(
            f"part-{number:05d}", {"part": part.hash, "number": number}, part.bytes,
            context={"part": str(part.path), "memory_bytes": memory_bytes},
        )
        for number, part in enumerate(corpus.parts())
    ]
    done = run_tasks(
        STAGE, STAGE_VERSION, {}, tasks, count_part, folder, engine, unit="B", receipts_folder=receipts
    )
    for part, receipt in zip(corpus.parts(), done, strict=True):
        _check_amount(part, receipt.result)
    for stale in set(folder.glob(ANY_COUNTS)) - {folder / receipt.result["path"] for receipt in done}:
        stale.unlink()  # of another corpus, or of a task that was killed
    return done


def _check_amount(part: Part, fact: Any) -> None:
    if (fact["documents"], fact["bytes"]) != (part.documents, part.bytes):
        raise ArtefactError(
            f"expected {part.documents} documents and {part.bytes} bytes, as the corpus's manifest says",
            path=part.path, found=f"{fact['documents']} documents and {fact['bytes']} bytes in the words",
            cure="rebuild it",
        )


def count_part(task: Task, folder: Path) -> TaskOutput:
    """The task: count one corpus part."""
    name, memory_bytes = counts_name(task.payload["number"]), task.context["memory_bytes"]
    stem = name.removesuffix(".arrow")
    for stale in folder.glob(f"{stem}.*{RUN}"):
        stale.unlink()
    counter, runs, ledger = WordCounter(memory_bytes), list[Path](), Ledger()
    row = ledger.row(STAGE, "all")

    def spill() -> None:
        runs.append(folder / f"{stem}.{len(runs):05d}{RUN}")
        write_counts(runs[-1], [as_batch(counter.take())])

    for batch in read_batches(Path(task.context["part"])):
        texts = batch.column("text")
        size = sum(text_bytes(texts).to_pylist())
        row.take(size, len(texts))
        place = counter.count(texts)
        while place is not None:
            spill()
            place = counter.count(texts, place)
        row.keep(size, len(texts))
        engines.advance(size)
    if runs:
        if len(counter):
            spill()
        distinct, words = write_counts(folder / name, merge_runs(runs, memory_bytes, folder / stem))
    else:
        distinct, words = write_counts(folder / name, [as_batch(counter.take())])
    for path in runs:
        path.unlink()
    return TaskOutput([name], ledger, _facts(name, task, ledger, words, distinct))


def _facts(name: str, task: Task, ledger: Ledger, words: int, distinct: int) -> dict[str, Any]:
    counted = ledger.row(STAGE, "all").outgoing
    return {
        "path": name, "part": task.payload["part"], **counted.table(), "words": words, "distinct_words": distinct,
    }


def check_distinct_parts(manifests: Sequence[Manifest], folders: Sequence[Path]) -> None:
    """Raise ArtefactError where two word counts hold the same corpus part: its words would count twice."""
    seen: dict[str, Path] = {}
    for manifest, folder in zip(manifests, folders, strict=True):
        for fact in manifest.facts["parts"]:
            if (before := seen.get(fact["part"])) is not None:
                raise ArtefactError(
                    "expected counts of different corpus parts", path=folder,
                    found=f"{fact['path']}, which {before} has too", cure="leave one of them out",
                )
            seen[fact["part"]] = folder
