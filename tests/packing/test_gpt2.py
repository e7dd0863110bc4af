"""GPT-2's files become the tokenizer of the released RoBERTa, id by id."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from rbt.errors import ArtefactError, InputError
from rbt.formats.tokenizer import (
    FILES,
    UNMERGED,
    byte_symbols,
    read_model,
    read_vocab,
    token_lengths,
    unmerged_tokens,
    write_tokenizer,
)
from rbt.formats.verify import verify
from rbt.manifest import load_manifest, record_files, write_manifest
from rbt.packing.encode import Encoder, encode_with_specials
from rbt.packing.gpt2 import import_gpt2

MERGES = [("l", "l"), ("h", "e"), ("ll", "o"), ("he", "llo"), ("Ġ", "hello"), ("Ã", "©")]
END = "<|endoftext|>"
TEXTS = ["hello hello", " hello", "hell\n\nhello é", END, "<mask> madeupword0000", "", "\x00日本 \t hello"]
KNOWN = {"Hello world!": [31414, 232, 328], "Hello world": [31414, 232], " world": [232], "world": [8331]}


def write_gpt2(folder: Path) -> Path:
    """GPT-2's files with six merges, and a dictionary that has its ids backwards, the end of text first."""
    folder.mkdir(exist_ok=True)
    tokens = [*byte_symbols(), *(left + right for left, right in MERGES), END]
    table = {token: number for number, token in enumerate(tokens)}
    (folder / "encoder.json").write_text(json.dumps(table), "utf-8")
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in MERGES), ""]
    (folder / "vocab.bpe").write_text("\n".join(lines), "utf-8")
    (folder / "dict.txt").write_text("".join(f"{id} {9 * id}\n" for id in range(len(tokens))[::-1]), "utf-8")
    return folder


@pytest.fixture
def gpt2(tmp_path: Path) -> Path:
    return write_gpt2(tmp_path / "gpt2")


@pytest.fixture
def imported(gpt2: Path, tmp_path: Path) -> Path:
    import_gpt2(gpt2, tmp_path / "tokenizer", None, replace=False)
    return tmp_path / "tokenizer"


