"""What the format of a tokenizer promises, checked on its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rbt.formats.tokenizer import (
    LEADING_SPECIALS,
    MASK,
    UNMERGED,
    build_vocab,
    byte_symbols,
    read_tokenizer,
    read_vocab,
    unmerged_tokens,
)
from rbt.manifest import read_json


def check_tokenizer(folder: Path) -> list[str]:
    """Problems of a finished tokenizer: the vocabulary is that of its merges, in every file."""
    facts = read_tokenizer(folder).facts
    lines = (folder / "merges.txt").read_text("utf-8").splitlines()[1:]
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in lines)]
    vocab, model = read_vocab(folder), read_json(folder / "tokenizer.json")["model"]
    problems = []
    if UNMERGED in facts:
        problems += _imported_problems(vocab, merges, facts[UNMERGED])
    elif vocab != build_vocab(merges):
        problems.append("vocab.json is not what merges.txt makes")
    if model["vocab"] != vocab or [tuple(pair) for pair in model["merges"]] != merges:
        problems.append("tokenizer.json holds other merges or ids than merges.txt and vocab.json")
    if vocab.get(MASK) != len(vocab) - 1 or len(vocab) != facts["vocab_size"]:
        problems.append(f"expected {facts['vocab_size']} ids with {MASK} last")
    return problems


def _imported_problems(
    vocab: Mapping[str, int], merges: Sequence[tuple[str, str]], unmerged: Sequence[str]
) -> list[str]:
    """Problems of ids that do not follow from the merges; `unmerged`: tokens that no text is encoded to, by id."""
    problems = []
    if [vocab.get(token) for token in LEADING_SPECIALS] != list(range(len(LEADING_SPECIALS))):
        problems.append(f"vocab.json: expected {', '.join(LEADING_SPECIALS)} first")
    if sorted(vocab.values()) != list(range(len(vocab))):
        problems.append(f"vocab.json: expected ids 0 to {len(vocab) - 1}, each once")
    if missing := [byte for byte, symbol in enumerate(byte_symbols()) if symbol not in vocab]:
        problems.append(f"vocab.json: expected all 256 bytes; found none for byte {missing[0]}")
    tokens = (token for left, right in merges for token in (left, right, left + right))
    if (lacking := next((token for token in tokens if token not in vocab), None)) is not None:
        problems.append(f"merges.txt: expected merges of tokens in vocab.json; found {lacking!r}")
    if (found := unmerged_tokens(vocab, merges)) != list(unmerged):
        problems.append(f"expected {', '.join(unmerged) or 'no tokens'} beside bytes and merges; found {found[:8]}")
    return problems
