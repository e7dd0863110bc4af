"""`rbt bpe train --gpt2 FOLDER`: the tokenizer of the released RoBERTa models, with their ids.

    encoder.json  token to GPT-2 id ──┐
    dict.txt      GPT-2 ids in order ─┴─> <s> <pad> </s> <unk>, tokens in the dictionary's order, fillers, <mask>
    vocab.bpe     merges, unchanged

fairseq encoded text to GPT-2's ids and numbered these anew, by how often they occur in its corpus: its dictionary has
one a line, with a count. It fills its vocabulary up to a multiple of 8 with words that stand for nothing, and <mask>
comes behind that.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace as changed
from pathlib import Path

from rbt.errors import InputError
from rbt.formats.foreign_tokenizer import (
    check_bytes,
    check_ids,
    check_spelling,
    checked_merges,
    file_pairs,
    read_lines,
    read_table,
)
from rbt.formats.tokenizer import (
    FILES,
    KIND,
    LEADING_SPECIALS,
    MASK,
    UNMERGED,
    VERSION,
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
        merges = checked_merges(file_pairs(files["merges"]), set(encoder), ENCODER)
        vocab = roberta_ids(encoder, files["dictionary"])
        write_tokenizer(out, merges, vocab)
        facts = {"vocab_size": len(vocab), "merges": len(merges), UNMERGED: unmerged_tokens(vocab, merges)}
        return write_manifest(out, changed(identity, files=record_files(out, FILES), facts=facts))


def read_encoder(path: Path) -> list[str]:
    """GPT-2's tokens by their ids. Raises InputError."""
    table = read_table(path)
    check_ids(table, path)
    for token in (*LEADING_SPECIALS, MASK, *(token for token in table if IS_FILLER.fullmatch(token))):
        if token in table:
            raise InputError(f"expected GPT-2's tokens, without {token}", path=path, found=f"it as {table[token]}")
    check_bytes(table, path)
    check_spelling(table, path)
    return sorted(table, key=table.__getitem__)


def roberta_ids(encoder: Sequence[str], dictionary: Path) -> dict[str, int]:
    """Token to RoBERTa's id, in the order of ids. Raises InputError where the dictionary is not of these tokens."""
    vocab = {token: number for number, token in enumerate(LEADING_SPECIALS)}
    for number, line in enumerate(read_lines(dictionary), 1):
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
