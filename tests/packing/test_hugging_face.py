"""The tokenizer of a Hugging Face folder keeps its ids, and rbt gives text the same ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer
from transformers import AutoTokenizer, RobertaTokenizerFast

from rbt.errors import ArtefactError, InputError, RbtError
from rbt.formats.tokenizer import (
    FILES,
    UNMERGED,
    byte_symbols,
    read_model,
    read_tokenizer,
    read_vocab,
    write_tokenizer,
)
from rbt.formats.verify import verify
from rbt.manifest import load_manifest
from rbt.packing.encode import Encoder, encode_with_specials
from rbt.packing.gpt2 import import_gpt2
from rbt.packing.hugging_face import import_hugging_face

MERGES = [("l", "l"), ("h", "e"), ("ll", "o"), ("Ġ", "a"), ("he", "llo"), ("Ġ", "hello"), ("Ã", "©"), ("Ġ", "Ġ")]
SILENT = ["<|endoftext|>", "madeupword0000"]  # tokens that no merge makes
TOKENS = [*SILENT, *(left + right for left, right in MERGES[::-1]), *byte_symbols()[::-1]]  # in no order of ours
VOCAB = {token: id for id, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *TOKENS, "<mask>"])}
TEXTS = ["hello hello", "", " a hello", "x\n\n  hello é\r\n日本 \t", "<|endoftext|> madeupword0000", "don't 12 🙂"]


def write_model(folder: Path) -> Path:
    """The tokenizer's files as transformers writes them: tokenizer.json and tokenizer_config.json."""
    mask = AddedToken("<mask>", lstrip=True, normalized=False, special=True)  # as roberta-base's
    RobertaTokenizerFast(vocab=VOCAB, merges=MERGES, mask_token=mask).save_pretrained(folder)
    assert {path.name for path in folder.iterdir()} == {"tokenizer.json", "tokenizer_config.json"}
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


@pytest.fixture
def imported(model: Path, tmp_path: Path) -> Path:
    import_hugging_face(model, tmp_path / "tokenizer", replace=False)
    return tmp_path / "tokenizer"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Encoder]:
    """transformers' tokenizer of a folder, and ours of what is imported from it."""
    folder = tmp_path_factory.mktemp("both")
    import_hugging_face(write_model(folder / "model"), folder / "tokenizer", replace=False)
    return AutoTokenizer.from_pretrained(folder / "model"), Encoder(folder / "tokenizer")


def ids_of(encoder: Encoder, texts: list[str]) -> list[list[int]]:
    encoded = encoder.encode(pa.array(texts, pa.string()))
    ends = encoded.text_ends.tolist()
    return [encoded.ids[start:end].tolist() for start, end in zip([0, *ends], ends, strict=False)]


def their_ids(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


def test_every_token_has_the_id_that_it_has_there(imported: Path) -> None:
    assert read_vocab(imported) == VOCAB
    assert list(read_vocab(imported)) == list(VOCAB)
    assert read_model(imported) == (VOCAB, MERGES)
    facts = load_manifest(imported).facts
    assert facts == {"vocab_size": len(VOCAB), "merges": len(MERGES), UNMERGED: SILENT}
    assert [problem for verdict in verify(imported) for problem in verdict.problems] == []


def test_v21_texts_get_the_ids_of_transformers(both: tuple[Any, Encoder]) -> None:
    tokenizer, encoder = both
    found = ids_of(encoder, TEXTS)
    assert found == their_ids(tokenizer, TEXTS)
    assert found[0] == [VOCAB["hello"], VOCAB["Ġhello"]]


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.sampled_from("helo a\n\té日🙂\u00a0'st1x.<>|") | st.characters(exclude_categories=["Cs"])))
def test_v21_any_text_gets_the_ids_of_transformers(both: tuple[Any, Encoder], text: str) -> None:
    tokenizer, encoder = both
    assert ids_of(encoder, [text]) == their_ids(tokenizer, [text])


def test_v22_special_tokens_are_put_where_transformers_puts_them(model: Path, imported: Path) -> None:
    expected = AutoTokenizer.from_pretrained(model)("hello hello <mask>")["input_ids"]
    assert expected == [0, VOCAB["hello"], VOCAB["Ġhello"], VOCAB["<mask>"], 2]
    assert encode_with_specials(imported, "hello hello <mask>") == expected
    assert AutoTokenizer.from_pretrained(imported)("hello hello <mask>")["input_ids"] == expected


def files(folder: Path) -> dict[str, bytes]:
    """The five files of a tokenizer."""
    return {name: (folder / name).read_bytes() for name in FILES}


def two_files(folder: Path, vocab: dict[str, int]) -> Path:
    """The older form: vocab.json and merges.txt alone."""
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(vocab), "utf-8")
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in MERGES), ""]
    (folder / "merges.txt").write_text("\n".join(lines), "utf-8")
    return folder


