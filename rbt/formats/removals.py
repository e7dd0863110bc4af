"""`removed.arrow`: one row per document that was dropped, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rbt.formats.parts import read_batches, write_table

NAME = "removed.arrow"
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("stage", pa.string()),  # the ledger's stage
        ("rule", pa.string()),  # the ledger's rule: "language", "too_short", "exact_duplicate", ...
        ("value", pa.string()),  # what the document had ("es 0.99", "143")
        ("threshold", pa.string()),  # what was asked of it ("en 0.65", "200")
        ("kept_id", pa.string()),  # for duplicates: a document that was kept; else ""
        ("kept_in", pa.string()),  # name of the other corpus that holds it; "": this one
        ("jaccard", pa.float64()),  # for duplicates: verified Jaccard similarity with it; else null
        ("bytes", pa.int64()),  # UTF-8 bytes of the text that went
    ]
)


def removal(
    id: str, source: str, stage: str, rule: str, *, size: int, value: str = "", threshold: str = "",
    kept_id: str = "", kept_in: str = "", jaccard: float | None = None,
) -> dict[str, Any]:
    """One row."""
    return {
        "id": id, "source": source, "stage": stage, "rule": rule, "value": value, "threshold": threshold,
        "kept_id": kept_id, "kept_in": kept_in, "jaccard": jaccard, "bytes": size,
    }


def write_removals(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows in the order given."""
    write_table(path, [pa.RecordBatch.from_pylist([dict(row) for row in rows], schema=SCHEMA)], SCHEMA)


def find_removals(path: Path, id: str) -> list[dict[str, Any]]:
    """The rows of an id: several where documents shared it."""
    found: list[dict[str, Any]] = []
    for batch in read_batches(path, SCHEMA):
        found += batch.filter(pc.equal(batch.column("id"), id)).to_pylist()
    return found
