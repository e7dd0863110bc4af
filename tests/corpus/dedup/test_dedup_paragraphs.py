"""Paragraphs that documents share, against the rule applied one document after the other."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.config import Recipe, load_recipe
from rbt.corpus.build import add_generation, build_corpus
from rbt.corpus.cuts import cut_texts
from rbt.corpus.dedup import paragraphs
from rbt.corpus.dedup.paragraph_spans import cut_spans, hash_paragraphs, split_paragraphs
from rbt.corpus.dedup.shingles import character_table
from rbt.engine import LocalEngine
from rbt.formats import document
from rbt.formats.parts import open_corpus, open_table, string_buffers
from rbt.formats.verify import verify

Shingles = Callable[[str, int], set[tuple[str, ...]]]
ONE = LocalEngine(1)
WORDS = 3
texts = st.lists(st.text(alphabet="ab é\n", max_size=12), max_size=6).map("\n\n".join)


def as_arrays(documents: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    data, offsets = string_buffers(pa.array(documents, pa.string()))
    return data, offsets[:-1].astype(np.int64), offsets[1:].astype(np.int64)


@given(st.lists(texts, min_size=1, max_size=4))
def test_paragraphs_are_what_stands_between_blank_lines(documents: list[str]) -> None:
    data, starts, stops = as_arrays(documents)
    spans = split_paragraphs(data, starts, stops)
    found: list[list[str]] = [[] for _ in documents]
    for number, place, start, stop in spans.T.tolist():
        assert place == len(found[number])
        found[number].append(documents[number].encode()[start:stop].decode())
    assert found == [re.split("\n\n", text) for text in documents]


@given(st.lists(texts, min_size=2, max_size=4))
def test_paragraphs_have_one_hash_if_they_have_the_same_words(
    reference_shingles: Shingles, documents: list[str]
) -> None:
    data, starts, stops = as_arrays(documents)
    hashes, counts = hash_paragraphs(data, starts, split_paragraphs(data, starts, stops), character_table())
    words = [next(iter(reference_shingles(part, 10**9))) for text in documents for part in re.split("\n\n", text)]
    assert counts.tolist() == [len(found) for found in words]
    keys = [tuple(pair) for pair in hashes.tolist()]
    assert [keys.index(key) for key in keys] == [words.index(found) for found in words]


@given(st.lists(st.tuples(st.text(alphabet="xy", min_size=1, max_size=4), st.booleans()), min_size=1, max_size=8))
def test_what_stays_of_a_text_is_its_other_paragraphs_a_blank_line_apart(parts: list[tuple[str, bool]]) -> None:
    text = "\n\n".join(part for part, _ in parts)
    data, starts, stops = as_arrays([text])
    goes = np.array([is_cut for _, is_cut in parts])
    cuts, whole, gone = cut_spans(split_paragraphs(data, starts, stops), goes, 0.5)
    lost = sum(len(part) for part, is_cut in parts if is_cut)
    expected = text if lost > len(text) / 2 else "\n\n".join(part for part, is_cut in parts if not is_cut)
    assert cut_texts(pa.array([text]), cuts[0], cuts[1:]).to_pylist() == [expected]
    assert (len(whole), gone[0]) == ((1, 0) if lost > len("\n\n".join(p for p, _ in parts)) / 2 else (0, goes.sum()))


def by_the_rule(documents: list[str], shingles: Shingles) -> list[str]:
    """Documents after cutting, in order."""
    seen: dict[tuple[str, ...], int] = {}
    result = []
    for number, text in enumerate(documents):
        parts = text.split("\n\n")
        words = [next(iter(shingles(part, 10**9))) for part in parts]
        goes = [len(found) >= WORDS and seen.setdefault(found, number) < number for found in words]
        lost = sum(len(part.encode()) for part, is_cut in zip(parts, goes, strict=True) if is_cut)
        kept = "\n\n".join(part for part, is_cut in zip(parts, goes, strict=True) if not is_cut)
        result.append(text if lost > len(text.encode()) / 2 else kept)
    return result


def random_documents(generator: random.Random) -> list[str]:
    common = [" ".join(generator.choices("abcdeé", k=generator.randrange(1, 7))) for _ in range(12)]
    documents = []
    for number in range(20):
        count = generator.randrange(1, 4)
        own = [f"own{number} word{place} of this text that nobody else has" for place in range(count)]
        parts = own + [generator.choice(common) for _ in range(generator.randrange(4))]
        generator.shuffle(parts)
        parts = [part.upper() if generator.random() < 0.2 else part for part in parts]
        documents.append("\n\n".join(parts))
    return documents


def recipe(folder: Path, names: str) -> Recipe:
    lines = ["[corpus]\npart_bytes = 900", '[clean]\nlanguage = ""\nminimum_characters = 1']
    lines += [f"[deduplicate]\nexact = false\nnear = false\nparagraphs = true\nparagraph_words = {WORDS}"]
    for name in names:
        lines += [f'[[source]]\nkind = "table"\nname = "{name}"\npaths = ["{name}.jsonl"]\n'
                  'columns = { id = "id", text = "text" }']
    path = folder / f"{names}.toml"
    path.write_text("\n".join(lines))
    return load_recipe(str(path))


def kept(folder: Path) -> list[str]:
    corpus = open_corpus(folder)
    return [text for part in corpus.parts() for text in open_table(part.path, document.SCHEMA)["text"].to_pylist()]


@pytest.mark.parametrize("seed", range(4))
def test_paragraphs_of_an_earlier_document_are_cut_in_one_build_and_in_a_corpus_that_grows(
    tmp_path: Path, reference_shingles: Shingles, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paragraphs, "RUN_PARAGRAPHS", 7)
    documents = random_documents(random.Random(seed))
    for name, stretch in (("x", documents[:8]), ("y", documents[8:])):
        rows = [json.dumps({"id": str(number), "text": text}) for number, text in enumerate(stretch)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
    manifest = build_corpus(recipe(tmp_path, "xy"), tmp_path / "whole", ONE)
    expected = by_the_rule(documents, reference_shingles)
    assert expected != documents
    assert kept(tmp_path / "whole") == expected
    shrunk = sum(row.shrunk.get("repeated_paragraphs", 0) for _, _, row in manifest.ledger)
    assert shrunk == sum(len(a.encode()) - len(b.encode()) for a, b in zip(documents, expected, strict=True))
    build_corpus(recipe(tmp_path, "x"), tmp_path / "grown", ONE)
    add_generation(recipe(tmp_path, "y"), tmp_path / "grown", ONE)
    assert kept(tmp_path / "grown") == expected
    assert all(not verdict.problems for verdict in verify(tmp_path / "grown"))


def test_a_copy_of_a_document_is_removed_as_one_and_not_cut_to_pieces(tmp_path: Path) -> None:
    text = "\n\n".join(f"paragraph {number} has these words of its own" for number in range(6))
    lines = [json.dumps({"id": str(number), "text": text}) for number in range(2)]
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    config = recipe(tmp_path, "x")
    settings = ["deduplicate.exact=true", "deduplicate.near=true"]
    manifest = build_corpus(load_recipe(config.origin, settings), tmp_path / "corpus", ONE)
    assert kept(tmp_path / "corpus") == [text]
    rows = {(stage, source): row for stage, source, row in manifest.ledger}
    assert rows["paragraphs", "x"].other == {"paragraphs_cut": 0, "documents_left_whole": 1}
    assert rows["deduplicate", "x"].dropped["exact_duplicate"].documents == 1
