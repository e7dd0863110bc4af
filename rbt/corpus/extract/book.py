"""Plain-text books to paragraphs: chain of str -> str rules, paragraphs apart by one blank line.

    text ──line ends──> ──strip_gutenberg──> ──epub2txt's headings──> ──join_paragraphs──> text
"""

from __future__ import annotations

import re
from itertools import pairwise

from rbt.corpus.extract.gutenberg import Stripped, strip_gutenberg

WRAPPED_LINE = range(45, 91)  # characters of a line that a hard wrap made
WRAPPED_SHARE = 0.6  # of the lines that have another behind them in their block
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
_NUMBERED_HEADING = re.compile(r"^(.*\S)?[ \t]*\{\{\{\d{1,2}$")


def extract_book(text: str) -> Stripped:
    """The paragraphs of a book, without what Project Gutenberg puts around it."""
    stripped = strip_gutenberg(text.replace("\r\n", "\n").replace("\r", "\n"))
    return Stripped(join_paragraphs(mend_headings(stripped.text)), stripped.oddity)


def mend_headings(text: str) -> str:
    """Chapter headings once and plain. BookCorpusOpen's epub2txt writes each twice: `** Title`, then `Title{{{2`."""
    if "{{{" not in text:
        return text
    lines: list[str] = []
    for line in text.split("\n"):
        heading = _NUMBERED_HEADING.match(line)
        if heading is None:
            lines.append(line)
            continue
        title = heading[1] or ""
        starred = bool(lines) and lines[-1].startswith("*") and lines[-1].lstrip("*").strip() == title.strip()
        lines[len(lines) - starred :] = ["", title, ""]
    return "\n".join(lines)


def join_paragraphs(text: str) -> str:
    """Blocks between blank lines become paragraphs where lines are hard-wrapped; else every line is one.

    Where more paragraphs of a hard-wrapped book begin by an indented line than by a blank one, these begin them too.
    """
    blocks = [block.splitlines() for block in _BLANK_LINES.split(text.strip("\n")) if block.strip()]
    if is_hard_wrapped(blocks):
        indented = [part for block in blocks for part in _split_at_indents(block)]
        blocks = indented if len(indented) > 2 * len(blocks) else blocks
        return "\n\n".join(" ".join(line.strip() for line in block) for block in blocks)
    return "\n\n".join(line.strip() for block in blocks for line in block if line.strip())


def _split_at_indents(block: list[str]) -> list[list[str]]:
    """The lines of a block from one that is indented behind one that is not to the next such."""
    lines = enumerate(pairwise(block), start=1)
    starts = [place for place, (before, line) in lines if _is_indented(line) and not _is_indented(before)]
    return [block[start:stop] for start, stop in pairwise([0, *starts, len(block)])]


def _is_indented(line: str) -> bool:
    return line[:1] in (" ", "\t")


def is_hard_wrapped(blocks: list[list[str]]) -> bool:
    """Whether most lines that have another line behind them are about as long as a page is wide."""
    inner = [len(line.rstrip()) for block in blocks for line in block[:-1]]
    return bool(inner) and sum(length in WRAPPED_LINE for length in inner) >= WRAPPED_SHARE * len(inner)
