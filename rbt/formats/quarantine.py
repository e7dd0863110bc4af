"""`quarantine.arrow`: one row per raw record, or stretch of a raw file, that could not be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from rbt.formats.parts import table_writer

NAME = "quarantine.arrow"
BATCH_ROWS = 1000
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


class QuarantineRows:
    """Rows that go to disk as they come; `len` counts them."""

    def __init__(self, writer: pa.RecordBatchFileWriter) -> None:
        self._writer = writer
        self._pending: list[Mapping[str, Any]] = []
        self._written = 0

    def append(self, row: Mapping[str, Any], /) -> None:
        """One more row."""
        self._pending.append(row)
        if len(self._pending) == BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the rows at hand."""
        self._writer.write_batch(pa.RecordBatch.from_pylist([dict(row) for row in self._pending], schema=SCHEMA))
        self._written += len(self._pending)
        self._pending.clear()

    def __len__(self) -> int:
        return self._written + len(self._pending)


@contextmanager
def open_quarantine(path: Path) -> Iterator[QuarantineRows]:
    """Rows to be written to `path`, which is there when the block succeeds."""
    with table_writer(path, SCHEMA) as writer:
        rows = QuarantineRows(writer)
        yield rows
        rows.flush()
