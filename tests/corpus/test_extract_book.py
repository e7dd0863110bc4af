"""Plain-text books to paragraphs."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus.extract.book import extract_book, is_hard_wrapped, join_paragraphs, strip_gutenberg

WRAPPED = "\n".join(["This line of the paragraph is about as long as a page is wide, or so"] * 5 + ["and ends here."])


def test_wrapped_lines_are_joined_to_paragraphs() -> None:
    joined = extract_book(
        f"TITLE\r\n\r\n\r\n{WRAPPED}\r\n \r\n{WRAPPED}\r\n".replace("\n", "\r\n").replace("\r\r", "\r")
    )
    assert joined == "\n\n".join(["TITLE", WRAPPED.replace("\n", " "), WRAPPED.replace("\n", " ")])


def test_lines_that_are_paragraphs_stay_apart() -> None:
    long = "This paragraph stands on one line and is much longer than any page is wide. " * 3
    assert join_paragraphs(f"{long}\n{long}\nShort.\n") == "\n\n".join([long.strip(), long.strip(), "Short."])
    assert not is_hard_wrapped([["Roses are red,", "violets are blue."]])
    assert not is_hard_wrapped([])


def test_the_header_and_footer_of_project_gutenberg_go() -> None:
    text = (
        "The Project Gutenberg eBook of X\n\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\n\nThe book.\n\n"
        "*** END OF THE PROJECT GUTENBERG EBOOK X ***\n\nLicense"
    )
    assert extract_book(text) == "The book."
    assert strip_gutenberg("No marks.\n*** A line of stars ***") == "No marks.\n*** A line of stars ***"


@given(text=st.text(st.sampled_from("ab \n\t\r*") | st.characters(exclude_categories=["Cs"]), max_size=100))
def test_no_word_is_lost(text: str) -> None:
    assert "".join(extract_book(text).split()) == "".join(text.split())


def test_novels_keep_every_word(data: Path) -> None:
    for path in sorted((data / "books/100_english_novels").glob("*.txt"))[:4]:
        text = path.read_text("utf-8-sig")
        assert extract_book(text).split() == text.split()
