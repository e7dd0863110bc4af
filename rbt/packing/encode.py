"""Text to token ids: whole Arrow buffers at a time, each different word merged once.

    bytes ──split──> words ──hash table──> ids (tokens,) uint16 or uint32, byte behind each token
                       └──new──merge by rank──> into the table

Ids are those of Hugging Face tokenizers. Special strings in a text ("<mask>", "</s>") are text: they are encoded as the
characters they are. What the table holds is bounded: when it is full, words that it lacks are merged each time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from tokenizers import Tokenizer

from rbt.errors import ArtefactError
from rbt.formats.parts import string_buffers
from rbt.formats.tokenizer import byte_symbols, read_model, token_lengths, unmerged_tokens
from rbt.formats.tokens import Tokens, token_dtype
from rbt.kernels import kernel
from rbt.manifest import read_json
from rbt.packing.character_classes import character_classes
from rbt.packing.merge_ids import IDS, SCRATCH_ROWS, merge_word
from rbt.packing.pair_queue import fill_rows
from rbt.packing.pretokenize import word_end
from rbt.packing.word_table import (
    FULLEST,
    INLINE_BYTES,
    LENGTH_BYTES,
    find_long,
    find_short,
    move_slots,
    short_key,
    store_long,
)

UInt8 = npt.NDArray[np.uint8]
UInt64 = npt.NDArray[np.uint64]
Int64 = npt.NDArray[np.int64]
SMALLEST_SLOTS, MOST_SLOTS = 1 << 16, 1 << 20  # of the table of words: 24 MB at most
SMALLEST_ARENA = 1 << 17  # bytes, of words of more than 15
SMALLEST_SCRATCH = 1 << 12  # bytes of a word that can be merged; made larger for one that is longer
LONGEST_KEPT = 64  # bytes of a word that the table takes: longer ones do not come back
_COUNT = np.uint64(0xFF)
_SHIFT = np.uint64(8)


@kernel
def encode_texts(
    data: UInt8, edges: npt.NDArray[Any], text: int, place: int, pages: UInt8, classes: UInt8, byte_ids: Int64,
    pairs: Int64, lengths: Int64, slots: UInt64, arena: UInt8, pieces: npt.NDArray[Any], used: Int64, grows: bool,
    scratch: Int64, heap: Int64, ids: npt.NDArray[Any], ends: Int64, text_ends: Int64,
) -> tuple[int, int]:
    """Encode the texts data[edges[i]:edges[i + 1]], from byte `place` of text `text` on, behind used[3] tokens.

    `used`, int64 (5,): words of the table, bytes of the arena, ids of `pieces`, tokens written, and the bytes of a word
    for which `scratch` has no room, where that is why it returns. `ids` and `ends` (byte
    behind each token, from the start of its text) have room for a token a byte; text_ends[i] is behind text i.
    Where `grows`, returns (text, place) of the first word that a full table lacks; (number of texts, 0) at the end.
    """
    used[4] = 0
    most = np.int64(len(slots) * FULLEST)
    while text < len(edges) - 1:
        first: Any = np.int64(edges[text])
        stop: Any = np.int64(edges[text + 1])
        while place < stop:
            end = word_end(data, place, stop, pages, classes)
            size = end - place
            if size > scratch.shape[1]:
                used[4] = size
                return text, place
            slot: Any = np.int64(-1)
            if size <= INLINE_BYTES:
                low, high = short_key(data, place, end)
                slot = find_short(low, high, slots)
            elif size <= LONGEST_KEPT:
                slot = find_long(data, place, end, slots, arena)
            if slot < 0 or slots[slot, 1] == 0:
                has_room = (
                    used[0] < most and used[1] + LENGTH_BYTES + size <= len(arena)
                    and used[2] + size <= len(pieces)
                )
                if slot >= 0 and not has_room and grows:
                    return text, place
                count: Any = merge_word(data, place, end, byte_ids, pairs, scratch, heap)
                if slot >= 0 and has_room:
                    if size <= INLINE_BYTES:
                        slots[slot, 0], slots[slot, 1] = low, high
                    else:
                        used[1] = store_long(data, place, end, arena, used[1], slots, slot)
                    slots[slot, 2] = (np.uint64(used[2]) << _SHIFT) | np.uint64(count)
                    used[0] += 1
                    for number in range(count):
                        pieces[used[2] + number] = scratch[IDS, number]
                    used[2] += count
                byte = place - first
                for number in range(count):
                    ids[used[3]] = scratch[IDS, number]
                    byte += lengths[scratch[IDS, number]]
                    ends[used[3]] = byte
                    used[3] += 1
            else:
                count = np.int64(slots[slot, 2] & _COUNT)
                piece = np.int64(slots[slot, 2] >> _SHIFT)
                byte = place - first
                for number in range(count):
                    id = pieces[piece + number]
                    ids[used[3]] = id
                    byte += lengths[id]
                    ends[used[3]] = byte
                    used[3] += 1
            place = end
        text_ends[text] = used[3]
        text += 1
    return text, 0


@dataclass(frozen=True)
class Encoded:
    """Texts as tokens."""

    ids: Tokens  # (tokens,) of all texts, one behind the other
    byte_ends: Int64  # (tokens,): bytes from the start of the text up to the end of each token
    text_ends: Int64  # (texts,): the token behind each text


class Encoder:
    """The tokenizer of a tokenizer folder, for plain text. Raises ArtefactError where that lacks bytes or tokens."""

    def __init__(self, folder: Path) -> None:
        vocab, merges = read_model(folder)
        self.vocab_size = len(vocab)
        self.dtype = token_dtype(self.vocab_size)
        self._lengths = token_lengths(vocab, unmerged_tokens(vocab, merges))
        self._byte_ids = _byte_ids(vocab, folder)
        self._pairs = _pair_table(vocab, merges, folder)
        self._slots = np.zeros((SMALLEST_SLOTS, 3), dtype=np.uint64)
        self._arena = np.empty(SMALLEST_ARENA, dtype=np.uint8)
        self._pieces = np.empty(2 * SMALLEST_SLOTS, dtype=self.dtype)
        self._used = np.zeros(5, dtype=np.int64)
        self._make_scratch(SMALLEST_SCRATCH)

    def encode(self, texts: pa.Array) -> Encoded:
        """Encode a string array without nulls."""
        data, edges = string_buffers(texts)
        size = int(edges[-1] - edges[0])
        ids, ends = np.empty(size, dtype=self.dtype), np.empty(size, dtype=np.int64)
        text_ends = np.empty(len(texts), dtype=np.int64)
        self._used[3] = 0
        text, place = 0, int(edges[0])
        while True:
            text, place = encode_texts(
                data, edges, text, place, *character_classes(), self._byte_ids, self._pairs, self._lengths,
                self._slots, self._arena, self._pieces, self._used, len(self._slots) < MOST_SLOTS, self._scratch,
                self._heap, ids, ends, text_ends,
            )
            if text == len(texts):
                break
            if self._used[4]:
                self._make_scratch(int(self._used[4]))
            else:
                self._grow()
        count = int(self._used[3])
        return Encoded(ids[:count], ends[:count], text_ends)

    def _make_scratch(self, word_bytes: int) -> None:
        self._scratch = np.empty((SCRATCH_ROWS, word_bytes), dtype=np.int64)
        self._heap = np.empty((3 * word_bytes, 2), dtype=np.int64)

    def _grow(self) -> None:
        slots = np.zeros((2 * len(self._slots), 3), dtype=np.uint64)
        move_slots(self._slots, slots)
        self._slots = slots
        self._arena = np.concatenate([self._arena, np.empty_like(self._arena)])
        self._pieces = np.concatenate([self._pieces, np.empty_like(self._pieces)])


def _byte_ids(vocab: dict[str, int], folder: Path) -> Int64:
    missing = [byte for byte, symbol in enumerate(byte_symbols()) if symbol not in vocab]
    if missing:
        raise ArtefactError(
            "expected a tokenizer of all 256 bytes", path=folder, found=f"none for byte {missing[0]}",
            cure="train it again",
        )
    return np.array([vocab[symbol] for symbol in byte_symbols()], dtype=np.int64)


def _pair_table(vocab: dict[str, int], merges: list[tuple[str, str]], folder: Path) -> Int64:
    try:
        ids = [(vocab[left], vocab[right], vocab[left + right]) for left, right in merges]
    except KeyError as error:
        raise ArtefactError(
            "expected every merge to be of tokens of the vocabulary", path=folder, found=str(error),
            cure="train it again",
        ) from error
    table = np.zeros((1 << max(4, (4 * len(merges)).bit_length()), 2), dtype=np.int64)
    lefts, rights, made = np.array(ids, dtype=np.int64).reshape(-1, 3).T
    fill_rows((lefts << 32) | rights, (np.arange(len(ids)) << 32) | made, table)
    return table


def encode_with_specials(folder: Path, text: str) -> list[int]:
    """Ids of one text between <s> and </s>; special strings in it are the special tokens ("<mask>" to be filled)."""
    ids: list[int] = load_tokenizer(folder).encode(text).ids
    return ids


def token_text(folder: Path, id: int) -> str:
    """The text that an id stands for, special tokens by their names."""
    text: str = load_tokenizer(folder).decode([id], skip_special_tokens=False)
    return text


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a folder as it is, special tokens and all. Raises ArtefactError where there is none."""
    path = (folder / "tokenizer.json").resolve()
    return _tokenizer_in(path, path.stat().st_mtime_ns if path.exists() else 0)


@lru_cache(maxsize=4)
def _tokenizer_in(path: Path, changed: int) -> Tokenizer:
    """The tokenizer in a file that was changed last at `changed`."""
    return Tokenizer.from_str(json.dumps(read_json(path)))
