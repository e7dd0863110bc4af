"""Two texts side by side, the words in which they differ marked.

    texts ──words──> what both start with, what differs first (WINDOW words of each), the rest
                          └──difflib, by groups of differences with words around them──> two columns of lines

Words are what white space separates; a character of a script without spaces is a word. The work is bounded however
long the texts are: words are compared inside the window alone, and what is not shown is counted.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby, zip_longest

import regex

WINDOW = 1500  # words of each text that are compared: well below a second, even of texts that repeat a word
AROUND = 8  # words shown before and behind a difference
GAP = " | "
_WORD = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]|[^\s\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]+")
Mark = Callable[[str], str]


@dataclass(frozen=True)
class Word:
    """A word, whether white space stands before it, and whether the other text lacks it there."""

    text: str
    is_spaced: bool
    differs: bool = False


@dataclass(frozen=True)
class Marks:
    """How differing words are set off in the left and in the right column; `width` is what that takes of a line."""

    left: Mark
    right: Mark
    width: int


PLAIN = Marks(lambda words: f"[-{words}-]", lambda words: f"{{+{words}+}}", 4)
Group = list[tuple[str, int, int, int, int]]  # difflib's opcodes


def split(text: str) -> list[Word]:
    """The words of a text."""
    return [Word(match[0], match.start() > 0 and text[match.start() - 1].isspace()) for match in _WORD.finditer(text)]


def side_by_side(left: str, right: str, *, width: int, lines: int, marks: Marks = PLAIN) -> list[str]:
    """Lines of at most `width` columns; at most about `lines` of them are differences, the first ones."""
    a, b = split(left), split(right)
    column = max(16, (width - len(GAP)) // 2)
    same = _same_start(a, b)
    if same == len(a) == len(b):
        shown = a[: AROUND * 3]
        return [*_rows(shown, shown, column, marks), *_note(f"all {len(a):,} words are the same", bool(a))]
    start = max(0, same - AROUND)
    groups = _groups(a[start : start + WINDOW], b[start : start + WINDOW])
    output = _note(f"... {start:,} words the same ...", start > 0)
    end_a = end_b = start
    is_all_shown = True
    for number, group in enumerate(groups):
        if len(output) >= lines:
            output += _note(f"... {len(groups) - number:,} more place(s) that differ ...", True)
            is_all_shown = False
            break
        output += _note(f"... {start + group[0][1] - end_a:,} words the same ...", number > 0)
        end_a, end_b = start + group[-1][2], start + group[-1][4]
        room = max(4, lines - len(output))
        output += _cut_rows(_rows(*_marked(a, b, group, start), column, marks), room)
    return [*output, *_ending(len(a), len(b), end_a, end_b, start + WINDOW, is_all_shown)]


def _same_start(a: Sequence[Word], b: Sequence[Word]) -> int:
    """How many words both start with."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((place for place, (x, y) in pairs if x.text != y.text), min(len(a), len(b)))


def _groups(a: Sequence[Word], b: Sequence[Word]) -> list[Group]:
    matcher = SequenceMatcher(None, [word.text for word in a], [word.text for word in b], autojunk=False)
    groups = [[*group] for group in matcher.get_grouped_opcodes(AROUND)]
    if max(len(a), len(b)) == WINDOW and groups[-1][-1][0] != "equal":  # the window's end, not a difference
        rest = groups[-1][:-1]
        return [*groups[:-1], *([rest] if any(code[0] != "equal" for code in rest) else [])] or groups
    return groups


def _marked(a: Sequence[Word], b: Sequence[Word], group: Group, start: int) -> tuple[list[Word], list[Word]]:
    """The words of a group of differences, those that differ marked."""
    left: list[Word] = []
    right: list[Word] = []
    for tag, a_start, a_stop, b_start, b_stop in group:
        differs = tag != "equal"
        left += [Word(word.text, word.is_spaced, differs) for word in a[start + a_start : start + a_stop]]
        right += [Word(word.text, word.is_spaced, differs) for word in b[start + b_start : start + b_stop]]
    return left, right


def _note(words: str, is_due: bool) -> list[str]:
    return [words] if is_due else []


def _cut_rows(rows: list[str], room: int) -> list[str]:
    more = len(rows) - room
    return [*rows[:room], *_note(f"... {more:,} more line(s) of this difference ...", more > 0)]


def _ending(length_a: int, length_b: int, end_a: int, end_b: int, window: int, is_all_shown: bool) -> list[str]:
    """What is said of the words behind the last ones shown."""
    left, right = length_a - end_a, length_b - end_b
    if not left and not right:
        return []
    if left == right and is_all_shown and max(length_a, length_b) <= window:
        return [f"... {left:,} words the same ..."]
    if max(length_a, length_b) > window:
        return [f"... {left:,} words follow on the left, {right:,} on the right, in part not compared ..."]
    return [f"... {left:,} words follow on the left, {right:,} on the right ..."]


def _rows(left: Sequence[Word], right: Sequence[Word], column: int, marks: Marks) -> list[str]:
    """Both columns, line by line."""
    columns = (wrap(left, column, marks.left, marks.width), wrap(right, column, marks.right, marks.width))
    return [
        f"{a}{' ' * (column - size)}{GAP}{b}".rstrip()
        for (a, size), (b, _) in zip_longest(*columns, fillvalue=("", 0))
    ]


def wrap(words: Sequence[Word], column: int, mark: Mark, mark_width: int) -> Iterator[tuple[str, int]]:
    """Lines of words, each with its width in columns; a run of differing words is marked on every line it is on."""
    line: list[Word] = []
    for word in _pieces(words, column - mark_width):
        if line and line_width([*line, word], mark_width) > column:
            yield line_text(line, mark), line_width(line, mark_width)
            line = []
        line.append(word)
    if line:
        yield line_text(line, mark), line_width(line, mark_width)


def _pieces(words: Sequence[Word], room: int) -> Iterator[Word]:
    """The words, those that are wider than a line in pieces."""
    for word in words:
        text, is_spaced = word.text, word.is_spaced
        while display_width(text) > room:
            length = next(n for n in range(len(text), 0, -1) if n == 1 or display_width(text[:n]) <= room)
            yield Word(text[:length], is_spaced, word.differs)
            text, is_spaced = text[length:], False
        if text:
            yield Word(text, is_spaced, word.differs)


def line_text(line: Sequence[Word], mark: Mark) -> str:
    """A line of words with its marks."""
    parts = []
    for differs, run in groupby(line, key=lambda word: word.differs):
        words = [*run]
        text = "".join(f" {word.text}" if word.is_spaced else word.text for word in words)
        parts.append(" " * words[0].is_spaced + mark(text.lstrip(" ")) if differs else text)
    return "".join(parts).lstrip(" ")


def line_width(line: Sequence[Word], mark_width: int) -> int:
    """Columns that a line takes."""
    text = sum(display_width(word.text) + word.is_spaced for word in line) - (line[0].is_spaced if line else 0)
    runs = sum(1 for differs, _ in groupby(line, key=lambda word: word.differs) if differs)
    return text + runs * mark_width


def display_width(text: str) -> int:
    """Columns of a terminal that a text takes: two for a wide character, none for a combining one."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
