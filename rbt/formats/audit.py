"""`audit.arrow`: a sample of the documents that deduplication removed, each beside the kept one that it resembles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rbt.formats import removals
from rbt.formats.parts import Corpus, open_file, read_batches

NAME = "audit.arrow"
RULES = ("exact_duplicate", "near_duplicate", "exact_duplicate_elsewhere", "near_duplicate_elsewhere")
CHARACTERS = 20_000  # of each text, so that a sample of books stays small
SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # of the document that was removed
        ("source", pa.string()),
        ("rule", pa.string()),
        ("jaccard", pa.float64()),  # computed anew from the two whole texts
        ("kept_id", pa.string()),
        ("kept_in", pa.string()),  # name of the other corpus that holds the kept one; "": this one
        ("text", pa.string()),  # the first CHARACTERS characters
        ("kept_text", pa.string()),
        ("characters", pa.int64()),  # of the whole text
        ("kept_characters", pa.int64()),
    ]
)
LIGHT = [name for name in SCHEMA.names if "text" not in name]


def audits(corpus: Corpus) -> list[Path]:
    """The `audit.arrow` of each generation."""
    return [folder / NAME for folder in corpus.folders]


def list_pairs(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """All pairs of some files, without their texts, each with its `place`: (file, row). Raises ArtefactError."""
    found: list[dict[str, Any]] = []
    for number, path in enumerate(paths):
        open_file(path, SCHEMA)  # or say what is wrong with it
        options = pa.ipc.IpcReadOptions(included_fields=[SCHEMA.get_field_index(name) for name in LIGHT])
        rows = pa.ipc.open_file(pa.memory_map(str(path)), options=options).read_all().to_pylist()
        found += [{**row, "place": (number, place)} for place, row in enumerate(rows)]
    return found


def read_pairs(paths: Sequence[Path], places: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """The pairs at some places, with their texts, in the order of the files."""
    found: list[dict[str, Any]] = []
    for number, path in enumerate(paths):
        first = 0
        for batch in read_batches(path, SCHEMA):
            rows = sorted(row - first for file, row in places if file == number and 0 <= row - first < batch.num_rows)
            found += batch.take(pa.array(rows, pa.int64())).to_pylist()
            first += batch.num_rows
    return found


def check_audit(path: Path, removed: Path) -> list[str]:
    """Problems of an `audit.arrow`: pairs that are not in `removed.arrow` beside it, texts of another length."""
    pairs = list_pairs([path])
    missing = {(pair["id"], pair["rule"], pair["kept_id"], pair["jaccard"]) for pair in pairs}
    if len(missing) < len(pairs):
        return [f"{path.name}: a pair occurs twice"]
    wanted = pa.array([pair["id"] for pair in pairs], pa.string())
    for batch in read_batches(removed, removals.SCHEMA):
        for row in batch.filter(pc.is_in(batch.column("id"), value_set=wanted)).to_pylist():
            missing.discard((row["id"], row["rule"], row["kept_id"], row["jaccard"]))
    problems = [f"{path.name}: {id}, {rule} of {kept}, is not in {removed.name}" for id, rule, kept, _ in missing]
    return sorted(problems) + _wrong_lengths(path)


def _wrong_lengths(path: Path) -> list[str]:
    problems = []
    for batch in read_batches(path, SCHEMA):
        for column, count in (("text", "characters"), ("kept_text", "kept_characters")):
            found = pc.utf8_length(batch.column(column)).to_numpy()
            wanted = np.minimum(batch.column(count).to_numpy(), CHARACTERS)
            ids = batch.column("id").take(pa.array(np.flatnonzero(found != wanted))).to_pylist()
            problems += [f"{path.name}: {id}: {column} is not of the length that {count} says" for id in ids]
    return problems
