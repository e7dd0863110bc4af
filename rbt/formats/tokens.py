"""The token store: the corpus as token ids, and nothing else; every index is a view over it.

    TOKENS/train-00000.tokens.bin            headerless little-endian uint16 (uint32 above 65,536 ids)
    TOKENS/train-00000.sentence_ends.npy     int64, token index behind each sentence, ascending
    TOKENS/train-00000.document_ends.npy     int64, token index behind each document, ascending (repeated by one
                                             without tokens, which has no sentence either)
    TOKENS/train-00000.documents.arrow       column `id`, one row a document
    TOKENS/validation-00000.*                the held-out documents of the same corpus part

One token part per corpus part and split. Sentences never cross documents: the ends of a document's last sentence
and of the document are equal. Read with numpy alone.
"""

from __future__ import annotations

import logging
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rbt.errors import ArtefactError
from rbt.manifest import Manifest, read_manifest

log = logging.getLogger(__name__)
KIND, VERSION = "tokens", 1
MADE_BY = "rbt pack"
CHECKED_TOKENS = 1 << 24  # at a time, so that checking needs little memory
SPLITS = ("train", "validation")
_WILL_NEED = getattr(mmap, "MADV_WILLNEED", None)  # not every system has it
Tokens = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]


@cache
def _say_refused(number: int | None) -> None:
    log.debug("the system takes no advice on what will be read: %s", os.strerror(number or 0))


def token_dtype(vocab_size: int) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
    """Little-endian uint16, or uint32 above 65,536 ids."""
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


def part_stem(split: str, number: int) -> str:
    """Common stem of a token part's files."""
    return f"{split}-{number:05d}"


def part_files(stem: str) -> list[str]:
    """The four files of a token part."""
    return [f"{stem}.{end}" for end in ("tokens.bin", "sentence_ends.npy", "document_ends.npy", "documents.arrow")]


@dataclass(frozen=True)
class TokenPart:
    """One token part, memory-mapped: `tokens` (n,) uint16 or uint32, both ends int64 ascending up to n."""

    stem: str
    tokens: Tokens
    sentence_ends: npt.NDArray[np.int64]
    document_ends: npt.NDArray[np.int64]

    @cached_property
    def _mapping(self) -> mmap.mmap | None:
        mapped: Any = self.tokens
        while isinstance(mapped, np.ndarray):
            mapped = mapped.base
        return mapped if isinstance(mapped, mmap.mmap) else None

    def will_read(self, start: int, end: int) -> None:
        """Tell the system that tokens [start, end) will be read soon, so that it reads them meanwhile.

        It is advice: of tokens that are not there, nothing is said, and a system that refuses it is no error.
        """
        if _WILL_NEED is None or self._mapping is None or not 0 <= start < end <= len(self.tokens):
            return
        first = start * self.tokens.itemsize & -mmap.PAGESIZE
        try:
            self._mapping.madvise(_WILL_NEED, first, end * self.tokens.itemsize - first)
        except OSError as error:
            _say_refused(error.errno)


@dataclass(frozen=True)
class TokenStore:
    """A finished token store."""

    folder: Path
    manifest: Manifest

    @property
    def vocab_size(self) -> int:
        """Number of ids of the tokenizer."""
        return int(self.manifest.facts["vocab_size"])

    def stems(self, split: str) -> list[str]:
        """Parts of a split, in corpus order."""
        return [fact["stem"] for fact in self.manifest.facts["parts"] if fact["split"] == split]

    def part(self, stem: str) -> TokenPart:
        """Open a part. Raises ArtefactError where a file is missing or of a wrong length."""
        return open_part(self.folder, stem, token_dtype(self.vocab_size))


def open_array(path: Path) -> npt.NDArray[np.int64]:
    """Memory-map an int64 .npy file. Raises ArtefactError."""
    try:
        array: npt.NDArray[np.int64] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ArtefactError("expected an int64 .npy file", path=path, found=str(error), cure="pack again") from error
    if array.dtype != np.int64:
        raise ArtefactError("expected an int64 .npy file", path=path, found=str(array.dtype), cure="pack again")
    return array.view(np.ndarray)  # memmap's own slices take several times as long


def _open_tokens(path: Path, dtype: np.dtype[np.uint16] | np.dtype[np.uint32]) -> Tokens:
    if not path.is_file() or path.stat().st_size % dtype.itemsize:
        raise ArtefactError(f"expected a file of {dtype} tokens", path=path, found="none, or a cut one")
    if path.stat().st_size == 0:  # a file of no bytes cannot be mapped
        return np.empty(0, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r").view(np.ndarray)


def open_part(folder: Path, stem: str, dtype: np.dtype[np.uint16] | np.dtype[np.uint32]) -> TokenPart:
    """Open a part by its stem. Raises ArtefactError."""
    tokens = _open_tokens(folder / f"{stem}.tokens.bin", dtype)
    part = TokenPart(
        stem, tokens, open_array(folder / f"{stem}.sentence_ends.npy"), open_array(folder / f"{stem}.document_ends.npy")
    )
    for ends in (part.sentence_ends, part.document_ends):
        if (int(ends[-1]) if len(ends) else 0) != len(tokens):
            raise ArtefactError(
                f"expected the last sentence and document to end at token {len(tokens)}", path=folder / stem,
                found=str(int(ends[-1]) if len(ends) else 0), cure="pack again",
            )
    return part


def open_tokens(folder: Path) -> TokenStore:
    """Open a finished token store. Raises ArtefactError."""
    return TokenStore(folder, read_manifest(folder, KIND, VERSION, MADE_BY))


def check_tokens(folder: Path) -> list[str]:
    """What is wrong with a token store: ids within the vocabulary, ends ascending, counts as in the manifest."""
    try:
        store = open_tokens(folder)
    except ArtefactError as error:
        return [str(error)]
    problems = []
    for fact in store.manifest.facts["parts"]:
        try:
            problem = _part_problem(store.part(fact["stem"]), fact, store.vocab_size)
        except ArtefactError as error:
            problems.append(str(error))
            continue
        if problem:
            problems.append(f"{folder / fact['stem']}: {problem}")
    return problems


def _part_problem(part: TokenPart, fact: Mapping[str, Any], vocab_size: int) -> str:
    found = {
        "tokens": len(part.tokens), "sentences": len(part.sentence_ends), "documents": len(part.document_ends)
    }
    for name, number in found.items():
        if fact[name] != number:
            return f"expected {fact[name]} {name}; found {number}"
    if (np.diff(part.sentence_ends, prepend=0) <= 0).any():
        return "expected sentence ends strictly ascending"
    if (np.diff(part.document_ends, prepend=0) < 0).any():
        return "expected document ends ascending"
    if not np.isin(part.document_ends[part.document_ends > 0], part.sentence_ends).all():
        return "expected every document to end where a sentence ends"
    for start in range(0, len(part.tokens), CHECKED_TOKENS):
        largest = int(part.tokens[start : start + CHECKED_TOKENS].max())
        if largest >= vocab_size:
            return f"expected ids below {vocab_size}; found {largest}"
    return ""