def hugging_face_ids(folder: Path, texts: list[str]) -> list[list[int]]:
    """What `tokenizers` makes of texts in which special strings are text."""
    table = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    tokenizer = Tokenizer.from_str(json.dumps({**table, "added_tokens": []}))
    return [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


def encoder_ids(folder: Path, texts: list[str]) -> list[list[int]]:
    encoded = Encoder(folder).encode(pa.array(texts, pa.string()))
    ends = encoded.text_ends.tolist()
    return [encoded.ids[start:end].tolist() for start, end in zip([0, *ends], ends, strict=False)]


def test_ids_are_those_of_the_dictionary_between_the_specials_and_mask(imported: Path) -> None:
    vocab = read_vocab(imported)
    in_dictionary = [END, *(left + right for left, right in MERGES[::-1]), *byte_symbols()[::-1]]
    fillers = ["madeupword0000", "madeupword0001", "madeupword0002", "madeupword0003", "madeupword0004"]
    assert list(vocab) == ["<s>", "<pad>", "</s>", "<unk>", *in_dictionary, *fillers, "<mask>"]
    assert list(vocab.values()) == list(range(273))  # 4 + 256 + 6 + 1, filled up to 272, and <mask>
    assert read_model(imported) == (vocab, MERGES)


def test_fillers_of_the_dictionary_keep_their_places(gpt2: Path, tmp_path: Path) -> None:
    lines = (gpt2 / "dict.txt").read_text().splitlines()
    text = "\n".join([lines[0], "madeupword0000 0", *lines[1:]])
    (tmp_path / "fairseq.txt").write_text(text)
    import_gpt2(gpt2, tmp_path / "out", tmp_path / "fairseq.txt", replace=False)
    vocab = read_vocab(tmp_path / "out")
    assert (vocab[END], vocab["madeupword0000"], vocab["Ã©"], len(vocab)) == (4, 5, 6, 273)
    assert list(vocab)[-2:] == ["madeupword0004", "<mask>"]


def test_v22_an_imported_tokenizer_is_read_by_both_libraries(imported: Path) -> None:
    vocab = read_vocab(imported)
    expected = [0, vocab["hello"], vocab["Ġhello"], vocab["<mask>"], 2]
    assert encode_with_specials(imported, "hello hello <mask>") == expected
    loaded = AutoTokenizer.from_pretrained(imported)
    assert loaded("hello hello <mask>")["input_ids"] == expected
    assert (len(loaded), loaded.mask_token_id) == (273, 272)


def test_v21_texts_are_encoded_like_hugging_face_and_decoded_to_themselves(imported: Path) -> None:
    ids = encoder_ids(imported, TEXTS)
    assert ids == hugging_face_ids(imported, TEXTS)
    tokenizer = Tokenizer.from_file(str(imported / "tokenizer.json"))
    assert [tokenizer.decode(some, skip_special_tokens=False) for some in ids] == TEXTS


def test_tokens_that_no_merge_makes_stand_for_no_text(imported: Path) -> None:
    vocab, merges = read_model(imported)
    unmerged = unmerged_tokens(vocab, merges)
    assert unmerged == [END, *(f"madeupword{number:04d}" for number in range(5))]
    lengths = token_lengths(vocab, unmerged)
    assert (lengths == 0).nonzero()[0].tolist() == [0, 1, 2, 3, 4, *range(267, 273)]
    assert lengths[vocab["Ġhello"]] == 6
    assert not {vocab[token] for token in unmerged} & {id for ids in encoder_ids(imported, TEXTS) for id in ids}


def test_a_second_import_finds_the_first(gpt2: Path, imported: Path) -> None:
    before = load_manifest(imported).table()
    assert import_gpt2(gpt2, imported, None, replace=False).table() == before
    (gpt2 / "vocab.bpe").write_text((gpt2 / "vocab.bpe").read_text("utf-8") + "\n", "utf-8")
    with pytest.raises(ArtefactError, match="inputs merges"):
        import_gpt2(gpt2, imported, None, replace=False)
    assert import_gpt2(gpt2, imported, None, replace=True).facts == before["facts"]


def problems(folder: Path) -> list[str]:
    return [problem for verdict in verify(folder) for problem in verdict.problems]


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the ids in vocab.json and tokenizer.json, and record both files as they are then."""
    manifest = load_manifest(folder)
    vocab, merges = read_model(folder)
    change(vocab)
    write_tokenizer(folder, merges, vocab)
    write_manifest(folder, replace(manifest, files=record_files(folder, FILES)))


def swap(vocab: dict[str, Any], first: str, second: str) -> None:
    vocab[first], vocab[second] = vocab[second], vocab[first]


def test_an_imported_tokenizer_is_verified(imported: Path) -> None:
    assert problems(imported) == []
    (imported / "merges.txt").write_text("#version: 0.2\nl l\n", "utf-8")
    assert "merges.txt" in problems(imported)[0]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda vocab: swap(vocab, "<pad>", "hello"), "<s>, <pad>, </s>, <unk> first"),
        (lambda vocab: swap(vocab, "<mask>", "hello"), "with <mask> last"),
        (lambda vocab: vocab.update({"he": vocab["ll"]}), "each once"),
        (lambda vocab: (vocab.update({"yy": vocab["y"]}), vocab.pop("y")), "none for byte 121"),
        (lambda vocab: (vocab.update({"yy": vocab["hello"]}), vocab.pop("hello")), "found 'hello'"),
        (lambda vocab: (vocab.update({"yy": vocab[END]}), vocab.pop(END)), "beside bytes and merges; found ['yy'"),
    ],
)
def test_ids_that_cannot_be_are_found_though_their_hash_is_right(imported: Path, change: Any, problem: str) -> None:
    rewrite(imported, lambda vocab: None)
    assert problems(imported) == []
    rewrite(imported, change)
    assert any(problem in found for found in problems(imported)), problems(imported)


def test_ids_follow_from_the_merges_where_the_manifest_does_not_say_otherwise(imported: Path) -> None:
    manifest = load_manifest(imported)
    facts = {name: fact for name, fact in manifest.facts.items() if name != UNMERGED}
    write_manifest(imported, replace(manifest, facts=facts))
    assert problems(imported) == ["vocab.json is not what merges.txt makes"]


def edit(name: str, old: str, new: str) -> Callable[[Path], object]:
    """Replace the first `old` in a file."""

    def change(folder: Path) -> None:
        text = (folder / name).read_text("utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1), "utf-8")

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "encoder.json").unlink(), "encoder.json: expected GPT-2.s tokens and ids; .* none"),
        (lambda folder: (folder / "vocab.bpe").unlink(), "vocab.bpe: expected GPT-2's merges; found none"),
        (lambda folder: (folder / "dict.txt").unlink(), "dict.txt: expected fairseq's dictionary .* --dictionary"),
        (lambda folder: (folder / "encoder.json").write_text("{"), "encoder.json: expected JSON"),
        (lambda folder: (folder / "encoder.json").write_bytes(b"\xff"), "encoder.json: expected UTF-8"),
        (lambda folder: (folder / "encoder.json").write_text("[1]"), "found a JSON list"),
        (edit("encoder.json", '"hello": 259', '"hello": 258'), "each id once; found 258 of both 'llo' and 'hello'"),
        (edit("encoder.json", '"hello": 259', '"hello": 999'), "ids from 0 to 262; found 999 of 'hello'"),
        (edit("encoder.json", '"hello": 259', '"hello": true'), "found True of 'hello'"),
        (edit("encoder.json", '"hello"', '"<mask>"'), "without <mask>; found it as 259"),
        (edit("encoder.json", '"y"', '"yy"'), "none for byte 121"),
        (edit("encoder.json", END, "a b"), "byte symbols; found 'a b'"),
        (edit("encoder.json", '"hello"', '"jello"'), "line 5: expected merges of tokens in .* found 'hello'"),
        (edit("vocab.bpe", "l l", "l  l"), "line 2: expected two tokens"),
        (edit("vocab.bpe", "h e", "l l"), "line 3: expected each merge once"),
        (edit("dict.txt", "262 2358", "hello 2358"), "line 1: expected a GPT-2 id below 263; found 'hello'"),
        (edit("dict.txt", "262 2358", "263 2358"), "line 1: expected a GPT-2 id below 263; found '263'"),
        (edit("dict.txt", "262 2358", "262"), "line 1: expected a GPT-2 id and a count; found '262'"),
        (edit("dict.txt", "261 2349", "262 2349"), "line 2: expected each GPT-2 id once; found 262 again"),
        (edit("dict.txt", "261 2349\n", ""), "expected all 263 GPT-2 ids; found none of 261 .and 0 more"),
    ],
)
def test_files_that_do_not_fit_are_refused_in_one_line(gpt2: Path, tmp_path: Path, change: Any, message: str) -> None:
    change(gpt2)
    with pytest.raises(InputError, match=message) as error:
        import_gpt2(gpt2, tmp_path / "out", None, replace=False)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.fixture(scope="module")
def released(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tokenizer of the released models."""
    out = tmp_path_factory.mktemp("released") / "tokenizer"
    manifest = import_gpt2(data / "bpe", out, data / "bpe/derived/roberta_dict.txt", replace=False)
    assert (manifest.facts["vocab_size"], manifest.facts["merges"]) == (50265, 50000)
    return out


def test_v22_released_ids_of_known_texts(released: Path) -> None:
    raw = Tokenizer.from_file(str(released / "tokenizer.json"))
    loaded = AutoTokenizer.from_pretrained(released)
    for text, ids in KNOWN.items():
        expected = [0, *ids, 2]
        assert encode_with_specials(released, text) == expected
        assert raw.encode(text).ids == expected
        assert loaded(text)["input_ids"] == expected
    assert len(loaded) == loaded.vocab_size == 50265


def test_v22_released_ids_of_tokens_that_no_text_has(released: Path) -> None:
    vocab = read_vocab(released)
    fillers = [f"madeupword{number:04d}" for number in range(3)]
    assert [vocab[token] for token in (".", END, *fillers, "<mask>")] == [4, 50260, 50261, 50262, 50263, 50264]
    assert load_manifest(released).facts[UNMERGED] == [END, *fillers]
    assert problems(released) == []


def test_the_released_fillers_are_those_that_a_dictionary_without_them_gets(
    released: Path, data: Path, tmp_path: Path
) -> None:
    lines = (data / "bpe/derived/roberta_dict.txt").read_text().splitlines()
    (tmp_path / "dict.txt").write_text("\n".join(line for line in lines if not line.startswith("madeup")))
    import_gpt2(data / "bpe", tmp_path / "out", tmp_path / "dict.txt", replace=False)
    assert read_vocab(tmp_path / "out") == read_vocab(released)


def test_v21_released_ids_of_real_text_are_those_of_hugging_face(released: Path, data: Path) -> None:
    text = (data / "bpe/taylorswift.txt").read_text("utf-8")
    texts = [text[start : start + 5000] for start in range(0, len(text), 5000)]
    assert encoder_ids(released, texts) == hugging_face_ids(released, texts)