def test_vocab_json_and_merges_txt_are_the_same_tokenizer(imported: Path, tmp_path: Path) -> None:
    import_hugging_face(two_files(tmp_path / "old", VOCAB), tmp_path / "out", replace=False)
    assert files(tmp_path / "out") == files(imported)
    without = {token: id for token, id in VOCAB.items() if token != "<mask>"}
    folder = two_files(tmp_path / "added", without)
    (folder / "added_tokens.json").write_text(json.dumps({"<mask>": VOCAB["<mask>"]}))
    import_hugging_face(folder, tmp_path / "again", replace=False)
    assert files(tmp_path / "again") == files(imported)


def test_merges_written_as_texts_are_the_same(model: Path, imported: Path, tmp_path: Path) -> None:
    """As tokenizers wrote them before version 0.20."""
    change(lambda table: table["model"].update(merges=[" ".join(pair) for pair in table["model"]["merges"]]))(model)
    import_hugging_face(model, tmp_path / "out", replace=False)
    assert files(tmp_path / "out") == files(imported)


def test_a_tokenizer_of_rbt_stays_what_it_is_to_the_byte(tmp_path: Path) -> None:
    folder = tmp_path / "ours"
    folder.mkdir()
    write_tokenizer(folder, MERGES)
    import_hugging_face(folder, tmp_path / "out", replace=False)
    assert files(tmp_path / "out") == files(folder)


def test_a_second_import_finds_the_first(model: Path, imported: Path) -> None:
    before = load_manifest(imported).table()
    assert import_hugging_face(model, imported, replace=False).table() == before
    change(lambda table: table["model"]["merges"].pop())(model)
    with pytest.raises(ArtefactError, match=r"inputs tokenizer\.json"):
        import_hugging_face(model, imported, replace=False)
    assert import_hugging_face(model, imported, replace=True).facts["merges"] == len(MERGES) - 1


def test_a_model_is_no_tokenizer_folder_and_the_cure_is_named(model: Path) -> None:
    (model / "config.json").write_text("{}")
    with pytest.raises(ArtefactError, match=r"expected a finished tokenizer; found a model \(`rbt bpe train --from /"):
        read_tokenizer(model)


def change(edit: Callable[[dict[str, Any]], object], name: str = "tokenizer.json") -> Callable[[Path], None]:
    """Change a JSON file of a folder."""

    def apply(folder: Path) -> None:
        table = json.loads((folder / name).read_text("utf-8"))
        edit(table)
        (folder / name).write_text(json.dumps(table), "utf-8")

    return apply


def set_id(token: str, id: int) -> Callable[[Path], None]:
    return change(lambda table: table["model"]["vocab"].update({token: id}))


def swap(first: str, second: str) -> Callable[[Path], None]:
    """Give two tokens each other's ids, wherever they are listed."""
    other = {first: VOCAB[second], second: VOCAB[first]}

    def edit(table: dict[str, Any]) -> None:
        table["model"]["vocab"].update(other)
        for token in table["added_tokens"]:
            token["id"] = other.get(token["content"], token["id"])

    return change(edit)


def rename(token: str, name: str) -> Callable[[Path], None]:
    return change(lambda table: table["model"]["vocab"].update({name: table["model"]["vocab"].pop(token)}))


def add(content: str, **fields: Any) -> Callable[[Path], None]:
    return change(lambda table: table["added_tokens"].append({"content": content, **fields}))


def append_text(folder: Path) -> None:
    with (folder / "tokenizer.json").open("a") as stream:
        stream.write("}")


def older(edit: Callable[[Path], object]) -> Callable[[Path], object]:
    """Change a folder that has the older form."""

    def apply(folder: Path) -> object:
        shutil.rmtree(folder)
        return edit(two_files(folder, VOCAB))

    return apply


