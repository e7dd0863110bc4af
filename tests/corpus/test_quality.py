"""The statistics of the quality rules against a slow, obvious reference, and against counts made by hand."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus.clean import clean_text
from rbt.corpus.quality import BULLETS, COLUMNS, STOP_WORDS, score_texts

PIECES = [
    "the", "The", "be", "to", "with", "HAVE", "the-end", "thé", "cat", "sat", "x", "12", "3.5", "_", "a.b",
    "é", "字。", "да", "Ünd", "𝔘𝔫𝔦", "¿No?", "#", "##a", "...", "end...", "wait…", "-", "* item", "• item", "{", "}",
    "Lorem ipsum", "LOREM IPSUM", "JavaScript", "end.", "end!", 'said."', "so?”", "(yes.)", ".",
    "one two three four five six seven eight nine ten eleven.", "\n", "\n", "\n\n", "\n\n",
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=80).map(lambda pieces: clean_text(" ".join(pieces)).text)
FEW_WORDS = st.lists(st.sampled_from(["a", "bb", "ccc", "\n"]), max_size=120).map(" ".join)


def share(part: float, whole: float) -> float:
    """part / whole, 0 where there is nothing."""
    return part / whole if whole else 0.0


def repeats(items: Sequence[object]) -> list[int]:
    """Places of the items that occurred before."""
    return [place for place, item in enumerate(items) if item in items[:place]]


def ngram_share(words: list[str], length: int) -> float:
    """Share of the words' characters in the top n-gram (2 to 4 words), or in n-grams that occurred before."""
    grams = [tuple(words[place : place + length]) for place in range(len(words) - length + 1)]
    if length < 5:
        top, number = Counter(grams).most_common(1)[0] if grams else ((), 0)
        places = [place for place, gram in enumerate(grams) if gram == top] if number > 1 else []
    else:
        seen: set[object] = set()
        places = [place for place, gram in enumerate(grams) if gram in seen or seen.add(gram)]
    covered = {word for place in places for word in range(place, place + length)}
    return share(sum(len(words[word]) for word in covered), sum(map(len, words)))


def sentences(line: str) -> int:
    """Sentence ends of a line."""
    return len(re.findall(r"[.!?…][.!?…\"')\]”’]*(?= |$)", line)) + len(re.findall("[。！？]", line))


def reference(text: str) -> dict[str, float]:
    """All statistics, by definition."""
    words, lines = text.split(), [line for line in text.split("\n") if line]
    paragraphs = [part for part in text.split("\n\n") if part]
    kept = [
        line for line in lines
        if line.endswith((".", "?", "!", '"', "”")) and len(line.split()) >= 3 and "javascript" not in line.lower()
    ]
    found: dict[str, float] = {
        "gopher_words": len(words),
        "gopher_mean_word_length": share(sum(map(len, words)), len(words)),
        "gopher_hash_ratio": share(text.count("#"), len(words)),
        "gopher_ellipsis_ratio": share(text.count("...") + text.count("…"), len(words)),
        "gopher_bullet_lines": share(sum(line[0] in BULLETS for line in lines), len(lines)),
        "gopher_ellipsis_lines": share(sum(line.endswith(("...", "…")) for line in lines), len(lines)),
        "gopher_alphabetic_words": share(sum(any(map(str.isalpha, word)) for word in words), len(words)),
        "gopher_stop_words": len({*re.findall("[a-z\u0080-\U0010ffff]+", text.lower())} & {*STOP_WORDS}),
        "c4_sentences": sum(map(sentences, kept)),
        "c4_line_characters": share(sum(map(len, kept)), sum(map(len, lines))),
        "c4_curly_brackets": text.count("{") + text.count("}"),
        "c4_lorem_ipsum": text.lower().count("lorem ipsum"),
    }
    for name, stretches in (("line", lines), ("paragraph", paragraphs)):
        lengths = [len(stretch.replace("\n", "")) for stretch in stretches]
        places = repeats(stretches)
        found[f"gopher_duplicate_{name}s"] = share(len(places), len(stretches))
        found[f"gopher_duplicate_{name}_characters"] = share(sum(lengths[place] for place in places), sum(lengths))
    for length in range(2, 11):
        found[f"gopher_{'top' if length < 5 else 'duplicate'}_{length}gram"] = ngram_share(words, length)
    return found


