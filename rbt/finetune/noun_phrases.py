"""Noun phrases of an English text by a simple rule, for what a pronoun may stand for.

    a determiner, or a name with 's, and words up to one that is no noun or adjective    the old clock, Ann's bag
    names: words with a capital, one behind the other                                    Mr. Lee

It knows no parts of speech but lists of function words and endings. It misses nouns without a determiner ("sheep"), and
takes some words too many ("the pen writes"); both make the choice among phrases easier than it is with a parser.
"""

from __future__ import annotations

import re
from itertools import pairwise

from rbt.finetune.function_words import DETERMINERS, ENDS_PHRASE, VERB_ENDINGS

WORD = re.compile(r"\w+(?:-\w+)*(?:['\u2019]\w+)?")
TITLES = frozenset(("mr", "mrs", "ms", "dr", "st", "prof"))
APOSTROPHE = re.compile(r"['\u2019]")
OWNER = re.compile(r"['\u2019]s$")
MOST_WORDS = 4  # behind a determiner


def noun_phrases(text: str) -> list[tuple[int, int]]:
    """Where noun phrases are, [start, end) each, by start; some lie within others."""
    words = list(WORD.finditer(text))
    goes_on = [_goes_on(text, left, right) for left, right in pairwise(words)] + [False]
    found = set[tuple[int, int]]()
    for place, word in enumerate(words):
        if word[0].lower() in DETERMINERS or _is_owner(words, goes_on, place):
            end = _phrase_end(words, goes_on, place)
            owners = (number for number in range(place + 1, end) if OWNER.search(words[number][0]))
            found.update((word.start(), words[last].end()) for last in (*owners, end) if last > place)
        if _is_name(text, word) and not (place and goes_on[place - 1] and _is_name(text, words[place - 1])):
            end = place
            while goes_on[end] and not OWNER.search(words[end][0]) and _is_name(text, words[end + 1]):
                end += 1
            found.add((word.start(), words[end].end()))
    return sorted((start, start + len(OWNER.sub("", text[start:end]))) for start, end in found)


def _goes_on(text: str, left: re.Match[str], right: re.Match[str]) -> bool:
    """Whether a phrase may go on from a word to the next one."""
    between = text[left.end(): right.start()]
    return between.isspace() or (between == ". " and left[0].lower() in TITLES)


def _is_owner(words: list[re.Match[str]], goes_on: list[bool], place: int) -> bool:
    """Whether a word is a name with 's: "Ann's book", but not "brother's" of "her brother's book"."""
    begins = not place or not goes_on[place - 1] or not _is_content(words[place - 1][0])
    is_bare = begins and not (place and words[place - 1][0].lower() in DETERMINERS)
    return is_bare and OWNER.search(words[place][0]) is not None and _is_content(words[place][0])


def _is_content(word: str) -> bool:
    lower = word.lower()
    return lower not in ENDS_PHRASE and APOSTROPHE.split(lower)[0] not in ENDS_PHRASE


def _phrase_end(words: list[re.Match[str]], goes_on: list[bool], place: int) -> int:
    """The last word of the phrase that begins with the determiner at `place`: itself where there is none."""
    end = place
    while end - place < MOST_WORDS and goes_on[end] and _is_content(words[end + 1][0]):
        if end > place and words[end + 1][0].lower().endswith(VERB_ENDINGS):
            break
        end += 1
    return end


def _is_name(text: str, word: re.Match[str]) -> bool:
    """Whether a word with a capital is a name: not one that only begins a sentence, as far as the text shows."""
    written = word[0]
    if not written[0].isupper() or not _is_content(written):
        return False
    return re.search(rf"\b{re.escape(written.lower())}\b", text) is None
