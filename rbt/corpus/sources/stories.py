"""Stories: the published corpus as text or as a table, or chosen from scratch out of web pages.

    .txt[.gz|...]         lines ──between blank lines──> a story's sentences ──detokenize, join──> Document
    .parquet, .jsonl ...  rows with `text` ──detokenize──> Document
    WARC, WET, with `questions`: pages that score high enough by `reading.span.facts` ──extract──> Document

The published files (once gs://commonsense-reasoning/reproduce/stories_corpus, withdrawn) hold one sentence a line in
Penn Treebank tokens, which `detokenize` undoes, and a blank line between documents. On the Hub, lucadiliello/STORIES is
Parquet, read as a document a row, and spacemanidol/cc-stories is text. A text file without any blank line in its first
LINE_FORM_BYTES is read as a document a line, as no web page of Common Crawl is that long: what its lines were is not
known, so `has_documents` is False for it.

From scratch, `rbt.corpus.story_scores` has read the same file before and scored its pages. A page is named by its
number among those that `read_pages` asks about: both passes count them, and a file that changed in between is an error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rbt.corpus.config import SourceConfig
from rbt.corpus.extract.detokenize import detokenize
from rbt.corpus.reading import Reading
from rbt.corpus.sources import table
from rbt.corpus.sources.compression import Damage
from rbt.corpus.sources.raw import RawStream, open_raw, without_compression
from rbt.corpus.sources.text import Line, decode, read_lines
from rbt.corpus.sources.warc import WarcRecord
from rbt.corpus.sources.web import read_pages
from rbt.errors import ArtefactError, InputError
from rbt.formats.document import Document
from rbt.storage import hash_file

MAXIMUM_STORY_BYTES = 64 << 20
LINE_FORM_BYTES = 4 << 20  # Common Crawl cuts pages at 1 MiB


def read(location: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """Read one file of any of the forms. Raises InputError where it is not the one whose pages were scored."""
    if config.questions:
        yield from _selected_pages(location, config, reading)
    elif without_compression(reading.origin).lower().endswith(table.SUFFIXES):
        for document in table.read(location, config, reading):
            yield replace(document, text=story_text(document.text, config))
    else:
        with open_raw(location, reading) as stream:
            yield from _read_text(stream, config, reading)


def story_text(text: str, config: SourceConfig) -> str:
    """The sentences of a story, one a line, as running text; blank lines part paragraphs."""
    paragraphs: list[list[str]] = [[]]
    for line in text.splitlines():
        if sentence := detokenize(line) if config.detokenize else line.strip():
            paragraphs[-1].append(sentence)
        elif paragraphs[-1]:
            paragraphs.append([])
    return "\n\n".join(" ".join(sentences) for sentences in paragraphs if sentences)


# published text


class Story:
    """The lines of one document as they come in. Bytes are those of its sentences, line feeds included."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.size = 0
        self.offset = -1

    def add(self, line: Line) -> None:
        """One more sentence; beyond the limit only its size is kept."""
        self.offset = line.offset if self.offset < 0 else self.offset
        self.size += line.size
        if self.size <= MAXIMUM_STORY_BYTES:
            self.lines.append(line)

    def apart(self) -> Iterator[Story]:
        """Its lines as stories; itself where it is too long to have kept them."""
        if self.size > MAXIMUM_STORY_BYTES:
            yield self
            return
        for line in self.lines:
            story = Story()
            story.add(line)
            yield story


