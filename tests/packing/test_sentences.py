"""Sentences: where they start in the text, and in tokens."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.packing.sentences import sentence_ends, sentence_starts

ODD = list("Ab. \n\t!?\"'é中の。😀\u00a0\u2028\u3000\x85\x1c\r\x0b1")
odd_text = st.text(alphabet=st.sampled_from(ODD), max_size=60)


def split_at(text: str, starts: list[int]) -> list[str]:
    return [text[left:right] for left, right in pairwise([*starts, len(text)])]


def test_sentences_start_at_their_first_visible_character() -> None:
    text = "  Mr. Hill came. He sat  down.  \n\nA new paragraph"
    assert split_at(text, sentence_starts(text, "en")) == [
        "Mr. Hill came. ", "He sat  down.  \n\n", "A new paragraph",
    ]


@pytest.mark.parametrize("blank", ["\n\n", "\n \n", "\n\t\n", "\r\n\r\n", "\n\n \n\n"])
def test_a_blank_line_ends_a_sentence(blank: str) -> None:
    text = f"without a stop{blank}and on"
    assert sentence_starts(text, "en") == [0, text.index("and")]


def test_a_line_break_alone_ends_none() -> None:
    assert sentence_starts("one line\nand the next", "en") == [0]


def test_an_initial_before_a_wide_space_is_segmented() -> None:
    for space in "\u00a0\u2028\u3000\x85":  # sentencex panics on these as they stand
        text = f"Vitamin A{space}. Good for you."
        assert sentence_starts(text, "en")[0] == 0


def test_a_failure_of_sentencex_leaves_paragraphs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class PanicException(BaseException):
        pass

    def panic(language: str, text: str) -> list[dict[str, int]]:
        raise PanicException

    monkeypatch.setattr("rbt.packing.sentences.sentencex.get_sentence_boundaries", panic)
    assert sentence_starts("One. Two.\n\nThree.", "en") == [0, 11]
    assert "sentencex failed" in caplog.text


@given(text=odd_text, language=st.sampled_from(["en", "", "ja", "de", "xx"]))
def test_starts_ascend_and_are_visible(text: str, language: str) -> None:
    starts = sentence_starts(text, language)
    assert starts == sorted(set(starts))
    assert all(not text[start].isspace() for start in starts)
    assert (starts[:1] == []) == (text.strip() == "")


@given(text=odd_text, cuts=st.sets(st.integers(1, 200)))
def test_a_sentence_starts_at_the_token_of_its_first_visible_character(text: str, cuts: set[int]) -> None:
    data = text.encode()
    token_ends = np.array(sorted({cut for cut in cuts if cut < len(data)} | ({len(data)} - {0})), dtype=np.int64)
    starts = sentence_starts(text, "en")
    tokens = {next(i for i, end in enumerate(token_ends) if end > len(text[:start].encode())) for start in starts}
    expected = sorted(tokens)[1:] + ([len(token_ends)] if len(token_ends) else [])
    ends = sentence_ends(text, "en", token_ends)
    assert ends.dtype == np.int64 and ends.tolist() == expected


def test_a_sentence_that_starts_between_two_tokens_starts_at_the_second() -> None:
    """"A" "." blank line "B", then "One" "." " Two", whose last token holds the space and the first letter."""
    assert sentence_ends("A.\n\nB", "en", np.array([1, 2, 4, 5])).tolist() == [3, 4]
    assert sentence_ends("One. Two", "en", np.array([3, 4, 8])).tolist() == [2, 3]


def test_a_document_without_tokens_has_no_sentence() -> None:
    assert sentence_ends("", "en", np.empty(0, dtype=np.int64)).tolist() == []


def test_white_space_alone_is_one_sentence() -> None:
    assert sentence_ends(" \n\n ", "en", np.array([1, 3, 4])).tolist() == [3]


def test_a_long_run_of_blank_lines_is_one_break() -> None:
    text = "a" + "\n" * 200_000 + "b"
    assert sentence_starts(text, "en") == [0, 200_001]


@given(numbers=st.lists(st.integers(0, 30), max_size=12), piece=st.integers(40, 200))
def test_pieces_of_whole_paragraphs_give_what_the_whole_text_gives(numbers: list[int], piece: int) -> None:
    text = "\n\n".join(f'"He said {number}. Then "no". ' * (1 + number % 2) for number in numbers)
    whole = sentence_starts(text, "en")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rbt.packing.sentences.PIECE_CHARACTERS", piece + 60)  # no paragraph is longer
        assert sentence_starts(text, "en") == whole


def test_a_paragraph_longer_than_a_piece_is_cut_at_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "A short one. " * 100
    monkeypatch.setattr("rbt.packing.sentences.PIECE_CHARACTERS", 64)
    assert sentence_starts(text, "en") == list(range(0, len(text), 13))