LAST = len(VOCAB) - 1


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (swap("<mask>", "hello"), rf"special tokens, with <mask> as id {LAST}; found it as {VOCAB['hello']}"),
        (swap("<pad>", "</s>"), "special tokens, with <pad> as id 1; found it as 2"),
        (change(lambda table: table["added_tokens"].pop(0) and table["model"]["vocab"].pop("<s>")), "ids from 0 to"),
        (set_id("hello", 5), "expected each id once; found 5 of both"),
        (set_id("hello", 9999), "expected ids from 0 to .*; found 9999 of 'hello'"),
        (set_id("hello", "7"), "found '7' of 'hello'"),  # type: ignore[arg-type]
        (rename("y", "yy"), "a token for each of the 256 bytes; found none for byte 121"),
        (rename("madeupword0000", "made up"), "GPT-2's byte symbols; found 'made up'"),
        (rename("hello", "jello"), r"merge 4: expected merges of tokens in tokenizer\.json; found 'hello'"),
        (change(lambda table: table["model"]["merges"].append(["l", "l"])), "merge 8: expected each merge once"),
        (change(lambda table: table["model"]["merges"].append("l")), "merge 8: expected two tokens .*; found 'l'"),
        (change(lambda table: table["model"]["merges"].append(7)), "merge 8: expected two tokens .*; found 7"),
        (change(lambda table: table["model"].update(merges={})), "expected a list of merges; found a JSON dict"),
        (change(lambda table: table["model"].update(vocab=[])), "expected a JSON object; found a JSON list"),
        (change(lambda table: table["model"].update(type="WordPiece")), "a byte-level BPE; found 'WordPiece'"),
        (change(lambda table: table.pop("model")), "a byte-level BPE; found None"),
        (change(lambda table: table["model"].update(dropout=0.1)), "a tokenizer without dropout; found 0.1"),
        (change(lambda table: table["model"].update(ignore_merges=True)), "without ignore_merges; found True"),
        (change(lambda table: table["model"].update(end_of_word_suffix="</w>")), "without end_of_word_suffix"),
        (change(lambda table: table.update(normalizer={"type": "Lowercase"})), "without normalizer; .*Lowercase"),
        (change(lambda table: table.update(pre_tokenizer={"type": "Whitespace"})), "split into words.*Whitespace"),
        (change(lambda table: table.update(pre_tokenizer=None)), r"split into words, ByteLevel; found \{\}"),
        (change(lambda table: table["pre_tokenizer"].update(use_regex=False)), "split into words, ByteLevel"),
        (change(lambda table: table["pre_tokenizer"].update(add_prefix_space=True)), "add_prefix_space, a space in"),
        (
            change(lambda table: table.update(add_prefix_space=True), "tokenizer_config.json"),
            r"tokenizer_config\.json: .* found add_prefix_space, a space in front",
        ),
        (add("hello", id=VOCAB["hello"], special=False), "found before text is split; found 'hello'"),
        (add("[DOMAIN]", id=LAST + 1, special=True), rf"<mask> as id {LAST + 1}; found it as {LAST}"),
        (add("x"), "expected added_tokens with content and id; found no 'id'"),
        (append_text, "expected JSON"),
        (lambda folder: (folder / "tokenizer.json").write_bytes(b"\xff"), "expected UTF-8"),
        (lambda folder: (folder / "tokenizer.json").unlink(), r"or vocab\.json and merges\.txt; found neither"),
        (
            older(lambda folder: (folder / "added_tokens.json").write_text(json.dumps({"[X]": LAST + 1}))),
            rf"<mask> as id {LAST + 1}; found it as {LAST}",
        ),
        (
            older(lambda folder: (folder / "added_tokens.json").write_text(json.dumps({"hello": VOCAB["hello"]}))),
            r"added_tokens\.json: expected no tokens that are found before text is split; found hello",
        ),
        (older(lambda folder: (folder / "merges.txt").write_text("l l l")), r"txt: line 1: expected two tokens"),
    ],
)
def test_a_tokenizer_that_is_not_robertas_is_refused_in_one_line(
    model: Path, tmp_path: Path, edit: Any, message: str
) -> None:
    edit(model)
    with pytest.raises(InputError, match=message) as error:
        import_hugging_face(model, tmp_path / "out", replace=False)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_tokenizer_trained_with_all_specials_first_is_refused(tmp_path: Path) -> None:
    """The usual slip with Hugging Face's trainer: <mask> gets id 4."""
    from tokenizers import ByteLevelBPETokenizer

    trained = ByteLevelBPETokenizer()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(["hello hello"], vocab_size=270, special_tokens=specials, show_progress=False)
    trained.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(RbtError, match=r"special tokens, with <mask> as id \d+; found it as 4"):
        import_hugging_face(tmp_path, tmp_path / "out", replace=False)


def test_v21_the_released_tokenizer_has_its_ids_of_real_text(data: Path, tmp_path: Path) -> None:
    """As transformers writes it, which is what roberta-base's own folder holds."""
    source = tmp_path / "gpt2"
    import_gpt2(data / "bpe", source, data / "bpe/derived/roberta_dict.txt", replace=False)
    AutoTokenizer.from_pretrained(source).save_pretrained(tmp_path / "roberta")
    manifest = import_hugging_face(tmp_path / "roberta", tmp_path / "out", replace=False)
    assert (manifest.facts["vocab_size"], manifest.facts["merges"]) == (50265, 50000)
    assert manifest.facts[UNMERGED] == ["<|endoftext|>", *(f"madeupword{number:04d}" for number in range(3))]
    assert files(tmp_path / "out") == files(source)
    text = (data / "bpe/taylorswift.txt").read_text("utf-8")
    texts = [text[start : start + 5000] for start in range(0, len(text), 5000)]
    tokenizer = Tokenizer.from_file(str(tmp_path / "roberta" / "tokenizer.json"))
    expected = [tokenizer.encode(part, add_special_tokens=False).ids for part in texts]
    assert ids_of(Encoder(tmp_path / "out"), texts) == expected
