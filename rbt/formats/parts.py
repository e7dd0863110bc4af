"""Corpus parts: Arrow IPC files (zstd) of documents, in generations that are only ever appended.

    CORPUS/manifest.json  ledger.json  part-00000.arrow ...  removed.arrow  signatures/  (generation 0)
    CORPUS/generation-0001/ ... the same, with a manifest that names its parent

Parts are filled in the order of documents up to a size in text bytes, and batches inside them up to a size in
bytes as well, so that nothing in a part depends on how the work was cut into tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rbt.errors import ArtefactError
from rbt.formats import document
from rbt.manifest import Manifest, is_artefact, read_manifest
from rbt.rng import rng
from rbt.storage import atomic_path

KIND, VERSION = "corpus", 2
GENERATION = "generation-"  # prefix of the folders of later generations
MADE_BY, GROWN_BY = "rbt corpus build", "rbt corpus add"
BATCH_BYTES = 4 << 20  # of text, so that a reader holds a few megabytes whatever the part's size
BATCH_DOCUMENTS = 4096
LEDGER = "ledger.json"


def part_name(number: int) -> str:
    """File name of a part."""
    return f"part-{number:05d}.arrow"


def text_bytes(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """UTF-8 bytes of each text, int64."""
    return pc.cast(pc.binary_length(texts), pa.int64())


def string_buffers(texts: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]:
    """(bytes uint8, offsets int32 or int64 (n + 1,)) of an Arrow string array, without a copy."""
    _, offsets, data = texts.buffers()
    width = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    ends = np.frombuffer(offsets, dtype=width) if offsets is not None else np.zeros(1, dtype=width)
    characters = np.frombuffer(data, dtype=np.uint8) if data is not None else np.zeros(0, dtype=np.uint8)
    return characters, ends[texts.offset : texts.offset + len(texts) + 1]


@contextmanager
def table_writer(
    path: Path, schema: pa.Schema, compression: str | None = "zstd"
) -> Iterator[pa.RecordBatchFileWriter]:
    """A writer of an Arrow IPC file, which is there when the block succeeds."""
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with (
        atomic_path(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, schema, options=options) as writer,
    ):
        yield writer


def write_table(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
    """Write record batches as one Arrow IPC file with zstd, atomically."""
    with table_writer(path, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def open_file(path: Path, schema: pa.Schema) -> pa.ipc.RecordBatchFileReader:
    """Open an Arrow IPC file over a memory map. Raises ArtefactError where it is missing, cut, or another table."""
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
    except (OSError, pa.ArrowInvalid) as error:
        raise ArtefactError("expected an Arrow file", path=path, found=str(error), cure="rebuild it") from error
    if not reader.schema.equals(schema):
        raise ArtefactError(f"expected columns {schema.names}", path=path, found=str(reader.schema.names))
    return reader


def open_table(path: Path, schema: pa.Schema) -> pa.Table:
    """A whole Arrow IPC file as a table (small tables only: it is decompressed as a whole)."""
    return open_file(path, schema).read_all()


def read_batches(path: Path, schema: pa.Schema = document.SCHEMA) -> Iterator[pa.RecordBatch]:
    """The record batches of a file, one in memory at a time."""
    reader = open_file(path, schema)
    for number in range(reader.num_record_batches):
        try:
            batch = reader.get_batch(number)
            batch.validate(full=True)  # kernels trust offsets
        except (OSError, pa.ArrowInvalid) as error:
            raise ArtefactError(
                f"expected rows in batch {number}", path=path, found=str(error), cure="rebuild it"
            ) from error
        yield batch


def rebatch(batches: Iterable[pa.RecordBatch], text_column: str = "") -> Iterator[pa.RecordBatch]:
    """Cut a stream of batches anew by rows and by the bytes of a text column, whatever its former cuts."""
    pending: list[pa.RecordBatch] = []
    room_bytes, room_documents = BATCH_BYTES, BATCH_DOCUMENTS
    for batch in batches:
        start = 0
        sizes = text_bytes(batch.column(text_column)).to_pylist() if text_column else [0] * batch.num_rows
        for row, size in enumerate(sizes):
            room_bytes -= size
            room_documents -= 1
            if room_bytes <= 0 or room_documents == 0:
                pending.append(batch.slice(start, row + 1 - start))
                yield _join(pending)
                pending, start = [], row + 1
                room_bytes, room_documents = BATCH_BYTES, BATCH_DOCUMENTS
        if start < batch.num_rows:
            pending.append(batch.slice(start))
    if pending:
        yield _join(pending)


def _join(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.concat_batches(batches)


def write_part(path: Path, batches: Iterable[pa.RecordBatch]) -> None:
    """Write documents (columns of `document.SCHEMA`) as a part."""
    write_table(path, rebatch(batches, "text"), document.SCHEMA)


@dataclass(frozen=True)
class Part:
    """One part of a corpus: its file, its content hash, its documents and text bytes."""

    path: Path
    hash: str
    documents: int
    bytes: int


@dataclass(frozen=True)
class Corpus:
    """A finished corpus, all generations seen as one."""

    folder: Path
    manifests: tuple[Manifest, ...]
    folders: tuple[Path, ...]

    @property
    def fingerprint(self) -> str:
        """Identity of the newest generation, which names its parents."""
        return self.manifests[-1].fingerprint

    def parts(self, generations: Iterable[int] | None = None) -> list[Part]:
        """The parts of some generations (default: all) in document order."""
        parts = []
        for generation in range(len(self.folders)) if generations is None else generations:
            folder, manifest = self.folders[generation], self.manifests[generation]
            hashes = {record.path: record.hash for record in manifest.files}
            for fact in manifest.facts["parts"]:
                name = fact["path"]
                parts.append(Part(folder / name, hashes[name], fact["documents"], fact["bytes"]))
        return parts

    def documents(self) -> int:
        """Number of documents."""
        return sum(part.documents for part in self.parts())

    def sources(self) -> dict[str, bool]:
        """Source names, and whether their documents are whole documents (`has_documents`)."""
        found: dict[str, bool] = {}
        for manifest in self.manifests:
            for name, facts in manifest.facts["sources"].items():
                found[name] = found.get(name, True) and facts["has_documents"]
        return found

    def removals(self) -> list[Path]:
        """The `removed.arrow` of each generation."""
        return [folder / "removed.arrow" for folder in self.folders]


def generation_name(number: int) -> str:
    """Folder name of a later generation."""
    return f"{GENERATION}{number:04d}"


def open_corpus(folder: Path) -> Corpus:
    """Open a finished corpus with all its generations. Raises ArtefactError where there is none, or one is missing."""
    root = read_manifest(folder, KIND, VERSION, MADE_BY)
    if root.facts["generation"]:
        raise ArtefactError(
            "expected the folder of a corpus", path=folder, found=f"its generation {root.facts['generation']}",
            cure="name the folder above it",
        )
    found = [path for path in folder.glob(f"{GENERATION}[0-9]*") if is_artefact(path)]
    folders = [folder, *sorted(found, key=lambda path: (len(path.name), path.name))]
    manifests = [root, *(read_manifest(path, KIND, VERSION, GROWN_BY) for path in folders[1:])]
    for number, (before, manifest) in enumerate(pairwise(manifests), 1):
        is_next = manifest.facts["generation"] == number and folders[number].name == generation_name(number)
        if not is_next or manifest.inputs["parent"] != before.fingerprint:
            raise ArtefactError(
                f"expected generation {number}, grown from the one before it", path=folders[number],
                found="one grown from another corpus", cure=f"delete it and run `{GROWN_BY}` again",
            )
    return Corpus(folder, tuple(manifests), tuple(folders))


def random_documents(corpus: Corpus, number: int, seed: int) -> list[dict[str, object]]:
    """`number` documents (or all there are), drawn without replacement, in corpus order."""
    total = corpus.documents()
    wanted = set(rng(seed, "show").choice(total, size=min(number, total), replace=False).tolist())
    found: list[dict[str, object]] = []
    first = 0
    for part in corpus.parts():
        if any(first <= place < first + part.documents for place in wanted):
            for batch in read_batches(part.path):
                places = [place - first for place in sorted(wanted) if first <= place < first + batch.num_rows]
                found += batch.take(pa.array(places, pa.int64())).to_pylist()
                first += batch.num_rows
        else:
            first += part.documents
    return found


def find_document(corpus: Corpus, id: str) -> dict[str, object] | None:
    """The document with this id, or None."""
    for part in corpus.parts():
        for batch in read_batches(part.path):
            rows = batch.filter(pc.equal(batch.column("id"), id))
            if rows.num_rows:
                found: dict[str, object] = rows.to_pylist()[0]
                return found
    return None
