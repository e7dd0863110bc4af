"""The rule of decontamination said slowly: regular expressions, one character at a time."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import regex

UNSPACED = r"\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}"
IN_RUN = regex.compile(rf"[{UNSPACED}]|[^_{UNSPACED}]+")
Gram = tuple[str, ...]


@pytest.fixture(scope="session")
def reference() -> Any:
    """This module."""
    return sys.modules[__name__]


def words(text: str) -> list[tuple[str, int, int]]:
    """(word, start, stop) in characters."""
    found = []
    for run in re.finditer(r"\w+", text):
        for word in IN_RUN.finditer(run[0]):
            lowered = "".join(character.lower()[0] for character in word[0])
            found.append((lowered, run.start() + word.start(), run.start() + word.end()))
    return found


def grams(text: str, ngram: int, minimum: int) -> list[Gram]:
    """The n-grams by which a text of an example is looked for, in order."""
    found = [word for word, *_ in words(text)]
    if len(found) < minimum:
        return []
    size = min(ngram, len(found))
    return [tuple(found[place : place + size]) for place in range(len(found) - size + 1)]


def matches(text: str, wanted: set[Gram]) -> Iterator[tuple[Gram, int, int]]:
    """(n-gram, start, stop) of all occurrences of wanted n-grams, in characters."""
    found = words(text)
    for place in range(len(found)):
        for size in sorted({len(gram) for gram in wanted}):
            gram = tuple(word for word, *_ in found[place : place + size])
            if gram in wanted and len(gram) == size:
                yield gram, found[place][1], found[place + size - 1][2]


def is_border(text: str, place: int) -> bool:
    if place <= 0 or place >= len(text):
        return True
    left, right = text[place - 1], text[place]
    if left.isspace() or right.isspace():
        return True
    alone = any(re.match(r"\w", side) and regex.match(f"[{UNSPACED}]", side) for side in (left, right))
    return alone and not regex.match(r"\p{M}", right)


def pieces(text: str, spans: Sequence[tuple[int, int]], window: int) -> list[tuple[int, int]]:
    """What stays of a text, in characters, before short pieces go."""
    gone = [False] * len(text)
    for start, stop in spans:
        first, last = max(0, start - window), min(len(text), stop + window)
        while not is_border(text, first):
            first -= 1
        while not is_border(text, last):
            last += 1
        while first > 0 and text[first - 1].isspace():
            first -= 1
        while last < len(text) and text[last].isspace():
            last += 1
        gone[first:last] = [True] * (last - first)
    edges = [place for place in range(len(text) + 1)
             if (gone[place - 1] if place else True) != (gone[place] if place < len(text) else True)]  # fmt: skip
    return list(zip(edges[::2], edges[1::2], strict=True))


@dataclass(frozen=True)
class Rule:
    ngram: int = 3
    minimum_words: int = 2
    window_characters: int = 4
    minimum_piece_characters: int = 5
    maximum_pieces: int = 3
    maximum_documents: int = 2


def decontaminate(
    documents: Sequence[str], wanted: set[Gram], rule: Rule, older: Mapping[Gram, int] | None = None
) -> tuple[list[str | None], dict[Gram, int]]:
    """(what becomes of each document, None where it is dropped; documents by n-gram, without the older ones)."""
    found = [list(matches(text, wanted)) for text in documents]
    counts: dict[Gram, int] = {}
    for hits in found:
        for gram in {gram for gram, *_ in hits}:
            counts[gram] = counts.get(gram, 0) + 1
    total = {gram: count + (older or {}).get(gram, 0) for gram, count in counts.items()}
    common = {gram for gram, count in total.items() if count > rule.maximum_documents}
    left: list[str | None] = []
    for text, hits in zip(documents, found, strict=True):
        spans = [(start, stop) for gram, start, stop in hits if gram not in common]
        kept = pieces(text, spans, rule.window_characters) if spans else [(0, len(text))]
        long = [text[a:b] for a, b in kept if not spans or b - a >= rule.minimum_piece_characters]
        left.append("\n\n".join(long) if len(kept) <= rule.maximum_pieces and (long or not spans) else None)
    return left, counts
