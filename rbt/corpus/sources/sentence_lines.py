"""BookCorpus as sentences, one a line or row: `books_large_p1.txt`, its mirrors, and make_sentlines' one file.

    lines ──BORDERS──> groups of lines ──detokenize──> one Document a group

The published lines do not say where books end. They are grouped into pseudo-documents of a fixed size, and the reading
is flagged `has_documents = False`. With `split_books` borders are guessed from copyright pages: documents then are
guesses at books. Where blank lines part paragraphs and five or more part books, books are whole.

Every sentence becomes a paragraph of its own where the lines know no paragraphs: sentence splitters do not find the
end of a lower-cased sentence in running text, and a blank line always ends one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from rbt.corpus.config import SourceConfig
from rbt.corpus.extract.detokenize import detokenize
from rbt.corpus.reading import Reading
from rbt.corpus.sources.raw import RawStream
from rbt.corpus.sources.text import Line, decode, read_lines
from rbt.formats.document import Document

PSEUDO_DOCUMENT_BYTES = 100_000  # of lines; the line that passes it is the last
GUESSED_BOOK_BYTES = 8 << 20  # most of a guessed or marked book; a longer one is cut at a line end
FRONT_MATTER_BYTES = 20_000  # marks closer than this are of one copyright page, or of an end and the beginning after it
TITLE_LINES = 5  # lines before the first mark that may be the book's title page
PROBE_BYTES = 1 << 16  # in which the spacing of blank lines is looked at
PARAGRAPH_BLANKS, BOOK_BLANKS = 2, 5  # blank lines behind paragraphs, and the least behind books, of make_sentlines
SENTENCE_FILES = re.compile(r"books_large[^/]*\.txt$", re.IGNORECASE)
COPYRIGHT_PAGE = re.compile(
    rb"\bisbn\b|all rights reserved|smashwords edition|\xc2\xa9 ?(?:19|20)\d\d"
    rb"|copyright\W{0,9}(?:\(c\)|lrb- c|\xc2\xa9|by\b|(?:19|20)\d\d)", re.IGNORECASE
)
_SENTENCE_END = re.compile(rb"[.?!\"'\x9d]\s*$")


def holds_sentences(name: str, config: SourceConfig) -> bool:
    """Whether a text file is read as one sentence a line: by the recipe, or by its name (`books_large_p1.txt`)."""
    if config.sentence_lines == "auto":
        return SENTENCE_FILES.search(name.rpartition("/")[2]) is not None
    return config.sentence_lines == "yes"


def read_sentences(
    stream: RawStream, name: str, locator: str, config: SourceConfig, reading: Reading
) -> Iterator[Document]:
    """Read one file of sentences. A line that damage cuts is given up."""
    yield from group_lines(_usable(_lines(stream, reading), locator, reading), name, locator, config, reading)


def _lines(stream: RawStream, reading: Reading) -> Iterator[Line]:
    number = 1
    while True:
        last: Line | None = None
        for line in read_lines(stream, number):
            if last is not None:
                yield last
            last, number = line, line.number + 1
        damage = stream.damage
        if last is not None and (damage is None or last.size > len(last.data)):
            yield last
        if damage is None:
            return
        reading.lost(damage.reason, offset=damage.offset, locator=f"line {number}", detail=damage.detail)
        stream.resume()


def group_lines(
    lines: Iterable[Line], name: str, locator: str, config: SourceConfig, reading: Reading
) -> Iterator[Document]:
    """Documents of lines: `label:<name>:<number of the first line>`, located by their first and last line.

    A span of a table yields the same ids wherever its pieces begin, and no span yields another's.
    """
    first, rest = _probe(iter(lines))
    spaced = _are_books_spaced(first)
    borders: Borders = _spaced_books if spaced else _guessed_books if config.split_books else _pieces
    if not spaced and not config.split_books:
        reading.has_documents = False
    for group in borders(chain(first, rest)):
        text, bad = decode(b"\n".join(line.data for line in group))
        size, where = sum(line.size for line in group), f"{locator}:" if locator else ""
        reading.record(size)
        if bad >= 0:
            detail = "bytes that are no UTF-8 are left out"
            reading.damage("encoding", offset=group[0].offset + bad, locator=f"{where}{group[0].number}", detail=detail)
        yield Document(
            f"{config.label}:{name}:{group[0].number}", reading.origin, f"{where}{group[0].number}-{group[-1].number}",
            join_sentences(text, config.detokenize), payload_bytes=size,
        )


def _usable(lines: Iterable[Line], locator: str, reading: Reading) -> Iterator[Line]:
    for line in lines:
        if line.too_large:
            reading.record(line.size)
            detail = f"a line of {line.size} bytes"
            reading.quarantine("too_large", size=line.size, offset=line.offset, locator=locator, detail=detail)
        else:
            yield line


def _probe(lines: Iterator[Line]) -> tuple[list[Line], Iterator[Line]]:
    first: list[Line] = []
    size = 0
    for line in lines:
        first.append(line)
        size += line.size
        if size >= PROBE_BYTES:
            break
    return first, lines


def _are_books_spaced(lines: list[Line]) -> bool:
    """Whether all runs of blank lines are such as make_sentlines writes. The published files have none."""
    runs, blanks = set(), 0
    for line in lines:
        if line.data.strip():
            runs.add(blanks)
            blanks = 0
        else:
            blanks += 1
    runs.discard(0)
    return bool(runs) and all(run == PARAGRAPH_BLANKS or run >= BOOK_BLANKS for run in runs)


Borders = Callable[[Iterable[Line]], Iterator[list[Line]]]


def _pieces(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Groups of a fixed size."""
    group: list[Line] = []
    size = 0
    for line in lines:
        group.append(line)
        size += line.size
        if size >= PSEUDO_DOCUMENT_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _spaced_books(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Groups between five blank lines or more."""
    group: list[Line] = []
    size = blanks = 0
    for line in lines:
        if line.data.strip():
            if group and (blanks >= BOOK_BLANKS or size >= GUESSED_BOOK_BYTES):
                yield group
                group, size = [], 0
            blanks = 0
        else:
            blanks += 1
        group.append(line)
        size += line.size
    if group:
        yield group


def _guessed_books(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Groups that begin at the title before the first mark of a copyright page."""
    group: list[Line] = []
    size = since_mark = 0
    for line in lines:
        is_mark = COPYRIGHT_PAGE.search(line.data) is not None
        if is_mark and since_mark >= FRONT_MATTER_BYTES:
            border = _title_start(group)
            if border:
                yield group[:border]
            group = group[border:]
            size = sum(held.size for held in group)
        elif size >= GUESSED_BOOK_BYTES:
            yield group
            group, size = [], 0
        group.append(line)
        size += line.size
        since_mark = 0 if is_mark else since_mark + line.size
    if group:
        yield group


def _title_start(group: list[Line]) -> int:
    """Where the lines begin that end a group and are no sentences: a title, an author."""
    start = len(group)
    while start > max(len(group) - TITLE_LINES, 0) and not _SENTENCE_END.search(group[start - 1].data[-8:]):
        start -= 1
    return start


def join_sentences(text: str, undo_tokens: bool) -> str:
    """Paragraphs of sentences, one a line. Blank lines part paragraphs; without any, each line is one."""
    paragraphs: list[list[str]] = [[]]
    for line in text.split("\n"):
        sentence = detokenize(line) if undo_tokens else line.strip()
        if sentence:
            paragraphs[-1].append(sentence)
        elif paragraphs[-1]:
            paragraphs.append([])
    filled = [paragraph for paragraph in paragraphs if paragraph]
    if len(filled) == 1:
        return "\n\n".join(filled[0])
    return "\n\n".join(" ".join(paragraph) for paragraph in filled)
