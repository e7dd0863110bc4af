"""Two texts side by side: what is marked, what is left out, and that it fits."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus import side_by_side as view
from rbt.corpus.side_by_side import PLAIN, Word, display_width, line_text, line_width, side_by_side, split, wrap

LEFT = "the ferry left the old quay at seven and nobody spoke"
RIGHT = "the ferry left the quay at seven and somebody sang along"


def show(left: str, right: str, width: int = 200, lines: int = 50) -> list[str]:
    return side_by_side(left, right, width=width, lines=lines)


def test_differing_words_are_marked_on_the_side_that_has_them() -> None:
    (line,) = show(LEFT, RIGHT)
    assert [side.strip() for side in line.split(" | ")] == [
        "the ferry left the [-old-] quay at seven and [-nobody spoke-]",
        "the ferry left the quay at seven and {+somebody sang along+}",
    ]


def test_columns_are_half_the_width_and_lines_never_wider() -> None:
    for width in (40, 60, 81, 120):
        lines = show(LEFT, RIGHT, width)
        assert max(map(len, lines)) <= width
        assert {line.index(" | ") for line in lines} == {(width - 3) // 2}


def test_what_is_the_same_is_counted_and_not_shown() -> None:
    same = " ".join(f"w{number}" for number in range(100))
    lines = show(f"{same} left {same} x", f"{same} right {same} y")
    notes = [line for line in lines if line.startswith("...")]
    assert notes == ["... 92 words the same ...", "... 84 words the same ..."]
    assert show(f"{same} left {same}", f"{same} right {same}")[-1] == "... 92 words the same ..."


def test_equal_texts_show_their_start_and_say_so() -> None:
    lines = show(LEFT * 9, LEFT * 9)
    assert lines[-1] == "all 91 words are the same"
    assert "[-" not in "".join(lines)
    assert show("", "") == []


def test_a_text_that_goes_on_is_marked_at_its_end() -> None:
    note, line = show(LEFT, f"{LEFT} again")
    assert note == "... 3 words the same ..."
    assert line.endswith("nobody spoke {+again+}")


def test_more_differences_than_lines_are_counted() -> None:
    left = " ".join(f"same{number} " * 30 + f"a{number}" for number in range(12))
    right = left.replace(" a", " b")
    assert len(show(left, right, 400)) == 12 + 12
    lines = show(left, right, 400, lines=7)
    assert "... 8 more place(s) that differ ..." in lines
    assert lines[-1] == "... 240 words follow on the left, 240 on the right ..."


def test_a_long_difference_is_cut_and_what_is_left_of_it_counted() -> None:
    lines = show("a " + "x " * 500, "a " + "y " * 500, width=43, lines=6)
    assert any(re.fullmatch(r"\.\.\. \d+ more line\(s\) of this difference \.\.\.", line) for line in lines)
    assert len(lines) <= 8


def test_only_the_words_of_a_window_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    class Matcher(view.SequenceMatcher[str]):
        def __init__(self, junk: Any, a: list[str], b: list[str], autojunk: bool) -> None:
            compared.extend([len(a), len(b)])
            super().__init__(junk, a, b, autojunk)

    monkeypatch.setattr(view, "SequenceMatcher", Matcher)
    start = "once upon a time " * 5000
    text = " ".join(f"w{number}" for number in range(20_000))
    lines = show(start + text, start + "inserted words here " + text, lines=10**6)
    assert compared == [view.WINDOW, view.WINDOW]
    assert "... 19,992 words the same ..." in lines
    assert len([line for line in lines if "{+" in line]) == 1
    assert not [line for line in lines if "[-" in line]  # the window's end is no difference
    assert lines[-1].endswith("on the right, in part not compared ...")


words = st.lists(
    st.builds(Word, st.text(alphabet="ab中é", min_size=1, max_size=30), st.booleans(), st.booleans()), max_size=30
)


@given(words, st.integers(12, 40))
def test_no_word_is_lost_in_wrapping_and_no_line_is_too_wide(found: list[Word], column: int) -> None:
    lines = list(wrap(found, column, lambda text: text, 0))
    assert "".join(text.replace(" ", "") for text, _ in lines) == "".join(word.text for word in found)
    for text, size in [*lines, *wrap(found, column, PLAIN.left, PLAIN.width)]:
        assert display_width(text) == size <= column


@given(words)
def test_marks_of_a_line_stand_around_the_words_that_differ_and_no_others(found: list[Word]) -> None:
    line = line_text(found, PLAIN.right)
    assert display_width(line) == line_width(found, PLAIN.width)
    marked = "".join(re.findall(r"\{\+(.*?)\+\}", line)).replace(" ", "")
    assert marked == "".join(word.text for word in found if word.differs)


def test_a_character_of_an_unspaced_script_is_a_word_and_two_columns_wide() -> None:
    assert [word.text for word in split("東京 to Kyōto")] == ["東", "京", "to", "Kyōto"]
    assert show("東京は夜", "東京は朝", width=43) == ["東京は[-夜-]         | 東京は{+朝+}"]
    assert display_width("e\u0301") == 1
