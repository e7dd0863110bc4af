"""A project folder with the mini corpus, and the command line inside the test process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

ROOT = Path(__file__).resolve().parents[2]
# Small enough for seconds, large enough for several token parts, several rows and a checkpoint.
SMALL = (
    "corpus.part_bytes=60_000", "bpe.vocab_size=600", "schedule.max_steps=12", "schedule.warmup_steps=3",
    "data.global_batch=8", "run.checkpoint_every=4", "run.validate_every=6", "run.log_every=1",
    "model.layers=1", "model.hidden=32", "model.heads=2", "model.feed_forward=64",
)
STEPS = (("corpus", "build"), ("bpe", "train"), ("pack",), ("pretrain",), ("export",))


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Run with `folder` as the working folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@dataclass(frozen=True)
class Project:
    """A folder with an rbt.toml and raw files."""

    folder: Path

    def run(self, *words: str, small: bool = True) -> Result:
        """Run `rbt WORDS` in the folder, by default with the small settings."""
        from rbt.cli import main

        settings = [part for setting in SMALL for part in ("--set", setting)] if small else []
        with inside(self.folder):
            return CliRunner().invoke(main, [*words, *settings], catch_exceptions=True)

    def must(self, *words: str, small: bool = True) -> str:
        """Run a command that must succeed; its output."""
        result = self.run(*words, small=small)
        assert result.exit_code == 0, f"{words}: {result.output}\n{result.exception!r}"
        return result.output


@pytest.fixture(scope="session")
def new_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Project]:
    """Makes a project with the demo recipe over the mini corpus."""

    def make() -> Project:
        project = Project(tmp_path_factory.mktemp("project") / "demo")
        from rbt.cli import main

        result = CliRunner().invoke(main, ["init", str(project.folder), "--recipe", "demo"])
        assert result.exit_code == 0, result.output
        (project.folder / "raw").symlink_to(ROOT / "examples" / "raw")
        return project

    return make


@pytest.fixture(scope="session")
def built(new_project: Callable[[], Project]) -> Project:
    """A project in which every step of the pipeline has run once, in order. Not to be changed by tests."""
    project = new_project()
    for step in STEPS:
        project.must(*step)
    project.must("pack", "--format", "doc-sentences")
    return project


def content(folder: Path) -> dict[str, bytes]:
    """Every file of an artefact that is promised to be the same: all but provenance and the work folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "provenance.json" and "work" not in path.relative_to(folder).parts
    }
