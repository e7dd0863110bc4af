"""Tables with one document a row: JSON lines, CSV and Parquet, the forms in which mirrors publish corpora.

    file ──rows──> dict by their columns ──columns──> Document

`columns` maps our names (id, text, title, url, date) to theirs. Ids are `label:<id column>`, else
`label:<file>:<row>`, rows counted from 1: lines of a JSON file, data rows of the others.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rbt.corpus.config import SourceConfig
from rbt.corpus.reading import Reading
from rbt.corpus.sources.parquet import read_parquet
from rbt.corpus.sources.raw import RawStream, open_raw, without_compression
from rbt.corpus.sources.text import Line, decode, read_lines
from rbt.formats.document import Document

FIELDS = ("id", "text", "title", "url", "date")


@dataclass(frozen=True)
class TableRow:
    """One row: its number, its bytes in the file, and its values, or why it has none."""

    number: int
    size: int
    values: dict[str, Any]
    offset: int = -1
    problem: str = ""
    detail: str = ""


def read(location: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """Read one table, its form told by the suffix (.csv, .parquet, anything else: JSON lines)."""
    names = {field: config.columns.get(field, field) for field in FIELDS}
    form = without_compression(reading.origin).lower().rpartition(".")[2]
    if form == "parquet":
        for number, size, values in read_parquet(location, list(names.values()), reading):
            yield from _document(TableRow(number, size, values), names, config, reading)
        return
    with open_raw(location, reading) as stream:
        for row in _stretches(stream, _csv_rows if form == "csv" else _json_rows, reading):
            yield from _document(row, names, config, reading)


def _stretches(
    stream: RawStream, rows: Callable[[RawStream], Iterator[TableRow]], reading: Reading
) -> Iterator[TableRow]:
    """Rows between damages. The row that a damage cuts is given up with it."""
    while True:
        last: TableRow | None = None
        for row in rows(stream):
            if last is not None:
                yield last
            last = row
        damage = stream.damage
        if last is not None and (damage is None or not last.detail.startswith(CUT)):
            yield last
        if damage is None:
            return
        reading.lost(damage.reason, offset=damage.offset, detail=damage.detail)
        stream.resume()


CUT = "no line feed: "


def _json_rows(stream: RawStream) -> Iterator[TableRow]:
    for line in read_lines(stream):
        if line.data.strip() or line.too_large:
            yield _json_row(line)


def _json_row(line: Line) -> TableRow:
    if line.too_large:
        return TableRow(line.number, line.size, {}, line.offset, "too_large", f"a line of {line.size} bytes")
    cut = CUT if line.size == len(line.data) else ""
    text, bad = decode(line.data)
    if bad >= 0:
        detail = f"{cut}byte {bad} of the line is no UTF-8"
        return TableRow(line.number, line.size, {}, line.offset + bad, "encoding", detail)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        return TableRow(line.number, line.size, {}, line.offset, "bad_json", f"{cut}{error}")
    if not isinstance(values, dict):
        return TableRow(line.number, line.size, {}, line.offset, "bad_json", f"{cut}expected an object")
    return TableRow(line.number, line.size, values, line.offset, "", cut)


class _CountedLines:
    """Decoded lines for the csv reader, with the bytes and the first line of the row it is at."""

    def __init__(self, stream: RawStream) -> None:
        self._lines = read_lines(stream)
        self.size, self.offset, self.bad, self.cut = 0, -1, -1, False

    def __iter__(self) -> _CountedLines:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        text, bad = decode(line.data)
        self.offset = line.offset if self.offset < 0 else self.offset
        self.bad = line.offset + bad if bad >= 0 > self.bad else self.bad
        self.size += line.size
        self.cut = line.size == len(line.data)
        return text + "\n"

    def start_row(self) -> None:
        self.size, self.offset, self.bad = 0, -1, -1


def _csv_rows(stream: RawStream) -> Iterator[TableRow]:
    csv.field_size_limit(256 << 20)
    lines = _CountedLines(stream)
    reader = csv.reader(lines, strict=True)
    header: list[str] | None = None
    number = 0
    while True:
        lines.start_row()
        values: list[str] = []
        problem = detail = ""
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem, detail = "bad_csv", str(error)
        if not problem and not values:
            continue
        if header is None and not problem:
            header = values
            continue
        number += 1
        if not problem and lines.bad >= 0:
            problem, detail = "encoding", "bytes that are no UTF-8"
        if not problem and len(values) != len(header or ()):
            problem, detail = "bad_csv", f"expected {len(header or ())} fields; found {len(values)}"
        row = {} if problem else dict(zip(header or (), values, strict=True))
        cut = CUT if lines.cut else ""
        yield TableRow(number, lines.size, row, lines.offset, problem, cut + detail)


def _document(
    row: TableRow, names: dict[str, str], config: SourceConfig, reading: Reading
) -> Iterator[Document]:
    reading.record(row.size)
    found = {field: row.values.get(name) for field, name in names.items()}
    problem, detail = row.problem, row.detail.removeprefix(CUT)
    if not problem and not isinstance(found["text"], str):
        problem, detail = "missing_text", f"column {names['text']!r} holds {type(found['text']).__name__}, not text"
    locator = str(row.number)
    if problem:
        reading.quarantine(problem, size=row.size, offset=row.offset, locator=locator, detail=detail)
        return
    id, title, url, date = (_plain(found[field]) for field in ("id", "title", "url", "date"))
    id = id or f"{reading.origin}:{row.number}"
    yield Document(f"{config.label}:{id}", reading.origin, locator, str(found["text"]), url, title, date, row.size)


def _plain(value: Any) -> str:
    """A value as text that UTF-8 can hold: JSON may escape half a surrogate pair."""
    return "" if value is None else str(value).encode("utf-8", "replace").decode()
