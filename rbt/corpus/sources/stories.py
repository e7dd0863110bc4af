"""Stories: one sentence a line, a blank line between documents, Penn Treebank tokens undone by default.

    bytes ──lines──> blocks between blank lines ──detokenize──> sentences joined by a space ──> Document
"""

from __future__ import annotations

from collections.abc import Iterator

from rbt.corpus.config import SourceConfig
from rbt.corpus.extract.detokenize import detokenize
from rbt.corpus.reading import Reading
from rbt.corpus.sources.raw import open_raw
from rbt.corpus.sources.text import Line, decode, read_lines
from rbt.formats.document import Document

MAXIMUM_STORY_BYTES = 64 << 20


class Story:
    """The lines of one document as they come in. Bytes are those of its sentences, line feeds included."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.size = 0
        self.offset = -1

    def add(self, line: Line) -> None:
        """One more sentence; beyond the limit only its size is kept."""
        self.offset = line.offset if self.offset < 0 else self.offset
        self.size += line.size
        if self.size <= MAXIMUM_STORY_BYTES:
            self.lines.append(line.data)


def read(location: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """Read one file. Documents are numbered from 1, quarantined ones included."""
    with open_raw(location, reading) as stream:
        number, first_line = 0, 1
        while True:
            story = Story()
            for line in read_lines(stream, first_line):
                first_line = line.number + 1
                if line.data.strip() or line.too_large:
                    story.add(line)
                elif story.size:
                    number += 1
                    yield from _document(story, number, config, reading)
                    story = Story()
            damage = stream.damage
            if story.size:
                number += 1
                if damage is None:
                    yield from _document(story, number, config, reading)
                else:
                    _quarantine(story, number, damage.reason, damage.detail, reading)
            elif damage is not None:
                reading.lost(damage.reason, offset=damage.offset, detail=damage.detail)
            if damage is None:
                return
            stream.resume()


def _quarantine(story: Story, number: int, reason: str, detail: str, reading: Reading) -> None:
    reading.record(story.size)
    reading.quarantine(reason, size=story.size, offset=story.offset, locator=str(number), detail=detail)


def _document(story: Story, number: int, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    if story.size > MAXIMUM_STORY_BYTES:
        detail = f"{story.size} bytes without a blank line, more than {MAXIMUM_STORY_BYTES}"
        _quarantine(story, number, "too_large", detail, reading)
        return
    reading.record(story.size)
    text, bad = decode(b"\n".join(story.lines))
    if bad >= 0:
        detail = "bytes that are no UTF-8 are left out"
        reading.damage("encoding", offset=story.offset + bad, locator=str(number), detail=detail)
    sentences = [detokenize(line) if config.detokenize else line.strip() for line in text.splitlines()]
    id = f"{config.label}:{reading.origin}:{number}"
    joined = " ".join(sentence for sentence in sentences if sentence)
    yield Document(id, reading.origin, str(number), joined, payload_bytes=story.size)
