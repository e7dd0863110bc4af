"""What extraction makes of a page, apart from the extractors, which take long to import."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Article:
    """What a page says: title, date (ISO 8601 as far as known, or "") and body."""

    title: str
    date: str
    text: str
