"""Sign: the texts are read, and everything that decides who may resemble whom is written, by key.

    batches of documents ──> signatures (number, hashes of id and text, band keys), one line a document that is kept
                        └──> runs of (id hash, number), (text hash, number), (band key, number)

One task an ingested part; it holds one batch of text and the keys of at most RUN_DOCUMENTS documents at a time. A part
of a known corpus has its signatures on disk: its task reads these and writes the same runs, and no text is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from rbt import engine as engines
from rbt.config import to_dataclass, to_table
from rbt.corpus.config import DeduplicateConfig
from rbt.corpus.cuts import read_cut
from rbt.corpus.dedup.arrays import Int64, write_run
from rbt.corpus.dedup.inputs import Ingested
from rbt.corpus.dedup.minhash import sign_texts
from rbt.corpus.dedup.shingles import UInt64, table_fingerprint
from rbt.engine import Engine
from rbt.formats.parts import string_buffers, write_table
from rbt.formats.signatures import SCHEMA, text_hash_column
from rbt.stage import Receipt, Task, TaskOutput, run_tasks

STAGE, VERSION = "sign", 2
RUN_DOCUMENTS = 1 << 18  # documents a run: 84 MB of keys and numbers with 20 bands


@dataclass(frozen=True)
class Batch:
    """Keys of some documents: numbers int64 (n,), ids uint64 (n,), texts uint64 (n, 2), band keys uint64 (n, bands)."""

    numbers: Int64
    ids: UInt64
    texts: UInt64
    bands: UInt64


def identity(config: DeduplicateConfig, seed: int) -> dict[str, Any]:
    """What of the configuration shapes signatures, with the versions of the hashes and of the character table."""
    names = ("ngram", "bands", "rows") if config.near else ()
    shape = {name: value for name, value in to_table(config).items() if name in names}
    made_with = {"near": config.near, "version": VERSION, "words": table_fingerprint()}
    return {**made_with, **({"seed": seed} if config.near else {}), **shape}


def sign(
    ingested: Sequence[Ingested], config: DeduplicateConfig, seed: int, shift: int, folder: Path, engine: Engine
) -> list[Receipt]:
    """Sign all parts. Files: `<name>.signatures.arrow` (with `shift` taken from the numbers), then the runs; result
    `documents`."""
    tasks = [
        Task(
            part.name,
            {"part": part.hash, "rows": part.rows_hash, "cuts": part.cut_hashes, "first_number": part.first_number,
             "shift": shift},
            size=max(part.bytes, 1),
            context={"path": str(part.path), "rows": str(part.rows_path), "cuts": part.cut_paths,
                     "config": to_table(config), "seed": seed},
        )
        for part in ingested
    ]
    return run_tasks(STAGE, VERSION, identity(config, seed), tasks, sign_part, folder, engine, unit="B")


def runs_of(receipts: Sequence[Receipt], folder: Path, kind: str) -> list[tuple[Path, str]]:
    """(path, content hash) of all runs of a kind (ids, texts or bands), in the order of the receipts."""
    return [
        (folder / record.path, record.hash)
        for receipt in receipts for record in receipt.files
        if record.path.endswith(f".{kind}.npy")
    ]


def sign_part(task: Task, folder: Path) -> TaskOutput:
    """The task: sign one part."""
    config = to_dataclass(DeduplicateConfig, task.context["config"], "deduplicate")
    names = [f"{task.name}.signatures.arrow"]
    runs = RunWriter(folder, task.name)

    def lines() -> Iterator[pa.RecordBatch]:
        for batch in _sign_batches(task, config):
            runs.add(batch)
            yield _signature_lines(batch, task.payload["shift"])

    write_table(folder / names[0], lines(), SCHEMA)
    return TaskOutput([*names, *runs.close()], result={"documents": runs.documents})


def _sign_batches(task: Task, config: DeduplicateConfig) -> Iterator[Batch]:
    rows: Int64 = np.load(task.context["rows"], allow_pickle=False)
    first = 0
    for batch in read_cut(Path(task.context["path"]), [Path(path) for path in task.context["cuts"]]):
        low, high = np.searchsorted(rows, [first, first + batch.num_rows])
        chosen = rows[low:high] - first
        if len(chosen):
            yield _sign_batch(batch, chosen, task.payload["first_number"] + first, config, task.context["seed"])
        first += batch.num_rows
        _, offsets = string_buffers(batch.column("text"))
        engines.advance(int(offsets[-1] - offsets[0]))


def _sign_batch(batch: pa.RecordBatch, rows: Int64, first: int, config: DeduplicateConfig, seed: int) -> Batch:
    bands = config.bands if config.near else 0
    signatures = sign_texts(batch.column("text"), rows, config.ngram, bands, config.rows, seed)
    data, offsets = string_buffers(batch.column("id"))
    ids = [xxhash.xxh3_64_intdigest(data.data[offsets[row] : offsets[row + 1]]) for row in rows]
    return Batch(rows + first, np.array(ids, dtype=np.uint64), signatures.text_hashes, signatures.band_keys)


def _signature_lines(batch: Batch, shift: int) -> pa.RecordBatch:
    count, bands = batch.bands.shape
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * np.int32(bands))
    keys = pa.ListArray.from_arrays(offsets, pa.array(batch.bands.ravel()))
    columns = [pa.array(batch.numbers - shift), pa.array(batch.ids), text_hash_column(batch.texts), keys]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


class RunWriter:
    """Writes runs of at most RUN_DOCUMENTS documents: `<stem>.<number>.<kind>.npy`."""

    def __init__(self, folder: Path, stem: str, kinds: Iterable[str] = ("ids", "texts", "bands")) -> None:
        self._folder, self._stem, self._kinds = folder, stem, tuple(kinds)
        self._pending: list[Batch] = []
        self._names: list[str] = []
        self._runs = 0
        self.documents = 0

    def add(self, batch: Batch) -> None:
        """Take some documents' keys; those with no band keys are in no run of bands."""
        self._pending.append(batch)
        self.documents += len(batch.numbers)
        if sum(len(item.numbers) for item in self._pending) >= RUN_DOCUMENTS:
            self._flush()

    def close(self) -> list[str]:
        """Write what is left; the names of all files."""
        if self._pending:
            self._flush()
        return self._names

    def _flush(self) -> None:
        numbers = np.concatenate([batch.numbers for batch in self._pending])
        texts = np.concatenate([batch.texts for batch in self._pending])
        bands = np.concatenate([batch.bands for batch in self._pending])
        columns = {
            "ids": ([np.concatenate([batch.ids for batch in self._pending])], numbers),
            "texts": ([texts[:, 0], texts[:, 1]], numbers),
            "bands": ([bands.ravel()], np.repeat(numbers, bands.shape[1])),
        }
        for kind in self._kinds:
            if kind != "bands" or bands.size:
                self._names.append(f"{self._stem}.{self._runs:05d}.{kind}.npy")
                write_run(self._folder / self._names[-1], *columns[kind])
        self._pending.clear()
        self._runs += 1
