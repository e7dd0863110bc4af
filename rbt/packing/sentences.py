"""Sentence ends of a document, as token indices.

    text ──sentencex, blank lines──> first characters ──> bytes ──token_ends──> sentence ends, int64

A sentence starts at the token that holds its first character that is not white space; one without such a character
joins the one before. The first sentence of a document starts at its first token, the last one ends at its last.
"""

from __future__ import annotations

import logging
import re
from bisect import bisect_right

import numpy as np
import numpy.typing as npt
import sentencex

log = logging.getLogger(__name__)
Int64 = npt.NDArray[np.int64]
DEFAULT_LANGUAGE = "en"
PIECE_CHARACTERS = 1 << 15  # sentencex takes time that is quadratic in quotation marks that stay open
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
_VISIBLE = re.compile(r"\S")
# sentencex 1.0 panics on an initial followed by a wide space ("A\u00a0."), which web pages have. One character for
# one, so offsets stay.
_ODD_SPACE = re.compile("[\x0b\x0c\x1c-\x1f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")


def sentence_starts(text: str, language: str) -> list[int]:
    """Character offset of the first visible character of each sentence, ascending. `language`: ISO 639-1 or "".

    Sentences are those of sentencex; besides, a blank line always ends one.
    """
    plain = _ODD_SPACE.sub(" ", text)
    paragraphs = [0, *(match.end() for match in _BLANK_LINE.finditer(plain))]
    candidates = {*paragraphs, *_boundaries(plain, paragraphs, language or DEFAULT_LANGUAGE)}
    starts: list[int] = []
    for candidate in sorted(candidates):
        if starts and candidate <= starts[-1]:
            continue
        visible = _VISIBLE.search(plain, candidate)
        if visible is None:
            break
        starts.append(visible.start())
    return starts


def _boundaries(text: str, paragraphs: list[int], language: str) -> list[int]:
    """Where sentencex starts a sentence, besides at `paragraphs`, piece by piece.

    A piece is as many whole paragraphs as fit, or the beginning of one that is longer; after such a beginning the next
    piece starts where the last sentence of it does.
    """
    found: list[int] = []
    place = 0
    while place < len(text):
        end = min(place + PIECE_CHARACTERS, len(text))
        before = paragraphs[bisect_right(paragraphs, end) - 1]
        is_whole = end == len(text) or before > place
        end = before if before > place and end < len(text) else end
        starts = [place + start for start in _piece_boundaries(text[place:end], language)]
        found += starts
        place = starts[-1] if starts and not is_whole else end
    return found


def _piece_boundaries(piece: str, language: str) -> list[int]:
    """Where sentencex starts a sentence after the first one; none where it fails, so that paragraphs are sentences."""
    try:
        found = [sentence["start_index"] for sentence in sentencex.get_sentence_boundaries(language, piece)]
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # a failure inside Rust is a BaseException without a public type
            raise
        log.warning("sentencex failed on %d characters: their paragraphs count as sentences", len(piece))
        return []
    return [start for start in found if start > 0]


def sentence_ends(text: str, language: str, token_ends: Int64) -> Int64:
    """Token index behind each sentence of a document, int64, strictly ascending; the last is the number of tokens.

    `token_ends`: int64 (tokens,), bytes of UTF-8 up to the end of each token. No tokens, no sentences.
    """
    if len(token_ends) == 0:
        return np.empty(0, dtype=np.int64)
    starts = byte_offsets(text, np.array(sentence_starts(text, language), dtype=np.int64))
    first_tokens = np.searchsorted(token_ends, starts, side="right")
    return np.append(np.unique(first_tokens)[1:], len(token_ends)).astype(np.int64)


def byte_offsets(text: str, characters: Int64) -> Int64:
    """Where characters of a text start in its UTF-8, int64, for their offsets in characters."""
    if text.isascii():
        return characters
    data = np.frombuffer(text.encode(), dtype=np.uint8)
    return np.flatnonzero((data & 0xC0) != 0x80)[characters]  # all bytes but those that follow in a character
