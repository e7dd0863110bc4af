"""Plain-text books to paragraphs."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus.extract.book import extract_book, is_hard_wrapped, join_paragraphs, mend_headings
from rbt.corpus.extract.gutenberg import FOOTER_CHARACTERS, HEADER_CHARACTERS, strip_gutenberg

WRAPPED = "\n".join(["This line of the paragraph is about as long as a page is wide, or so"] * 5 + ["and ends here."])
STORY = "\n\n".join(f"Paragraph {number} of the story says a little more." for number in range(60))
HEADER = "The Project Gutenberg EBook of X, by Y\n\nThis eBook is for the use of anyone.\n\n"
LICENSE = "\n\nUpdated editions will replace the previous one.\n" + "You may copy it.\n" * 300


def test_wrapped_lines_are_joined_to_paragraphs() -> None:
    """Lines that a page's width broke are one paragraph again, whatever the line ends."""
    text = f"TITLE\r\n\r\n\r\n{WRAPPED}\r\n \r\n{WRAPPED}\r\n".replace("\n", "\r\n").replace("\r\r", "\r")
    assert extract_book(text).text == "\n\n".join(["TITLE", WRAPPED.replace("\n", " "), WRAPPED.replace("\n", " ")])


def test_paragraphs_that_only_an_indent_parts_stay_apart() -> None:
    """A book without blank lines is no paragraph of its own; verse in a book with them stays in its paragraph."""
    plain = WRAPPED.replace("\n", " ")
    assert join_paragraphs("\n".join(f"   {WRAPPED}" for _ in range(9))) == "\n\n".join([plain] * 9)
    verse = f"{WRAPPED}\n    Roses are red,\n    violets are blue.\n{WRAPPED}"
    found = join_paragraphs("\n\n".join([verse, *[WRAPPED] * 9]))
    assert found == "\n\n".join([f"{plain} Roses are red, violets are blue. {plain}", *[plain] * 9])


def test_lines_that_are_paragraphs_stay_apart() -> None:
    """Long lines and short verses are not taken for hard-wrapped ones."""
    long = "This paragraph stands on one line and is much longer than any page is wide. " * 3
    assert join_paragraphs(f"{long}\n{long}\nShort.\n") == "\n\n".join([long.strip(), long.strip(), "Short."])
    assert not is_hard_wrapped([["Roses are red,", "violets are blue."]])
    assert not is_hard_wrapped([])


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("*** START OF THE PROJECT GUTENBERG EBOOK X ***", "*** END OF THE PROJECT GUTENBERG EBOOK X ***"),
        ("*** START OF THIS PROJECT GUTENBERG EBOOK X ***", "*** END OF THIS PROJECT GUTENBERG EBOOK X ***"),
        ("***START OF THE PROJECT GUTENBERG EBOOK X***", "***END OF THE PROJECT GUTENBERG EBOOK X***"),
        ("*** START OF THE PROJECT GUTENBERG EBOOK A LONG\nTITLE, OF TWO LINES ***", "*** START: FULL LICENSE ***"),
        ("*** START OF PROJECT GUTENBERG EBOOK X", "End of the Project Gutenberg EBook of X, by Y"),
        ("*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*", "End of Project Gutenberg's X, by Y"),
        ("*END THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*", "End of The Project Gutenberg Etext of X"),
        ("*** START OF THE PROJECT GUTENBERG EBOOK X ***", "***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**"),
        ("*** START OF THE PROJECT GUTENBERG EBOOK X ***", "      End of this Project Gutenberg Etext of X"),
    ],
)
def test_header_and_footer_of_project_gutenberg_go_in_all_their_spellings(start: str, end: str) -> None:
    """What stands between the marks is the book, exactly."""
    stripped = strip_gutenberg(f"{HEADER}{start}\n\n{STORY}\n\n{end}{LICENSE}")
    assert (stripped.text.strip(), stripped.oddity) == (STORY, "")


def test_a_book_with_the_small_print_before_and_the_marks_behind_it_begins_at_the_later_one() -> None:
    """A header of the 1990s inside one of the 2000s: both go."""
    text = (
        f"{HEADER}*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.1*END*\n\nMore.\n\n"
        f"*** START OF THIS PROJECT GUTENBERG EBOOK X ***\n\n{STORY}\n\nEnd of Project Gutenberg's X\n"
        f"*** END OF THIS PROJECT GUTENBERG EBOOK X ***{LICENSE}"
    )
    assert strip_gutenberg(text).text.strip() == STORY


@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("*** START OF THE PROJECT GUTENBERG EBOOK X ***", "*** END OF THE PROJECT GUTENBERG EBOOK X ***"),
        ("*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*", "End of Project Gutenberg's X, by Y"),
    ],
)
def test_of_several_books_in_one_file_none_is_lost(start: str, end: str, number: int) -> None:
    """Short books, each in its wrapping: what is between them stays and is told."""
    books = [STORY.replace("Paragraph", f"Part {book},") for book in range(number)]
    stripped = strip_gutenberg("\n".join(f"{HEADER}{start}\n\n{book}\n\n{end}{LICENSE}" for book in books))
    assert all(book in stripped.text for book in books)
    assert stripped.text.startswith("\n\nPart 0") and stripped.text.rstrip().endswith(books[-1][-40:])
    assert "in the middle" in stripped.oddity