def _read_text(stream: RawStream, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """Documents are numbered from 1, quarantined ones included."""
    number = 0
    for story in _stories(stream, reading):
        if isinstance(story, Damage):
            reading.lost(story.reason, offset=story.offset, detail=story.detail)
            continue
        number += 1
        if stream.damage is not None:
            _quarantine(story, number, stream.damage.reason, stream.damage.detail, reading)
        elif story.size > MAXIMUM_STORY_BYTES:
            detail = f"{story.size} bytes without a blank line, more than {MAXIMUM_STORY_BYTES}"
            _quarantine(story, number, "too_large", detail, reading)
        else:
            yield _document(story, number, config, reading)


def _stories(stream: RawStream, reading: Reading) -> Iterator[Story | Damage]:
    """The stories of a file; one that a damage cuts comes while the damage stands in `stream`, else it comes itself."""
    first_line, blank_lines = 1, False
    while True:
        story = Story()
        for line in read_lines(stream, first_line):
            first_line = line.number + 1
            if line.too_large or line.data.strip():
                story.add(line)
                if story.size > LINE_FORM_BYTES and not blank_lines:
                    reading.has_documents = False
                if reading.has_documents or stream.damage is not None:
                    continue
                yield from story.apart()
            else:
                blank_lines = True
                if story.size:
                    yield story
            story = Story()
        damage = stream.damage
        if story.size:
            yield story
        elif damage is not None:
            yield damage
        if damage is None:
            return
        stream.resume()


def _quarantine(story: Story, number: int, reason: str, detail: str, reading: Reading) -> None:
    reading.record(story.size)
    reading.quarantine(reason, size=story.size, offset=story.offset, locator=str(number), detail=detail)


def _document(story: Story, number: int, config: SourceConfig, reading: Reading) -> Document:
    reading.record(story.size)
    text, bad = decode(b"\n".join(line.data for line in story.lines))
    if bad >= 0:
        detail = "bytes that are no UTF-8 are left out"
        reading.damage("encoding", offset=story.offset + bad, locator=str(number), detail=detail)
    id = f"{config.label}:{reading.origin}:{number}"
    return Document(id, reading.origin, str(number), story_text(text, config), payload_bytes=story.size)


# pages chosen by their score


class PageNumbers:
    """Numbers pages from 0 as the reader asks about them, and finds the number of a document among those it took.

    Documents come in the order of their pages, but not each page has one.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._taken: deque[tuple[str, int]] = deque()  # pages whose documents may still come

    def ask(self) -> int:
        """The number of the page that the reader asks about."""
        self.asked += 1
        return self.asked - 1

    def take(self, record: WarcRecord, number: int) -> None:
        """The page is to be extracted."""
        self._taken.append((record.id, number))

    def of(self, document: Document) -> int:
        """The number of the page that this document, the next to come, was extracted from."""
        while (page := self._taken.popleft())[0] != document.locator:
            pass
        return page[1]


def _selected_pages(location: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """The pages at or above the threshold; the others are not parsed, save those that had no text to score before."""
    facts = reading.span.facts if reading.span else {}
    if "selection" not in facts:
        raise InputError("expected the scores of its pages (a source with `questions` is read twice)", path=location)
    scores, threshold, numbers = _load_scores(facts), facts["threshold"], PageNumbers()

    def skip(record: WarcRecord) -> str:
        number = numbers.ask()
        if number >= len(scores) or scores[number] < threshold:
            return "story_score"
        numbers.take(record, number)
        return ""

    for document in read_pages(location, config, reading, skip):
        if scores[numbers.of(document)] >= threshold:
            yield document
        else:
            reading.skip("story_score", document.payload_bytes)  # no text came out of it when it was scored
    if (numbers.asked, reading.raw_hash) != (len(scores), facts["raw_hash"]):
        found = f"{numbers.asked} pages, {reading.raw_hash}"
        expected = f"expected the file whose pages were scored, {len(scores)} pages, {facts['raw_hash']}"
        raise InputError(expected, path=location, found=found, cure="it was changed meanwhile: run the command again")


def _load_scores(facts: dict[str, str]) -> npt.NDArray[np.float64]:
    path = Path(facts["selection"])
    if not path.is_file() or (found := hash_file(path)) != facts["selection_hash"]:
        found = found if path.is_file() else "none"
        raise ArtefactError("expected the scores of a first pass", path=path, found=found, cure="run the command again")
    scores: npt.NDArray[np.float64] = np.load(path, allow_pickle=False)
    return scores
