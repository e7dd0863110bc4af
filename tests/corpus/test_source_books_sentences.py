"""BookCorpus as sentences: pseudo-documents, guessed books, and the file of marked books."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus.config import SourceConfig
from rbt.corpus.reading import Reading
from rbt.corpus.sources import sentence_lines
from rbt.corpus.sources.sentence_lines import PSEUDO_DOCUMENT_BYTES, group_lines, join_sentences
from rbt.corpus.sources.text import Line
from rbt.packing.sentences import sentence_starts

SENTENCES = [f"`` i ca n't see number {number} , '' he said" + " ." * (number % 7 > 0) for number in range(6000)]
PLAIN = [f'"i can\'t see number {number}," he said' + "." * (number % 7 > 0) for number in range(6000)]
CONFIG = SourceConfig("bookcorpus", ())


def lines(texts: list[str]) -> list[Line]:
    """Lines of a file."""
    found, offset = [], 0
    for number, text in enumerate(texts, start=1):
        data = text.encode()
        found.append(Line(number, offset, data, len(data) + 1))
        offset += len(data) + 1
    return found


def grouped(texts: list[str], **options: Any) -> tuple[list[list[str]], Reading]:
    """The paragraphs of each document of a file of sentences."""
    reading = Reading("bookcorpus", "x.txt")
    config = SourceConfig("bookcorpus", (), **options)
    documents = list(group_lines(lines(texts), "x", "", config, reading))
    assert [document.payload_bytes for document in documents] and reading.row.incoming.documents == len(documents)
    return [document.text.split("\n\n") for document in documents], reading


def check_pieces(outcome: Any) -> None:
    """Every sentence once, in order, as a paragraph; sizes bounded; flagged as pieces."""
    assert [line for text in outcome.texts for line in text.split("\n\n")] == PLAIN
    assert len(outcome.texts) > 2
    sizes = [document.payload_bytes for document in outcome.documents]
    assert all(PSEUDO_DOCUMENT_BYTES <= size < PSEUDO_DOCUMENT_BYTES + 100 for size in sizes[:-1])
    assert outcome.reading.has_documents is False
    assert outcome.reasons == []


def test_the_published_files_are_known_by_name(tmp_path: Path, read_source: Any) -> None:
    """books_large_p1.txt becomes pseudo-documents without tokens, named after their first line."""
    path = tmp_path / "books_large_p1.txt"
    path.write_text("".join(f"{sentence}\n" for sentence in SENTENCES))
    outcome = read_source(path, "bookcorpus")
    check_pieces(outcome)
    first, second = outcome.documents[:2]
    stop = first.text.count("\n\n") + 1
    assert (first.id, first.locator) == ("bookcorpus:books_large_p1:1", f"1-{stop}")
    assert second.id == f"bookcorpus:books_large_p1:{stop + 1}"


@pytest.mark.parametrize("form", ["txt", "tar.bz2", "zip", "parquet", "jsonl"])
def test_every_mirror_gives_the_same_pieces(form: str, tmp_path: Path, read_source: Any) -> None:
    """The file itself, archives of it, and the Hub's table of one sentence a row."""
    path, content = tmp_path / f"books_large_p2.{form}", "".join(f"{line}\n" for line in SENTENCES).encode()
    if form == "parquet":
        pq.write_table(pa.table({"text": SENTENCES}), path, row_group_size=1000)
    elif form == "jsonl":
        path.write_text("".join(f'{{"text": "{line}"}}\n' for line in SENTENCES))
    elif form == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bookcorpus/books_large_p2.txt", content)
    elif form == "tar.bz2":
        with tarfile.open(path, "w:bz2") as archive:
            info = tarfile.TarInfo("bookcorpus/books_large_p2.txt")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    else:
        path.write_bytes(content)
    outcome = read_source(path, "bookcorpus")
    check_pieces(outcome)
    assert len({document.id for document in outcome.documents}) == len(outcome.documents)


def test_a_sentence_stays_a_sentence_for_the_splitter(tmp_path: Path, read_source: Any) -> None:
    """Lower-cased sentences, some without a full stop, are those that packing finds again."""
    path = tmp_path / "books_large_p1.txt"
    path.write_text("".join(f"{sentence}\n" for sentence in SENTENCES[:50]))
    [text] = read_source(path, "bookcorpus").texts
    starts = sentence_starts(text, "en")
    assert [text[start:stop].strip() for start, stop in pairwise([*starts, len(text)])] == PLAIN[:50]


def test_the_recipe_overrides_what_name_and_rows_say(tmp_path: Path, read_source: Any) -> None:
    """yes: any file of sentences; no: whole books, whatever they look like."""
    path = tmp_path / "mirror.txt"
    path.write_text("one .\ntwo .\n")
    assert read_source(path, "bookcorpus").texts == ["one .\n\ntwo ."]
    outcome = read_source(path, "bookcorpus", sentence_lines="yes")
    assert (outcome.texts, outcome.reading.has_documents) == (["one.\n\ntwo."], False)
    table = tmp_path / "rows.jsonl"
    table.write_text('{"text": "short"}\n{"text": "rows"}\n')
    assert read_source(table, "bookcorpus").texts == ["short\n\nrows"]
    outcome = read_source(table, "bookcorpus", sentence_lines="no")
    assert (outcome.texts, outcome.reading.has_documents) == (["short", "rows"], True)


