"""Parts: the same bytes however the documents arrive."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.errors import ArtefactError
from rbt.formats import document, parts
from rbt.formats.parts import open_table, random_documents, read_batches, rebatch, write_part
from rbt.manifest import Manifest, record_files, write_manifest
from rbt.rng import rng


def batch(numbers: range, length: int = 10) -> pa.RecordBatch:
    rows = [
        {**{name: f"{name}-{n}" for name in document.SCHEMA.names if name != "language_score"},
         "language_score": 1.0, "id": f"a:{n}", "text": f"{n} " * (1 + n % length)}
        for n in numbers
    ]
    return pa.RecordBatch.from_pylist(rows, schema=document.SCHEMA)


@given(st.lists(st.integers(1, 99), max_size=6))
def test_invariant_2_a_part_does_not_depend_on_the_cuts_of_what_came_in(cuts: list[int]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        whole, cut = Path(folder) / "whole.arrow", Path(folder) / "cut.arrow"
        write_part(whole, [batch(range(100))])
        edges = sorted({0, 100, *cuts})
        write_part(cut, [batch(range(100)).slice(a, b - a) for a, b in pairwise(edges)])
        assert whole.read_bytes() == cut.read_bytes()


def test_batches_end_at_their_bytes_and_at_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "BATCH_BYTES", 100)
    monkeypatch.setattr(parts, "BATCH_DOCUMENTS", 7)
    found = list(rebatch([batch(range(50)), batch(range(50, 60))], "text"))
    assert sum(b.num_rows for b in found) == 60
    for one in found:
        sizes = [len(text) for text in one.column("text").to_pylist()]
        assert len(sizes) <= 7
        assert sum(sizes[:-1]) < 100
    assert [b.num_rows for b in rebatch([batch(range(15))])] == [7, 7, 1]


def test_a_file_that_is_cut_or_another_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "part.arrow"
    write_part(path, [batch(range(30))])
    with pytest.raises(ArtefactError, match=r"part\.arrow: expected columns"):
        open_table(path, pa.schema([("x", pa.int64())]))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ArtefactError, match=r"part\.arrow: expected an Arrow file"):
        list(read_batches(path))


def make_corpus(folder: Path, edges: list[int], parent: str = "") -> parts.Corpus:
    facts = []
    for number, (start, stop) in enumerate(pairwise(edges)):
        write_part(folder / parts.part_name(number), [batch(range(start, stop))])
        facts.append({"path": parts.part_name(number), "documents": stop - start, "bytes": 1})
    records = record_files(folder, [fact["path"] for fact in facts])
    found = {"generation": int(bool(parent)), "parts": facts, "sources": {}}
    write_manifest(folder, Manifest(parts.KIND, parts.VERSION, "test", 1, {}, {"parent": parent}, records, found))
    return parts.open_corpus(folder.parent if parent else folder)


def test_documents_drawn_at_random_are_those_of_the_whole_corpus(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, [0, 10, 25, 40])
    expected = sorted(rng(3, "show").choice(40, size=12, replace=False).tolist())
    assert [row["id"] for row in random_documents(corpus, 12, 3)] == [f"a:{n}" for n in expected]
    assert len(random_documents(corpus, 99, 3)) == 40


def test_generations_are_read_as_one_corpus(tmp_path: Path) -> None:
    parent = make_corpus(tmp_path, [0, 10]).fingerprint
    corpus = make_corpus(tmp_path / "generation-0001", [10, 30], parent)
    assert corpus.documents() == 30
    assert [part.path.parent.name for part in corpus.parts()][-1] == "generation-0001"
    assert parts.find_document(corpus, "a:29") is not None
    assert parts.find_document(corpus, "a:30") is None
