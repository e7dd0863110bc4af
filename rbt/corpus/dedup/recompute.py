"""Jaccard similarity of two texts a second time, by regular expressions and Python sets: slow, obvious, and without
any code in common with the kernels of `shingles.py`, whose definition of words and shingles it follows."""

from __future__ import annotations

import re

import regex

_RUN = re.compile(r"\w+")
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}"
_PIECE = regex.compile(rf"[{_UNSPACED}]|[^{_UNSPACED}]+")
Shingle = tuple[str, ...]


def words(text: str) -> list[str]:
    """The words of a text, lower-cased one code point at a time; a character of an unspaced script is one."""
    found: list[str] = []
    for run in _RUN.findall(text):
        if run.isascii():
            found.append(run.lower())
        else:
            found += _PIECE.findall("".join(character.lower()[0] for character in run))
    return found


def shingles(text: str, ngram: int) -> set[Shingle]:
    """The word n-grams of a text; of one with fewer words the tuple of all its words, which may be empty."""
    found = words(text)
    length = min(ngram, len(found))
    return set(zip(*(found[start:] for start in range(length)), strict=False)) if length else {()}


def jaccard(first: str, second: str, ngram: int) -> float:
    """Jaccard similarity of two texts' shingles."""
    a, b = shingles(first, ngram), shingles(second, ngram)
    common = len(a & b)
    return common / (len(a) + len(b) - common)
