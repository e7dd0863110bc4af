"""Decontamination inside a build: what is cut, what is said of it, and that a build without it knows nothing of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rbt.config import Recipe, load_recipe
from rbt.corpus.build import add_generation, build_corpus
from rbt.corpus.summary import corpus_summary
from rbt.engine import LocalEngine
from rbt.errors import ArtefactError, RbtError
from rbt.formats import document, removals
from rbt.formats.parts import open_corpus, open_table
from rbt.formats.verify import verify

ONE = LocalEngine(1)
PASSAGE = " ".join(f"evaluated{number}" for number in range(20))
OTHER = " ".join(f"word{number} of a page that nobody asks about" for number in range(80))


def evaluation(folder: Path, passage: str = PASSAGE) -> None:
    (folder / "squad").mkdir(exist_ok=True)
    question: dict[str, Any] = {"id": "q1", "question": "Who wrote it?", "answers": [], "is_impossible": True}
    article = {"title": "T", "paragraphs": [{"context": passage, "qas": [question]}]}
    content = json.dumps({"version": "v2.0", "data": [article]})
    (folder / "squad" / "dev-v2.0.json").write_text(content)


def table(folder: Path, name: str, *texts: str) -> None:
    lines = [json.dumps({"id": str(number), "text": text}) for number, text in enumerate(texts)]
    (folder / f"{name}.jsonl").write_text("\n".join(lines))


def recipe(folder: Path, name: str, *settings: str, is_on: bool = True) -> Recipe:
    lines = ['[clean]\nlanguage = ""', f'[[source]]\nkind = "table"\nname = "{name}"\npaths = ["{name}.jsonl"]']
    lines += ['columns = { id = "id", text = "text" }', "maximum_duplicates = 1.0"]
    if is_on:
        lines += ['[decontaminate]\ntasks = { squad = "squad" }']
    (folder / f"{name}.toml").write_text("\n".join(lines))
    return load_recipe(str(folder / f"{name}.toml"), settings)


def kept(folder: Path) -> list[str]:
    parts = open_corpus(folder).parts()
    return [text for part in parts for text in open_table(part.path, document.SCHEMA)["text"].to_pylist()]


def test_an_evaluation_passage_is_cut_and_reported_and_everything_balances(tmp_path: Path) -> None:
    evaluation(tmp_path)
    rewrapped = PASSAGE.upper().replace(" ", "\n", 3)
    backwards = " ".join(reversed(OTHER.split()))
    table(tmp_path, "a", f"{OTHER} {rewrapped} {OTHER}", backwards, f"{backwards.upper()}!")
    manifest = build_corpus(recipe(tmp_path, "a"), tmp_path / "corpus", ONE)
    first, second = kept(tmp_path / "corpus")
    assert "evaluated" not in first.lower()
    assert second == backwards
    rows = {stage: row for stage, source, row in manifest.ledger if source == "a"}
    assert rows["decontaminate"].incoming == rows["filter"].outgoing
    assert rows["deduplicate"].incoming == rows["decontaminate"].outgoing
    assert rows["decontaminate"].shrunk["contaminated"] > len(PASSAGE)
    report = json.loads((tmp_path / "corpus" / "contamination.json").read_text())
    assert report["tasks"]["squad"]["documents_cut"] == 1
    lines = corpus_summary(tmp_path / "corpus", manifest)
    assert any(line.split()[:2] == ["squad", "1"] for line in lines)
    assert all(not verdict.problems for verdict in verify(tmp_path / "corpus"))
    assert build_corpus(recipe(tmp_path, "a"), tmp_path / "corpus", ONE).table() == manifest.table()


def test_a_dropped_document_is_in_the_list_of_removals(tmp_path: Path) -> None:
    evaluation(tmp_path)
    table(tmp_path, "a", f"{OTHER} {PASSAGE}", OTHER)
    build_corpus(recipe(tmp_path, "a", "decontaminate.mode=drop"), tmp_path / "corpus", ONE)
    found = open_table(tmp_path / "corpus" / removals.NAME, removals.SCHEMA).to_pylist()
    assert [(row["id"], row["stage"], row["rule"]) for row in found] == [("a:0", "decontaminate", "contaminated")]


def test_without_tasks_nothing_is_cut_and_no_file_or_row_speaks_of_it(tmp_path: Path) -> None:
    text = f"{OTHER} {PASSAGE} {OTHER}"
    table(tmp_path, "a", text)
    manifest = build_corpus(recipe(tmp_path, "a", is_on=False), tmp_path / "corpus", ONE)
    assert kept(tmp_path / "corpus") == [text]
    assert "decontaminate" not in {stage for stage, _, _ in manifest.ledger}
    assert "decontaminate" not in manifest.config
    assert not list((tmp_path / "corpus").rglob("contamination*"))


def test_other_evaluation_files_make_another_corpus_and_missing_ones_an_error(tmp_path: Path) -> None:
    evaluation(tmp_path)
    table(tmp_path, "a", f"{OTHER} {PASSAGE} {OTHER}")
    build_corpus(recipe(tmp_path, "a"), tmp_path / "corpus", ONE)
    evaluation(tmp_path, "another passage " * 20)
    with pytest.raises(ArtefactError, match="evaluation"):
        build_corpus(recipe(tmp_path, "a"), tmp_path / "corpus", ONE)
    build_corpus(recipe(tmp_path, "a"), tmp_path / "corpus", ONE, replace=True)
    assert "evaluated3" in kept(tmp_path / "corpus")[0]
    build_corpus(recipe(tmp_path, "a", is_on=False), tmp_path / "corpus", ONE, replace=True)
    assert not list((tmp_path / "corpus").glob("**/signatures/contamination*"))
    assert not (tmp_path / "corpus" / "contamination.json").exists()
    (tmp_path / "squad" / "dev-v2.0.json").unlink()
    with pytest.raises(RbtError, match="squad"):
        build_corpus(recipe(tmp_path, "a"), tmp_path / "other", ONE)
    assert not (tmp_path / "other").exists()


def test_a_generation_counts_the_documents_of_the_ones_before_it(tmp_path: Path) -> None:
    evaluation(tmp_path)
    own = [" ".join(f"{letter}{number}" for number in range(200)) for letter in "abcd"]
    table(tmp_path, "a", *(f"{text} {PASSAGE}" for text in own[:2]))
    table(tmp_path, "b", f"{own[2]} {PASSAGE}")
    table(tmp_path, "c", f"{own[3]} {PASSAGE}")
    settings = ("decontaminate.maximum_documents=3", "decontaminate.window_characters=0")
    build_corpus(recipe(tmp_path, "a", *settings), tmp_path / "corpus", ONE)
    add_generation(recipe(tmp_path, "b", *settings), tmp_path / "corpus", ONE)  # the third document: cut
    add_generation(recipe(tmp_path, "c", *settings), tmp_path / "corpus", ONE)  # the fourth: common by now
    assert kept(tmp_path / "corpus") == [*own[:3], f"{own[3]} {PASSAGE}"]
