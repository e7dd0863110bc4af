"""Ids against Hugging Face tokenizers and a BPE that applies one merge at a time; text must come back as it was."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from rbt.errors import ArtefactError
from rbt.formats.tokenizer import byte_symbols, read_model, read_vocab, spell, token_lengths, unspell, write_tokenizer
from rbt.formats.tokens import token_dtype
from rbt.packing import encode as encode_module
from rbt.packing.encode import Encoded, Encoder, encode_with_specials, load_tokenizer, token_text
from rbt.packing.merge_ids import IDS, SCRATCH_ROWS, SHORT_WORD, _merge_long, _merge_short
from rbt.packing.pair_queue import find
from rbt.packing.pretokenize import split_words

from .conftest import prose
from .merge_reference import learned, words_of

SPECIALS = ["<s>", "</s>", "<pad>", "<unk>", "<mask>", "a <mask> b", "<s>x</s>"]
HARD = [
    "", "".join(map(chr, range(256))), "\r\n\r\n", " " * 3000, "x" * 5000, "ab" * 3000, "👩\u200d👩\u200d👧 🇫🇮",
    "e\u0301 ﬁ ½ ²", "\x00\ufeff\u200b\u2028", "日本語のテキスト。", "مرحبا بالعالم", "don't we'll I'M 12,345.67",
    "\t\tdef f():\n        return 1\n", "\ufffd", "".join(chr(point) for point in range(0x300, 0x3000, 7)),
    "the" * 5, "the" * 6, "north " * 9, "a" * 15, "a" * 16, "a" * 47, "a" * 48, "a" * 49, "a" * 64, "a" * 65, "a" * 300,
]


def make_tokenizer(folder: Path, texts: Sequence[str], size: int) -> Path:
    merges = learned(words_of(texts), size - 5)
    write_tokenizer(folder, [(spell(left), spell(right)) for left, right in merges])
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of 600 ids."""
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"), [prose(number) for number in range(40)], 600)


