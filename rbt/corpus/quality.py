"""Statistics of cleaned texts for the published quality rules of Gopher and C4, from the bytes of an Arrow array.

    UTF-8 bytes ──words, lines, symbols──> counts and ratios ─┐
           └──repetition.py──> shares of repeated text ───────┴──> float64 (documents, COLUMNS)

Gopher: Rae et al. 2021, section A.1.1 and table A1. C4: Raffel et al. 2020, section 2.2. What the papers leave open:

- Text is cleaned, so that white space is a space or a line feed. Words lie between white space; a line is what lies
  between line feeds and is not empty; paragraphs lie between blank lines. Lengths are in code points; shares of
  characters are of what is in lines (or in words), without the white space between them.
- A duplicate is a line, paragraph or n-gram that occurred before in the text: the first is none. Characters that
  several duplicate n-grams cover count once. The top n-gram is the most frequent, of several the first, if it occurs
  twice or more; its occurrences that overlap count their characters once.
- A stop word is met where it stands between anything but letters, in either case.
- A sentence ends where one of . ! ? and closing quotes or brackets after it are followed by white space; or at a
  Chinese or Japanese full stop, exclamation or question mark. (C4 took a splitter, so figures differ a little.)
- C4 changes texts: of its line rules (ends in terminal punctuation, three words or more, no "javascript") every line
  that fails is cut out. Here texts stay as they are, since headings and verse would go too. Sentences are counted in
  the lines that C4 would keep, which is where C4 counts them, and the share of characters in these is a statistic.
- C4's lists of bad words and of phrases from policies are not applied.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rbt.corpus.repetition import SHARES, repetition_shares
from rbt.formats.parts import string_buffers
from rbt.kernels import inline_kernel, kernel
from rbt.utf8 import UNICODE

COUNTS_OF_GOPHER = (
    "words", "mean_word_length", "hash_ratio", "ellipsis_ratio", "bullet_lines", "ellipsis_lines", "alphabetic_words",
    "stop_words",
)
COUNTS_OF_C4 = ("sentences", "line_characters", "curly_brackets", "lorem_ipsum")
COLUMNS = (  # each is the name of the rule that judges it
    *(f"gopher_{name}" for name in (*COUNTS_OF_GOPHER, *SHARES)), *(f"c4_{name}" for name in COUNTS_OF_C4),
)
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
BULLETS = "•‣\u2043◦▪●■*-"
C4_LINE_WORDS = 3
LINE_FEED = np.uint8(10)
_STOP_CODES = np.array([int.from_bytes(word.encode(), "big") for word in STOP_WORDS], dtype=np.int64)
_BULLETS = np.array([ord(bullet) for bullet in BULLETS], dtype=np.int64)
_LOREM, _JAVASCRIPT = (np.frombuffer(word, dtype=np.uint8) for word in (b"lorem ipsum", b"javascript"))


@cache
def alphabetic_table() -> npt.NDArray[np.bool_]:
    """Which code points `str.isalpha` says are letters, bool (0x110000,)."""
    table = np.fromiter((chr(point).isalpha() for point in range(UNICODE)), dtype=np.bool_, count=UNICODE)
    table.flags.writeable = False
    return table


@inline_kernel
def _point(data: Any, place: Any) -> Any:
    """(code point, bytes) of the character of valid UTF-8 that starts at `place`."""
    lead = np.int64(data[place])
    if lead < 0x80:
        return lead, 1
    length = 2 if lead < 0xE0 else (3 if lead < 0xF0 else 4)
    point = lead & (0x7F >> length)
    for follower in range(1, length):
        point = (point << 6) | (np.int64(data[place + follower]) & 0x3F)
    return point, length


@kernel
def count_words(data: Any, start: int, stop: int, alphabetic: Any) -> Any:
    """(words, their characters, words that hold a letter)."""
    words = characters = lettered = 0
    inside = letter = False
    place = start
    while place < stop:
        point, size = _point(data, place)
        place += size
        if point == 32 or point == 10:
            inside = letter = False
            continue
        words += not inside
        inside = True
        characters += 1
        if not letter and alphabetic[point]:
            letter = True
            lettered += 1
    return words, characters, lettered


@kernel
def _occurs(data: Any, place: int, stop: int, word: Any) -> bool:
    """Whether lower-case ASCII `word` stands at `place`, in either case."""
    if place + len(word) > stop:
        return False
    for offset in range(len(word)):
        letter = data[place + offset]
        if (letter + 32 if 65 <= letter <= 90 else letter) != word[offset]:
            return False
    return True


@kernel
def count_symbols(data: Any, start: int, stop: int) -> Any:
    """How often: number sign, ellipsis (three periods, or U+2026), curly bracket, "lorem ipsum"."""
    signs = ellipses = brackets = lorem = periods = 0
    for place in range(start, stop):
        byte = data[place]
        if byte == 46:
            periods += 1
            if periods == 3:
                ellipses, periods = ellipses + 1, 0
            continue
        periods = 0
        if byte == 35:
            signs += 1
        elif byte == 123 or byte == 125:
            brackets += 1
        elif byte == 0xE2:
            ellipses += data[place + 1] == 0x80 and data[place + 2] == 0xA6
        elif byte == 76 or byte == 108:
            lorem += _occurs(data, place, stop, _LOREM)
    return signs, ellipses, brackets, lorem


@kernel
def count_stop_words(data: Any, start: int, stop: int) -> int:
    """How many different stop words occur."""
    met = np.zeros(len(_STOP_CODES), dtype=np.bool_)
    code = 0  # the letters of the run so far, one a byte; -1 once it is longer than any stop word
    for place in range(start, stop + 1):
        byte: Any = np.int64(data[place]) if place < stop else np.int64(32)
        byte |= 32 if 65 <= byte <= 90 else 0
        if 97 <= byte <= 122 or byte > 127:
            code = -1 if code < 0 or code >= 1 << 24 else (code << 8) | byte
        elif code:
            if code > 0:
                met |= code == _STOP_CODES
            code = 0
    return int(met.sum())


@kernel
def _judge_line(data: Any, start: int, stop: int) -> Any:
    """(sentences, words, ends in terminal punctuation, ends in an ellipsis, says javascript) of one line."""
    sentences, words, ended, javascript = 0, 1, False, False
    point, last = np.int64(0), np.int64(0)
    place = start
    while place < stop:
        last = point
        point, size = _point(data, place)
        if point == 32:
            sentences, words, ended = sentences + ended, words + 1, False
        elif point == 46 or point == 33 or point == 63 or point == 0x2026:
            ended = True
        elif point == 0x3002 or point == 0xFF01 or point == 0xFF1F:
            sentences, ended = sentences + 1, False
        elif not (point == 34 or point == 39 or point == 41 or point == 93 or point == 0x201D or point == 0x2019):
            ended = False
            javascript = javascript or ((point | 32) == 106 and _occurs(data, place, stop, _JAVASCRIPT))
        place += size
    terminal = point == 46 or point == 33 or point == 63 or point == 34 or point == 0x201D
    ellipsis = point == 0x2026 or (point == 46 and last == 46 and stop - start >= 3 and data[stop - 3] == 46)
    return sentences + ended, words, terminal, ellipsis, javascript


@kernel
def judge_lines(data: Any, start: int, stop: int) -> Any:
    """(lines, with a bullet, with an ellipsis at the end, characters, characters and sentences in C4's lines)."""
    lines = bullets = ellipses = characters = kept = sentences = 0
    place = start
    while place < stop:
        first, length = place, 0
        while place < stop and data[place] != LINE_FEED:
            length += (data[place] & 0xC0) != 0x80
            place += 1
        if length:
            ends, words, terminal, ellipsis, javascript = _judge_line(data, first, place)
            lines += 1
            bullets += (_point(data, first)[0] == _BULLETS).any()
            ellipses += ellipsis
            characters += length
            if terminal and words >= C4_LINE_WORDS and not javascript:
                kept += length
                sentences += ends
        place += 1
    return lines, bullets, ellipses, characters, kept, sentences


@kernel
def _count(data: Any, start: int, stop: int, alphabetic: Any, counts: Any) -> None:
    """Fill counts (COUNTS_OF_GOPHER, then COUNTS_OF_C4) of the text in data[start:stop]."""
    words, word_characters, lettered = count_words(data, start, stop, alphabetic)
    signs, ellipses, brackets, lorem = count_symbols(data, start, stop)
    lines, bullets, ellipsis_lines, characters, kept, sentences = judge_lines(data, start, stop)
    some_words, some_lines = max(words, 1), max(lines, 1)
    counts[0], counts[1] = words, word_characters / some_words
    counts[2], counts[3] = signs / some_words, ellipses / some_words
    counts[4], counts[5] = bullets / some_lines, ellipsis_lines / some_lines
    counts[6], counts[7] = lettered / some_words, count_stop_words(data, start, stop)
    counts[8], counts[9] = sentences, kept / max(characters, 1)
    counts[10], counts[11] = brackets, lorem


@kernel
def _count_all(data: Any, offsets: Any, alphabetic: Any) -> Any:
    counts = np.zeros((len(offsets) - 1, 12))
    for number in range(len(offsets) - 1):
        _count(data, offsets[number], offsets[number + 1], alphabetic, counts[number])
    return counts


def score_texts(texts: pa.Array) -> npt.NDArray[np.float64]:
    """The statistics of cleaned texts: float64 (documents, COLUMNS), in the order of COLUMNS."""
    data, offsets = string_buffers(texts)
    counts = _count_all(data, offsets.astype(np.int64), alphabetic_table())
    of_gopher, of_c4 = counts[:, : len(COUNTS_OF_GOPHER)], counts[:, len(COUNTS_OF_GOPHER) :]
    return np.concatenate([of_gopher, repetition_shares(texts), of_c4], axis=1)
