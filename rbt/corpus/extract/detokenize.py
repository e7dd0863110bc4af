"""Penn Treebank tokens back to plain text, line by line.

The rules undo what the treebank's tokenizer does: quotes as `` and '', clitics and punctuation as tokens of their
own, brackets by name, slashes and asterisks with a backslash, "cannot" and its like in two.
"""

from __future__ import annotations

import re

TOKENIZED = re.compile(
    r"(?:^|(?<=\s))(?:[.,;:?!]+|``?|''|n't|'(?:s|ll|re|ve|d|m)|-[LR][RSC]B-)(?=\s|$)", re.IGNORECASE
)
WRITTEN = {
    "``": '"', "''": '"', "`": "'", "-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}",
    "-lrb-": "(", "-rrb-": ")", "-lsb-": "[", "-rsb-": "]", "-lcb-": "{", "-rcb-": "}",
}
TO_THE_LEFT = frozenset({".", ",", ";", ":", "?", "!", "%", "...", "…", ")", "]", "}", "''", "”", "’"})
TO_THE_RIGHT = frozenset({"(", "[", "{", "``", "`", "$", "£", "€", "#", "“", "‘"})
CLITIC = re.compile(r"(?:n['’]t|['’](?:s|ll|re|ve|d|m))$", re.IGNORECASE)
FINAL_MARKS = re.compile(r"[.?!]{2,}$")
HALVES = {
    ("can", "not"), ("gon", "na"), ("wan", "na"), ("got", "ta"), ("gim", "me"), ("lem", "me"), ("d'", "ye"),
    ("'t", "is"), ("'t", "was"),
}


def detokenize(line: str) -> str:
    """The text of one tokenized line. A line that shows no sign of such tokens is returned as it is, stripped.

    >>> detokenize("`` I ca n't , '' said Ann -LRB- quietly -RRB- .")
    '"I can\\'t," said Ann (quietly).'
    """
    if not TOKENIZED.search(line):
        return line.strip()
    parts: list[str] = []
    apart = False  # whether a space goes before the next token
    opened = {'"': False, "'": False}
    before = ""
    for token in line.split():
        left, right = _attachment(token, opened, apart)
        if apart and not left and not _is_second_half(before, token):
            parts.append(" ")
        parts.append(WRITTEN.get(token) or token.replace("\\/", "/").replace("\\*", "*"))
        apart, before = not right, token
    return "".join(parts)


def _attachment(token: str, opened: dict[str, bool], apart: bool) -> tuple[bool, bool]:
    """Whether a token joins what is left of it, and what is right of it. Keeps count of open quotes."""
    if token == '"' or (token == "'" and (opened["'"] or not apart)):
        opened[token] = not opened[token]
        return not opened[token], opened[token]
    if token == "`":
        opened["'"] = True
    written = WRITTEN.get(token, token)
    left = token in TO_THE_LEFT or token == "'" or (written in TO_THE_LEFT and written != token)
    right = token in TO_THE_RIGHT or (written in TO_THE_RIGHT and written != token)
    return left or bool(CLITIC.match(token) or FINAL_MARKS.match(token)), right


def _is_second_half(before: str, token: str) -> bool:
    return (before.lower(), token.lower()) in HALVES
