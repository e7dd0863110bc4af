"""Cleaning, and the rules by which documents are dropped. Cleaning rules are str -> str, applied in order.

    text ──mojibake (option)──> ──control──> ──whitespace──> ──nfc──> text, paragraphs apart by one blank line

Most text needs little of it, so a rule looks for what it changes before it changes anything. All is linear in the
text's length.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from rbt.corpus.config import CleanConfig

# C0 and C1 controls but tab and line ends, lone surrogates, byte order mark and zero-width space, word joiner, soft
# hyphen, directional marks and isolates, noncharacters of the BMP (a set with others is searched ten times as slowly).
# The zero-width joiner and non-joiner stay: emoji and several scripts are spelled with them.
_INVISIBLE = (
    "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\u200b\u2060\u00ad\u061c\u200e\u200f\u202a-\u202e"
    "\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff"
)
_OTHER_LINE_ENDS = "\x0b\x0c\x85\u2028\u2029"
_OTHER_SPACES = "\t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_RARE = re.compile(f"[{_INVISIBLE}{_OTHER_LINE_ENDS}{_OTHER_SPACES}]")
_RARE_ASCII = bytes(point for point in range(128) if _RARE.match(chr(point)))
_CONTROL = re.compile(f"[{_INVISIBLE}]+")
_LINE_END = re.compile(f"[{_OTHER_LINE_ENDS}]")
_SPACE = re.compile(f"[{_OTHER_SPACES}]")
_SPACES = re.compile(" {2,}")
_BLANK_LINES = re.compile("\n{3,}")


@dataclass(frozen=True)
class Cleaned:
    """Cleaned text, and by how many UTF-8 bytes each rule shrank it (negative where NFC takes more bytes)."""

    text: str
    shrunk: dict[str, int]


def _has_rare(text: str) -> bool:
    if text.isascii():  # four times as fast as the search
        data = text.encode()
        return len(data.translate(None, _RARE_ASCII)) != len(data)
    return _RARE.search(text) is not None


def drop_controls(text: str) -> str:
    """Without characters that are invisible or no characters."""
    return _CONTROL.sub("", text) if _has_rare(text) else text


def normalize_whitespace(text: str) -> str:
    """Any run of spaces is one space, any line end a line feed, no space at line ends, at most one blank line."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if _has_rare(text):
        text = _SPACE.sub(" ", _LINE_END.sub("\n", text))
    if "  " in text:
        text = _SPACES.sub(" ", text)
    text = text.replace(" \n", "\n").replace("\n ", "\n")
    if "\n\n\n" in text:
        text = _BLANK_LINES.sub("\n\n", text)
    return text.strip("\n ")


def normalize_composition(text: str) -> str:
    """Unicode normal form C."""
    return unicodedata.normalize("NFC", text)


@cache
def _ftfy() -> tuple[Callable[..., str], Any]:
    import ftfy  # an option: most builds do without it

    # Only what reads wrongly decoded bytes anew. Of its parts, `replace_lossy_sequences` puts U+FFFD where text was.
    return ftfy.fix_encoding, ftfy.TextFixerConfig(replace_lossy_sequences=False, explain=False)


def repair_mojibake(text: str) -> str:
    """Lines that were decoded with the wrong encoding, read with the right one, as far as ftfy is sure.

    Nothing else of ftfy is used: quotation marks, ligatures, widths, entities and surrogates stay as they are. Lines
    are judged one by one, so that a line that is right does not hide one that is wrong.
    """
    if text.isascii():
        return text
    fix, config = _ftfy()
    return "\n".join(line if line.isascii() else fix(line, config) for line in text.split("\n"))


RULES: dict[str, Callable[[str], str]] = {
    "control": drop_controls,
    "whitespace": normalize_whitespace,
    "nfc": normalize_composition,
}
RULES_WITH_MOJIBAKE = {"mojibake": repair_mojibake, **RULES}  # first: the controls among it are what is to be repaired


def clean_text(text: str, mojibake: bool = False) -> Cleaned:
    """Apply all rules. Cleaning what is clean changes nothing (`mojibake` apart: repaired text may look like more)."""
    shrunk: dict[str, int] = {}
    size = -1  # known once a rule changes something
    for name, rule in (RULES_WITH_MOJIBAKE if mojibake else RULES).items():
        cleaned = rule(text)
        if cleaned != text:
            size = _utf8_bytes(text) if size < 0 else size
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
        return "language", f"{language} {score:g}", f"{config.language} {config.minimum_language_score:g}"
    return None
