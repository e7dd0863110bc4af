"""Tokenizers and models that are small enough to be fine-tuned in a test."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rbt.formats.tokenizer import write_tokenizer


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def byte_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tokenizer without merges: each byte is a token."""
    folder = tmp_path_factory.mktemp("byte-tokenizer")
    write_tokenizer(folder, [])
    return folder
