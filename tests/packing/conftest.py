"""A corpus of given documents, written straight in the corpus format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rbt.formats.document import SCHEMA
from rbt.formats.parts import KIND, VERSION, part_name, write_part
from rbt.formats.tokens import TokenPart
from rbt.manifest import PROVENANCE, Manifest, record_files, write_manifest

FIRST_ID = 100
WORDS = ["the", "old", "ship", "sailed", "north", "while", "a", "grey", "gull", "cried", "over", "water", "nobody"]


def write_corpus(folder: Path, parts: Sequence[Sequence[tuple[str, str]]], inputs: str = "raw") -> Path:
    """Write parts of (id, text) documents as a finished corpus; the source is what stands before the id's colon."""
    facts = []
    for number, documents in enumerate(parts):
        rows = [document(id, text) for id, text in documents]
        write_part(folder / part_name(number), [pa.RecordBatch.from_pylist(rows, schema=SCHEMA)])
        size = sum(len(text.encode()) for _, text in documents)
        facts.append({"path": part_name(number), "documents": len(documents), "bytes": size})
    names = [str(fact["path"]) for fact in facts]
    sources = {id.partition(":")[0]: {"has_documents": True} for part in parts for id, _ in part}
    manifest = Manifest(
        KIND, VERSION, "corpus build", 1, {}, {"raw": inputs}, record_files(folder, names),
        {"generation": 0, "sources": sources, "parts": facts},
    )
    write_manifest(folder, manifest)
    return folder


def make_part(documents: list[list[int]]) -> TokenPart:
    """A token part whose tokens count up, so that each is known by its id."""
    sentence_ends = np.cumsum([length for sentences in documents for length in sentences], dtype=np.int64)
    document_ends = np.cumsum([sum(sentences) for sentences in documents], dtype=np.int64)
    total = int(document_ends[-1]) if documents else 0
    return TokenPart("train-00000", np.arange(total, dtype=np.uint32) + FIRST_ID, sentence_ends, document_ends)


def document(id: str, text: str) -> dict[str, Any]:
    """A row of a part."""
    blank = dict.fromkeys(SCHEMA.names, "")
    return {**blank, "id": id, "source": id.partition(":")[0], "language": "en", "language_score": 1.0, "text": text}


def word(number: int) -> str:
    """One of 169 compound words."""
    return WORDS[number % len(WORDS)] + WORDS[number // len(WORDS) % len(WORDS)]


def prose(number: int) -> str:
    """Paragraphs of a few sentences, different for each number."""
    sentences = [
        " ".join(word(number * 31 + line * 17 + place) for place in range(3 + (number + line) % 9)).capitalize()
        for line in range(2 + number % 5)
    ]
    middle = len(sentences) // 2
    return ". ".join(sentences[:middle]) + ".\n\n" + ". ".join(sentences[middle:]) + "."


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Forty documents of two sources in three parts."""
    documents = [(f"{'ab'[number % 2]}:{number}", prose(number)) for number in range(40)]
    return write_corpus(tmp_path / "corpus", [documents[:12], documents[12:25], documents[25:]])


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file of a folder that rbt promises to be the same whenever and wherever it is made, by its path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and "work" not in name.parts and path.name != PROVENANCE:
            found[str(name)] = path.read_bytes()
    return found
