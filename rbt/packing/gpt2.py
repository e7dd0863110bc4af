"""`rbt bpe train --gpt2 FOLDER`: the tokenizer of the released RoBERTa models, with their ids.

    encoder.json  token to GPT-2 id ──┐
    dict.txt      GPT-2 ids in order ─┴─> <s> <pad> </s> <unk>, tokens in the dictionary's order, fillers, <mask>
    vocab.bpe     merges, unchanged

fairseq encoded text to GPT-2's ids and numbered these anew, by how often they occur in its corpus: its dictionary has
one a line, with a count. It fills its vocabulary up to a multiple of 8 with words that stand for nothing, and <mask>
comes behind that.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

from rbt.errors import InputError
from rbt.formats.tokenizer import (
    FILES,
    KIND,
    LEADING_SPECIALS,
    MASK,
    UNMERGED,
    VERSION,
    byte_symbols,
    unmerged_tokens,
    write_tokenizer,
)
from rbt.manifest import Manifest, record_files, write_manifest
from rbt.stage import exclusive, open_out
from rbt.storage import hash_file

log = logging.getLogger(__name__)
STAGE, STAGE_VERSION = "gpt2", 1
ENCODER, MERGES, DICTIONARY = "encoder.json", "vocab.bpe", "dict.txt"
EXPECTED = {
    "encoder": "GPT-2's tokens and ids", "merges": "GPT-2's merges", "dictionary": "fairseq's dictionary of GPT-2 ids",
}
VERSION_LINE = "#version"  # of vocab.bpe, in front of the merges
FILLER = "madeupword{:04d}"
IS_FILLER = re.compile(r"madeupword\d+")
MULTIPLE = 8  # of the ids in front of <mask>


def import_gpt2(folder: Path, out: Path, dictionary: Path | None, *, replace: bool) -> Manifest:
    """Write GPT-2's tokenizer with RoBERTa's ids into `out`, or find that it is there.

    `folder` has encoder.json and vocab.bpe; `dictionary` is fairseq's, by default dict.txt beside them. Raises
    InputError where a file is missing or does not fit the others, ArtefactError where `out` is another tokenizer.
    """
    files = {"encoder": folder / ENCODER, "merges": folder / MERGES, "dictionary": dictionary or folder / DICTIONARY}
    for name, path in files.items():
        if not path.is_file():
            cure = "name it with --dictionary" if name == "dictionary" else ""
            raise InputError(f"expected {EXPECTED[name]}", path=path, found="none", cure=cure)
    inputs = {name: hash_file(path) for name, path in files.items()}
    with exclusive(out, KIND):
        identity = Manifest(KIND, VERSION, STAGE, STAGE_VERSION, {}, inputs, ())
        if (manifest := open_out(out, identity, replace)) is not None:
            log.info("%s: already imported from this", out)
            return manifest
        encoder = read_encoder(files["encoder"])
        merges = read_merges(files["merges"], encoder)
        vocab = roberta_ids(encoder, files["dictionary"])
        write_tokenizer(out, merges, vocab)
        facts = {"vocab_size": len(vocab), "merges": len(merges), UNMERGED: unmerged_tokens(vocab, merges)}
        return write_manifest(out, changed(identity, files=record_files(out, FILES), facts=facts))


def read_encoder(path: Path) -> list[str]:
    """GPT-2's tokens by their ids. Raises InputError."""
    try:
        table = json.loads(_read(path))
    except ValueError as error:
        raise InputError("expected JSON", path=path, found=str(error)) from error
    if not isinstance(table, dict):
        raise InputError("expected tokens and their ids", path=path, found=f"a JSON {type(table).__name__}")
    _check_ids(table, path)
    for token in (*LEADING_SPECIALS, MASK, *(token for token in table if IS_FILLER.fullmatch(token))):
        if token in table:
            raise InputError(f"expected GPT-2's tokens, without {token}", path=path, found=f"it as {table[token]}")
    for byte, symbol in enumerate(byte_symbols()):
        if symbol not in table:
            raise InputError("expected a token for each of the 256 bytes", path=path, found=f"none for byte {byte}")
    known = set(byte_symbols())
    for token in table:
        if not token or not known.issuperset(token):
            raise InputError("expected tokens spelled in GPT-2's byte symbols", path=path, found=repr(token))
    return sorted(table, key=table.__getitem__)


def _check_ids(table: dict[str, Any], path: Path) -> None:
    seen: dict[int, str] = {}
    for token, number in table.items():
        if type(number) is not int or not 0 <= number < len(table):
            raise InputError(f"expected ids from 0 to {len(table) - 1}", path=path, found=f"{number!r} of {token!r}")
        if (other := seen.setdefault(number, token)) != token:
            raise InputError("expected each id once", path=path, found=f"{number} of both {other!r} and {token!r}")


def read_merges(path: Path, encoder: Sequence[str]) -> list[tuple[str, str]]:
    """The merges of vocab.bpe, in order, all of tokens of the encoder. Raises InputError."""
    tokens, merges, seen = set(encoder), list[tuple[str, str]](), set[tuple[str, str]]()
    for number, line in enumerate(_lines(path), 1):
        if not line or (number == 1 and line.startswith(VERSION_LINE)):
            continue
        where, parts = f"{path}: line {number}", line.split(" ")
        if len(parts) != 2 or not all(parts):
            raise InputError("expected two tokens with a space between them", path=where, found=repr(line))
        pair = parts[0], parts[1]
        for token in (*pair, "".join(pair)):
            if token not in tokens:
                raise InputError(f"expected merges of tokens in {ENCODER}", path=where, found=repr(token))
        if pair in seen:
            raise InputError("expected each merge once", path=where, found=repr(line))
        seen.add(pair)
        merges.append(pair)
    return merges


def roberta_ids(encoder: Sequence[str], dictionary: Path) -> dict[str, int]:
    """Token to RoBERTa's id, in the order of ids. Raises InputError where the dictionary is not of these tokens."""
    vocab = {token: number for number, token in enumerate(LEADING_SPECIALS)}
    for number, line in enumerate(_lines(dictionary), 1):
        if not line:
            continue
        where, (word, _, count) = f"{dictionary}: line {number}", line.partition(" ")
        if not count.isdecimal():
            raise InputError("expected a GPT-2 id and a count", path=where, found=repr(line))
        token = word if IS_FILLER.fullmatch(word) else _token(word, encoder, where)
        if token in vocab:
            raise InputError("expected each GPT-2 id once", path=where, found=f"{word} again")
        vocab[token] = len(vocab)
    if missing := [number for number, token in enumerate(encoder) if token not in vocab]:
        raise InputError(
            f"expected all {len(encoder):,} GPT-2 ids", path=dictionary,
            found=f"none of {missing[0]} (and {len(missing) - 1:,} more)",
        )
    fillers = sum(IS_FILLER.fullmatch(token) is not None for token in vocab)
    while len(vocab) % MULTIPLE:
        vocab.setdefault(FILLER.format(fillers), len(vocab))
        fillers += 1
    vocab[MASK] = len(vocab)
    return vocab


def _token(word: str, encoder: Sequence[str], where: str) -> str:
    if not (word.isascii() and word.isdecimal()) or int(word) >= len(encoder):
        raise InputError(f"expected a GPT-2 id below {len(encoder)}", path=where, found=repr(word))
    return encoder[int(word)]


def _lines(path: Path) -> list[str]:
    # Not splitlines: it would cut at other characters too.
    return [line.removesuffix("\r") for line in _read(path).split("\n")]


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except ValueError as error:
        raise InputError("expected UTF-8", path=path, found=str(error)) from error
