"""The six kinds of raw files. Each is a function that reads one file: `(location, config, reading) -> documents`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rbt.corpus.config import SourceConfig
from rbt.corpus.reading import Reading
from rbt.corpus.sources import bookcorpus, ccnews, openwebtext, stories, table, wikipedia
from rbt.formats.document import Document

Source = Callable[[str, SourceConfig, Reading], Iterator[Document]]

SOURCES: dict[str, Source] = {
    "wikipedia": wikipedia.read,
    "bookcorpus": bookcorpus.read,
    "ccnews": ccnews.read,
    "openwebtext": openwebtext.read,
    "stories": stories.read,
    "table": table.read,
}


def read_documents(location: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """The documents of one raw file (a local path or an fsspec URL), extracted but not cleaned.

    What is no document, or cannot be read, goes to `reading`; once all documents are taken, `reading.raw_hash` and
    `reading.raw_bytes` describe the whole raw file. Raises InputError where reading itself fails.
    """
    return SOURCES[config.kind](location, config, reading)
