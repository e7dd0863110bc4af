"""The document: one row of a corpus part, and what every source yields."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # unique in the corpus and stable across rebuilds: "wikipedia:12"
        ("source", pa.string()),  # name of the source in the recipe
        ("origin", pa.string()),  # name of the raw file
        ("locator", pa.string()),  # where in it: page id, WARC record id, member name, line number
        ("url", pa.string()),  # as the source has it, or ""
        ("title", pa.string()),
        ("date", pa.string()),  # ISO 8601 as far as known, or ""
        ("language", pa.string()),  # ISO 639-1 code with the highest score
        ("language_score", pa.float32()),  # probability of `language`, 0 to 1
        ("text", pa.string()),  # the body only: NFC, paragraphs apart by one blank line
    ]
)
ID_SCHEMA = pa.schema([("id", pa.string())])  # one row a document of a token part


@dataclass(frozen=True)
class Document:
    """What a source yields: the fields of `SCHEMA` that it knows."""

    id: str
    origin: str
    locator: str
    text: str
    url: str = ""
    title: str = ""
    date: str = ""
    payload_bytes: int = 0  # of the raw record it came from, markup and all
