"""Language identification on a bounded sample."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbt.corpus.language import WINDOW_CHARACTERS, identify, sample

CODES = {
    "arb": "ar",
    "deu": "de",
    "eng": "en",
    "fra": "fr",
    "jpn": "ja",
    "nld": "nl",
    "rus": "ru",
    "spa": "es",
    "swe": "sv",
    "zho": "zh",
}


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The quick brown fox jumps over the lazy dog, and nobody in the village has seen it since.", "en"),
        ("Der schnelle braune Fuchs springt über den faulen Hund, und niemand hat ihn seitdem gesehen.", "de"),
        ("Le renard brun et rapide saute par-dessus le chien paresseux, et personne ne l'a revu depuis.", "fr"),
    ],
)
def test_sentences_are_told_apart(text: str, language: str) -> None:
    found, score = identify(text)
    assert found == language
    assert 0.65 < score <= 1
    assert identify(text) == (found, score)


def test_what_has_no_letters_has_no_language() -> None:
    assert [identify(text) for text in ("", "  ", "12 + 34 = 46", "!?")] == [("und", 0.0)] * 4


def test_a_long_text_is_judged_by_its_start_middle_and_end() -> None:
    text = "a" * 5000 + "b" * 5000 + "c" * 5000
    assert set(sample(text)) == set("abc ")
    assert len(sample(text)) == 3 * WINDOW_CHARACTERS + 2
    assert sample("short") == "short"


def test_english_is_told_from_nine_languages(data: Path) -> None:
    wrong, english = [], 0
    for path in sorted((data / "langid/flores200_devtest").iterdir()):
        lines = path.read_text("utf-8").splitlines()
        for start in range(0, 300, 3):
            found, score = identify(" ".join(lines[start : start + 3]))
            taken = found == "en" and score >= 0.65
            english += taken
            if taken != (CODES[path.name[:3]] == "en"):
                wrong.append((path.name, start))
    assert wrong == []
    assert english == 100
