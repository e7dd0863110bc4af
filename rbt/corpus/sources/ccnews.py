"""Common Crawl news: the pages of WARC files (or of WET files), crawled in a window of dates.

    crawl-data/CC-NEWS/YYYY/MM/CC-NEWS-YYYYMMDDhhmmss-NNNNN.warc.gz ──pages of the window──> Document
"""

from __future__ import annotations

from collections.abc import Iterator

from rbt.corpus.config import SourceConfig
from rbt.corpus.reading import Reading
from rbt.corpus.sources.warc import WarcRecord
from rbt.corpus.sources.web import read_pages
from rbt.formats.document import Document


def read(location: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """Read one WARC or WET file."""

    def skip(record: WarcRecord) -> str:
        date = record.headers.get("warc-date", "")
        outside = (config.since and date < config.since) or (config.until and date >= config.until)
        return "date" if outside else ""

    return read_pages(location, config, reading, skip)
