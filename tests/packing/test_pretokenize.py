"""The split into words against Hugging Face tokenizers: every code point, fuzzed text, real files."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from rbt.packing import count, store
from rbt.packing.character_classes import CLASSES, LETTER, NUMBER, OTHER, SPACE, TABLE_FILE, character_classes
from rbt.packing.generate_character_classes import table_text
from rbt.packing.pretokenize import split_words, word_ends
from rbt.utf8 import REPLACEMENT, UNICODE, decode

BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False)
PATTERN = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
SURROGATES = range(0xD800, 0xE000)
ASSIGNED_BELOW = 0x34000  # above it only a few hundred code points are assigned, from 0xE0000 on
SPACES = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
NEARLY_SPACES = "\x00\u180e\u200b\u200d\ufeff\u2060"
NUMBERS, MARKS = "019½²٣Ⅳ〇৪", "\u0301\u0308\u094d\u20dd\ufe0f"
LETTERS, OTHERS = "azAZéßıſσжיあ中\U0001d4d0ʰª", "!.-_$€\"`~’👩\U0001f1eb"
CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'r", "'v", "'l", "'le", "''", " '", "'"]


def hugging_face_words(text: str) -> list[bytes]:
    return [text[start:end].encode() for _, (start, end) in BYTE_LEVEL.pre_tokenize_str(text)]


def points_in_company(points: Iterable[int]) -> str:
    """Every character behind a letter, a number, something else and a blank, and before each."""
    return "".join(f"a{c}1{c}!{c}{c} {c}\n" for c in map(chr, points))


def fuzzed(pieces: list[str]) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(pieces), max_size=40).map("".join)


@given(text=fuzzed([*SPACES, *NEARLY_SPACES, "a", "1", "!", " ", " "]))
def test_white_space_splits_as_in_hugging_face_tokenizers(text: str) -> None:
    assert split_words(text) == hugging_face_words(text)


@given(text=fuzzed([*CONTRACTIONS, *CONTRACTIONS, "s", "re", "l", "1", " ", "\n", "é"]))
def test_contractions_split_as_in_hugging_face_tokenizers(text: str) -> None:
    assert split_words(text) == hugging_face_words(text)


@given(text=fuzzed([*LETTERS, *OTHERS, *NUMBERS, *MARKS, *SPACES, *CONTRACTIONS]))
def test_mixed_text_splits_as_in_hugging_face_tokenizers(text: str) -> None:
    assert split_words(text) == hugging_face_words(text)


@given(text=st.text(max_size=80))
def test_any_text_splits_as_in_hugging_face_tokenizers(text: str) -> None:
    words = split_words(text)
    assert words == hugging_face_words(text)
    assert b"".join(words) == text.encode()


def test_most_code_points_split_as_in_hugging_face_tokenizers() -> None:
    points = [*range(0x800), *range(0x800, ASSIGNED_BELOW, 7), *range(ASSIGNED_BELOW, UNICODE, 1031)]
    text = points_in_company(point for point in points if point not in SURROGATES)
    assert split_words(text) == hugging_face_words(text)


@pytest.mark.slow
def test_every_code_point_splits_as_in_hugging_face_tokenizers() -> None:
    for first in range(0, UNICODE, 1 << 16):
        text = points_in_company(point for point in range(first, first + (1 << 16)) if point not in SURROGATES)
        assert split_words(text) == hugging_face_words(text)


@pytest.mark.slow
def test_the_pinned_classes_are_those_of_the_installed_tokenizers() -> None:
    assert TABLE_FILE.read_text("ascii") == table_text()


def test_the_pages_of_classes_hold_what_the_file_says() -> None:
    pages, classes = character_classes()
    assert len(pages) == UNICODE >> 8 and pages[0] == 0
    for line in TABLE_FILE.read_text("ascii").splitlines():
        first, last, name = line.split("\t")
        ends = {int(first, 16), int(last, 16)}
        assert {int(classes[pages[point >> 8], point & 255]) for point in ends} == {CLASSES.index(name)}
    examples = {"é": LETTER, "½": NUMBER, "\u2028": SPACE, "_": OTHER, "\u0301": OTHER, chr(0xD7FF): OTHER}
    assert {c: int(classes[pages[ord(c) >> 8], ord(c) & 255]) for c in examples} == examples


def test_the_regex_package_differs_where_it_knows_another_unicode() -> None:
    """Why the table is pinned to tokenizers: on characters that only one of the two knows, `regex` gives other ids."""
    pages, classes = character_classes()
    points = np.array([point for point in range(UNICODE) if point not in SURROGATES])
    ours = classes[pages[points >> 8], points & 255]
    differ = []
    for pattern, kind in ((r"\p{L}", LETTER), (r"\p{N}", NUMBER), (r"\s", SPACE)):
        theirs = np.zeros(len(points), dtype=bool)
        theirs[[match.start() for match in regex.finditer(pattern, "".join(map(chr, points)))]] = True
        differ += points[theirs != (ours == kind)].tolist()
    assert differ, "regex knows the Unicode of tokenizers now: PATTERN may stand for it"
    for point in differ[:: max(1, len(differ) // 50)]:
        text = f"a{chr(point)} b{chr(point)}1"
        assert split_words(text) == hugging_face_words(text)
    assert any(
        [word.encode() for word in PATTERN.findall(text)] != split_words(text)
        for text in (f"a{chr(point)}1" for point in differ)
    )


@given(data=st.binary(min_size=1, max_size=60), start=st.integers(0, 59))
def test_bytes_that_are_no_text_are_split_without_reading_beyond_the_end(data: bytes, start: int) -> None:
    array = np.frombuffer(data, dtype=np.uint8)
    for stop in range(min(start, len(data) - 1) + 1, len(data) + 1):
        first = min(start, len(data) - 1)
        ends = word_ends(array, first, stop, *character_classes()).tolist()
        assert ends[-1] == stop and sorted(set(ends)) == ends
        changed = array.copy()
        changed[stop:] ^= 0xFF
        assert word_ends(changed, first, stop, *character_classes()).tolist() == ends


def test_characters_are_decoded_and_cut_ones_are_replaced() -> None:
    for character in "\x80é߿ࠀ中\ud7ff\ue000\uffff\U00010000\U0010ffff":
        data = np.frombuffer(character.encode(), dtype=np.uint8)
        assert decode(data, 0, len(data)) == (ord(character), len(data))
        assert decode(data, 0, len(data) - 1) == (REPLACEMENT, 1)
    assert decode(np.frombuffer(b"\x80a", dtype=np.uint8), 0, 2) == (REPLACEMENT, 1)
    assert decode(np.frombuffer(b"\xf7\xbf\xbf\xbf", dtype=np.uint8), 0, 4) == (REPLACEMENT, 4)


def test_real_text_splits_as_in_hugging_face_tokenizers(data: Path) -> None:
    files = [*sorted((data / "books" / "100_english_novels").glob("*.txt"))[:2], data / "bpe" / "taylorswift.txt"]
    files += [data / "hostile" / "naughty" / "blns.json", *sorted((data / "langid").rglob("*devtest*"))]
    for path in (path for path in files if path.is_file()):
        text = path.read_bytes()[:400_000].decode("utf-8", "replace")
        assert split_words(text) == hugging_face_words(text), path.name


@pytest.mark.slow
def test_all_real_files_split_as_in_hugging_face_tokenizers(data: Path) -> None:
    seen = 0
    for path in sorted(path for path in data.rglob("*") if path.is_file()):
        content = path.read_bytes()  # packed ones too: what they are as text is as good as noise
        text = content[: 4 << 20].decode("utf-8", "replace")
        assert split_words(text) == hugging_face_words(text), path
        seen += len(text)
    assert seen > 1 << 20


def test_another_table_of_classes_raises_the_versions_of_what_is_split_by_it() -> None:
    """Receipts do not know the table: whoever generates it anew raises the stage versions beside its hash here."""
    digest = blake2b(TABLE_FILE.read_bytes(), digest_size=8).hexdigest()
    assert (digest, count.STAGE_VERSION, store.STAGE_VERSION) == ("597fbf1324938238", 1, 1)
