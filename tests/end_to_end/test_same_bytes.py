"""Invariant 2: the same bytes whatever the machine does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def content(folder: Path) -> dict[str, bytes]:
    """Every file that is promised to be the same: all but provenance and the work folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "provenance.json" and "work" not in path.relative_to(folder).parts
    }


def differing(first: Path, second: Path) -> list[str]:
    """Names of files that differ between two folders, or are in one alone."""
    a, b = content(first), content(second)
    assert a
    return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow), "4"])
def test_v12_the_number_of_workers_changes_no_byte(
    built: Any, new_project: Callable[[], Any], workers: str
) -> None:
    project = new_project()
    project.must("corpus", "build", "--workers", workers)
    assert differing(project.folder / "corpus", built.folder / "corpus") == []
    project.must("bpe", "train")
    assert differing(project.folder / "tokenizer", built.folder / "tokenizer") == []
    project.must("pack", "--workers", workers)
    project.must("pack", "--workers", workers, "--format", "doc-sentences")
    assert differing(project.folder / "packed", built.folder / "packed") == []


def test_the_order_in_which_inputs_are_listed_changes_no_byte(built: Any, new_project: Callable[[], Any]) -> None:
    project = new_project()
    recipe = project.folder / "rbt.toml"
    text = recipe.read_text()
    listed = '["raw/stories/stories_002.txt.gz", "raw/stories/stories_001.txt", "raw/stories/stories_000.txt"]'
    assert '["raw/stories/*"]' in text
    recipe.write_text(text.replace('["raw/stories/*"]', listed))
    project.must("corpus", "build")
    assert differing(project.folder / "corpus", built.folder / "corpus") == []


def test_a_copied_project_with_new_time_stamps_is_still_the_same_corpus(
    built: Any, new_project: Callable[[], Any], tmp_path: Path
) -> None:
    import shutil

    project = new_project()
    (project.folder / "raw").unlink()
    shutil.copytree(built.folder / "raw", project.folder / "raw", copy_function=shutil.copyfile)
    shutil.copytree(built.folder / "corpus", project.folder / "corpus")
    before = (project.folder / "corpus" / "manifest.json").stat().st_mtime_ns
    project.must("corpus", "build")
    assert (project.folder / "corpus" / "manifest.json").stat().st_mtime_ns == before


def test_a_changed_threshold_extracts_nothing_again(new_project: Callable[[], Any]) -> None:
    project = new_project()
    project.must("corpus", "build")
    ingested = {path: path.stat().st_mtime_ns for path in (project.folder / "corpus/work/ingest").glob("*.arrow")}
    project.must("corpus", "build", "--set", "clean.minimum_characters=1500", "--replace")
    assert {path: path.stat().st_mtime_ns for path in ingested} == ingested
    fresh = new_project()
    fresh.must("corpus", "build", "--set", "clean.minimum_characters=1500")
    assert differing(project.folder / "corpus", fresh.folder / "corpus") == []
