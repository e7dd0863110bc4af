"""Stories as they were published: text files, and tables of mirrors."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rbt.corpus.sources import stories

STORIES = b"`` Stop , '' said Ann .\nBen did n't .\n\n \nIt rained .\n\n\nThe end ."


@pytest.mark.parametrize(("name", "compress"), [("stories.txt", bytes), ("stories.txt.gz", gzip.compress)])
def test_stories_are_blocks_between_blank_lines_with_their_tokens_joined(
    name: str, compress: Any, tmp_path: Path, read_source: Any
) -> None:
    """The published form: a sentence a line, a blank line between documents."""
    path = tmp_path / name
    path.write_bytes(compress(STORIES))
    outcome = read_source(path, "stories")
    assert outcome.texts == ['"Stop," said Ann. Ben didn\'t.', "It rained.", "The end."]
    assert [document.id for document in outcome.documents] == [f"stories:{name}:{number}" for number in (1, 2, 3)]
    assert [document.payload_bytes for document in outcome.documents] == [38, 12, 9]
    assert outcome.reading.has_documents


def test_line_ends_of_windows_change_nothing(tmp_path: Path, read_source: Any) -> None:
    """A blank line may hold a carriage return."""
    path = tmp_path / "stories.txt"
    path.write_bytes(b"\xef\xbb\xbf" + STORIES.replace(b"\n", b"\r\n"))
    assert read_source(path, "stories").texts == ['"Stop," said Ann. Ben didn\'t.', "It rained.", "The end."]


def test_tokens_stay_where_the_recipe_says_so(tmp_path: Path, read_source: Any) -> None:
    """`detokenize = false` joins the lines as they are."""
    path = tmp_path / "stories.txt"
    path.write_bytes(STORIES)
    assert read_source(path, "stories", detokenize=False).texts[0] == "`` Stop , '' said Ann . Ben did n't ."


def test_a_cut_file_loses_its_last_story_alone(tmp_path: Path, read_source: Any) -> None:
    """The story in which the file ends is quarantined, with all its lines."""
    path = tmp_path / "stories.txt.gz"
    path.write_bytes(gzip.compress(b"".join(b"Story %d .\nIt ends .\n\n" % n for n in range(9000)), mtime=0)[:-2000])
    outcome = read_source(path, "stories")
    assert len(outcome.documents) > 1000
    assert all(text == f"Story {number}. It ends." for number, text in enumerate(outcome.texts))
    [row] = outcome.reading.quarantined
    assert (row["reason"], row["locator"]) == ("truncated", str(len(outcome.documents) + 1))


def test_a_story_without_an_end_and_bad_bytes_are_quarantined(
    tmp_path: Path, read_source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document is bounded in memory; bytes that are no text are listed with their place."""
    monkeypatch.setattr(stories, "MAXIMUM_STORY_BYTES", 100)
    path = tmp_path / "stories.txt"
    path.write_bytes(b"x\n" * 60 + b"\nGood \xff one .\n")
    outcome = read_source(path, "stories")
    assert outcome.texts == ["Good one."]
    assert [(row["reason"], row["offset"]) for row in outcome.reading.quarantined] == [
        ("too_large", 0),
        ("encoding", 126),
    ]


@pytest.mark.parametrize("cut", [False, True])
def test_a_file_without_blank_lines_has_a_document_a_line(
    cut: bool, tmp_path: Path, read_source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not become one huge document; that its lines are documents is a guess, so the source has none."""
    monkeypatch.setattr(stories, "LINE_FORM_BYTES", 1000)
    path = tmp_path / "cc-stories.txt.gz"
    raw = gzip.compress(b"".join(b"Page %d is told here .\n" % number for number in range(9000)), mtime=0)
    path.write_bytes(raw[:-2000] if cut else raw)
    outcome = read_source(path, "stories")
    assert outcome.texts == [f"Page {number} is told here." for number in range(len(outcome.documents))]
    assert not outcome.reading.has_documents
    assert (1000 < len(outcome.documents) < 9000) if cut else (len(outcome.documents) == 9000)
    assert outcome.reasons == ["truncated"] * cut


def test_a_long_first_story_is_still_one(tmp_path: Path, read_source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with a blank line early enough keeps its long stories whole, and so does one below the limit."""
    monkeypatch.setattr(stories, "LINE_FORM_BYTES", 1000)
    long = b"It went on .\n" * 200
    for name, raw, expected in (("early.txt", b"Short .\n\n" + long, 2), ("small.txt", long[:900], 1)):
        (tmp_path / name).write_bytes(raw)
        outcome = read_source(tmp_path / name, "stories")
        assert len(outcome.documents) == expected
        assert outcome.reading.has_documents


def test_a_line_beyond_the_limit_is_quarantined_in_a_file_without_blank_lines(
    tmp_path: Path, read_source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No byte of it goes uncounted."""
    monkeypatch.setattr(stories, "LINE_FORM_BYTES", 50)
    monkeypatch.setattr(stories, "MAXIMUM_STORY_BYTES", 100)
    path = tmp_path / "lines.txt"
    path.write_bytes(b"First .\n" * 7 + b"x" * 200 + b"\nLast .\n")
    outcome = read_source(path, "stories")
    assert outcome.texts == ["First."] * 7 + ["Last."]
    assert outcome.reasons == ["too_large"]
    assert outcome.reading.row.dropped["quarantined_too_large"].bytes == 201


@pytest.mark.parametrize("form", ["parquet", "jsonl.gz"])
def test_rows_are_stories_with_their_tokens_joined(form: str, tmp_path: Path, read_source: Any) -> None:
    """A mirror's row is a document; its lines are sentences, its blank lines part paragraphs."""
    path = tmp_path / f"train.{form}"
    rows = [{"body": STORIES.decode()}, {"body": "`` No . ''"}, {"body": None}]
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    outcome = read_source(path, "stories", columns={"text": "body"})
    assert outcome.texts == ['"Stop," said Ann. Ben didn\'t.\n\nIt rained.\n\nThe end.', '"No."']
    assert outcome.reasons == ["missing_text"]
    kept = read_source(path, "stories", columns={"text": "body"}, detokenize=False)
    assert kept.texts[1] == "`` No . ''"
