"""`quarantine.arrow`: one row per raw record, or stretch of a raw file, that could not be read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from rbt.formats.parts import write_table

NAME = "quarantine.arrow"
SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("origin", pa.string()),  # name of the raw file
        ("offset", pa.int64()),  # byte in the raw file (or in its decompressed stream) where it starts; -1 unknown
        ("locator", pa.string()),  # page id, URL, member or line, as far as known
        ("reason", pa.string()),  # one of a few fixed words: "truncated", "encoding", "bad_member", ...
        ("detail", pa.string()),  # the error's own words
    ]
)


def write_quarantine(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows in the order given."""
    write_table(path, [pa.RecordBatch.from_pylist([dict(row) for row in rows], schema=SCHEMA)], SCHEMA)
