"""Books as tables: a book a row (`bookcorpusopen`: title, text), or a sentence a row (the Hub's `bookcorpus`: text).

    file ──table.read──> rows as Documents ──sentences?──> grouped, as lines of a file are
                                           └──books?────> extract_book

With `sentence_lines = "auto"` the first rows decide: they are sentences where fewer than a tenth of them have a line
feed or are longer than a sentence may be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from rbt.corpus.config import SourceConfig
from rbt.corpus.extract.book import extract_book
from rbt.corpus.reading import Reading
from rbt.corpus.sources import table
from rbt.corpus.sources.sentence_lines import group_lines
from rbt.corpus.sources.text import Line
from rbt.formats.document import Document

PROBED_ROWS = 100
OTHERS_SHARE = 0.1  # of rows that are no sentence, from which on a table is one of books
SENTENCE_CHARACTERS = 2000  # more than any sentence of the published set has, less than any book


def read_table(location: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """Read one table. Groups of rows are `label:<file>:<number of the first row>`.

    A pseudo-document ends where a span does.
    """
    rows = _rows(location, config, reading)
    first = _first_rows(rows)
    if _are_sentences(first, config):
        lines = map(_as_line, chain(first, rows))
        yield from group_lines(lines, reading.origin, "", config, reading)
        return
    for document in chain(first, rows):
        reading.record(document.payload_bytes)
        stripped = extract_book(document.text)
        if stripped.oddity:
            reading.damage("odd_marks", locator=document.locator, detail=f"{stripped.oddity}; kept")
        yield replace(document, text=stripped.text)


def _rows(location: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """The rows that hold text, not yet recorded in `reading`; those that do not are."""
    inner = Reading(reading.source, reading.origin, reading.span)
    inner.quarantined, inner.counts = reading.quarantined, reading.counts
    yield from table.read(location, config, inner)
    for rule, amount in inner.row.dropped.items():
        reading.row.take(amount.bytes, amount.documents)
        reading.row.drop(rule, amount.bytes, amount.documents)
    reading.raw_hash, reading.raw_bytes = inner.raw_hash, inner.raw_bytes


def _first_rows(rows: Iterator[Document]) -> list[Document]:
    """As many rows as decide, and no more books than that."""
    first: list[Document] = []
    others = 0
    for row in rows:
        first.append(row)
        others += not _is_sentence(row)
        if len(first) == PROBED_ROWS or others >= OTHERS_SHARE * PROBED_ROWS:
            break
    return first


def _is_sentence(row: Document) -> bool:
    return len(row.text) <= SENTENCE_CHARACTERS and "\n" not in row.text.strip()


def _are_sentences(first: list[Document], config: SourceConfig) -> bool:
    if config.sentence_lines == "auto":
        return sum(not _is_sentence(row) for row in first) < OTHERS_SHARE * len(first)
    return config.sentence_lines == "yes"


def _as_line(row: Document) -> Line:
    number = int(row.locator) if row.locator.isdigit() else 0
    text = " ".join(row.text.splitlines())
    return Line(number, -1, text.encode("utf-8", "replace"), row.payload_bytes)
