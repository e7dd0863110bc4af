"""Shared fixtures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
settings.register_profile("rbt", max_examples=25, deadline=None, derandomize=True)
settings.load_profile("rbt")


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
