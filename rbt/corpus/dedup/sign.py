"""Sign: the texts are read, and everything that decides who may resemble whom is written, sorted by key.

    batches of documents ──> signatures (number, hashes of id and text, band keys), one line a document that is kept
                        └──> sorted runs of (id hash, number), (text hash, number), (band key, number)

One task an ingested part; it holds one batch of text and the keys of at most RUN_DOCUMENTS documents at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from rbt import engine as engines
from rbt.config import to_dataclass, to_table
from rbt.corpus.config import DeduplicateConfig
from rbt.corpus.dedup.arrays import Int64
from rbt.corpus.dedup.minhash import sign_texts
from rbt.corpus.dedup.shingles import UInt64, string_buffers, table_fingerprint
from rbt.engine import Engine
from rbt.formats.arrays import Array, write_array
from rbt.formats.parts import read_batches, write_table
from rbt.stage import Receipt, Task, TaskOutput, run_tasks

STAGE, VERSION = "sign", 1
RUN_DOCUMENTS = 1 << 18  # documents a run: 42 MB of keys with 20 bands
SIGNATURE_SCHEMA = pa.schema(
    [
        ("number", pa.int64()),  # priority: the position among all documents that reached deduplication or the filters
        ("id_hash", pa.uint64()),  # xxh3-64 of the id's UTF-8
        ("text_hash", pa.binary(16)),  # xxh3-128 of the text's UTF-8, big-endian
        ("band_keys", pa.list_(pa.uint64())),  # one key a band; none where near duplicates are not looked for
    ]
)


@dataclass(frozen=True)
class Ingested:
    """One ingested part: documents of `document.SCHEMA`, numbered first_number, first_number + 1, ... in file order.

    `rows_path` is a .npy of int64 row numbers, ascending: the documents that passed the filters. Parts come in the
    order of their numbers; a lower number is a higher priority.
    """

    name: str
    path: Path
    hash: str  # of the file's content
    rows_path: Path
    rows_hash: str
    first_number: int
    documents: int  # in the file, those that did not pass included
    bytes: int  # of text, for the progress bar


@dataclass(frozen=True)
class _Batch:
    """Signatures of one batch's kept documents: number int64 (n,), ids uint64 (n,), texts uint64 (n, 2), band keys
    uint64 (n, bands)."""

    number: Int64
    ids: UInt64
    texts: UInt64
    bands: UInt64


def identity(config: DeduplicateConfig, seed: int) -> dict[str, Any]:
    """What of the configuration shapes signatures, with the version of the character table."""
    names = ("ngram", "bands", "rows") if config.near else ()
    shape = {name: value for name, value in to_table(config).items() if name in names}
    return {"near": config.near, **({"seed": seed, "words": table_fingerprint()} if config.near else {}), **shape}


def sign(
    ingested: Sequence[Ingested], config: DeduplicateConfig, seed: int, folder: Path, engine: Engine
) -> list[Receipt]:
    """Sign all parts. Files: `<name>.signatures.arrow`, then the runs; result `documents`."""
    tasks = [
        Task(
            part.name, {"part": part.hash, "rows": part.rows_hash, "first_number": part.first_number},
            size=max(part.bytes, 1),
            context={"path": str(part.path), "rows": str(part.rows_path), "config": to_table(config), "seed": seed},
        )
        for part in ingested
    ]
    return run_tasks(STAGE, VERSION, identity(config, seed), tasks, sign_part, folder, engine, unit="B")


def runs_of(receipts: Sequence[Receipt], folder: Path, kind: str) -> list[tuple[Path, str]]:
    """(path, content hash) of all runs of a kind (ids, texts or bands), in the order of document numbers."""
    return [
        (folder / record.path, record.hash)
        for receipt in receipts for record in receipt.files
        if record.path.endswith(f".{kind}.npy")
    ]


def sign_part(task: Task, folder: Path) -> TaskOutput:
    """The task: sign one part."""
    config = to_dataclass(DeduplicateConfig, task.context["config"], "deduplicate")
    names = [f"{task.name}.signatures.arrow"]
    pending: list[_Batch] = []
    documents = runs = 0

    def flush() -> None:
        nonlocal runs
        names.extend(_write_runs(folder, f"{task.name}.{runs:05d}", pending, config.near))
        pending.clear()
        runs += 1

    def lines() -> Iterator[pa.RecordBatch]:
        nonlocal documents
        for batch in _sign_batches(task, config):
            pending.append(batch)
            documents += len(batch.number)
            if sum(len(item.number) for item in pending) >= RUN_DOCUMENTS:
                flush()
            yield _signature_lines(batch)

    write_table(folder / names[0], lines(), SIGNATURE_SCHEMA)
    if pending:
        flush()
    return TaskOutput(names, result={"documents": documents})


def _sign_batches(task: Task, config: DeduplicateConfig) -> Iterator[_Batch]:
    rows: Int64 = np.load(task.context["rows"], allow_pickle=False)
    first = 0
    for batch in read_batches(Path(task.context["path"])):
        low, high = np.searchsorted(rows, [first, first + batch.num_rows])
        chosen = rows[low:high] - first
        if len(chosen):
            yield _sign_batch(batch, chosen, task.payload["first_number"] + first, config, task.context["seed"])
        first += batch.num_rows
        _, offsets = string_buffers(batch.column("text"))
        engines.advance(int(offsets[-1] - offsets[0]))


def _sign_batch(batch: pa.RecordBatch, rows: Int64, first: int, config: DeduplicateConfig, seed: int) -> _Batch:
    texts = batch.column("text")
    bands = np.empty((len(rows), 0), dtype=np.uint64)
    if config.near:
        _, bands = sign_texts(texts, rows, config.ngram, config.bands, config.rows, seed)
    ids = [xxhash.xxh3_64_intdigest(value) for value in _values(batch.column("id"), rows)]
    digests = b"".join(xxhash.xxh3_128_digest(value) for value in _values(texts, rows))
    text_hashes = np.frombuffer(digests, dtype=">u8").astype(np.uint64).reshape(-1, 2)
    return _Batch(rows + first, np.array(ids, dtype=np.uint64), text_hashes, bands)


def _values(column: pa.Array, rows: Int64) -> Iterator[memoryview]:
    data, offsets = string_buffers(column)
    return (data.data[offsets[row] : offsets[row + 1]] for row in rows)


def _signature_lines(batch: _Batch) -> pa.RecordBatch:
    count, bands = batch.bands.shape
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * np.int32(bands))
    text_hashes = pa.py_buffer(np.ascontiguousarray(batch.texts.astype(">u8")))
    return pa.RecordBatch.from_arrays(
        [
            pa.array(batch.number), pa.array(batch.ids),
            pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), count, [None, text_hashes]),
            pa.ListArray.from_arrays(offsets, pa.array(batch.bands.ravel())),
        ],
        schema=SIGNATURE_SCHEMA,
    )


def _write_runs(folder: Path, stem: str, batches: Sequence[_Batch], near: bool) -> list[str]:
    numbers = np.concatenate([batch.number for batch in batches]).astype(np.uint64)
    texts = np.concatenate([batch.texts for batch in batches])
    columns: dict[str, Array] = {
        "ids": np.stack([np.concatenate([batch.ids for batch in batches]), numbers]),
        "texts": np.stack([texts[:, 0], texts[:, 1], numbers]),
    }
    if near:
        bands = np.concatenate([batch.bands for batch in batches])
        columns["bands"] = np.stack([bands.ravel(), np.repeat(numbers, bands.shape[1])])
    names = []
    for kind, array in columns.items():
        names.append(f"{stem}.{kind}.npy")
        write_array(folder / names[-1], array[:, np.argsort(array[0], kind="stable")])  # ties stay by number
    return names
