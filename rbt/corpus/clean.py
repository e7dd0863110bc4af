"""Cleaning, and the rules by which documents are dropped. Cleaning rules are str -> str, applied in order.

    text ──control──> ──whitespace──> ──nfc──> text, paragraphs apart by one blank line
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from rbt.corpus.config import CleanConfig

# C0 and C1 controls but tab and line feed, lone surrogates, byte order mark and zero-width space, soft hyphen,
# directional marks and isolates, noncharacters. The zero-width joiner and non-joiner stay: emoji and several scripts
# are spelled with them.
_CONTROL = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\u200b\u2060\u00ad\u200e\u200f\u202a-\u202e\u2066-\u2069"
    "\ufdd0-\ufdef\ufffe\uffff]"
)
_LINE_END = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_SPACES = re.compile("[ \t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
_SPACE_AT_LINE = re.compile(" ?\n ?")
_BLANK_LINES = re.compile("\n{3,}")


@dataclass(frozen=True)
class Cleaned:
    """Cleaned text, and by how many UTF-8 bytes each rule shrank it (negative where NFC takes more bytes)."""

    text: str
    shrunk: dict[str, int]


def drop_controls(text: str) -> str:
    """Without characters that are invisible or no characters."""
    return _CONTROL.sub("", text)


def normalize_whitespace(text: str) -> str:
    """Any run of spaces is one space, any line end a line feed, no space at line ends, at most one blank line."""
    text = _SPACES.sub(" ", _LINE_END.sub("\n", text))
    return _BLANK_LINES.sub("\n\n", _SPACE_AT_LINE.sub("\n", text)).strip("\n ")


def normalize_composition(text: str) -> str:
    """Unicode normal form C."""
    return unicodedata.normalize("NFC", text)


RULES: dict[str, Callable[[str], str]] = {
    "control": drop_controls,
    "whitespace": normalize_whitespace,
    "nfc": normalize_composition,
}


def clean_text(text: str) -> Cleaned:
    """Apply all rules. Cleaning what is clean changes nothing."""
    shrunk: dict[str, int] = {}
    size = _utf8_bytes(text)
    for name, rule in RULES.items():
        cleaned = rule(text)
        if cleaned != text:
            after = _utf8_bytes(cleaned)
            shrunk[name], text, size = size - after, cleaned, after
    return Cleaned(text, shrunk)


def _utf8_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def drop_reason(language: str, score: float, characters: int, config: CleanConfig) -> tuple[str, str, str] | None:
    """(rule, what the document has, what was asked of it) if a document is to be dropped, else None."""
    if characters == 0:
        return "empty", "0", "1"
    if characters < config.minimum_characters:
        return "too_short", str(characters), str(config.minimum_characters)
    if config.language and (language != config.language or score < config.minimum_language_score):
        return "language", f"{language} {score:.2f}", f"{config.language} {config.minimum_language_score:.2f}"
    return None
