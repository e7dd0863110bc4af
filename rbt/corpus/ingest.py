"""Raw files to ingested parts: one task a file, or a span of a large one.

    raw bytes ──source──> Document ──clean_text──> text ──identify──> language, score ──> <task>.arrow
                   └──> <task>.quarantine.arrow

An ingested part holds every document of its span, so that changed thresholds do not extract again. The raw file is
hashed as it is read; its size and time stamp only decide whether a finished task is still good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from rbt.config import to_dataclass, to_table
from rbt.corpus.clean import clean_text
from rbt.corpus.config import SourceConfig
from rbt.corpus.language import identify
from rbt.corpus.raw_files import RawFile, source_identity
from rbt.corpus.reading import Reading, Span
from rbt.corpus.sources import read_documents
from rbt.engine import Engine
from rbt.errors import InputError
from rbt.formats.document import SCHEMA, Document
from rbt.formats.parts import BATCH_BYTES, BATCH_DOCUMENTS, write_part
from rbt.formats.quarantine import open_quarantine
from rbt.ledger import Ledger, Row
from rbt.stage import Receipt, Task, TaskOutput, run_tasks

STAGE, VERSION = "ingest", 2
EMPTY_HINTS = {  # by the rule that dropped records of a source of which nothing is left
    "date": "its window is since = {source.since!r}, until = {source.until!r}, on WARC-Date; \"\" is no bound",
    "url": "none of its pages is in the list that `urls` names",
}
LOCAL_FACTS = ("selection",)  # facts that are paths: their content is named by a hash among the others


@dataclass(frozen=True)
class RawTask:
    """One raw file, or a span of it, as a task."""

    raw: RawFile
    name: str
    span: Span | None  # None: the whole file, with no facts

    def as_task(self, mojibake: bool) -> Task:
        """What shapes the documents is payload; where things lie on this machine is context."""
        raw, span = self.raw, self.span
        payload = {"source": source_identity(raw.source), "origin": raw.origin, "mojibake": mojibake, **raw.resources}
        table: dict[str, Any] | None = None
        size = int(raw.stamp["size"])
        if span is not None:
            table, size = {"start": span.start, "stop": span.stop, "facts": dict(span.facts)}, span.stop - span.start
            shaping = {key: value for key, value in span.facts.items() if key not in LOCAL_FACTS}
            payload["span"] = {**table, "facts": shaping}
        context = {"location": raw.location, "source": to_table(raw.source), "span": table}
        return Task(self.name, payload, size, raw.stamp, context)


def plan_tasks(files: Sequence[RawFile], facts: Mapping[str, Mapping[str, Any]]) -> list[RawTask]:
    """The tasks of all files, in the order of the corpus. `facts`: what a first pass found, by RawFile.task."""
    tasks: list[RawTask] = []
    for raw in files:
        found = facts.get(raw.task, {})
        spans = [Span(span.start, span.stop, {**span.facts, **found}) for span in raw.spans()]
        if len(spans) == 1:
            tasks.append(RawTask(raw, raw.task, spans[0] if spans[0].facts else None))
        else:
            tasks += [RawTask(raw, f"{raw.task}-{number:05d}", span) for number, span in enumerate(spans)]
    return tasks


def ingest(tasks: Sequence[RawTask], folder: Path, engine: Engine, mojibake: bool = False) -> list[Receipt]:
    """Ingest all files; receipts in order, with results raw_hash, raw_bytes, documents, bytes, has_documents."""
    jobs = [task.as_task(mojibake) for task in tasks]
    return run_tasks(STAGE, VERSION, {}, jobs, ingest_file, folder, engine, unit="B")


def ingest_file(task: Task, folder: Path) -> TaskOutput:
    """The task: read one raw file, or a span of one."""
    source = to_dataclass(SourceConfig, task.context["source"], "source")
    span = Span(**task.context["span"]) if task.context["span"] else None
    ledger = Ledger()
    part, quarantine = f"{task.name}.arrow", f"{task.name}.quarantine.arrow"
    with open_quarantine(folder / quarantine) as quarantined:
        reading = Reading(source.label, task.payload["origin"], span, quarantined)
        documents = read_documents(task.context["location"], source, reading)
        write_part(folder / part, _batches(_rows(documents, source.label, task.payload["mojibake"], ledger)))
    read = ledger.row("read", source.label)
    read.merge(reading.row)
    if span is None or span.start == 0:
        read.count("files")
    read.count("raw_bytes", reading.raw_bytes)
    read.count("quarantined", len(quarantined))
    extract = ledger.row("extract", source.label)
    for name, number in reading.counts.items():
        extract.count(name, number)
    cleaned = ledger.row("clean", source.label).outgoing
    result = {
        "raw_hash": reading.raw_hash, "raw_bytes": reading.raw_bytes,
        "documents": cleaned.documents, "bytes": cleaned.bytes, "has_documents": reading.has_documents,
    }
    return TaskOutput([part, quarantine], ledger, result)


def _rows(documents: Iterator[Document], source: str, mojibake: bool, ledger: Ledger) -> Iterator[dict[str, Any]]:
    read, extract, clean = (ledger.row(stage, source) for stage in ("read", "extract", "clean"))
    for document in documents:
        text_bytes = len(document.text.encode("utf-8", "surrogatepass"))
        read.keep(document.payload_bytes)
        extract.take(document.payload_bytes)
        extract.shrink("markup", document.payload_bytes - text_bytes)
        extract.keep(text_bytes)
        clean.take(text_bytes)
        cleaned = clean_text(document.text, mojibake)
        for rule, size in cleaned.shrunk.items():
            clean.shrink(rule, size)
        clean.keep(len(cleaned.text.encode()))
        language, score = identify(cleaned.text)
        yield {
            "id": document.id, "source": source, "origin": document.origin, "locator": document.locator,
            "url": document.url, "title": document.title, "date": document.date,
            "language": language, "language_score": score, "text": cleaned.text,
        }


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    pending: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        pending.append(row)
        size += len(row["text"])
        if size >= BATCH_BYTES or len(pending) == BATCH_DOCUMENTS:
            yield pa.RecordBatch.from_pylist(pending, schema=SCHEMA)
            pending, size = [], 0
    if pending:
        yield pa.RecordBatch.from_pylist(pending, schema=SCHEMA)


def check_not_empty(sources: Sequence[SourceConfig], row_of: Callable[[str], Row], cure: str) -> None:
    """Stop a build in which nothing of a source is left after a stage. Raises InputError."""
    for source in sources:
        row = row_of(source.label)
        if row.outgoing.documents == 0:
            dropped = ", ".join(f"{rule} {amount.documents}" for rule, amount in row.dropped.items()) or "none"
            raise InputError(
                f"source {source.label!r} ({', '.join(source.paths)}): expected at least one document",
                found=f"none of {row.incoming.documents} records (dropped: {dropped})", cure=cure,
            )


def check_sources(sources: Sequence[SourceConfig], ledger: Ledger) -> None:
    """Stop a build whose source is empty or past its error budget. Raises InputError."""
    for source in sources:
        hints = [hint for rule, hint in EMPTY_HINTS.items() if rule in ledger.row("read", source.label).dropped]
        cure = "; ".join([hint.format(source=source) for hint in hints] or ["check `kind` and `paths`"])
        check_not_empty([source], lambda label: ledger.row("read", label), cure)
    for source in sources:
        row = ledger.row("read", source.label)
        errors, records = row.other.get("quarantined", 0), max(row.incoming.documents, 1)
        where = f"source {source.label!r} ({', '.join(source.paths)})"
        if errors / records > source.maximum_errors:
            raise InputError(
                f"{where}: expected at most {source.maximum_errors:.1%} unreadable records",
                found=f"{errors} of {records} ({errors / records:.1%})",
                cure="ingest/*.quarantine.arrow in the work folder say where and why; check `kind`, mend the files, or "
                "raise `maximum_errors` of this [[source]]",
            )