@pytest.fixture(scope="module")
def repeating(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer whose merges overlap, and of which many words are long: few letters, tokens spelled in many ways."""
    generator = random.Random(5)
    texts = ["".join(generator.choices("aab", k=generator.randrange(1, 80))) for _ in range(60)]
    return make_tokenizer(tmp_path_factory.mktemp("repeating"), [*texts, "x" * 3000], 500)


def reference(folder: Path) -> Tokenizer:
    """The tokenizer of Hugging Face tokenizers, to which special strings are text."""
    table = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    return Tokenizer.from_str(json.dumps({**table, "added_tokens": [], "post_processor": None}))


def encoded(folder: Path, texts: Sequence[str]) -> Encoded:
    return Encoder(folder).encode(pa.array(texts, pa.string()))


def lists(found: Encoded) -> list[list[int]]:
    """Ids of each text."""
    return [ids.tolist() for ids in np.split(found.ids, found.text_ends)[:-1]]


def check(folder: Path, found: Encoded, texts: Sequence[str]) -> None:
    """The ids are those of the reference, and text and byte ends are those of the tokens."""
    expected = [encoding.ids for encoding in reference(folder).encode_batch_fast(list(texts))]
    assert lists(found) == expected
    assert len(found.ids) == len(found.byte_ends) == (found.text_ends[-1] if len(texts) else 0)
    tokens = {number: token for token, number in read_model(folder)[0].items()}
    lengths = token_lengths(read_model(folder)[0])
    for text, ids, ends in zip(texts, lists(found), np.split(found.byte_ends, found.text_ends)[:-1], strict=True):
        assert unspell("".join(tokens[number] for number in ids)).decode() == text
        assert ends.tolist() == np.cumsum(lengths[ids]).tolist()


def slow_encode(folder: Path, word: bytes) -> list[int]:
    """The first merge of the lowest rank, again and again."""
    vocab, merges = read_model(folder)
    ranks = {pair: rank for rank, pair in enumerate(merges)}
    symbols = list(spell(word))
    while len(symbols) > 1:
        pairs = list(zip(symbols, symbols[1:], strict=False))  # noqa: RUF007 (the pairs are looked up again)
        best = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        place = pairs.index(best)
        symbols[place : place + 2] = ["".join(best)]
    return [vocab[symbol] for symbol in symbols]


@pytest.mark.parametrize("which", ["folder", "repeating"])
def test_v21_hard_text_has_the_ids_of_hugging_face_tokenizers(which: str, request: pytest.FixtureRequest) -> None:
    tokenizer: Path = request.getfixturevalue(which)
    texts = [*SPECIALS, *HARD]
    found = encoded(tokenizer, texts)
    check(tokenizer, found, texts)
    assert found.ids.min() >= 4 and found.ids.max() < Encoder(tokenizer).vocab_size - 1, "special strings are text"


@given(texts=st.lists(st.text(max_size=60), max_size=6))
def test_v21_any_text_has_the_ids_of_hugging_face_tokenizers(folder: Path, texts: list[str]) -> None:
    check(folder, encoded(folder, texts), texts)


@given(texts=st.lists(st.text(alphabet="aab' \n", max_size=150), max_size=6))
def test_v21_overlapping_merges_have_the_ids_of_hugging_face_tokenizers(repeating: Path, texts: list[str]) -> None:
    check(repeating, encoded(repeating, texts), texts)


@given(text=st.text(alphabet="thenor sa", max_size=50))
def test_v21_words_have_the_ids_of_a_slow_encoder(folder: Path, text: str) -> None:
    assert lists(encoded(folder, [text])) == [[id for word in split_words(text) for id in slow_encode(folder, word)]]


def test_v21_naughty_strings_have_the_ids_of_hugging_face_tokenizers(folder: Path, data: Path) -> None:
    texts = json.loads((data / "hostile" / "naughty" / "blns.json").read_text("utf-8"))
    check(folder, encoded(folder, texts), texts)


@pytest.fixture(scope="module")
def gpt2(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GPT-2's vocabulary, of 50,257 ids."""
    out = tmp_path_factory.mktemp("gpt2")
    vocab = json.loads((data / "bpe" / "encoder.json").read_text("utf-8"))
    lines = (data / "bpe" / "vocab.bpe").read_text("utf-8").splitlines()[1:]
    write_tokenizer(out, [])
    table = json.loads((out / "tokenizer.json").read_text("utf-8"))
    del vocab["<|endoftext|>"]
    table["model"].update(vocab=vocab, merges=[line.split(" ") for line in lines])
    (out / "tokenizer.json").write_text(json.dumps(table), "utf-8")
    return out


def real_texts(data: Path, most_bytes: int) -> list[str]:
    files = [data / "bpe" / "taylorswift.txt", *sorted((data / "books" / "100_english_novels").glob("*.txt"))]
    files += sorted((data / "langid").rglob("*devtest*"))
    return [
        path.read_bytes()[:most_bytes].decode("utf-8", "replace") for path in files if path.is_file()
    ]


def test_v21_real_text_has_the_ids_of_gpt2(gpt2: Path, data: Path) -> None:
    texts = [*real_texts(data, 60_000), *HARD]
    check(gpt2, encoded(gpt2, texts), texts)


@pytest.mark.slow
def test_v21_all_real_text_has_the_ids_of_gpt2(gpt2: Path, data: Path) -> None:
    texts = real_texts(data, 1 << 30)
    check(gpt2, encoded(gpt2, texts), texts)


def test_every_byte_and_every_pair_of_letters_is_encoded(folder: Path) -> None:
    vocab = read_vocab(folder)
    texts = [chr(point) for point in range(0x80)] + [a + b for a in "theno r" for b in "theno r"]
    check(folder, encoded(folder, texts), texts)
    assert lists(encoded(folder, ["\x00"])) == [[vocab[byte_symbols()[0]]]]


@pytest.mark.parametrize(("smallest", "most", "arena"), [(16, 16, 200), (16, 64, 200), (16, 1 << 20, 64)])
def test_a_table_that_is_small_or_full_gives_the_same_ids(
    folder: Path, monkeypatch: pytest.MonkeyPatch, smallest: int, most: int, arena: int
) -> None:
    monkeypatch.setattr(encode_module, "SMALLEST_SLOTS", smallest)
    monkeypatch.setattr(encode_module, "MOST_SLOTS", most)
    monkeypatch.setattr(encode_module, "SMALLEST_ARENA", arena)
    texts = [prose(number) + f" {'long' * (number % 9)}{number**4}" for number in range(60)]
    encoder = Encoder(folder)
    for some in (texts[:20], [], texts, HARD, texts):  # the table goes on from one call to the next
        check(folder, encoder.encode(pa.array(some, pa.string())), some)


@settings(max_examples=20)
@given(words=st.lists(st.text(alphabet="aabx", min_size=1, max_size=90).map(str.encode), min_size=1, max_size=9))
def test_short_and_long_words_are_merged_the_same(repeating: Path, words: list[bytes]) -> None:
    encoder = Encoder(repeating)
    for word in words:
        found = []
        for merge in (_merge_short, _merge_long):
            scratch = np.full((SCRATCH_ROWS, len(word)), -7, dtype=np.int64)
            scratch[IDS] = encoder._byte_ids[list(word)]
            heap = (np.empty((3 * len(word), 2), dtype=np.int64),) if merge is _merge_long else ()
            count = merge(len(word), encoder._pairs, scratch, *heap)
            found.append(scratch[IDS, :count].tolist())
        assert found[0] == found[1] == slow_encode(repeating, word)


def test_long_words_are_merged_in_a_heap_and_short_ones_are_not() -> None:
    assert 16 < SHORT_WORD < min(len(word) for word in ("x" * 5000, "ab" * 3000))


@pytest.mark.parametrize("kind", [pa.string(), pytest.param(pa.large_string(), marks=pytest.mark.slow)])
def test_a_slice_of_texts_is_encoded_alone(folder: Path, kind: pa.DataType) -> None:
    texts = ["before", "", "the ship's old gulls", "", "12 é", "behind"]
    array = pa.array(texts, kind).slice(1, 4)
    check(folder, Encoder(folder).encode(array), texts[1:5])
    assert lists(Encoder(folder).encode(array.slice(0, 0))) == []


def test_ids_are_16_bit_as_long_as_they_fit(folder: Path) -> None:
    assert encoded(folder, ["north"]).ids.dtype == np.dtype("<u2")
    empty = encoded(folder, [""])
    assert (len(empty.ids), empty.ids.dtype, empty.text_ends.tolist()) == (0, np.dtype("<u2"), [0])


@pytest.mark.slow
def test_ids_beyond_16_bit_are_those_of_hugging_face_tokenizers(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    table = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    vocab = table["model"]["vocab"]
    table["model"]["vocab"] = {token: number * 150 for token, number in vocab.items()}
    filler = (number for number in range(max(vocab.values()) * 150) if number % 150)
    table["model"]["vocab"] |= {f"unused {number}": number for number in filler}
    (tmp_path / "tokenizer.json").write_text(json.dumps(table), "utf-8")
    found = encoded(tmp_path, ["the old ship sailed north"])
    assert found.ids.dtype == np.dtype("<u4")
    check(tmp_path, found, ["the old ship sailed north"])


def test_the_type_of_tokens_is_that_of_the_largest_id() -> None:
    assert [token_dtype(size).str for size in (300, 1 << 16, (1 << 16) + 1)] == ["<u2", "<u2", "<u4"]


@pytest.mark.parametrize("damage", ["byte", "merge"])
def test_a_tokenizer_that_lacks_bytes_or_tokens_is_an_error(folder: Path, tmp_path: Path, damage: str) -> None:
    table = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    token = spell("é".encode())[0] if damage == "byte" else "".join(table["model"]["merges"][-1])
    del table["model"]["vocab"][token]
    (tmp_path / "tokenizer.json").write_text(json.dumps(table), "utf-8")
    expected = {"byte": "all 256 bytes; found none for byte 195", "merge": f"of the vocabulary; found '{token}'"}
    with pytest.raises(ArtefactError, match=expected[damage]):
        Encoder(tmp_path)


def test_the_table_of_pairs_holds_every_merge(folder: Path) -> None:
    vocab, merges = read_model(folder)
    pairs = Encoder(folder)._pairs
    for rank, (left, right) in enumerate(merges):
        row = find(vocab[left] << 32 | vocab[right], pairs)
        assert pairs[row].tolist() == [(vocab[left] << 32 | vocab[right]) + 1, rank << 32 | vocab[left + right]]
    assert np.count_nonzero(pairs[:, 0]) == len(merges)


def test_a_prompt_is_encoded_with_special_tokens(folder: Path) -> None:
    mask = read_vocab(folder)["<mask>"]
    ids = encode_with_specials(folder, "the <mask>")
    assert (ids[0], ids[-2], ids[-1]) == (0, mask, 2)
    assert token_text(folder, mask) == "<mask>"
    assert token_text(folder, read_vocab(folder)["Ġ"]) == " "


def test_another_tokenizer_in_a_folder_of_the_same_name_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative paths mean something else elsewhere, and files are replaced."""
    found = []
    for name, merges in (("a", []), ("b", [("Ġ", "a")])):
        (tmp_path / name / "tokenizer").mkdir(parents=True)
        write_tokenizer(tmp_path / name / "tokenizer", merges)
        monkeypatch.chdir(tmp_path / name)
        found.append(load_tokenizer(Path("tokenizer")).get_vocab_size())
    write_tokenizer(tmp_path / "b" / "tokenizer", [("Ġ", "a"), ("Ġa", "b")])
    found.append(load_tokenizer(Path("tokenizer")).get_vocab_size())
    assert found == [261, 262, 263]
