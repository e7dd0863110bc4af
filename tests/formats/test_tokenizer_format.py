"""The tokenizer's files, as other tools read them."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rbt.formats.tokenizer import build_vocab, byte_symbols, spell, token_lengths, unspell, write_tokenizer


@given(st.binary())
def test_spelling_goes_both_ways(data: bytes) -> None:
    assert unspell(spell(data)) == data


def test_byte_symbols_are_those_of_gpt2() -> None:
    from tokenizers.pre_tokenizers import ByteLevel

    assert set(byte_symbols()) == set(ByteLevel.alphabet())
    assert spell(b" \n") == "ĠĊ"


def test_a_token_spelled_by_two_merges_has_one_id() -> None:
    vocab = build_vocab([("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc")])
    assert vocab["abc"] == 4 + 256 + 2
    assert vocab["<mask>"] == len(vocab) - 1 == 4 + 256 + 3


def test_lengths_are_bytes_of_text() -> None:
    vocab = build_vocab([("Ġ", "Ã"), ("ĠÃ", "©")])
    lengths = token_lengths(vocab)
    assert lengths[vocab["ĠÃ©"]] == len(" é".encode())
    assert lengths[[0, 1, 2, 3, vocab["<mask>"]]].tolist() == [0] * 5


def test_v22_special_ids_in_both_libraries(tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    vocab = write_tokenizer(tmp_path, [("h", "i"), ("Ġ", "hi")])
    raw = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert raw.encode("hi hi <mask>").ids == [0, vocab["hi"], vocab["Ġhi"], vocab["<mask>"], 2]
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert (loaded.bos_token_id, loaded.pad_token_id, loaded.eos_token_id, loaded.unk_token_id) == (0, 1, 2, 3)
    assert loaded.mask_token_id == len(loaded) - 1
    assert loaded("hi <mask>")["input_ids"] == [0, vocab["hi"], vocab["<mask>"], 2]
