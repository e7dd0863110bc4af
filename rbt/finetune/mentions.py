"""Where a statement says what a text says, with a phrase in place of one of its pronouns: WNLI's rows.

    text        "Ann thanked Mary because she had helped."      words w
    statement   "Mary had helped."                              words s

    a pronoun w[p] and a phrase s[i:j]:   s[:i] is like what is left of p, s[j:] like what is right of it

What is left and right may differ in some words ("was" for "were"), and the statement may be a piece of the text. Of all
pronouns and phrases the one with the most shared words wins; words that differ, and words of the phrase that do not
stand together in the text, count against it. Rows of published WNLI differ from their texts in both ways.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rbt.finetune.function_words import AUXILIARIES, DETERMINERS, PAST, POSSESSIVES, PREPOSITIONS, PRONOUNS

WORD = re.compile(r"\w+")
OWNER = re.compile(r"['\u2019]s$")
FREE = DETERMINERS | {"s"}  # words of a phrase that the text need not have there
OF_CLAUSES = PRONOUNS | AUXILIARIES | PAST  # of which phrases have few
SHARED, DIFFERENT, LEFT_OUT, STRANGE = 2, -3, -5, -2  # points of a word
BEGINS_SENTENCE = re.compile(r"(?:^|[.!?:][\"'\u201d\u2019)]*\s+)[\"'\u201c\u2018(]*$")


@dataclass(frozen=True)
class Mention:
    """A pronoun text[start:end], and a phrase that is said to be what it stands for.

    `phrase` is written as within a sentence; `suffix`, "'s" or "'", is what follows it in place of a possessive.
    """

    start: int
    end: int
    phrase: str
    suffix: str = ""


def find_mention(text: str, statement: str) -> Mention | None:
    """The pronoun and the phrase of a row, None where no words beside a pronoun are shared."""
    words, said = list(WORD.finditer(text)), list(WORD.finditer(statement))
    lowered, lowered_said = ([word[0].lower() for word in found] for found in (words, said))
    found = _best(lowered, lowered_said)
    if found is None:
        return None
    place, first, last = found
    if first and lowered_said[first - 1] in DETERMINERS and lowered[place - 1: place] != [lowered_said[first - 1]]:
        first -= 1  # what stood there in the text was taken for it
    pronoun, phrase = words[place], statement[said[first].start(): said[last].end()]
    suffix = ""
    if pronoun[0].lower() in POSSESSIVES:
        if statement[said[last].end():][:1] in ("'", "\u2019") and phrase.endswith("s"):
            suffix = "'"  # the shops' doors
        elif end := OWNER.search(phrase):
            phrase, suffix = phrase[: end.start()], "'s"
    return Mention(pronoun.start(), pronoun.end(), within_sentence(phrase, text), suffix)


def within_sentence(phrase: str, text: str) -> str:
    """A phrase that may have begun a sentence, as the text would have it within one."""
    first = phrase.split()[0]
    lower = first.lower()
    if lower in DETERMINERS or (first != "I" and re.search(rf"\b{re.escape(lower)}\b", text)):
        return lower + phrase[len(first):]
    return phrase


def in_place(phrase: str, text: str, start: int) -> str:
    """A phrase as it is written at a place of the text: with a capital where a sentence begins."""
    return phrase[:1].upper() + phrase[1:] if BEGINS_SENTENCE.search(text[:start]) else phrase


def _best(words: Sequence[str], said: Sequence[str]) -> tuple[int, int, int] | None:
    """(place of the pronoun, first and last word of the phrase), None where too little is shared.

    Of equal scores the shorter phrase wins, then the earlier pronoun.
    """
    before, after = _shared(words, said), _shared(words[::-1], said[::-1])
    strange = _strange_words(words, said)
    best, found = (DIFFERENT, 0), None  # one word may differ that none outweighs: "Ann helped" for "and helped"
    for place in (place for place, word in enumerate(words) if word in PRONOUNS):
        for first in range(len(said)):
            for end in range(first + 1, len(said) + 1):
                kept = before[first][place] + after[len(said) - end][len(words) - 1 - place]
                if kept < best[0] or end - first == len(said) or said[first:end] == [words[place]]:
                    continue
                score = (kept + STRANGE * strange[first][end - first - 1], first - end)
                if score > best:
                    best, found = score, (place, first, end - 1)
    return found


def _shared(words: Sequence[str], said: Sequence[str]) -> list[list[int]]:
    """[i][p]: words that said[:i] shares with the end of words[:p], less those that differ, in order."""
    table = [[0] * (len(words) + 1)]
    for i, word in enumerate(said):
        above, row = table[-1], [DIFFERENT * (i + 1)]
        for p, other in enumerate(words):
            same = SHARED if word == other else DIFFERENT
            row.append(max(above[p] + same, above[p + 1] + DIFFERENT, row[-1] + LEFT_OUT))
        table.append(row)
    return table


def _strange_words(words: Sequence[str], said: Sequence[str]) -> list[list[int]]:
    """[i][n - 1]: words of said[i:i + n] but for those of its longest stretch that the text has, too.

    A determiner or the 's is no strange word. A verb or a pronoun is two more, a preposition in front one.
    """
    runs = [[0] * (len(words) + 1) for _ in range(len(said) + 1)]  # of equal words from (i, p) on
    for i in reversed(range(len(said))):
        for p in reversed(range(len(words))):
            runs[i][p] = runs[i + 1][p + 1] + 1 if said[i] == words[p] else 0
    longest = [max(row) for row in runs]
    table = []
    for i in range(len(said)):
        row, free, best = [], 0, 0
        for n in range(1, len(said) - i + 1):
            free += said[i + n - 1] in FREE
            best = max(min(longest[k], i + n - k) for k in range(i, i + n))
            verbs = sum(word in OF_CLAUSES for word in said[i:i + n])
            row.append(max(0, n - best - free) + 2 * verbs + (said[i] in PREPOSITIONS))
        table.append(row)
    return table
