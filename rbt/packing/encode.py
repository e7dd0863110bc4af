"""Text to token ids with Hugging Face tokenizers, their bytes counted.

    texts ──BPE alone: no added tokens, no post-processor──> ids (tokens,) uint16 or uint32

Special strings in a text ("<mask>", "</s>") are text: they are encoded as the characters they are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from rbt.errors import ArtefactError
from rbt.formats.tokenizer import read_vocab, token_lengths
from rbt.formats.tokens import Tokens, token_dtype
from rbt.manifest import read_json

Int64 = npt.NDArray[np.int64]


class Encoder:
    """The tokenizer of a tokenizer folder, for plain text."""

    def __init__(self, folder: Path) -> None:
        table = read_json(folder / "tokenizer.json")
        table["added_tokens"], table["post_processor"] = [], None
        vocab = read_vocab(folder)
        self._folder = folder
        self._tokenizer = Tokenizer.from_str(json.dumps(table))
        self._lengths = token_lengths(vocab)
        self.vocab_size = len(vocab)
        self.dtype = token_dtype(self.vocab_size)

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Token ids of each text, (tokens,) in the dtype of the store."""
        found = self._tokenizer.encode_batch_fast(list(texts))
        return [cast(Tokens, np.array(encoding.ids, dtype=self.dtype)) for encoding in found]

    def token_ends(self, ids: Tokens, size: int, id: str) -> Int64:
        """Bytes up to the end of each token, int64 (tokens,). Raises ArtefactError unless they add up to `size`."""
        ends = np.cumsum(self._lengths[ids], dtype=np.int64)
        found = int(ends[-1]) if len(ends) else 0
        if found != size:
            raise ArtefactError(
                f"expected the tokens of document {id!r} to stand for its {size} bytes", path=self._folder,
                found=f"{found} bytes", cure="the tokenizer lacks bytes or merges: train it again",
            )
        return ends


def encode_with_specials(folder: Path, text: str) -> list[int]:
    """Ids of one text between <s> and </s>; special strings in it are the special tokens ("<mask>" to be filled)."""
    ids: list[int] = load_tokenizer(folder).encode(text).ids
    return ids


def token_text(folder: Path, id: int) -> str:
    """The text that an id stands for, special tokens by their names."""
    text: str = load_tokenizer(folder).decode([id], skip_special_tokens=False)
    return text


@lru_cache(maxsize=4)
def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a folder as it is, special tokens and all. Raises ArtefactError where there is none."""
    return Tokenizer.from_str(json.dumps(read_json(folder / "tokenizer.json")))
