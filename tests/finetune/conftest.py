"""A small model to start from, and generated tasks that it can learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rbt.formats.tokenizer import write_tokenizer
from rbt.manifest import to_json
from rbt.trainer.config import ModelConfig
from rbt.trainer.hugging_face import hugging_face_config, to_hugging_face
from rbt.trainer.model import build_model

WORDS = ("ash", "birch", "cedar", "elm", "fir", "hazel", "larch", "maple", "oak", "pine", "rowan", "yew")
MERGES = tuple((word[:place], word[place]) for word in WORDS for place in range(1, len(word)))
SHAPE = ModelConfig(layers=1, hidden=32, heads=2, feed_forward=64)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """So that sums are the same whatever else the machine does."""
    torch.set_num_threads(1)


def write_start_model(folder: Path, max_tokens: int = 64, seed: int = 1, shape: ModelConfig = SHAPE) -> Path:
    """A model's folder in Hugging Face's layout, with fresh weights, whose tokenizer knows the WORDS."""
    folder.mkdir(parents=True)
    vocab = write_tokenizer(folder, list(dict.fromkeys(MERGES)))
    model = build_model(shape, len(vocab), max_tokens, seed)
    save_file(to_hugging_face(model.state_dict(), shape.layers), folder / "model.safetensors")
    (folder / "config.json").write_text(to_json(hugging_face_config(shape, len(vocab), max_tokens)))
    return folder


@pytest.fixture(scope="session")
def start_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model to start from."""
    return write_start_model(tmp_path_factory.mktemp("start") / "model")


@pytest.fixture(scope="session")
def byte_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tokenizer without merges: each byte is a token."""
    folder = tmp_path_factory.mktemp("byte-tokenizer")
    write_tokenizer(folder, [])
    return folder


def sentence(generator: np.random.Generator, count: int) -> str:
    """Words at random."""
    return " ".join(generator.choice(WORDS, count))


def write_rows(path: Path, header: str, rows: list[str]) -> None:
    """A table of tab-separated columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")


def write_sst2(folder: Path, train: int = 40, dev: int = 13, test: int = 7, seed: int = 1) -> Path:
    """SST-2's layout: positive where the first word comes before "hazel" in the alphabet."""
    generator = np.random.default_rng(seed)

    def rows(count: int, with_label: bool) -> list[str]:
        found = []
        for number in range(count):
            text = sentence(generator, int(generator.integers(1, 9)))
            label = str(int(text < "hazel"))
            found.append(f"{text}\t{label}" if with_label else f"{number}\t{text}")
        return found

    write_rows(folder / "SST-2" / "train.tsv", "sentence\tlabel", rows(train, True))
    write_rows(folder / "SST-2" / "dev.tsv", "sentence\tlabel", rows(dev, True))
    write_rows(folder / "SST-2" / "test.tsv", "index\tsentence", rows(test, False))
    return folder


@pytest.fixture(scope="session")
def sst2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated SST-2 files."""
    return write_sst2(tmp_path_factory.mktemp("sst2"))
