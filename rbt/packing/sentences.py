"""Sentence ends of a document, as token indices.

    text ──sentencex, blank lines──> first characters ──> bytes ──token_ends──> sentence ends, int64

A sentence starts at the token that holds its first character that is not white space; one without such a character
joins the one before. The first sentence of a document starts at its first token, the last one ends at its last.
"""

from __future__ import annotations

import logging
import re
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import sentencex

log = logging.getLogger(__name__)
Int64 = npt.NDArray[np.int64]
DEFAULT_LANGUAGE = "en"
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
_VISIBLE = re.compile(r"\S")
# sentencex 1.0 panics on an initial followed by a wide space ("A\u00a0."), which web pages have. One character for
# one, so offsets stay.
_ODD_SPACE = re.compile(r"[^\S \t\n\r]")


def sentence_starts(text: str, language: str) -> list[int]:
    """Character offset of the first visible character of each sentence, ascending. `language`: ISO 639-1 or "".

    Sentences are those of sentencex; besides, a blank line always ends one.
    """
    plain = _ODD_SPACE.sub(" ", text)
    candidates = {match.end() for match in _BLANK_LINE.finditer(plain)}
    candidates.update(_boundaries(plain, language or DEFAULT_LANGUAGE))
    starts: list[int] = []
    for candidate in sorted(candidates):
        if starts and candidate <= starts[-1]:
            continue
        visible = _VISIBLE.search(plain, candidate)
        if visible is None:
            break
        starts.append(visible.start())
    return starts


def _boundaries(text: str, language: str) -> list[int]:
    """Where sentencex starts a sentence; only 0 where it fails, so that paragraphs stand for sentences."""
    try:
        return [0, *(sentence["start_index"] for sentence in sentencex.get_sentence_boundaries(language, text))]
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # a failure inside Rust is a BaseException without a public type
            raise
        log.warning("sentencex failed on a document of %d characters: its paragraphs count as sentences", len(text))
        return [0]


def sentence_ends(text: str, language: str, token_ends: Int64) -> Int64:
    """Token index behind each sentence of a document, int64, strictly ascending; the last is the number of tokens.

    `token_ends`: int64 (tokens,), bytes of UTF-8 up to the end of each token. No tokens, no sentences.
    """
    if len(token_ends) == 0:
        return np.empty(0, dtype=np.int64)
    starts = sentence_starts(text, language)
    sizes = [len(text[left:right].encode()) for left, right in pairwise([0, *starts])]
    first_tokens = np.searchsorted(token_ends, np.cumsum(sizes, dtype=np.int64), side="right")
    return np.append(np.unique(first_tokens)[1:], len(token_ends)).astype(np.int64)
