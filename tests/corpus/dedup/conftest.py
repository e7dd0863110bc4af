"""Ingested parts made of a few texts, and the obvious way to say what a document's shingles are."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import regex

from rbt.corpus.dedup.inputs import Ingested
from rbt.corpus.dedup.pipeline import Deduplicated
from rbt.formats.document import SCHEMA
from rbt.formats.parts import write_table
from rbt.storage import hash_file

UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}"
Documents = Sequence[tuple[str, str]]  # (id, text)
MakeParts = Callable[..., list[Ingested]]


def words_of(text: str) -> list[str]:
    """The words of a text by regular expressions."""
    words = []
    for run in re.findall(r"\w+", text):
        lowered = "".join(character.lower()[0] for character in run)
        words += regex.findall(rf"[{UNSPACED}]|[^{UNSPACED}]+", lowered)
    return words


@pytest.fixture(scope="session")
def reference_shingles() -> Callable[[str, int], set[tuple[str, ...]]]:
    def shingles(text: str, ngram: int) -> set[tuple[str, ...]]:
        words = words_of(text)
        return {tuple(words[start : start + ngram]) for start in range(max(1, len(words) - ngram + 1))}

    return shingles


@pytest.fixture(scope="session")
def make_parts() -> MakeParts:
    """Write parts: documents of each, batch size, rows that passed the filter (default all), numbers of the first."""

    def make(
        folder: Path, parts: Sequence[Documents], *, batch: int = 3, rows: Sequence[Sequence[int]] | None = None,
        firsts: Sequence[int] | None = None,
    ) -> list[Ingested]:
        folder.mkdir(parents=True, exist_ok=True)
        made, next_number = [], 0
        for place, documents in enumerate(parts):
            number = firsts[place] if firsts is not None else next_number
            path, rows_path = folder / f"part-{place:02d}.arrow", folder / f"part-{place:02d}.rows.npy"
            columns = {name: [""] * len(documents) for name in SCHEMA.names}
            columns |= {"id": [id for id, _ in documents], "text": [text for _, text in documents]}
            table = pa.table({**columns, "language_score": [1.0] * len(documents)}, schema=SCHEMA)
            write_table(path, table.to_batches(max_chunksize=batch), SCHEMA)
            chosen = range(len(documents)) if rows is None else rows[place]
            np.save(rows_path, np.array(chosen, dtype=np.int64))
            size = sum(len(text.encode()) for _, text in documents)
            made.append(
                Ingested(
                    f"{place:02d}", path, hash_file(path), rows_path, hash_file(rows_path), number, len(documents), size
                )
            )
            next_number = number + len(documents)
        return made

    return make


Removed = dict[int, tuple[str, int, float | None]]  # number -> (rule, number of the kept one, Jaccard)


@pytest.fixture(scope="session")
def removed_numbers() -> Callable[[Sequence[Ingested], Deduplicated], Removed]:
    def read(ingested: Sequence[Ingested], result: Deduplicated) -> Removed:
        removed: Removed = {}
        for part, (path, _) in zip(ingested, result.removals, strict=True):
            for row in pa.ipc.open_file(path).read_all().to_pylist():
                removed[part.first_number + row["row"]] = (row["rule"], row["kept_number"], row["jaccard"])
        return removed

    return read
