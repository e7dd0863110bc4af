"""The tokenizer folder: byte-level BPE in the RoBERTa layout, read unchanged by `tokenizers` and `transformers`.

Ids: <s> 0, <pad> 1, </s> 2, <unk> 3, the 256 bytes, one id a new merge result, <mask> last.
The byte symbols are in the order of the code points that spell them, as in Hugging Face tokenizers.
A tokenizer that was imported keeps its own ids between the specials and <mask>, and may have tokens that no text is
encoded to: they have ids, and stand for no text.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rbt.errors import ArtefactError
from rbt.manifest import Manifest, fingerprint, read_json, read_manifest, to_json
from rbt.storage import hash_file, write_text

KIND, VERSION = "tokenizer", 1
MADE_BY = "rbt bpe train"
FILES = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
BOS, PAD, EOS, UNK = 0, 1, 2, 3
LEADING_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
MASK = "<mask>"
FIRST_ORDINARY_ID = len(LEADING_SPECIALS)
UNMERGED = "unmerged"  # fact of an imported tokenizer: tokens that no text is encoded to, by id
MAX_POSITIONS = 512


@cache
def byte_symbols() -> tuple[str, ...]:
    """The character that spells each byte 0..255 (GPT-2's mapping: printable bytes stand for themselves)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    spare = iter(range(0x100, 0x200))
    return tuple(chr(byte) if byte in printable else chr(next(spare)) for byte in range(256))


@cache
def symbol_bytes() -> dict[str, int]:
    """The byte behind each symbol."""
    return {symbol: byte for byte, symbol in enumerate(byte_symbols())}


def spell(data: bytes) -> str:
    """Bytes as symbols: b" a" -> "Ġa"."""
    return "".join(byte_symbols()[byte] for byte in data)


def unspell(symbols: str) -> bytes:
    """Symbols back to bytes."""
    table = symbol_bytes()
    return bytes(table[symbol] for symbol in symbols)


def build_vocab(merges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Token to id: specials, byte symbols by code point, merge results in order (once each), <mask>."""
    vocab = {token: number for number, token in enumerate((*LEADING_SPECIALS, *sorted(byte_symbols())))}
    for left, right in merges:
        vocab.setdefault(left + right, len(vocab))
    vocab[MASK] = len(vocab)
    return vocab


def _added_token(number: int, content: str) -> dict[str, Any]:
    is_mask = content == MASK
    return {
        "id": number, "content": content, "single_word": False, "lstrip": is_mask, "rstrip": False,
        "normalized": not is_mask, "special": True,
    }


def _tokenizer_json(vocab: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> dict[str, Any]:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [_added_token(vocab[token], token) for token in (*LEADING_SPECIALS, MASK)],
        "normalizer": None, "pre_tokenizer": byte_level,
        "post_processor": {
            "type": "RobertaProcessing", "sep": ["</s>", EOS], "cls": ["<s>", BOS],
            "trim_offsets": True, "add_prefix_space": False,
        },
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": dict(vocab), "merges": [list(pair) for pair in merges],
        },
    }


def _dump(value: Any) -> str:
    # Not to_json: in a vocabulary the order of ids is what a reader wants, so keys keep their order.
    import json

    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def write_tokenizer(
    folder: Path, merges: Sequence[tuple[str, str]], vocab: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Write the five files for merges spelled in byte symbols; return the vocabulary.

    `vocab`: token to id, with the specials first and <mask> last; by default `build_vocab` of the merges.
    """
    vocab = build_vocab(merges) if vocab is None else dict(vocab)
    names = {"bos": "<s>", "cls": "<s>", "eos": "</s>", "sep": "</s>", "pad": "<pad>", "unk": "<unk>"}
    specials = {f"{role}_token": token for role, token in names.items()}
    mask = {"content": MASK, "lstrip": True, "normalized": False, "rstrip": False, "single_word": False}
    config = {
        **specials, "mask_token": MASK, "add_prefix_space": False, "model_max_length": MAX_POSITIONS,
        "tokenizer_class": "RobertaTokenizer", "trim_offsets": True, "errors": "replace",
    }
    write_text(folder / "vocab.json", _dump(vocab))
    write_text(folder / "merges.txt", "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    write_text(folder / "tokenizer.json", _dump(_tokenizer_json(vocab, merges)))
    write_text(folder / "tokenizer_config.json", to_json(config))
    write_text(folder / "special_tokens_map.json", to_json({**specials, "mask_token": mask}))
    return vocab


def read_vocab(folder: Path) -> dict[str, int]:
    """Token to id."""
    vocab: dict[str, int] = read_json(folder / "vocab.json")
    return vocab


def unmerged_tokens(vocab: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> list[str]:
    """Tokens that no text is encoded to, by id: neither special, nor a byte, nor what a merge makes."""
    known = {*LEADING_SPECIALS, MASK, *byte_symbols(), *(left + right for left, right in merges)}
    return sorted(vocab.keys() - known, key=vocab.__getitem__)


def token_lengths(vocab: Mapping[str, int], unmerged: Collection[str] = ()) -> npt.NDArray[np.int64]:
    """Bytes of text behind each id, int64 (vocabulary size,); 0 for specials and `unmerged`, which are no text."""
    lengths = np.zeros(max(vocab.values()) + 1, dtype=np.int64)
    silent = {*LEADING_SPECIALS, MASK, *unmerged}
    for token, number in vocab.items():
        if token not in silent:
            lengths[number] = len(token)  # one symbol is one byte
    return lengths


def read_tokenizer(folder: Path) -> Manifest:
    """The manifest of a finished tokenizer. Raises ArtefactError."""
    if (folder / "config.json").is_file():
        raise ArtefactError(
            "expected a finished tokenizer", path=folder, found="a model", cure=f"`{MADE_BY} --from {folder}`"
        )
    return read_manifest(folder, KIND, VERSION, MADE_BY)


def files_fingerprint(folder: Path, cure: str) -> str:
    """Identity of a tokenizer's files, which a run records. Raises ArtefactError where one is missing."""
    for name in FILES:
        if not (folder / name).is_file():
            raise ArtefactError(f"expected the tokenizer's {name}", path=folder, found="none", cure=cure)
    return fingerprint({name: hash_file(folder / name, "blake2b") for name in FILES})


def read_model(folder: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """(token to id, merges in order) of tokenizer.json."""
    model = read_json(folder / "tokenizer.json")["model"]
    return model["vocab"], [(left, right) for left, right in model["merges"]]
