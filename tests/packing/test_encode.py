"""Ids against a BPE that applies one merge at a time, and text that must come back as it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from rbt.errors import ArtefactError
from rbt.formats.tokenizer import read_vocab, spell, unspell, write_tokenizer
from rbt.formats.tokens import token_dtype
from rbt.packing.bpe import train_merges
from rbt.packing.encode import Encoder, encode_with_specials, token_text

from .conftest import prose

SPLIT = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
SPECIALS = ["<s>", "</s>", "<pad>", "<unk>", "<mask>", "a <mask> b", "<s>x</s>"]
HARD = [
    "".join(map(chr, range(256))), "\r\n\r\n", " " * 3000, "x" * 3000, "👩\u200d👩\u200d👧 🇫🇮", "e\u0301 ﬁ ½ ²",
    "\x00\ufeff\u200b\u2028", "日本語のテキスト。", "مرحبا بالعالم", "don't we'll I'M 12,345.67",
    "\t\tdef f():\n        return 1\n", "\ufffd",
]
assigned = st.text(st.characters(exclude_categories=["Cn", "Cs", "Co"]), max_size=60)  # split tables differ elsewhere


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of 600 ids."""
    out = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(out, train_merges([[prose(number) for number in range(40)]], 600 - 5))
    return out


def slow_encode(folder: Path, text: str) -> list[int]:
    """GPT-2's split by its published pattern, then the first merge that applies, again and again."""
    vocab = read_vocab(folder)
    lines = (folder / "merges.txt").read_text("utf-8").splitlines()[1:]
    ranks = {tuple(line.split(" ")): rank for rank, line in enumerate(lines)}
    ids = []
    for word in SPLIT.findall(text):
        symbols = list(spell(word.encode()))
        while len(symbols) > 1:
            pairs = list(zip(symbols, symbols[1:], strict=False))  # noqa: RUF007 (the pairs are looked up again)
            best = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
            if best not in ranks:
                break
            place = pairs.index(best)
            symbols[place : place + 2] = ["".join(best)]
        ids += [vocab[symbol] for symbol in symbols]
    return ids


def decode(folder: Path, ids: np.ndarray) -> str:  # type: ignore[type-arg]
    tokens = {number: token for token, number in read_vocab(folder).items()}
    return unspell("".join(tokens[number] for number in ids.tolist())).decode()


@pytest.mark.parametrize("text", [*SPECIALS, *HARD])
def test_v21_hard_text_has_the_ids_of_a_slow_encoder_and_comes_back(folder: Path, text: str) -> None:
    encoder = Encoder(folder)
    (ids,) = encoder.encode([text])
    if len(text) < 3000:  # the slow one is quadratic
        assert ids.tolist() == slow_encode(folder, text)
    assert decode(folder, ids) == text
    assert ids.min() >= 4 and ids.max() < encoder.vocab_size - 1
    assert encoder.token_ends(ids, len(text.encode()), "a:0")[-1] == len(text.encode())


@given(text=assigned)
def test_v21_any_text_has_the_ids_of_a_slow_encoder(folder: Path, text: str) -> None:
    (ids,) = Encoder(folder).encode([text])
    assert ids.tolist() == slow_encode(folder, text)
    assert decode(folder, ids) == text


def test_v21_naughty_strings_come_back(folder: Path, data: Path) -> None:
    strings = json.loads((data / "hostile" / "naughty" / "blns.json").read_text("utf-8"))
    encoder = Encoder(folder)
    for text, ids in zip(strings, encoder.encode(strings), strict=True):
        assert decode(folder, ids) == text
        assert ids.tolist() == slow_encode(folder, text)


def test_ids_are_16_bit_as_long_as_they_fit(folder: Path, tmp_path: Path) -> None:
    (ids,) = Encoder(folder).encode(["north"])
    assert ids.dtype == np.dtype("<u2")
    (empty,) = Encoder(folder).encode([""])
    assert len(empty) == 0 and empty.dtype == np.dtype("<u2")


def test_the_type_of_tokens_is_that_of_the_largest_id() -> None:
    assert [token_dtype(size).str for size in (300, 1 << 16, (1 << 16) + 1)] == ["<u2", "<u2", "<u4"]


def test_a_tokenizer_that_loses_bytes_is_an_error(folder: Path, tmp_path: Path) -> None:
    table = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    del table["model"]["vocab"][spell("é".encode())[0]]
    table["model"]["merges"] = []
    (tmp_path / "tokenizer.json").write_text(json.dumps(table), "utf-8")
    (tmp_path / "vocab.json").write_bytes((folder / "vocab.json").read_bytes())
    encoder = Encoder(tmp_path)
    (ids,) = encoder.encode(["café"])
    with pytest.raises(ArtefactError, match="document 'a:7' to stand for its 5 bytes; found 4 bytes"):
        encoder.token_ends(ids, 5, "a:7")


def test_a_prompt_is_encoded_with_special_tokens(folder: Path) -> None:
    mask = read_vocab(folder)["<mask>"]
    ids = encode_with_specials(folder, "the <mask>")
    assert (ids[0], ids[-2], ids[-1]) == (0, mask, 2)
    assert token_text(folder, mask) == "<mask>"
    assert token_text(folder, read_vocab(folder)["Ġ"]) == " "
