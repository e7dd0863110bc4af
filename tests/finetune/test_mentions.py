"""The pronoun and the phrase of a row, and the noun phrases of a text."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.finetune.function_words import DETERMINERS, PRONOUNS
from rbt.finetune.mentions import (
    DIFFERENT,
    LEFT_OUT,
    SHARED,
    _shared,
    find_mention,
    in_place,
    within_sentence,
)
from rbt.finetune.noun_phrases import noun_phrases
from rbt.tasks.examples import Sentences
from rbt.tasks.sets import find_files, read_examples

NURSE = "The nurse woke Clara after she had slept. Clara's brother said that she was kind."
KITE = "A kite hung in the elm, so Omar shook it until it fell. He laughed about it."


def shown(text: str, statement: str) -> tuple[str, str, str, str] | None:
    """(what is left of the pronoun, it, the phrase, what follows it)."""
    found = find_mention(text, statement)
    if found is None:
        return None
    return text[: found.start][-12:], text[found.start:found.end], found.phrase, found.suffix


@pytest.mark.parametrize(
    ("text", "statement", "expected"),
    [
        (NURSE, "Clara had slept.", ("Clara after ", "she", "Clara", "")),
        (NURSE, "The nurse was kind.", ("said that ", "she", "the nurse", "")),
        (NURSE, "Clara's brother said that the nurse was kind.", ("said that ", "she", "the nurse", "")),
        (KITE, "Omar shook the elm until it fell.", ("Omar shook ", "it", "the elm", "")),
        (KITE, "Omar shook it until the kite fell", ("ok it until ", "it", "the kite", "")),
        (KITE, "Omar laughed about it.", ("il it fell. ", "He", "Omar", "")),
        ("Ines called Ruth and took her coat.", "Ines took Ruth's coat.", ("th and took ", "her", "Ruth", "'s")),
        ("The cooks lost their keys.", "The cooks lost the cooks' keys.", ("cooks lost ", "their", "the cooks", "'")),
        ("Ines met Ruth's aunt and helped her.", "Ines helped Ruth's aunt.", ("and helped ", "her", "Ruth's aunt", "")),
    ],
)
def test_the_pronoun_with_the_most_shared_words_around_it_is_found(
    text: str, statement: str, expected: tuple[str, str, str, str]
) -> None:
    left, *rest = expected
    found = shown(text, statement)
    assert found is not None
    assert found[0].endswith(left) and list(found[1:]) == rest


@pytest.mark.parametrize(
    ("text", "statement", "phrase"),
    [
        # another form of the verb, a misspelled word, a word left out, one more, another preposition
        ("Ivo and Lea were late since they had been ill.", "Lea has been ill.", "Lea"),
        ("The goats ate what they could reach and slept.", "The goats could raech and slept.", "the goats"),
        ("A wasp sat near a pear, but nobody dared to touch it at all.", "Nobody dared touch the pear.", "the pear"),
        ("Lea carried a lamp to the barn because it was dark.", "The barn was very dark.", "the barn"),
        ("There is a fence beside the road. You can hide behind it.", "You can hide under the road.", "the road"),
        # the phrase lies in the text in another form, or in two places
        ("Ivo saw Lea's tall uncle when he waved.", "Lea's uncle waved.", "Lea's uncle"),
        ("Ivo went to see Lea, and then they slept well.", "Ivo and Lea slept well.", "Ivo and Lea"),
        # a preposition or a verb of the statement's own is none of the phrase
        ("There is a hedge before the pond, and Lea can't reach it.", "Lea can't reach over the hedge.", "the hedge"),
        ("Arlen met Borun. As Borun was rested, they were beaten in days.", "Arlen was beaten in days.", "Arlen"),
        # nor is a determiner left behind, or the rest of a phrase taken for what stands left of the pronoun
        ("A bell rang, but Omar could not hear over it.", "Omar could not hear the bell.", "the bell"),
        ("They fed all of the farm horses. They were old.", "The farm horses were old.", "the farm horses"),
        # what stands left of the pronoun is not what the statement has there
        ("The lid of the jar was loose, so it fell off.", "The lid of the jar fell off.", "the lid of the jar"),
    ],
)
def test_statements_that_differ_from_their_text_in_a_word_are_aligned(text: str, statement: str, phrase: str) -> None:
    found = find_mention(text, statement)
    assert found is not None and found.phrase == phrase
    assert text[found.start:found.end].lower() in PRONOUNS


def test_of_pronouns_that_are_as_good_the_first_is_taken() -> None:
    found = find_mention("Lea said that she ran and she ran.", "Lea ran.")
    assert found is not None and (found.start, found.phrase) == (14, "Lea")


@pytest.mark.parametrize(
    ("text", "statement"),
    [
        ("The lid fell off.", "The lid fell off."), ("She sang.", "Rain is wet."), ("", ""), ("It fell.", "..."),
        ("Lea likes it.", ""), ("He slept.", "He slept."),
    ],
)
def test_where_no_words_beside_a_pronoun_are_shared_nothing_is_found(text: str, statement: str) -> None:
    assert find_mention(text, statement) is None


@pytest.mark.parametrize(
    ("phrase", "text", "expected"),
    [
        ("The kite", KITE, "the kite"), ("Omar", KITE, "Omar"), ("Kite", KITE, "kite"), ("My Omar", KITE, "my Omar"),
        ("I", "i know", "I"),
    ],
)
def test_a_phrase_is_written_as_within_a_sentence(phrase: str, text: str, expected: str) -> None:
    assert within_sentence(phrase, text) == expected


def test_a_phrase_begins_with_a_capital_where_a_sentence_begins() -> None:
    assert in_place("the kite", "It fell.", 0) == "The kite"
    assert in_place("the kite", KITE, KITE.index("He")) == "The kite"
    assert in_place("the kite", 'He said: "It fell."', 10) == "The kite"
    assert in_place("the kite", KITE, KITE.index("it")) == "the kite"


def slow_shared(words: Sequence[str], said: Sequence[str]) -> int:
    """The best of all ways to align `said` with an end of `words`, each way scored by itself."""
    def score(words: Sequence[str], said: Sequence[str]) -> int:
        if not words or not said:
            return LEFT_OUT * len(words) + DIFFERENT * len(said)
        return max(
            score(words[1:], said[1:]) + (SHARED if words[0] == said[0] else DIFFERENT),
            score(words[1:], said) + LEFT_OUT, score(words, said[1:]) + DIFFERENT,
        )

    return max(score(words[start:], said) for start in range(len(words) + 1))


@given(st.lists(st.sampled_from("abc"), max_size=5), st.lists(st.sampled_from("abc"), max_size=5))
def test_shared_words_are_those_of_the_best_of_all_alignments(words: list[str], said: list[str]) -> None:
    table = _shared(words, said)
    for i, p in itertools.product(range(len(said) + 1), range(len(words) + 1)):
        assert table[i][p] == slow_shared(words[:p], said[:i])


@given(st.text(), st.text())
def test_any_texts_are_read_without_an_error(text: str, statement: str) -> None:
    found = find_mention(f"She said {text} to it.", statement)
    assert found is None or found.phrase
    for start, end in noun_phrases(text):
        assert 0 <= start < end <= len(text)


NAMES = ("Ines", "Omar", "the cook", "a grey goose", "Lea's aunt")


@given(
    st.lists(st.sampled_from(("slept", "when", "near", "old", "barn", "sang")), min_size=2, max_size=5, unique=True),
    st.lists(st.sampled_from(("later", "gladly", "stood", "under", "rain")), min_size=2, max_size=5, unique=True),
    st.sampled_from(("he", "she", "it", "them")), st.sampled_from(NAMES), st.integers(0, 4),
)
def test_whatever_piece_of_a_text_is_said_the_pronoun_is_found(
    left: list[str], right: list[str], pronoun: str, phrase: str, cut: int
) -> None:
    """With some of the words on its left and all on its right."""
    text = f"{', '.join(NAMES)}: {' '.join(left)} {pronoun} {' '.join(right)}."
    kept = left[max(0, len(left) - cut):]
    said = " ".join([*kept, phrase, *right])
    found = find_mention(text, said[0].upper() + said[1:])
    assert found is not None
    assert (found.start, found.phrase) == (text.index(f" {pronoun} ") + 1, phrase)


def phrases(text: str) -> list[str]:
    return [text[start:end] for start, end in noun_phrases(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The old miller gave Mr. Voss a sack of rye.", ["The old miller", "Mr. Voss", "Voss", "a sack"]),
        ("Lea's aunt sold her brown hat to New York.", ["Lea", "Lea's aunt", "her brown hat", "New York"]),
        ("I'm sure that he can't see it.", []),
        ("Bells rang. The bells were loud!", ["The bells"]),
        ("She liked the cook's new stove.", ["the cook", "the cook's new stove"]),
        ("Her father's old friend slept.", ["Her father", "Her father's old friend"]),
        ("The goose, a grey one, flew", ["The goose", "a grey"]),
        ("the sleeping cat quickly ran", ["the sleeping cat"]),
    ],
)
def test_noun_phrases_go_from_a_determiner_or_a_name_to_the_noun(text: str, expected: list[str]) -> None:
    assert [phrase for phrase in phrases(text) if phrase not in ("Voss",)] == [
        phrase for phrase in expected if phrase not in ("Voss",)
    ]


@given(st.text(alphabet="abc IThe.,' "))
def test_noun_phrases_hold_a_word_that_is_no_determiner(text: str) -> None:
    for phrase in phrases(text):
        assert phrase.strip() == phrase
        assert any(word.lower() not in DETERMINERS for word in phrase.split())


def test_pronouns_are_found_in_all_rows_of_wnli(data: Path) -> None:
    """And their phrases are not longer than phrases are."""
    folder = data / "tasks" / "glue" / "WNLI_resplit"
    rows = [row for _, row in read_examples(find_files("wnli", folder, ("train", "dev"))) if isinstance(row, Sentences)]
    found = [find_mention(row.sentences[0], row.sentences[1]) for row in rows]
    assert len(rows) == 635
    for row, each in zip(rows, found, strict=True):
        assert each is not None and len(each.phrase.split()) <= 7
        assert row.sentences[0][each.start:each.end].lower() in PRONOUNS
