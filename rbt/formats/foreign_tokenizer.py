"""Byte-level BPE tokenizers that others wrote: Hugging Face folders, in which a model's ids are found.

    tokenizer.json, or vocab.json + merges.txt (+ added_tokens.json) ──> token to id, merges ──> ForeignTokenizer

`check_text_rules` says whether rbt gives text the same ids.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rbt.errors import InputError
from rbt.formats.tokenizer import LEADING_SPECIALS, MASK, byte_symbols

TOKENIZER, VOCAB, MERGES = "tokenizer.json", "vocab.json", "merges.txt"
ADDED, SETTINGS = "added_tokens.json", "tokenizer_config.json"  # beside vocab.json; may be absent
VERSION_LINE = "#version"  # of a file of merges, in front of them
Merges = list[tuple[str, str]]


@dataclass(frozen=True)
class ForeignTokenizer:
    """Token to id in the order of ids, merges in theirs, and the names of the files that they are from."""

    vocab: dict[str, int]
    merges: Merges
    files: tuple[str, ...]


def read_foreign(folder: Path) -> ForeignTokenizer:
    """The tokenizer in a folder; tokenizer.json counts where there is one. Raises InputError."""
    if (folder / TOKENIZER).is_file():
        path = folder / TOKENIZER
        table = _model_of(path)
        vocab = {**_object(table["model"].get("vocab"), path), **{token: id for token, id, _ in _added(table, path)}}
        pairs = _json_pairs(table["model"].get("merges"), path)
        files: tuple[str, ...] = (TOKENIZER,)
    elif (folder / VOCAB).is_file() and (folder / MERGES).is_file():
        files = (VOCAB, MERGES, *(name for name in (ADDED,) if (folder / name).is_file()))
        tables = [read_table(folder / name) for name in files if name != MERGES]
        vocab = {token: id for table in tables for token, id in table.items()}
        path, pairs = folder / VOCAB, file_pairs(folder / MERGES)
    else:
        raise InputError(
            f"expected the tokenizer of a model: {TOKENIZER}, or {VOCAB} and {MERGES}", path=folder, found="neither",
            cure="copy its files beside the model's",
        )
    check_ids(vocab, path)
    merges = checked_merges(pairs, vocab.keys(), path.name)
    return ForeignTokenizer(dict(sorted(vocab.items(), key=lambda item: item[1])), merges, files)


def check_text_rules(folder: Path, tokenizer: ForeignTokenizer) -> None:
    """Raise InputError where text gets other ids than those that rbt gives it by the same vocabulary and merges."""
    path = folder / tokenizer.files[0]
    check_bytes(tokenizer.vocab, path)
    specials = dict(zip(LEADING_SPECIALS, range(len(LEADING_SPECIALS)), strict=True))
    for token, id in {**specials, MASK: len(tokenizer.vocab) - 1}.items():
        if (found := tokenizer.vocab.get(token)) != id:
            raise InputError(
                f"expected RoBERTa's special tokens, with {token} as id {id}", path=path,
                found="none" if found is None else f"it as {found}",
            )
    check_spelling((token for token in tokenizer.vocab if token not in (*specials, MASK)), path)
    if tokenizer.files[0] == TOKENIZER:
        _check_pipeline(path)
    elif added := [token for token in read_table_of(folder / ADDED) if token not in (*specials, MASK)]:
        raise InputError("expected no tokens that are found before text is split", path=folder / ADDED, found=added[0])
    if read_table_of(folder / SETTINGS).get("add_prefix_space"):
        raise _prefix_error(folder / SETTINGS)


def _prefix_error(path: Path) -> InputError:
    return InputError(
        "expected a tokenizer that adds nothing to a text", path=path, found="add_prefix_space, a space in front",
        cure="set it to false in a copy of the folder: the first word of a text is then encoded as it is",
    )


def _check_pipeline(path: Path) -> None:
    """Raise InputError where tokenizer.json does more than a byte-level BPE of GPT-2's words."""
    table = _model_of(path)
    splitter = table.get("pre_tokenizer") or {}
    if splitter.get("type") != "ByteLevel" or not splitter.get("use_regex", True):
        raise InputError("expected GPT-2's split into words, ByteLevel", path=path, found=repr(splitter)[:80])
    if splitter.get("add_prefix_space"):
        raise _prefix_error(path)
    model = table["model"]
    off = ("dropout", "ignore_merges", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")
    for name, value in {"normalizer": table.get("normalizer"), **{name: model.get(name) for name in off}}.items():
        if value:
            raise InputError(f"expected a tokenizer without {name}", path=path, found=repr(value)[:80])
    for token, _, is_special in _added(table, path):
        if not is_special and token not in (*LEADING_SPECIALS, MASK):
            raise InputError("expected no tokens that are found before text is split", path=path, found=repr(token))


def _model_of(path: Path) -> dict[str, Any]:
    table = read_table(path)
    model = table.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
        found = model.get("type") if isinstance(model, dict) else model
        raise InputError("expected a byte-level BPE", path=path, found=repr(found))
    return table


def _added(table: Mapping[str, Any], path: Path) -> list[tuple[str, Any, bool]]:
    """(token, id, whether it is special) of the tokens that are found before text is split."""
    try:
        return [(token["content"], token["id"], token.get("special", False)) for token in table["added_tokens"] or ()]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError("expected added_tokens with content and id", path=path, found=f"no {error}") from error


def _object(table: Any, path: Path) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise InputError("expected a JSON object", path=path, found=f"a JSON {type(table).__name__}")
    return table


def _json_pairs(entries: Any, path: Path) -> list[tuple[str, Any]]:
    """(where, pair) of each of tokenizer.json's merges, which are lists, or texts with a space between."""
    if not isinstance(entries, list):
        raise InputError("expected a list of merges", path=path, found=f"a JSON {type(entries).__name__}")
    return [
        (f"{path}: merge {number}", entry.split(" ") if isinstance(entry, str) else entry)
        for number, entry in enumerate(entries)
    ]


def file_pairs(path: Path) -> list[tuple[str, Any]]:
    """(where, pair) of each line of a file of merges, but an empty one and that of the version."""
    return [
        (f"{path}: line {number}", line.split(" "))
        for number, line in enumerate(read_lines(path), 1)
        if line and not (number == 1 and line.startswith(VERSION_LINE))
    ]


def checked_merges(pairs: Iterable[tuple[str, Any]], tokens: Collection[str], name: str) -> Merges:
    """Merges of (where, pair). Raises InputError where one does not make a token of others, or is there twice.

    `name`: of the file that has the tokens.
    """
    merges: dict[tuple[str, str], None] = {}
    for where, parts in pairs:
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) and part for part in parts):
            found = " ".join(map(str, parts)) if isinstance(parts, list) else parts
            raise InputError("expected two tokens with a space between them", path=where, found=repr(found))
        pair = parts[0], parts[1]
        for token in (*pair, "".join(pair)):
            if token not in tokens:
                raise InputError(f"expected merges of tokens in {name}", path=where, found=repr(token))
        if pair in merges:
            raise InputError("expected each merge once", path=where, found=repr(" ".join(pair)))
        merges[pair] = None
    return list(merges)


