"""Invariant 4: memory is bounded by the task's batches, not by the corpus."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from rbt.rng import rng

WORDS = 20_000
DOCUMENT_WORDS = 400
ALLOWED_GROWTH = 96 << 20  # bytes, for five times the text: keys, sizes and what the allocators keep


def write_table(path: Path, documents: int) -> int:
    """Random prose over a made-up vocabulary; bytes written."""
    generator = rng(1, "memory")
    letters = "etaoinshrdlucmfwypvbgk"
    vocabulary = ["".join(letters[i] for i in generator.integers(0, 22, size)) for size in
                  generator.integers(2, 10, WORDS)]
    with path.open("w") as stream:
        for number in range(documents):
            words = [vocabulary[i] for i in generator.integers(0, WORDS, DOCUMENT_WORDS)]
            stream.write(json.dumps({"id": str(number), "text": " ".join(words)}) + "\n")
    return path.stat().st_size


def peak_bytes(folder: Path, *words: str) -> int:
    """Peak resident memory of one `rbt` process that must succeed."""
    pid = os.posix_spawn(
        sys.executable, [sys.executable, "-m", "rbt", *words, "--quiet"], {**os.environ, "PWD": str(folder)}
    )
    _, status, usage = os.wait4(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return usage.ru_maxrss << 10


@pytest.mark.slow
def test_five_times_the_text_takes_the_same_memory(tmp_path: Path) -> None:
    peaks = []
    for documents in (4_000, 20_000):
        folder = tmp_path / str(documents)
        folder.mkdir()
        size = write_table(folder / "table.jsonl", documents)
        assert size > documents * 2000
        recipe = '[[source]]\nkind = "table"\npaths = ["table.jsonl"]\n[clean]\nlanguage = ""\n'
        (folder / "rbt.toml").write_text(recipe)
        options = ("--recipe", str(folder / "rbt.toml"))
        corpus, tokenizer, packed = (str(folder / name) for name in ("corpus", "tokenizer", "packed"))
        build = peak_bytes(folder, "corpus", "build", "--workers", "1", "--out", corpus, *options)
        train = ("bpe", "train", "--corpus", corpus, "--out", tokenizer, "--vocab-size", "300")
        assert peak_bytes(folder, *train, *options) > 0
        inputs = ("--corpus", corpus, "--tokenizer", tokenizer, "--out", packed)
        pack = peak_bytes(folder, "pack", "--workers", "1", *inputs, *options)
        peaks.append((build, pack))
    growth = [after - before for before, after in zip(*peaks, strict=True)]
    assert max(growth) < ALLOWED_GROWTH, f"peaks {peaks}, growth {growth}"