def test_books_in_rows_are_not_taken_for_sentences(tmp_path: Path, read_source: Any) -> None:
    """Rows with a line feed, or longer than a sentence, are books, even if most rows of the table are short."""
    for text in ("a\\nb", "word " * 500):
        table = tmp_path / "rows.jsonl"
        table.write_text('{"text": "short"}\n' * 5 + f'{{"text": "{text}"}}\n')
        outcome = read_source(table, "bookcorpus")
        assert (len(outcome.texts), outcome.reading.has_documents) == (6, True)


def test_a_few_odd_rows_do_not_make_a_table_of_sentences_one_of_books(tmp_path: Path, read_source: Any) -> None:
    """The first hundred rows decide together: nine long ones are sentences that went wrong, ten are books."""
    for odd, has_documents in ((9, False), (10, True)):
        rows = ["A sentence ." for _ in range(200)]
        rows[5 : 5 + odd] = ["A long row . " * 400] * odd
        path = tmp_path / f"{odd}.parquet"
        pq.write_table(pa.table({"text": rows}), path)
        assert read_source(path, "bookcorpus").reading.has_documents == has_documents


def test_damage_costs_the_line_it_cuts_alone(tmp_path: Path, read_source: Any) -> None:
    """A cut file keeps its whole lines; bad bytes are left out and listed."""
    path = tmp_path / "books_large_p1.txt.gz"
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in SENTENCES).encode(), mtime=0)[:-2000])
    outcome = read_source(path, "bookcorpus")
    found = [line for text in outcome.texts for line in text.split("\n\n")]
    assert found == PLAIN[: len(found)]
    assert len(found) > 1000
    assert outcome.reasons == ["truncated"]
    plain = tmp_path / "books_large_p1.txt"
    plain.write_bytes(b"good .\nbad \xff one .\n")
    outcome = read_source(plain, "bookcorpus")
    assert outcome.texts == ["good.\n\nbad one."]
    assert [(row["reason"], row["offset"]) for row in outcome.reading.quarantined] == [("encoding", 11)]


def book(number: int, sentences: int = 600) -> list[str]:
    """A book as the published files have it."""
    return [
        f"the secret of mill number {number}", "by jane doe",
        f"copyright 20{number:02d} by jane doe . all rights reserved .", f"isbn : 978{number} .",
        *(f"sentence {line} of book {number} was long enough to be one ." for line in range(sentences)),
    ]


def test_books_are_guessed_from_their_copyright_pages() -> None:
    """A border stands before the title; marks that lie close are one page; documents count as whole then."""
    texts = [*book(1), *book(2), *book(3)]
    documents, reading = grouped(texts, split_books=True)
    assert [document[:2] for document in documents] == [
        [f"the secret of mill number {number}", "by jane doe"] for number in (1, 2, 3)
    ]
    assert [len(document) for document in documents] == [604, 604, 604]
    assert reading.has_documents is True
    assert grouped(texts)[1].has_documents is False


def test_a_guessed_book_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any mark, memory is still bounded."""
    monkeypatch.setattr(sentence_lines, "GUESSED_BOOK_BYTES", 1000)
    documents, _ = grouped([f"sentence {number} ." for number in range(500)], split_books=True)
    assert len(documents) > 5
    assert sum(map(len, documents)) == 500


def test_books_apart_by_five_blank_lines_are_whole() -> None:
    """make_sentlines' one file, where the recipe says that it is one: paragraphs are joined, and books are books."""
    one = ["Ann came.", "She saw.", "", "", "Ben left.", *[""] * 5]
    texts = [*one, "Two began.", "", "", "Two ended.", *[""] * 8, "Three."]
    documents, reading = grouped(texts, sentence_lines="yes")
    assert documents == [["Ann came. She saw.", "Ben left."], ["Two began.", "Two ended."], ["Three."]]
    assert reading.has_documents is True


@given(
    texts=st.lists(st.sampled_from(["", "a b", "copyright 2010", "all rights reserved", "isbn", "End ."]), max_size=60),
    split=st.booleans(),
)
def test_every_line_is_in_one_document(texts: list[str], split: bool) -> None:
    """Whatever the borders, lines come once and in order, and their bytes add up."""
    reading = Reading("bookcorpus", "x")
    config = SourceConfig("bookcorpus", (), split_books=split, detokenize=False)
    documents = list(group_lines(lines(texts), "x", "", config, reading))
    assert " ".join(document.text for document in documents).split() == " ".join(texts).split()
    assert reading.row.incoming.bytes == sum(len(text) + 1 for text in texts)
    assert len({document.id for document in documents}) == len(documents)


def test_sentences_become_paragraphs_of_the_text() -> None:
    """Lines are paragraphs, unless blank lines say what a paragraph is."""
    assert join_sentences("one .\ntwo .", True) == "one.\n\ntwo."
    assert join_sentences("one .\ntwo .", False) == "one .\n\ntwo ."
    assert join_sentences("one .\ntwo .\n\n\nthree .", True) == "one. two.\n\nthree."