def check_ids(table: Mapping[str, Any], path: Path) -> None:
    """Raise InputError where the ids are not 0 to one below their number, each once."""
    seen: dict[int, str] = {}
    for token, number in table.items():
        if type(number) is not int or not 0 <= number < len(table):
            raise InputError(f"expected ids from 0 to {len(table) - 1}", path=path, found=f"{number!r} of {token!r}")
        if (other := seen.setdefault(number, token)) != token:
            raise InputError("expected each id once", path=path, found=f"{number} of both {other!r} and {token!r}")


def check_bytes(tokens: Collection[str], path: Path) -> None:
    """Raise InputError where a byte has no token."""
    for byte, symbol in enumerate(byte_symbols()):
        if symbol not in tokens:
            raise InputError("expected a token for each of the 256 bytes", path=path, found=f"none for byte {byte}")


def check_spelling(tokens: Iterable[str], path: Path) -> None:
    """Raise InputError where a token is not made of the symbols that stand for bytes."""
    known = set(byte_symbols())
    for token in tokens:
        if not token or not known.issuperset(token):
            raise InputError("expected tokens spelled in GPT-2's byte symbols", path=path, found=repr(token))


def read_table(path: Path) -> dict[str, Any]:
    """A JSON object. Raises InputError."""
    try:
        table = json.loads(read_utf8(path))
    except ValueError as error:
        raise InputError("expected JSON", path=path, found=str(error)) from error
    return _object(table, path)


def read_table_of(path: Path) -> dict[str, Any]:
    """A JSON object, an empty one where there is no file. Raises InputError."""
    return read_table(path) if path.is_file() else {}


def read_lines(path: Path) -> list[str]:
    """Lines of a text file. Raises InputError."""
    # Not splitlines: it would cut at other characters too.
    return [line.removesuffix("\r") for line in read_utf8(path).split("\n")]


def read_utf8(path: Path) -> str:
    """A text file. Raises InputError."""
    try:
        return path.read_text("utf-8")
    except ValueError as error:
        raise InputError("expected UTF-8", path=path, found=str(error)) from error
