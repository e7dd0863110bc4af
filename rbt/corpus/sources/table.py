"""Tables with one document a row: JSON lines, CSV and Parquet, the forms in which mirrors publish corpora.

    file ──rows──> dict by their columns ──columns──> Document

`columns` maps our names (id, text, title, url, date) to theirs. Ids are `label:<id column>`, else
`label:<file>:<row>`: for JSON lines the byte (decompressed) at which the line starts, since a large file is read in
spans that know no line numbers; for the others data rows counted from 1.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from rbt.corpus.config import SourceConfig
from rbt.corpus.reading import Reading
from rbt.corpus.sources.parquet import read_parquet
from rbt.corpus.sources.raw import RawStream, open_raw, without_compression
from rbt.corpus.sources.text import MAXIMUM_LINE_BYTES, Line, decode, read_lines
from rbt.formats.document import Document

FIELDS = ("id", "text", "title", "url", "date")
CSV = ("csv", "tsv")
SUFFIXES = (".parquet", ".jsonl", ".json", ".ndjson", ".csv", ".tsv")  # by which other sources tell a table


@dataclass(frozen=True)
class TableRow:
    """One row: its number (of JSON lines, its offset), its bytes in the file, its values, or why it has none."""

    number: int
    size: int
    values: dict[str, Any]
    offset: int = -1
    problem: str = ""
    detail: str = ""


def read(location: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """Read one table, its form told by the suffix (.csv, .tsv, .parquet, anything else: JSON lines)."""
    names = {field: config.columns.get(field, field) for field in FIELDS}
    for row in read_rows(location, list(names.values()), reading):
        yield from _document(row, names, config, reading)


def read_rows(location: str, columns: list[str], reading: Reading) -> Iterator[TableRow]:
    """The rows of one table, with `columns` at least; what is damaged goes to `reading`, records are not counted."""
    form = without_compression(reading.origin).lower().rpartition(".")[2]
    if form == "parquet":
        for number, size, values in read_parquet(location, columns, reading):
            yield TableRow(number, size, values)
        return
    with open_raw(location, reading) as stream:
        yield from _stretches(stream, _CsvRows("\t" if form == "tsv" else ",") if form in CSV else _json_rows, reading)


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
        return TableRow(line.offset, line.size, {}, line.offset, "too_large", f"a line of {line.size} bytes")
    cut = CUT if line.size == len(line.data) else ""
    text, bad = decode(line.data)
    if bad >= 0:
        detail = f"{cut}byte {bad} of the line is no UTF-8"
        return TableRow(line.offset, line.size, {}, line.offset + bad, "encoding", detail)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        return TableRow(line.offset, line.size, {}, line.offset, "bad_json", f"{cut}{error}")
    if not isinstance(values, dict):
        return TableRow(line.offset, line.size, {}, line.offset, "bad_json", f"{cut}expected an object")
    return TableRow(line.offset, line.size, values, line.offset, "", cut)


class _CountedLines:
    """Decoded lines for the csv reader, with the bytes and the first line of the row it is at.

    `longest`: bytes of the row's longest line that is too long to be kept, and is read as an empty one; else 0.
    """

    def __init__(self, stream: RawStream) -> None:
        self._lines = read_lines(stream)
        self.size, self.offset, self.bad, self.cut, self.longest = 0, -1, -1, False, 0

    def __iter__(self) -> _CountedLines:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        text, bad = decode(line.data)
        self.offset = line.offset if self.offset < 0 else self.offset
        self.bad = line.offset + bad if bad >= 0 > self.bad else self.bad
        self.size += line.size
        self.cut = line.size == len(line.data)
        self.longest = max(self.longest, line.size if line.too_large else 0)
        return text + "\n"

    def start_row(self) -> None:
        self.size, self.offset, self.bad, self.longest = 0, -1, -1, 0


class _CsvRows:
    """Rows of a stretch; header and count are kept from one stretch to the next."""

    def __init__(self, delimiter: str) -> None:
        csv.field_size_limit(MAXIMUM_LINE_BYTES)
        self._delimiter = delimiter
        self._header: list[str] | None = None
        self._number = 0

    def __call__(self, stream: RawStream) -> Iterator[TableRow]:
        lines = _CountedLines(stream)
        reader = csv.reader(lines, strict=True, delimiter=self._delimiter)
        while True:
            lines.start_row()
            try:
                values, problem, detail = next(reader), "", ""
            except StopIteration:
                return
            except csv.Error as error:
                values, problem, detail = [], "bad_csv", str(error)
            if lines.longest:
                values, problem, detail = [], "too_large", f"a line of {lines.longest} bytes"
            if not problem and not values:
                continue
            if self._header is None and not problem:
                self._header = values
            else:
                yield self._row(values, lines, problem, detail)

    def _row(self, values: list[str], lines: _CountedLines, problem: str, detail: str) -> TableRow:
        self._number += 1
        header = self._header or []
        if not problem and lines.bad >= 0:
            problem, detail = "encoding", "bytes that are no UTF-8"
        if not problem and len(values) != len(header):
            problem, detail = "bad_csv", f"expected {len(header)} fields; found {len(values)}"
        row = {} if problem else dict(zip(header, values, strict=True))
        return TableRow(self._number, lines.size, row, lines.offset, problem, (CUT if lines.cut else "") + detail)


def _document(
    row: TableRow, names: dict[str, str], config: SourceConfig, reading: Reading
) -> Iterator[Document]:
    reading.record(row.size)
    found = {field: lookup(row.values, name) for field, name in names.items()}
    problem, detail = row.problem, row.detail.removeprefix(CUT)
    if not problem and not isinstance(found["text"], str):
        problem, detail = "missing_text", f"column {names['text']!r} holds {type(found['text']).__name__}, not text"
    locator = str(row.number)
    if problem:
        reading.quarantine(problem, size=row.size, offset=row.offset, locator=locator, detail=detail)
        return
    id, title, url, day = (_plain(found[field]) for field in ("id", "title", "url", "date"))
    id = id or f"{reading.origin}:{row.number}"
    yield Document(f"{config.label}:{id}", reading.origin, locator, str(found["text"]), url, title, day, row.size)


def lookup(values: Mapping[str, Any], name: str) -> Any:
    """The value of a column, or of a field inside one: "meta.url" where no column has that name; None without."""
    if name in values:
        return values[name]
    outer, _, inner = name.partition(".")
    within = values.get(outer)
    return lookup(within, inner) if inner and isinstance(within, Mapping) else None


def _plain(value: Any) -> str:
    """A value as text that UTF-8 can hold (JSON may escape half a surrogate pair); dates in ISO 8601."""
    text = value.isoformat() if isinstance(value, date) else "" if value is None else str(value)
    return text.encode("utf-8", "replace").decode()
