"""Common Crawl news: the pages of WARC files (or of WET files), crawled in a window of dates.

    crawl-data/CC-NEWS/YYYY/MM/CC-NEWS-YYYYMMDDhhmmss-NNNNN.warc.gz ──pages of the window──> Document

Forms: Common Crawl's CC-NEWS files (s3://commoncrawl/ or https://data.commoncrawl.org/, about 1 GB each, listed month
by month in warc.paths.gz), any other WARC file, plain or compressed, and WET files, whose text the crawler extracted.
The window holds the crawl's dates (WARC-Date), as the paper's does; the document's date is the article's own where the
page states one. English is chosen later, by the filter. Documents of the paper's set: 63 million, 76 GB after filtering
(Liu et al. 2019, section 3.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rbt.corpus.config import SourceConfig
from rbt.corpus.reading import Reading
from rbt.corpus.sources.warc import WarcRecord
from rbt.corpus.sources.web import read_pages
from rbt.formats.document import Document

_DATE = re.compile(r"\d{4}(?:-\d\d(?:-\d\d(?:[T ]\d\d(?::\d\d(?::\d\d)?)?)?)?)?")
_EARLIEST = "0000-01-01T00:00:00"


def read(location: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """Read one WARC or WET file."""
    since, until = first_second(config.since), first_second(config.until)

    def skip(record: WarcRecord) -> str:
        if not since and not until:
            return ""
        date = first_second(record.headers.get("warc-date", ""))
        if not date:
            return "no_date"
        return "date" if date < since or (until and date >= until) else ""

    return read_pages(location, config, reading, skip)


def first_second(date: str) -> str:
    """The second at which a date begins, however precise it is (a year, a day, a fraction of a second), or "".

    Seconds compare as text; WARC dates are in UTC by the standard (WARC 1.1, section 5.4).
    """
    found = _DATE.match(date.strip())
    return found[0].replace(" ", "T") + _EARLIEST[len(found[0]) :] if found else ""
