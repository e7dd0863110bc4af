"""Raw files to ingested parts: one task a file.

    raw bytes ──source──> Document ──clean_text──> text ──identify──> language, score ──> <task>.arrow
                   └──> <task>.quarantine.arrow

An ingested part holds every document of its file, so that changed thresholds do not extract again. The raw file is
hashed as it is read; its size and time stamp only decide whether a finished task is still good.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from rbt.config import to_dataclass, to_table
from rbt.corpus.clean import clean_text
from rbt.corpus.config import SourceConfig
from rbt.corpus.language import identify
from rbt.corpus.reading import Reading
from rbt.corpus.sources import read_documents
from rbt.corpus.sources.table import FIELDS
from rbt.engine import Engine
from rbt.errors import ConfigError, InputError
from rbt.formats.document import SCHEMA, Document
from rbt.formats.parts import BATCH_BYTES, BATCH_DOCUMENTS, write_part
from rbt.formats.quarantine import write_quarantine
from rbt.ledger import Ledger, Row
from rbt.stage import Receipt, Task, TaskOutput, run_tasks
from rbt.storage import as_text, common_folder, expand_inputs, input_stamp

STAGE, VERSION = "ingest", 1
DATE = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d:\d\dZ?)?)?)?")  # these sort as text, beside WARC dates
BUDGETS = ("maximum_duplicates", "maximum_errors", "paths")  # of a source: they shape no document


@dataclass(frozen=True)
class RawFile:
    """One raw file of one source. `number` counts the files of its source in sorted order."""

    source_number: int
    source: SourceConfig
    number: int
    location: str
    folder: str  # that all files of the source share
    stamp: dict[str, int | str]

    @property
    def task(self) -> str:
        """Name of its tasks, in the order of the corpus."""
        return f"{self.source_number:02d}-{self.number:05d}"

    @property
    def origin(self) -> str:
        """The file's name, with the folders in which it lies below the one that all files of the source share."""
        return as_text(self.location.removeprefix(f"{self.folder}/"))


def list_raw_files(sources: Sequence[SourceConfig], base: Path) -> list[RawFile]:
    """The raw files of all sources, in the order of the corpus. Raises InputError where a source has none."""
    if not sources:
        raise InputError("expected at least one [[source]] in the recipe", found="none", cure="see `rbt init`")
    labels = [source.label for source in sources]
    if len(set(labels)) != len(labels):
        raise InputError("expected a different name for each [[source]]", found=", ".join(labels), cure="set `name`")
    for source in sources:
        _check_options(source)
    return [
        RawFile(source_number, source, number, location, common_folder(source.paths, base), input_stamp(location))
        for source_number, source in enumerate(sources)
        for number, location in enumerate(expand_inputs(source.paths, base))
    ]


def _check_options(source: SourceConfig) -> None:
    for name in ("since", "until"):
        if (value := getattr(source, name)) and not DATE.fullmatch(value):
            raise ConfigError(f"source {source.label!r}, {name}: expected a date like 2016-09-01", found=repr(value))
    if unknown := sorted(source.columns.keys() - set(FIELDS)):
        raise ConfigError(
            f"source {source.label!r}, columns: expected some of {', '.join(FIELDS)}", found=", ".join(unknown),
            cure="ours first: columns = { text = \"their name\" }",
        )


def source_identity(source: SourceConfig) -> dict[str, Any]:
    """What of a source's configuration shapes its documents."""
    return {key: value for key, value in to_table(source).items() if key not in BUDGETS}


def ingest(files: Sequence[RawFile], folder: Path, engine: Engine) -> list[Receipt]:
    """Ingest all files; receipts in file order, with results raw_hash, raw_bytes, documents, bytes."""
    tasks = [
        Task(
            raw.task, {"source": source_identity(raw.source), "origin": raw.origin}, size=int(raw.stamp["size"]),
            stamp=raw.stamp, context={"location": raw.location, "paths": list(raw.source.paths)},
        )
        for raw in files
    ]
    return run_tasks(STAGE, VERSION, {}, tasks, ingest_file, folder, engine, unit="B")


def ingest_file(task: Task, folder: Path) -> TaskOutput:
    """The task: read one raw file."""
    table = {**task.payload["source"], "paths": task.context["paths"]}
    source = to_dataclass(SourceConfig, table, "source")
    reading = Reading(source.label, task.payload["origin"])
    ledger = Ledger()
    part, quarantine = f"{task.name}.arrow", f"{task.name}.quarantine.arrow"
    documents = read_documents(task.context["location"], source, reading)
    write_part(folder / part, _batches(_rows(documents, source.label, ledger)))
    write_quarantine(folder / quarantine, reading.quarantined)
    read = ledger.row("read", source.label)
    read.merge(reading.row)
    read.count("files")
    read.count("raw_bytes", reading.raw_bytes)
    read.count("quarantined", len(reading.quarantined))
    cleaned = ledger.row("clean", source.label).outgoing
    result = {
        "raw_hash": reading.raw_hash, "raw_bytes": reading.raw_bytes,
        "documents": cleaned.documents, "bytes": cleaned.bytes, "has_documents": True,
    }
    return TaskOutput([part, quarantine], ledger, result)


def _rows(documents: Iterator[Document], source: str, ledger: Ledger) -> Iterator[dict[str, Any]]:
    read, extract, clean = (ledger.row(stage, source) for stage in ("read", "extract", "clean"))
    for document in documents:
        text_bytes = len(document.text.encode("utf-8", "surrogatepass"))
        read.keep(document.payload_bytes)
        extract.take(document.payload_bytes)
        extract.shrink("markup", document.payload_bytes - text_bytes)
        extract.keep(text_bytes)
        clean.take(text_bytes)
        cleaned = clean_text(document.text)
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
    check_not_empty(sources, lambda label: ledger.row("read", label), "check `kind` and `paths`")
    for source in sources:
        row = ledger.row("read", source.label)
        errors, records = row.other.get("quarantined", 0), max(row.incoming.documents, 1)
        where = f"source {source.label!r} ({', '.join(source.paths)})"
        if errors / records > source.maximum_errors:
            raise InputError(
                f"{where}: expected at most {source.maximum_errors:.1%} unreadable records",
                found=f"{errors} of {records} ({errors / records:.1%})",
                cure="see work/ingest/*.quarantine.arrow; mend the files or raise maximum_errors",
            )