def measured(*texts: str) -> list[dict[str, float]]:
    """What the kernels say of each text."""
    return [dict(zip(COLUMNS, row, strict=True)) for row in score_texts(pa.array(texts, pa.string())).tolist()]


@given(texts=st.lists(TEXTS | FEW_WORDS.map(lambda text: clean_text(text).text), min_size=1, max_size=4))
def test_all_statistics_are_what_the_definitions_say(texts: list[str]) -> None:
    """The kernels and the reference agree to the last bit, on any texts side by side in one array."""
    assert measured(*texts) == [reference(text) for text in texts]


@given(text=st.text(max_size=200))
def test_statistics_of_any_cleaned_text(text: str) -> None:
    """Whatever Unicode holds (letters whose lower case is another number of characters apart)."""
    cleaned = clean_text("".join(c for c in text if len(c.lower()) == 1)).text
    assert measured(cleaned) == [reference(cleaned)]


def test_statistics_of_real_text(data: Path) -> None:
    """News, stretches of novels and sentences in ten languages."""
    texts = [path.read_text("utf-8", "replace") for path in sorted((data / "general/bbc/tech").iterdir())[:20]]
    texts += [path.read_text("utf-8-sig")[5000:15000] for path in sorted((data / "books/100_english_novels").iterdir())]
    texts += [path.read_text("utf-8")[:4000] for path in sorted((data / "langid/flores200_devtest").iterdir())]
    texts = [clean_text(text).text for text in texts]
    assert measured(*texts) == [reference(text) for text in texts]


def test_a_slice_of_an_array_has_the_statistics_of_its_texts() -> None:
    """An Arrow array that starts within its buffers, and an empty one."""
    texts = pa.array(["one two three", "two be or to be", "", "a b c d e f"])
    assert score_texts(texts.slice(1, 2)).tolist() == score_texts(texts).tolist()[1:3]
    assert score_texts(texts.slice(0, 0)).shape == (0, len(COLUMNS))


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("one two three", "gopher_words", 3),
        ("no letters 12 345", "gopher_alphabetic_words", 0.5),
        ("the cat, The dog and a hat", "gopher_stop_words", 2),
        ("a\na\nb\n\na", "gopher_duplicate_lines", 0.5),
        ("aa\naa\nbb\n\naa", "gopher_duplicate_line_characters", 0.5),
        ("x y\nz\n\nx y\nz\n\nw", "gopher_duplicate_paragraphs", 1 / 3),
        ("ab c ab c de", "gopher_top_2gram", 0.75),
        ("a a a a", "gopher_top_2gram", 1),  # overlapping: each word counts once
        ("a b c d e f a b c d e g", "gopher_duplicate_5gram", 5 / 12),
        ("a b c d e f a b c d e g", "gopher_duplicate_6gram", 0),
        ("- one\n- two\nthree", "gopher_bullet_lines", 2 / 3),
        ("One two...\nthree…\nfour", "gopher_ellipsis_lines", 2 / 3),
        ("A heading\nOne is here. Two is here.", "c4_sentences", 2),
        ("Too short.\nEnable JavaScript to go on.\nNo mark at the end", "c4_sentences", 0),
        ("ten chars.\nIt is kept.", "c4_line_characters", 11 / 21),
    ],
)
def test_statistics_by_hand(text: str, column: str, expected: float) -> None:
    """Counts that a reader can check."""
    assert measured(text)[0][column] == pytest.approx(expected)
