"""Texts by their ids, out of files of documents: one task a file, which decompresses ids, and texts only where it must.

    wanted ids ──> ids of a file ──batches that have one──> <task>.arrow (id, text) ──first file of an id──> places
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rbt.engine import Engine
from rbt.formats.document import ID_SCHEMA, SCHEMA
from rbt.formats.parts import open_file, open_table, write_table
from rbt.stage import Task, TaskOutput, run_tasks
from rbt.storage import hash_file

STAGE, VERSION = "texts", 1
TEXT_SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string())])
Places = dict[str, tuple[Path, str]]  # by id: a file of TEXT_SCHEMA that has its text, and the file's content hash


@dataclass(frozen=True)
class DocumentFile:
    """An Arrow file of documents and its content hash."""

    path: Path
    hash: str
    rows: Path | None = None  # .npy of ascending row numbers, where only those count
    rows_hash: str = ""


def locate(
    wanted: Mapping[str, Collection[str]], documents: Mapping[str, Sequence[DocumentFile]], folder: Path,
    engine: Engine,
) -> dict[str, Places]:
    """Copy the texts of the wanted ids of each corpus (any name) out of its files; where they are now.

    Of documents with one id the first counts. An id that no file has is in no place.
    """
    tasks, corpora = [], []
    for number, (corpus, ids) in enumerate(sorted((corpus, ids) for corpus, ids in wanted.items() if ids)):
        path = folder / f"wanted-{number:02d}.arrow"
        write_table(path, [pa.record_batch([pa.array(sorted(ids), pa.string())], schema=ID_SCHEMA)], ID_SCHEMA)
        wanted_hash = hash_file(path)
        for place, file in enumerate(documents.get(corpus, ())):
            payload = {"wanted": wanted_hash, "file": file.hash, "rows": file.rows_hash}
            context = {"wanted": str(path), "path": str(file.path), "rows": str(file.rows or "")}
            tasks.append(Task(f"{number:02d}-{place:05d}", payload, context=context))
            corpora.append(corpus)
    receipts = run_tasks(STAGE, VERSION, {}, tasks, find_texts, folder, engine, unit="file")
    places: dict[str, Places] = {corpus: {} for corpus in wanted}
    for corpus, receipt in zip(corpora, receipts, strict=True):
        for id in receipt.result["ids"]:
            places[corpus].setdefault(id, (folder / receipt.files[0].path, receipt.files[0].hash))
    return places


def find_texts(task: Task, folder: Path) -> TaskOutput:
    """The task: copy the wanted texts out of one file."""
    wanted = set(open_table(Path(task.context["wanted"]), ID_SCHEMA).column("id").to_pylist())
    rows = np.load(task.context["rows"], allow_pickle=False) if task.context["rows"] else None
    found: list[str] = []

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in texts_of(Path(task.context["path"]), SCHEMA, wanted, rows):
            found.extend(batch.column("id").to_pylist())
            yield batch

    name = f"{task.name}.arrow"
    write_table(folder / name, batches(), TEXT_SCHEMA)
    return TaskOutput([name], result={"ids": found})


def texts_of(path: Path, schema: pa.Schema, wanted: Collection[str], rows: Any = None) -> Iterator[pa.RecordBatch]:
    """The first document of each wanted id in a file (among `rows`, int64 ascending, where given), as TEXT_SCHEMA."""
    ids, texts = (_column_reader(path, schema, name) for name in ("id", "text"))
    values, left = pa.array(sorted(wanted), pa.string()), set(wanted)
    first = 0
    for number in range(ids.num_record_batches):
        column = ids.get_batch(number).column(0)
        places = np.flatnonzero(pc.is_in(column, value_set=values).to_numpy(zero_copy_only=False))
        if rows is not None:
            places = places[np.isin(places + first, rows)]
        first += len(column)
        chosen = [place for place in places.tolist() if _take(left, column[place].as_py())]
        if chosen:
            arrays = [column.take(pa.array(chosen)), texts.get_batch(number).column(0).take(pa.array(chosen))]
            yield pa.RecordBatch.from_arrays(arrays, schema=TEXT_SCHEMA)


def _take(left: set[str], id: str) -> bool:
    """Whether an id is still looked for; from now on it is not."""
    is_left = id in left
    left.discard(id)
    return is_left


def _column_reader(path: Path, schema: pa.Schema, name: str) -> pa.ipc.RecordBatchFileReader:
    open_file(path, schema)  # or say what is wrong with it
    options = pa.ipc.IpcReadOptions(included_fields=[schema.get_field_index(name)])
    return pa.ipc.open_file(pa.memory_map(str(path)), options=options)


def read_texts(places: Mapping[str, tuple[Path, str]], ids: Collection[str]) -> dict[str, str]:
    """The texts of some ids that have a place."""
    wanted: dict[Path, list[str]] = {}
    for id in ids:
        wanted.setdefault(places[id][0], []).append(id)
    return {
        id: text
        for path, found in wanted.items() for batch in texts_of(path, TEXT_SCHEMA, found)
        for id, text in zip(batch.column("id").to_pylist(), batch.column("text").to_pylist(), strict=True)
    }
