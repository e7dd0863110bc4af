"""A corpus with its tokenizer, table 2 over it, and a watch over updates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rbt.engine import LocalEngine
from rbt.packing.bpe import train_bpe
from rbt.packing.config import BpeConfig
from rbt.trainer.training import Training

from ..packing.conftest import prose, write_corpus
from .small_tables import Steps, ablate, must


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with corpus/ and tokenizer/."""
    folder = tmp_path_factory.mktemp("ablation")
    write_corpus(folder / "corpus", [[(f"a:{number}", prose(number)) for number in range(50)]])
    train_bpe(folder / "corpus", folder / "tokenizer", BpeConfig(320), LocalEngine(1), replace=False)
    return folder


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Which updates are made, from now on."""
    made: Steps = []

    def step(self: Training, number: int, *rest: Any) -> Any:
        made.append((self.data.seed, number))
        return original(self, number, *rest)

    original = Training.step
    monkeypatch.setattr(Training, "step", step)
    return made


@pytest.fixture(scope="session")
def formats(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Table 2 with two seeds. Not to be changed by tests."""
    out = tmp_path_factory.mktemp("formats") / "out"
    assert must(ablate(inputs, out, "table-2", "--seeds", "2")).endswith("table-2.md: finished\n")
    return out
