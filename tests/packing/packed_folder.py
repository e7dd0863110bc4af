"""A packed folder of given documents, written straight in the formats: one id a byte, blocks cut by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rbt.formats import blocks, tokens
from rbt.formats.document import ID_SCHEMA
from rbt.formats.parts import write_table
from rbt.formats.tokenizer import FILES, KIND, VERSION, read_vocab, spell, write_tokenizer
from rbt.ledger import Ledger
from rbt.manifest import Manifest, record_files, write_manifest

MAX_TOKENS = 32
Document = tuple[str, Sequence[str]]  # id and sentences
Cut = tuple[list[list[int]], list[int]]  # lines of blocks.npy, and rows.npy
Cutter = Callable[[list[int], list[int], np.random.Generator], Cut]  # of sentence ends and document ends


def words(generator: np.random.Generator, count: int) -> list[Document]:
    """Documents of none to five sentences of one to twelve letters; some have none, some several."""
    letters = np.array(list("abcdefgh .é\n"))
    return [
        (
            f"{'ab'[number % 2]}:{generator.integers(1 << 40)}",
            ["".join(generator.choice(letters, generator.integers(1, 13))) for _ in range(generator.integers(0, 6))],
        )
        for number in range(count)
    ]


def cut_full(sentence_ends: list[int], document_ends: list[int], generator: np.random.Generator) -> Cut:
    """Blocks of random lengths across documents, one a row; with their </s> they have MAX_TOKENS ids at most."""
    cuts, start = [], 0
    while start < (document_ends[-1] if document_ends else 0):
        end = min(start + int(generator.integers(1, MAX_TOKENS // 3)), document_ends[-1])
        cuts.append([start, end])
        start = end
    return cuts, list(range(len(cuts) + 1))


def cut_documents(sentence_ends: list[int], document_ends: list[int], generator: np.random.Generator) -> Cut:
    """Blocks inside documents, in random rows of one to three: neighbors in a row are no neighbors in the text."""
    cuts = []
    for start, end in pairwise([0, *document_ends]):
        edges = [*range(start, end, MAX_TOKENS // 4), end]
        cuts += [list(edge) for edge in pairwise(edges) if start < end]
    return in_rows(cuts, generator)


def cut_pairs(sentence_ends: list[int], document_ends: list[int], generator: np.random.Generator) -> Cut:
    """A of one sentence, and as B the next one of the document or a sentence from anywhere; some in no pair, or two."""
    spans = [[max(start, end - 7), end] for start, end in pairwise([0, *sentence_ends])]
    cuts = []
    for number, span in enumerate(spans[:-1]):
        is_next = int(span[1] not in document_ends and generator.random() < 0.5)
        other = number + 1 if is_next else int(generator.integers(len(spans)))
        if generator.random() < 0.8:
            cuts.append([*span, *spans[other], is_next])
    return in_rows(cuts, generator)


def in_rows(cuts: list[list[int]], generator: np.random.Generator) -> Cut:
    """Blocks in random order, one to three a row where they surely fit."""
    generator.shuffle(cuts)
    width = 1 if not cuts or len(cuts[0]) == 5 else 3
    rows = [0]
    while rows[-1] < len(cuts):
        rows.append(min(len(cuts), rows[-1] + int(generator.integers(1, width + 1))))
    return cuts, rows


CUTTERS: dict[str, Cutter] = {"full-sentences": cut_full, "doc-sentences": cut_documents, "segment-pair": cut_pairs}


def write_folder(
    folder: Path, train: Sequence[Sequence[Document]], validation: Sequence[Sequence[Document]] = (), seed: int = 0,
    separator: str = "document", cutters: Mapping[str, Cutter] = CUTTERS,
) -> Path:
    """PACKED/ with a tokenizer without merges, tokens, and an index a cutter, all with a part for each list."""
    store = folder / "tokens"
    store.mkdir(parents=True)
    write_tokenizer(folder, [])
    facts = {"vocab_size": 261, "merges": 0}
    tokenizer = write_manifest(folder, Manifest(KIND, VERSION, "bpe", 1, {}, {}, record_files(folder, FILES), facts))
    parts = [("train", part) for part in train] + [("validation", part) for part in validation]
    made = [_write_part(folder, split, number, part) for number, (split, part) in enumerate(parts)]
    splits = {
        split: {
            name: sum(part[name] for part in made if part["split"] == split)
            for name in ("tokens", "documents", "sentences", "bytes")
        }
        for split in tokens.SPLITS
    }
    manifest = Manifest(
        tokens.KIND, tokens.VERSION, "tokens", 1, {}, {"corpus": "x", "tokenizer": tokenizer.fingerprint},
        record_files(store, [name for part in made for name in tokens.part_files(part["stem"])]),
        {"vocab_size": 261, "parts": made, "splits": splits},
    )
    write_manifest(store, manifest)
    for format, cutter in cutters.items():
        _write_index(folder, format, cutter, manifest, np.random.default_rng(seed), separator)
    return folder


def _write_part(folder: Path, split: str, number: int, documents: Sequence[Document]) -> dict[str, Any]:
    vocab, stem, store = read_vocab(folder), tokens.part_stem(split, number), folder / "tokens"
    sentences = [[vocab[symbol] for symbol in spell(text.encode())] for _, texts in documents for text in texts]
    lengths = [sum(len(text.encode()) for text in texts) for _, texts in documents]
    names = tokens.part_files(stem)
    np.array([id for sentence in sentences for id in sentence], dtype="<u2").tofile(store / names[0])
    np.save(store / names[1], np.cumsum([len(sentence) for sentence in sentences], dtype=np.int64))
    np.save(store / names[2], np.cumsum(lengths, dtype=np.int64))
    half = len(documents) // 2  # two record batches
    ids = [[id for id, _ in documents[:half]], [id for id, _ in documents[half:]]]
    batches = [pa.RecordBatch.from_pydict({"id": some}, schema=ID_SCHEMA) for some in ids]
    write_table(store / names[3], batches, ID_SCHEMA)
    return {
        "stem": stem, "split": split, "tokens": sum(lengths), "documents": len(documents),
        "sentences": len(sentences), "bytes": sum(lengths),
    }


def _write_index(
    folder: Path, format: str, cutter: Cutter, store: Manifest, generator: np.random.Generator, separator: str
) -> None:
    index, ledger = folder / f"{format}-{MAX_TOKENS}", Ledger()
    index.mkdir()
    width = 5 if format == "segment-pair" else 2
    for fact in store.facts["parts"]:
        stem = fact["stem"]
        ends = [np.load(folder / "tokens" / name).tolist() for name in tokens.part_files(stem)[1:3]]
        cuts, rows = cutter(ends[0], ends[1], generator)
        np.save(index / f"{stem}.blocks.npy", np.array(cuts, dtype=np.int64).reshape(-1, width))
        np.save(index / f"{stem}.rows.npy", np.array(rows, dtype=np.int64))
        for name, number in (("blocks", len(cuts)), ("rows", len(rows) - 1)):
            ledger.row("blocks", fact["split"]).count(name, number)
    config = {"format": format, "max_tokens": MAX_TOKENS, "separator": separator}
    files = record_files(index, [path.name for path in sorted(index.glob("*.npy"))])
    inputs = {"tokens": store.fingerprint}
    write_manifest(
        index, Manifest(blocks.KIND, blocks.VERSION, "blocks", 1, config, inputs, files, ledger=ledger)
    )
