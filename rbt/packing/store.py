"""The token store: one task a corpus part, batch by batch.

    part ──batches──> texts, ids ──encode──> tokens ──┬─ train-NNNNN.*
                                 sentences, split ────┴─ validation-NNNNN.*

A task's receipt depends on the part's hash, the tokenizer's hash and the choice of held-out documents, not on the
rest of the corpus: when a corpus grows, its old parts are not encoded again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rbt import engine as engines
from rbt.engine import Engine
from rbt.errors import ArtefactError
from rbt.formats.arrays import write_array
from rbt.formats.document import ID_SCHEMA
from rbt.formats.parts import Corpus, Part, read_batches, text_bytes, write_table
from rbt.formats.tokens import SPLITS, Tokens, part_files, part_stem
from rbt.ledger import Ledger
from rbt.packing.encode import Encoder
from rbt.packing.sentences import sentence_ends
from rbt.packing.split import FIRST_DOCUMENTS, always_held_out, held_out
from rbt.stage import Receipt, Task, TaskOutput, run_tasks
from rbt.storage import atomic_path

STAGE, STAGE_VERSION = "tokens", 1
Int64 = npt.NDArray[np.int64]


def encode_parts(
    corpus: Corpus, tokenizer: Path, tokenizer_hash: str, fraction: float, out: Path, receipts: Path, engine: Engine
) -> list[Receipt]:
    """Write the token parts of all corpus parts into `out`; receipts in part order, with their facts as `parts`."""
    always = always_held_out(list(islice(_ids(corpus), FIRST_DOCUMENTS)), fraction)
    choice = {"tokenizer": tokenizer_hash, "validation_fraction": fraction, "always_held_out": list(always)}
    tasks = [
        Task(
            f"part-{number:05d}", {"part": part.hash, "number": number, **choice}, part.bytes,
            context={"part": str(part.path), "tokenizer": str(tokenizer)},
        )
        for number, part in enumerate(corpus.parts())
    ]
    done = run_tasks(
        STAGE, STAGE_VERSION, {}, tasks, encode_part, out, engine, unit="B", receipts_folder=receipts
    )
    for part, receipt in zip(corpus.parts(), done, strict=True):
        _check_amount(part, receipt)
    return done


def _ids(corpus: Corpus) -> Iterator[str]:
    for part in corpus.parts():
        for batch in read_batches(part.path):
            yield from batch.column("id").to_pylist()


def _check_amount(part: Part, receipt: Receipt) -> None:
    found = {name: sum(fact[name] for fact in receipt.result["parts"]) for name in ("documents", "bytes")}
    if found != {"documents": part.documents, "bytes": part.bytes}:
        raise ArtefactError(
            f"expected {part.documents} documents and {part.bytes} bytes, as the corpus's manifest says",
            path=part.path, found=f"{found['documents']} documents and {found['bytes']} bytes", cure="rebuild it",
        )


@dataclass
class _Gathered:
    """One split of the part at work: tokens go to disk at once, the much smaller rest when the part ends."""

    stream: IO[bytes]
    tokens: int = 0
    bytes: int = 0
    sentence_ends: list[Int64] = field(default_factory=list)
    document_ends: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    def add(self, id: str, tokens: Tokens, ends: Int64, size: int) -> None:
        """One document: its tokens, its sentence ends counted from its start, its bytes."""
        self.stream.write(tokens.data)
        self.sentence_ends.append(ends + self.tokens)
        self.tokens += len(tokens)
        self.bytes += size
        self.document_ends.append(self.tokens)
        self.ids.append(id)

    def save(self, folder: Path, stem: str, split: str) -> dict[str, Any]:
        """Write all but the tokens; the facts of the part."""
        _, sentences, documents, ids = (folder / name for name in part_files(stem))
        ends = np.concatenate([np.empty(0, dtype=np.int64), *self.sentence_ends])
        write_array(sentences, ends)
        write_array(documents, np.array(self.document_ends, dtype=np.int64))
        write_table(ids, [pa.RecordBatch.from_pydict({"id": self.ids}, schema=ID_SCHEMA)], ID_SCHEMA)
        return {
            "stem": stem, "split": split, "tokens": self.tokens, "documents": len(self.ids),
            "sentences": len(ends), "bytes": self.bytes,
        }


@contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        yield stream


def encode_part(task: Task, folder: Path) -> TaskOutput:
    """The task: encode one corpus part into its two token parts."""
    encoder, ledger = Encoder(Path(task.context["tokenizer"])), Ledger()
    stems = {split: part_stem(split, task.payload["number"]) for split in SPLITS}
    with ExitStack() as files:
        gathered = {
            split: _Gathered(files.enter_context(_new_file(folder / part_files(stem)[0])))
            for split, stem in stems.items()
        }
        for batch in read_batches(Path(task.context["part"])):
            _encode_batch(batch, encoder, task.payload, gathered, ledger)
    facts = [gathered[split].save(folder, stem, split) for split, stem in stems.items()]
    return TaskOutput([name for stem in stems.values() for name in part_files(stem)], ledger, {"parts": facts})


def _encode_batch(
    batch: pa.RecordBatch, encoder: Encoder, choice: Any, gathered: dict[str, _Gathered], ledger: Ledger
) -> None:
    ids, sources, languages, texts = (batch.column(name).to_pylist() for name in ("id", "source", "language", "text"))
    sizes: Sequence[int] = text_bytes(batch.column("text")).to_pylist()
    validation = held_out(ids, choice["validation_fraction"], choice["always_held_out"])
    encoded = encoder.encode(batch.column("text"))
    text_ends = encoded.text_ends.tolist()
    for place, (id, source, size) in enumerate(zip(ids, sources, sizes, strict=True)):
        tokens = slice(text_ends[place - 1] if place else 0, text_ends[place])
        stands_for = int(encoded.byte_ends[tokens.stop - 1]) if tokens.stop > tokens.start else 0
        if stands_for != size:
            raise ArtefactError(
                f"expected the tokens of document {id!r} to stand for its {size} bytes", found=f"{stands_for} bytes",
                cure="the tokenizer is damaged: train it again",
            )
        split = SPLITS[int(validation[place])]
        sentences = sentence_ends(texts[place], languages[place], encoded.byte_ends[tokens])
        gathered[split].add(id, encoded.ids[tokens], sentences, size)
        row = ledger.row(STAGE, source)
        row.take(size)
        row.keep(size)
        row.count("tokens", tokens.stop - tokens.start)
        row.count("sentences", len(sentences))
        row.count(f"{split}_documents")
    engines.advance(sum(sizes))