def test_the_small_print_at_the_end_is_no_beginning() -> None:
    """Its last line is a start mark in older texts, and here would leave nothing of the book."""
    text = f"{STORY}\n\n***START**THE SMALL PRINT!***\nLegal.\n*END*THE SMALL PRINT! FOR PUBLIC DOMAIN*Ver.1*END*\n"
    assert strip_gutenberg(text).text.strip() == STORY


def test_credits_and_delimited_notes_of_the_transcriber_go() -> None:
    """Only at the beginning, only where Gutenberg's marks are; notes wherever they are delimited."""
    note = "[Transcriber's Note: the spelling of [sic] was kept.]"
    box = "+-------------------+\n| Transcriber's Note |\n| One typo mended.  |\n+-------------------+"
    text = (
        f"*** START OF THE PROJECT GUTENBERG EBOOK X ***\n\nProduced by A. Volunteer and the Online Distributed\n"
        f"Proofreading Team\n\n{note}\n\n{STORY}\n\n{box}\n\nProduced by the harvest, the bread was good.\n\n"
        f"*** END OF THE PROJECT GUTENBERG EBOOK X ***"
    )
    assert strip_gutenberg(text).text.split() == f"{STORY} Produced by the harvest, the bread was good.".split()
    assert strip_gutenberg("Produced by hand.\n\nA tale.").text == "Produced by hand.\n\nA tale."


def test_a_long_paragraph_is_no_credit() -> None:
    """Whatever word it begins with: a book may begin with "Produced by"."""
    tale = "Produced by the harvest, the bread was good. " * 40
    start = "*** START OF THE PROJECT GUTENBERG EBOOK X ***"
    assert strip_gutenberg(f"{start}\n\nProduced by A. Volunteer\n\n{tale}\n\n{STORY}").text == f"{tale}\n\n{STORY}"


def test_odd_marks_eat_no_book() -> None:
    """A mark in the middle of a long text, or two marks around nothing, cost no text and are told."""
    middle = "a\n" * HEADER_CHARACTERS
    for mark in ("*** START OF THE PROJECT GUTENBERG EBOOK X ***", "End of the Project Gutenberg EBook of X"):
        stripped = strip_gutenberg(f"{middle}{mark}\n{'b ' * FOOTER_CHARACTERS}")
        assert len(stripped.text) >= len(middle) + 2 * FOOTER_CHARACTERS
        assert "in the middle" in stripped.oddity
    nothing = f"{STORY}\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\n*** END OF THE PROJECT GUTENBERG EBOOK X ***\n"
    assert strip_gutenberg(nothing).text == nothing
    assert strip_gutenberg(nothing).oddity.startswith("0 of")
    assert strip_gutenberg("No marks.\n*** A line of stars ***").text == "No marks.\n*** A line of stars ***"


@given(
    words=st.lists(st.sampled_from(["the", "*** START OF THIS PROJECT GUTENBERG EBOOK", "[Transcriber's Note", "]",
        "End of the Project Gutenberg EBook", "*END*THE SMALL PRINT!", "+----+", "| transcriber", "\n\n", "x" * 300])),
)
def test_at_most_header_footer_and_notes_are_taken(words: list[str]) -> None:
    """Whatever the marks, what is left is a part of the text, and not next to nothing of it."""
    text = "\n".join(words)
    stripped = strip_gutenberg(text)
    places = iter(text.split())
    assert all(word in places for word in stripped.text.split())
    assert len(stripped.text.strip()) >= 0.02 * len(text.strip())


def test_headings_that_epub2txt_wrote_twice_stand_once() -> None:
    """`** Title` and `Title{{{2` are one heading; stars and braces elsewhere stay."""
    text = "* One\nOne{{{1\nIt began.\n** A title\nA title{{{2\nIt went on.\n* not a heading\nLast{{{3\n{{{ stays"
    lines = [line for line in mend_headings(text).split("\n") if line]
    assert lines == ["One", "It began.", "A title", "It went on.", "* not a heading", "Last", "{{{ stays"]


@given(text=st.text(st.sampled_from("ab \n\t\r*") | st.characters(exclude_categories=["Cs"]), max_size=100))
def test_no_word_is_lost(text: str) -> None:
    """Without marks of Gutenberg's, every character but white space stays."""
    assert "".join(extract_book(text).text.split()) == "".join(text.split())


def test_novels_keep_every_word(data: Path) -> None:
    """Twelve novels without wrapping come out word for word."""
    for path in sorted((data / "books/100_english_novels").glob("*.txt")):
        text = path.read_text("utf-8-sig")
        assert extract_book(text).text.split() == text.split()


def test_gutenberg_texts_lose_their_credits_and_their_last_line(data: Path) -> None:
    """Three real texts: nothing of Gutenberg is left, and less than 300 characters go."""
    with zipfile.ZipFile(io.BytesIO((data / "books/hf_pg19_dummy.zip").read_bytes())) as archive:
        texts = [archive.read(name).decode() for name in archive.namelist() if name.endswith(".txt")]
    assert len(texts) == 3
    for text in texts:
        book = extract_book(text)
        assert "Gutenberg" not in book.text
        assert "Produced by" not in book.text[:1000]
        assert len("".join(text.split())) - len("".join(book.text.split())) < 300
        assert book.oddity == ""
