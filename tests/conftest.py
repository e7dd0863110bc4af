"""Shared fixtures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
settings.register_profile("rbt", max_examples=25, deadline=None, derandomize=True)
settings.load_profile("rbt")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One process runs all tests of a file, and of a folder that shares a cluster or a pipeline."""
    for item in items:
        folder = item.path.parent
        shared = folder if folder.name in ("cluster", "end_to_end") else item.path
        item.add_marker(pytest.mark.xdist_group(str(shared.relative_to(ROOT))))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real raw files, named by RBT_DATA or beside the checkout."""
    folder = Path(os.environ.get("RBT_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs the real raw files; {folder} is absent (set RBT_DATA)")
    return folder


@pytest.fixture(scope="session")
def examples() -> Path:
    """The mini corpus of this repository."""
    return ROOT / "examples"
