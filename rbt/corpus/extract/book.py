"""Plain-text books to paragraphs: chain of str -> str rules, paragraphs apart by one blank line."""

from __future__ import annotations

import re

GUTENBERG_START = re.compile(r"^\*{3} ?START OF (?:THE|THIS) PROJECT GUTENBERG[^\n]*\n", re.MULTILINE | re.IGNORECASE)
GUTENBERG_END = re.compile(
    r"^(?:\*{3} ?END OF (?:THE|THIS) PROJECT GUTENBERG|End of (?:the )?Project Gutenberg)", re.MULTILINE | re.IGNORECASE
)
WRAPPED_LINE = range(45, 91)  # characters of a line that a hard wrap made
WRAPPED_SHARE = 0.6  # of the lines that have another behind them in their block
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")


def extract_book(text: str) -> str:
    """The paragraphs of a book, without Project Gutenberg's header and footer."""
    return join_paragraphs(strip_gutenberg(text.replace("\r\n", "\n").replace("\r", "\n")))


def strip_gutenberg(text: str) -> str:
    """Cut what stands before the start mark and from the end mark on."""
    start = GUTENBERG_START.search(text)
    begin = start.end() if start else 0
    end = GUTENBERG_END.search(text, begin) if start else None
    return text[begin : end.start() if end else len(text)]


def join_paragraphs(text: str) -> str:
    """Blocks between blank lines become paragraphs where lines are hard-wrapped; else every line is one."""
    blocks = [block.splitlines() for block in _BLANK_LINES.split(text.strip("\n")) if block.strip()]
    if is_hard_wrapped(blocks):
        return "\n\n".join(" ".join(line.strip() for line in block) for block in blocks)
    return "\n\n".join(line.strip() for block in blocks for line in block if line.strip())


def is_hard_wrapped(blocks: list[list[str]]) -> bool:
    """Whether most lines that have another line behind them are about as long as a page is wide."""
    inner = [len(line.rstrip()) for block in blocks for line in block[:-1]]
    return bool(inner) and sum(length in WRAPPED_LINE for length in inner) >= WRAPPED_SHARE * len(inner)
