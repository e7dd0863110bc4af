"""Rows of a Parquet file, row group by row group, so that a broken group costs itself alone.

With a span, `reading.span.facts` names the row groups to read and the number of the first row (spans.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rbt.corpus.reading import Reading
from rbt.corpus.sources.raw import open_raw
from rbt.storage import is_url, open_input

BATCH_ROWS = 1024
VALUE_ERRORS = (ValueError, OverflowError, LookupError, pa.ArrowException)  # no UTF-8, a date beyond 9999, a time zone


def read_parquet(location: str, columns: list[str], reading: Reading) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield (row from 1, UTF-8 bytes of its strings, values by column). Unreadable groups go to `reading`.

    The file is read a second time for its hash, since Parquet is read from its end.
    """
    with open_raw(location, reading) as stream:
        stream.read(1)
        if (damage := stream.damage) is not None:
            reading.lost(damage.reason, offset=damage.offset, detail=damage.detail)
            return
    source = open_input(location) if is_url(location) else location
    try:
        file = pq.ParquetFile(source)
    except (OSError, pa.ArrowException) as error:
        reading.lost("unreadable", offset=0, detail=str(error))
        return
    with file:
        names = set(file.schema_arrow.names)
        wanted = sorted({column for name in columns for column in (name, name.partition(".")[0]) if column in names})
        facts = reading.span.facts if reading.span else {}
        groups, first = facts.get("groups", [0, file.num_row_groups]), facts.get("first_row", 1)
        for group in range(*groups):
            yield from _group(file, group, first, wanted, reading)
            first += file.metadata.row_group(group).num_rows


def _group(
    file: pq.ParquetFile, group: int, first: int, columns: list[str], reading: Reading
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    number = first
    batches = file.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns)
    while True:
        try:
            batch = next(batches, None)
        except (OSError, pa.ArrowException) as error:
            reading.lost("corrupt", locator=f"rows from {number}", detail=f"row group {group}: {error}")
            return
        if batch is None:
            return
        for values, unreadable in _rows(batch):
            if any(isinstance(error, UnicodeDecodeError) for error in unreadable.values()):
                reading.lost("encoding", locator=str(number), detail=_detail(unreadable))
            else:
                if unreadable:
                    _leave_out(unreadable, number, reading)
                yield number, sum(len(value.encode()) for value in values.values() if isinstance(value, str)), values
            number += 1


def _leave_out(unreadable: dict[str, Exception], number: int, reading: Reading) -> None:
    """The first row with such values is listed, all values are counted: a whole column may be such."""
    if "bad_values" not in reading.counts:
        reading.damage("bad_value", locator=str(number), detail=f"{_detail(unreadable)}; left out, as all such are")
    reading.counts["bad_values"] = reading.counts.get("bad_values", 0) + len(unreadable)


def _detail(unreadable: dict[str, Exception]) -> str:
    return ", ".join(f"column {name!r}: {error}" for name, error in unreadable.items())


def _rows(batch: pa.RecordBatch) -> Iterator[tuple[dict[str, Any], dict[str, Exception]]]:
    """The rows of a batch, and what of each is no value of Python's; value by value only where something is not."""
    batch = _without_nanoseconds(batch)
    try:
        rows = batch.to_pylist()
    except VALUE_ERRORS:
        for row in range(batch.num_rows):
            yield _values(batch, row)
        return
    for values in rows:
        yield values, {}


def _values(batch: pa.RecordBatch, row: int) -> tuple[dict[str, Any], dict[str, Exception]]:
    values: dict[str, Any] = {}
    unreadable: dict[str, Exception] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            values[name] = column[row].as_py()
        except VALUE_ERRORS as error:
            unreadable[name] = error
    return values, unreadable


def _without_nanoseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Time stamps to the microsecond, the finest that Python has: what else becomes of them depends on pandas."""
    columns = [
        pc.cast(column, pa.timestamp("us", column.type.tz), safe=False) if _is_nanoseconds(column.type) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names) if columns else batch


def _is_nanoseconds(type: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(type) and type.unit == "ns")
