"""Penn Treebank tokens back to text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus.extract.detokenize import detokenize


def tokenize(text: str) -> str:
    """The treebank's rules, as far as the sentences below need them."""
    text = re.sub(r'(^|[\s(])"', r"\1`` ", text).replace('"', " '' ")
    text = re.sub(r"([,;:?!()$%])", r" \1 ", text)
    text = re.sub(r"\.(\s*(?:''|-RRB-|\))?\s*)$", r" .\1", text)
    text = re.sub(r"(?i)(\w)(n't|'(?:s|ll|re|ve|d|m))\b", r"\1 \2", text)
    text = text.replace("cannot", "can not").replace("gonna", "gon na")
    text = text.replace("(", "-LRB-").replace(")", "-RRB-")
    return " ".join(text.split())


WORDS = st.sampled_from(
    [
        "cat",
        "Ann",
        "don't",
        "it's",
        "they'll",
        "we've",
        "I'm",
        "he'd",
        "dog's",
        "cannot",
        "gonna",
        "$5",
        "10%",
        "U.S.",
        "half-way",
        "3.5",
        "it",
    ]
)


@st.composite
def sentences(draw: st.DrawFn) -> str:
    """Sentences with clitics, quotes, brackets and marks."""
    words = draw(st.lists(WORDS, min_size=3, max_size=12))
    for number in range(len(words) - 1):
        words[number] += draw(st.sampled_from(["", "", "", ",", ";", ":"]))
    first = draw(st.integers(0, len(words) - 1))
    last = draw(st.integers(first, len(words) - 1))
    left, right = draw(st.sampled_from([("", ""), ('"', '"'), ("(", ")")]))
    words[first], words[last] = left + words[first], words[last] + right
    return " ".join(words) + draw(st.sampled_from([".", "?", "!"]))


@given(text=sentences())
def test_tokenized_sentences_come_back(text: str) -> None:
    """What the treebank's tokenizer takes apart is joined as it was."""
    assert detokenize(tokenize(text)) == text


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("`` I ca n't , '' said Ann -LRB- quietly -RRB- .", '"I can\'t," said Ann (quietly).'),
        ("The dogs ' tails wo n't wag ; it 's 5 % of $ 10 .", "The dogs' tails won't wag; it's 5% of $10."),
        ("He said , `` ` Go , ' she said . ''", "He said, \"'Go,' she said.\""),
        ('" Hi , " he said .', '"Hi," he said.'),
        ("either\\/or , a \\* -LSB- b -RSB- -LCB- c -RCB-", "either/or, a * [b] {c}"),
        ("WE DO N'T KNOW ... WHAT ?!", "WE DON'T KNOW... WHAT?!"),
        ("I can not , he is gon na , gim me that .", "I cannot, he is gonna, gimme that."),
        ("x -- y .", "x -- y."),
        ("It is late , and 't is cold ; 'T was not .", "It is late, and 'tis cold; 'Twas not."),
        ("", ""),
        (" . ", "."),
    ],
)
def test_tokens_are_joined(line: str, text: str) -> None:
    """Quotes, brackets, clitics and halves of words, each by its rule."""
    assert detokenize(line) == text


@pytest.mark.parametrize(
    "line",
    [
        'Plain text, "quoted" (here) and there.',
        "Don't touch 'this' one; it's fine.",
        "A heading",
        "I can not go.",
        "50% of $10, that's all!",
    ],
)
def test_plain_text_comes_back_as_it_is(line: str) -> None:
    """A line without a sign of tokens is not touched."""
    assert detokenize(line) == line


@given(line=st.text(st.sampled_from("ab .,'`\"()$%-\\/\t") | st.characters(), max_size=60))
def test_no_letter_is_lost_or_made(line: str) -> None:
    """Whatever the line, letters and digits stay in order."""
    def letters(value: str) -> list[str]:
        return [character for character in value if character.isalnum()]

    if not re.search(r"-[LR][RSC]B-", line, re.IGNORECASE):
        assert letters(detokenize(line)) == letters(line)
