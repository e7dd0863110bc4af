"""What the format of a tokenizer promises, checked on its files."""

from __future__ import annotations

from pathlib import Path

from rbt.formats.tokenizer import MASK, build_vocab, read_tokenizer, read_vocab
from rbt.manifest import read_json


def check_tokenizer(folder: Path) -> list[str]:
    """Problems of a finished tokenizer: the vocabulary is that of its merges, in every file."""
    manifest = read_tokenizer(folder)
    lines = (folder / "merges.txt").read_text("utf-8").splitlines()[1:]
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in lines)]
    vocab, model = read_vocab(folder), read_json(folder / "tokenizer.json")["model"]
    problems = []
    if vocab != build_vocab(merges):
        problems.append("vocab.json is not what merges.txt makes")
    if model["vocab"] != vocab or [tuple(pair) for pair in model["merges"]] != merges:
        problems.append("tokenizer.json holds other merges or ids than merges.txt and vocab.json")
    if vocab.get(MASK) != len(vocab) - 1 or len(vocab) != manifest.facts["vocab_size"]:
        problems.append(f"expected {manifest.facts['vocab_size']} ids with {MASK} last")
    return problems
