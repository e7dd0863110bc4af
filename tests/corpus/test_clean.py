"""Cleaning and the length and language rules."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus.clean import clean_text, drop_reason
from rbt.corpus.config import CleanConfig

ANY_TEXT = st.text(st.characters() | st.sampled_from(" \t\r\n\u2028\u00a0\u200b\ufeff\ud800\x00e\u0301"), max_size=60)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("  a \t b\u00a0\u3000c  \n  d ", "a b c\nd"),
        ("a\n\n\n \n\nb\n\n", "a\n\nb"),
        ("\ufeffa\u200bb\x00\x07\ud800c\u00ad", "abc"),
        ("cafe\u0301", "café"),
        ("नमस्\u200dते 👨\u200d👩\u200d👧", "नमस्\u200dते 👨\u200d👩\u200d👧"),
        ("", ""),
    ],
)
def test_text_is_cleaned(text: str, expected: str) -> None:
    assert clean_text(text).text == expected


@given(text=ANY_TEXT)
def test_bytes_in_are_bytes_out_and_shrunk(text: str) -> None:
    cleaned = clean_text(text)
    assert len(text.encode("utf-8", "surrogatepass")) == len(cleaned.text.encode()) + sum(cleaned.shrunk.values())
    assert set(cleaned.shrunk) <= {"control", "whitespace", "nfc"}


@given(text=ANY_TEXT)
def test_cleaning_what_is_clean_changes_nothing(text: str) -> None:
    once = clean_text(text).text
    assert clean_text(once).text == once
    assert clean_text(once).shrunk == {}


@given(text=ANY_TEXT)
def test_no_letter_is_lost(text: str) -> None:
    def letters(value: str) -> str:
        return "".join(unicodedata.normalize("NFC", "".join(c for c in value if c.isalnum())))

    assert letters(clean_text(text).text) == letters(text)


@given(text=ANY_TEXT)
def test_paragraphs_are_apart_by_one_blank_line(text: str) -> None:
    cleaned = clean_text(text).text
    assert "\n\n\n" not in cleaned
    assert "  " not in cleaned
    assert not any(line != line.strip(" ") for line in cleaned.split("\n"))
    assert unicodedata.is_normalized("NFC", cleaned)


@pytest.mark.parametrize(
    ("language", "score", "characters", "expected"),
    [
        ("en", 0.65, 200, None),
        ("en", 0.6499, 200, ("language", "en 0.65", "en 0.65")),
        ("es", 0.99, 500, ("language", "es 0.99", "en 0.65")),
        ("en", 1.0, 199, ("too_short", "199", "200")),
        ("und", 0.0, 0, ("empty", "0", "1")),
    ],
)
def test_documents_are_dropped_by_the_first_rule_that_holds(
    language: str, score: float, characters: int, expected: tuple[str, str, str] | None
) -> None:
    assert drop_reason(language, score, characters, CleanConfig()) == expected


def test_no_language_keeps_every_language() -> None:
    assert drop_reason("es", 0.1, 300, CleanConfig(language="")) is None
