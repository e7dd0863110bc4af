"""Wikipedia in the forms that dumps.wikimedia.org publishes, told apart by the file's name.

    *-pages-articles*.xml, .xml.bz2, .xml.xz, -multistream*.xml.bz2   ──> dump.py
    *-multistream-index*.txt.bz2                                      ──> no documents: where the streams start
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rbt.corpus.config import SourceConfig
from rbt.corpus.reading import Reading
from rbt.corpus.sources import dump
from rbt.corpus.sources.raw import open_raw
from rbt.formats.document import Document

INDEX = re.compile(r"-index\d*\.txt(?:-[^/]*)?(?:\.(?:bz2|gz|xz))?$")


def read(location: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """Read one file; an index beside a dump yields nothing."""
    if INDEX.search(reading.origin):
        with open_raw(location, reading):
            return
    yield from dump.read(location, config, reading)
