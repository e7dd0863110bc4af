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

from rbt.corpus.cuts import read_cut
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
    """An Arrow file of documents and its content hash; the rows that count, and what is cut out of texts, if said."""

    path: Path
    hash: str
    rows: Path | None = None  # .npy of ascending row numbers
    rows_hash: str = ""
    cuts: tuple[tuple[Path, str], ...] = ()  # files with their hashes, see `rbt.corpus.cuts`


def locate(
    wanted: Sequence[Collection[str]], corpora: Sequence[Sequence[DocumentFile]], folder: Path, engine: Engine
) -> list[Places]:
    """Copy the texts of the wanted ids of each corpus out of its files, which come in the order of priority.

    Of documents with one id the first counts. An id that no file has is in no place.
    """
    tasks, numbers = [], []
    for number, (ids, files) in enumerate(zip(wanted, corpora, strict=True)):
        path = folder / f"wanted-{number:02d}.arrow"
        write_table(path, [pa.record_batch([pa.array(sorted(ids), pa.string())], schema=ID_SCHEMA)], ID_SCHEMA)
        wanted_hash = hash_file(path)
        for place, file in enumerate(files if ids else ()):
            cuts = [hash for _, hash in file.cuts]
            payload = {"wanted": wanted_hash, "file": file.hash, "rows": file.rows_hash, "cuts": cuts}
            context = {
                "wanted": str(path), "path": str(file.path), "rows": str(file.rows or ""),
                "cuts": [str(cut) for cut, _ in file.cuts],
            }
            tasks.append(Task(f"{number:02d}-{place:05d}", payload, context=context))
            numbers.append(number)
    receipts = run_tasks(STAGE, VERSION, {}, tasks, find_texts, folder, engine, unit="file")
    places: list[Places] = [{} for _ in wanted]
    for number, receipt in zip(numbers, receipts, strict=True):
        for id in receipt.result["ids"]:
            places[number].setdefault(id, (folder / receipt.files[0].path, receipt.files[0].hash))
    return places


def find_texts(task: Task, folder: Path) -> TaskOutput:
    """The task: copy the wanted texts out of one file."""
    context = task.context
    wanted = set(open_table(Path(context["wanted"]), ID_SCHEMA).column("id").to_pylist())
    rows = np.load(context["rows"], allow_pickle=False) if context["rows"] else None
    path = Path(context["path"])
    cuts = [Path(cut) for cut in context["cuts"]]
    stream = read_cut(path, cuts) if cuts else _lazy_batches(path, SCHEMA)
    found: list[str] = []

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in texts_of(stream, wanted, rows):
            found.extend(batch.column("id").to_pylist())
            yield batch

    name = f"{task.name}.arrow"
    write_table(folder / name, batches(), TEXT_SCHEMA)
    return TaskOutput([name], result={"ids": found})


class LazyBatch:
    """A batch of a file: its ids, and its texts once they are asked for."""

    def __init__(self, readers: Mapping[str, pa.ipc.RecordBatchFileReader], number: int) -> None:
        self._readers, self._number = readers, number

    def column(self, name: str) -> pa.Array:
        """The column, decompressed."""
        return self._readers[name].get_batch(self._number).column(0)


def _lazy_batches(path: Path, schema: pa.Schema) -> Iterator[LazyBatch]:
    open_file(path, schema)  # or say what is wrong with it
    readers = {}
    for name in TEXT_SCHEMA.names:
        options = pa.ipc.IpcReadOptions(included_fields=[schema.get_field_index(name)])
        readers[name] = pa.ipc.open_file(pa.memory_map(str(path)), options=options)
    return (LazyBatch(readers, number) for number in range(readers["id"].num_record_batches))


def texts_of(
    batches: Iterator[pa.RecordBatch] | Iterator[LazyBatch], wanted: Collection[str], rows: Any = None
) -> Iterator[pa.RecordBatch]:
    """The first document of each wanted id (among `rows`, int64 ascending, where given), as TEXT_SCHEMA."""
    values, left = pa.array(sorted(wanted), pa.string()), set(wanted)
    first = 0
    for batch in batches:
        ids = batch.column("id")
        places = np.flatnonzero(pc.is_in(ids, value_set=values).to_numpy(zero_copy_only=False))
        if rows is not None:
            places = places[np.isin(places + first, rows)]
        first += len(ids)
        chosen = [place for place in places.tolist() if _take(left, ids[place].as_py())]
        if chosen:
            arrays = [ids.take(pa.array(chosen)), batch.column("text").take(pa.array(chosen))]
            yield pa.RecordBatch.from_arrays(arrays, schema=TEXT_SCHEMA)


def _take(left: set[str], id: str) -> bool:
    """Whether an id is still looked for; from now on it is not."""
    is_left = id in left
    left.discard(id)
    return is_left


def read_texts(paths: Mapping[str, str]) -> dict[str, str]:
    """The texts of some ids, given the file of TEXT_SCHEMA that has each."""
    wanted: dict[str, list[str]] = {}
    for id, path in paths.items():
        wanted.setdefault(path, []).append(id)
    return {
        id: text
        for path, ids in wanted.items() for batch in texts_of(_lazy_batches(Path(path), TEXT_SCHEMA), ids)
        for id, text in zip(batch.column("id").to_pylist(), batch.column("text").to_pylist(), strict=True)
    }
