"""Cleaning and the length and language rules."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus.clean import clean_text, drop_reason, repair_mojibake
from rbt.corpus.config import CleanConfig

ANY_TEXT = st.text(st.characters() | st.sampled_from(" \t\r\n\u2028\u00a0\u200b\ufeff\ud800\x00e\u0301"), max_size=60)
INVISIBLE = ("Cc", "Cf", "Cs", "Zs", "Zl", "Zp")  # Unicode's categories of controls, formats, surrogates, white space
NONCHARACTERS = {*range(0xFDD0, 0xFDF0), 0xFFFE, 0xFFFF}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("  a \t b\u00a0\u3000c  \n  d ", "a b c\nd"),
        ("a\n\n\n \n\nb\n\n", "a\n\nb"),
        ("\ufeffa\u200bb\x00\x07\ud800c\u00ad", "abc"),
        ("a\u061cb\u200ec\u200fd\u202ae\u202ef\u2060g\u2066h\u2069i\ufdd0j\uffffk\x7fl\x9fm", "abcdefghijklm"),
        ("cafe\u0301", "café"),
        ("नमस्\u200dते 👨\u200d👩\u200d👧", "नमस्\u200dते 👨\u200d👩\u200d👧"),
        ("", ""),
    ],
)
def test_text_is_cleaned(text: str, expected: str) -> None:
    """Line ends, spaces, blank lines, what cannot be seen, composition; joiners stay."""
    assert clean_text(text).text == expected


@given(text=ANY_TEXT)
def test_bytes_in_are_bytes_out_and_shrunk(text: str) -> None:
    """The account of the rules balances on any text."""
    cleaned = clean_text(text)
    assert len(text.encode("utf-8", "surrogatepass")) == len(cleaned.text.encode()) + sum(cleaned.shrunk.values())
    assert set(cleaned.shrunk) <= {"control", "whitespace", "nfc"}


@given(text=ANY_TEXT)
def test_cleaning_what_is_clean_changes_nothing(text: str) -> None:
    """Once is enough."""
    once = clean_text(text).text
    assert clean_text(once).text == once
    assert clean_text(once).shrunk == {}


def visible(text: str) -> str:
    """What Unicode does not call a control, a format, white space or a noncharacter, composed."""
    left = (c for c in text if unicodedata.category(c) not in INVISIBLE and ord(c) not in NONCHARACTERS)
    return unicodedata.normalize("NFC", "".join(left))


@given(text=ANY_TEXT)
def test_no_visible_character_is_lost(text: str) -> None:
    """Cleaning takes and moves nothing that can be seen."""
    assert visible(clean_text(text).text) == visible(text)


def test_hostile_strings_are_cleaned_like_any(data: Path) -> None:
    """Naughty strings, one by one and all together: nothing visible goes, and once is enough."""
    whole = (data / "hostile/naughty/blns.txt").read_text("utf-8")
    for text in [whole, *whole.splitlines()]:
        cleaned = clean_text(text).text
        assert visible(cleaned) == visible(text)
        assert clean_text(cleaned).shrunk == {}


@given(paragraphs=st.lists(st.text("ab é字", min_size=1, max_size=9).filter(str.strip), max_size=5))
@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\n \t\n", "\n\n\n\n", "\u2029\u2028", " \n\u00a0\n "])
def test_paragraphs_stay_apart(paragraphs: list[str], end: str) -> None:
    """Every paragraph is there, with its words, one blank line from the next, however it was set apart."""
    cleaned = clean_text(end.join(paragraphs)).text
    assert [part.split() for part in cleaned.split("\n\n") if part] == [part.split() for part in paragraphs]


@pytest.mark.parametrize("piece", [" ", "\n", "\r", " \n", "\t ", "\u200b", "\u00a0\n", "a ", "e\u0301"])
def test_long_runs_are_cleaned_like_short_ones(piece: str) -> None:
    """A megabyte of any one thing comes out as what two of it come out as, repeated where it is text."""
    cleaned = clean_text(f"x{piece * 300_000}x").text
    short = clean_text(f"x{piece * 3}x").text
    assert set(cleaned) == set(short)
    assert (len(cleaned) == len(short)) == (not piece[0].isalpha())


@given(text=ANY_TEXT)
def test_paragraphs_are_apart_by_one_blank_line(text: str) -> None:
    """And lines have no space at their ends, words one between them."""
    cleaned = clean_text(text).text
    assert "\n\n\n" not in cleaned
    assert "  " not in cleaned
    assert not any(line != line.strip(" ") for line in cleaned.split("\n"))
    assert unicodedata.is_normalized("NFC", cleaned)


@pytest.mark.parametrize(
    ("language", "score", "characters", "expected"),
    [
        ("en", 0.65, 200, None),
        ("en", 0.6499, 200, ("language", "en 0.6499", "en 0.65")),
        ("es", 0.99, 500, ("language", "es 0.99", "en 0.65")),
        ("en", 1.0, 199, ("too_short", "199", "200")),
        ("und", 0.0, 0, ("empty", "0", "1")),
    ],
)
def test_documents_are_dropped_by_the_first_rule_that_holds(
    language: str, score: float, characters: int, expected: tuple[str, str, str] | None
) -> None:
    """With what they have and what was asked, which differ as they are written."""
    assert drop_reason(language, score, characters, CleanConfig()) == expected


def test_no_language_keeps_every_language() -> None:
    """An empty language asks for no score either."""
    assert drop_reason("es", 0.1, 300, CleanConfig(language="")) is None


@pytest.mark.parametrize("encoding", ["latin-1", "windows-1252", "macroman"])
@pytest.mark.parametrize("text", ["Größe und Maß", "naïve façade, señor", "un café à la crème"])
def test_mojibake_is_repaired_where_it_is_asked_for(text: str, encoding: str) -> None:
    """UTF-8 that was read as another encoding comes back; without the option it stays."""
    broken = text.encode().decode(encoding)
    repaired = clean_text(broken, mojibake=True)
    assert repaired.text == text
    assert repaired.shrunk == {"mojibake": len(broken.encode()) - len(text.encode())}
    assert "mojibake" not in clean_text(broken).shrunk
    assert clean_text(broken).text != text


def test_mojibake_is_repaired_line_by_line() -> None:
    """A line that no single-byte encoding can hold does not hide a broken one beside it."""
    assert repair_mojibake("日本語 ✔\ncafÃ©\nplain") == "日本語 ✔\ncafé\nplain"


@pytest.mark.parametrize(
    "text",
    [
        "“curly” ‘quotes’ and a don't", "\ufb01ne \ufb02ow \u0132", "\uff21\uff22\uff23 \uff76\uff85",
        "&amp; &eacute; &lt;", "\x1b[31mred\x1b[0m", "cafe\u0301", "10³ ½ µ", "a\r\nb\u2028c", "\ud83d\ude00", "Größe",
        "Ãé", "São Paulo, à côté", "lost caf\ufffd? here",
    ],
)
def test_mojibake_repair_touches_nothing_else(text: str) -> None:
    """Quotation marks, ligatures, widths, entities, escapes, composition, line ends and surrogates stay."""
    assert repair_mojibake(text) == text


def test_mojibake_repair_never_says_that_a_character_is_lost() -> None:
    """Where a byte was lost before, what is left is not replaced by U+FFFD, as ftfy does by default."""
    assert "\ufffd" not in repair_mojibake("â€œlossâ€? and â€œgainâ€?")


def test_mojibake_repair_leaves_real_text_alone(data: Path) -> None:
    """Not one of 10,120 sentences in ten languages is taken for broken."""
    for path in sorted((data / "langid/flores200_devtest").iterdir()):
        text = path.read_text("utf-8")
        assert repair_mojibake(text) == text, path.name
