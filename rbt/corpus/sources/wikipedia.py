"""Wikipedia in the forms that dumps.wikimedia.org publishes, told apart by the file's name.

    *-pages-articles*.xml, .xml.bz2, .xml.xz, -multistream*.xml*.bz2; any other .xml   ──> dump.py
    *-multistream-index*.txt.bz2                                 ──> no documents: where the streams start
    *-cirrussearch-content.json.gz, *_content-*.json.bz2         ──> cirrus.py
    *-ENTERPRISE-HTML.json.tar.gz                                ──> enterprise.py
    *-abstract*.xml.gz, *-stub-*.xml.gz, *.sql.gz, titles ...    ──> quarantined: they hold no text of pages
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from rbt.corpus.config import SourceConfig
from rbt.corpus.reading import Reading
from rbt.corpus.sources import cirrus, dump, enterprise
from rbt.corpus.sources.raw import open_raw, without_compression
from rbt.formats.document import Document

INDEX = re.compile(r"-index\d*\.txt(?:-[^/]*)?(?:\.(?:bz2|gz|xz))?$")
TEXTLESS = re.compile(  # named like dumps of text
    r"-abstract\d*\.xml|-stub-|-pages-logging|-flow|cirrussearch-general|_general-"
)
FORMS: tuple[tuple[re.Pattern[str], Callable[[str, SourceConfig, Reading], Iterator[Document]]], ...] = (
    (re.compile(r"\.(?:nd)?json\.tar$|-enterprise-html[^/]*\.tar$"), enterprise.read),
    (re.compile(r"-cirrussearch[^/]*\.json$|_content-\d+(?:-\d+)?\.json$"), cirrus.read),
    (re.compile(r"\.xml(?:-p\d+p\d+)?$"), dump.read),
)
EXPECTED = (
    "*-pages-articles*.xml[.bz2], *-cirrussearch-content.json.gz, *_content-*.json.bz2 or *-ENTERPRISE-HTML.json.tar.gz"
)


def read(location: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """Read one file; an index beside a dump yields nothing, a file of no known form one row of quarantine."""
    reader = reader_of(reading.origin)
    if reader is not None:
        yield from reader(location, config, reading)
        return
    with open_raw(location, reading):
        if not INDEX.search(reading.origin):
            reading.lost("not_a_dump_of_text", detail=f"expected {EXPECTED}; take this file out of `paths`")


def reader_of(origin: str) -> Callable[[str, SourceConfig, Reading], Iterator[Document]] | None:
    """The reader for a file by its name, or None."""
    name = without_compression(origin.rpartition("/")[2].lower())
    if TEXTLESS.search(name):
        return None
    return next((reader for pattern, reader in FORMS if pattern.search(name)), None)
