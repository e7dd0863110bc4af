"""The rule by which Stories were chosen: question files, and the overlap of a text with them."""

from __future__ import annotations

import json
import re
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus.extract.ngram_overlap import overlap_score, question_ngrams
from rbt.corpus.extract.questions import BLANK, parse_questions
from rbt.corpus.story_scores import read_questions

QUESTIONS = ["The cup did not fit on the shelf because it was too wide.", "Ann gave Ben a book because she had two."]

# scores


def reference_score(text: str, questions: Sequence[str]) -> float:
    """The rule, with words as strings and bags as counters."""

    def bag(pieces: Sequence[str], length: int) -> Counter[tuple[str, ...]]:
        words = [re.findall(r"\w+", piece.lower()) for piece in pieces]
        return Counter(tuple(w[i : i + length]) for w in words for i in range(len(w) - length + 1))

    total = 0.0
    for length in (1, 2, 3, 4):
        theirs = bag([piece for question in questions for piece in question.split(BLANK)], length)
        ours = bag([text], length)
        both = ours.total() + theirs.total()
        total += length * 2 * (ours & theirs).total() / both if both else 0.0
    return total / 10


SENTENCES = st.lists(st.sampled_from(["a", "B", "b", "a's", "é", "É", ",", BLANK, "zz"]), max_size=25).map(" ".join)


@given(text=SENTENCES, questions=st.lists(SENTENCES, max_size=5))
def test_scores_are_those_of_the_rule(text: str, questions: list[str]) -> None:
    """The kernel against counters of strings; a blank parts words in questions and is a word in texts."""
    score = overlap_score(text, question_ngrams(questions))
    assert score == pytest.approx(reference_score(text, questions), abs=1e-12)
    assert 0 <= score <= 1


def test_the_questions_themselves_score_one_and_other_words_nothing() -> None:
    """The two ends of the scale."""
    table = question_ngrams([QUESTIONS[0]])
    assert overlap_score(QUESTIONS[0].upper(), table) == pytest.approx(1)
    assert overlap_score("Nothing whatever \ud800 of that kind", table) == 0
    assert overlap_score("", table) == 0


# questions

WSC = """<?xml version="1.0"?>
<!DOCTYPE collection [<!ENTITY big "no entity is ever resolved">]>
<collection><schema><text><txt1>
 The cup did not fit because</txt1>
<pron> it </pron><txt2> was too wide.
</txt2></text><answers><answer>The cup</answer><answer>the shelf</answer></answers><source>me</source></schema>
<schema><text><txt1>Ann &big; ran, but</txt1><pron>she</pron><txt2>fell.</txt2></text></schema></collection>"""


def test_every_layout_gives_the_question_sentences() -> None:
    """XML has the pronoun, the five-line layout a blank for it; answers, sources and entities are no question."""
    blanks = "Ann ran, but  [MASK]  fell.\n[MASK]\n Ann , Ben\n Ann\n\r\n[MASK] fell.\n[MASK]\nAnn\nAnn\n"
    assert parse_questions(WSC.encode()) == [
        "The cup did not fit because it was too wide.", "Ann &big; ran, but she fell.",
    ]
    assert parse_questions(blanks.encode()) == ["Ann ran, but [MASK] fell.", "[MASK] fell."]
    assert parse_questions(b"\xef\xbb\xbf" + "\n".join(QUESTIONS).encode()) == QUESTIONS


def test_only_the_273_questions_of_the_challenge_are_taken() -> None:
    """Later editions of the XML file have more behind them."""
    schema = "<schema><text><txt1>Question {}</txt1></text></schema>"
    edition = f"<collection>{''.join(schema.format(number) for number in range(285))}</collection>"
    assert parse_questions(edition.encode())[-1] == "Question 272"


@pytest.mark.parametrize("broken", [b"", b"\n \n", b"<collection>", b"<collection></collection>", b"\xff\xfe\xff"])
def test_a_file_without_questions_is_an_error(broken: bytes) -> None:
    """Scores against nothing would choose at random."""
    with pytest.raises(ValueError, match=r"question|XML|decode"):
        parse_questions(broken)


def test_the_real_question_files_are_read(data: Path) -> None:
    """60 and 273 questions; the first five of the XML edition are those of the text, but for the pronoun."""
    folder = data / "stories" / "commonsense"
    challenge = parse_questions((folder / "wsc273.txt").read_bytes())
    assert (len(parse_questions((folder / "PDP.txt").read_bytes())), len(challenge)) == (60, 273)
    with zipfile.ZipFile(folder / "hf_WSCollection_dummy.zip") as archive:
        edition = parse_questions(archive.read("dummy_data/WSCollection.xml"))
    assert len(edition) == 5
    for ours, theirs in zip(challenge, edition, strict=False):
        before, after = (piece.split() for piece in ours.split(BLANK))
        assert theirs.split()[: len(before)] == before
        assert theirs.split()[len(before) + 1 :] == after


# real texts


def test_real_stories_score_higher_than_news(data: Path) -> None:
    """MCTest's stories against the news pages, at equal length, by the real questions."""
    folder = data / "stories"
    table = question_ngrams(read_questions([str(folder / "commonsense" / n) for n in ("PDP.txt", "wsc273.txt")]))
    rows = (folder / "mctest" / "MCTest" / "mc500.train.tsv").read_text("utf-8").splitlines()
    stories = " ".join(row.split("\t")[2].replace("\\newline", " ") for row in rows)
    news = " ".join(articles(data))
    length = 3000
    means = [
        np.mean([overlap_score(text[at : at + length], table) for at in range(0, 60 * length, length)])
        for text in (stories, news)
    ]
    assert means[0] > 1.3 * means[1]
    assert 0.01 < means[0] < 0.08


def articles(data: Path) -> list[str]:
    """Bodies of the gold of real news pages."""
    lines = (data / "warc" / "derived" / "CC-NEWS-like-A.gold.jsonl").read_text("utf-8").splitlines()
    return [gold["articleBody"] for gold in map(json.loads, lines) if gold.get("articleBody")]
