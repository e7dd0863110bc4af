"""Training on corpora and on counts, and the tokenizer folder against the libraries that read it."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from rbt.engine import LocalEngine
from rbt.errors import ArtefactError, ConfigError
from rbt.formats.tokenizer import FILES, unspell
from rbt.formats.verify import verify
from rbt.packing import count, word_counts, word_runs
from rbt.packing.bpe import ALL_WORDS, train_bpe, train_on_counts
from rbt.packing.config import BpeConfig
from rbt.packing.count import count_corpus
from rbt.stage import Task, TaskOutput

from .conftest import prose, snapshot, write_corpus
from .merge_reference import NaiveTrainer, hugging_face_merges, words_of

ONE, COMMON = LocalEngine(1), 5


def merges_of(folder: Path) -> list[tuple[bytes, bytes]]:
    lines = [line.split(" ") for line in (folder / "merges.txt").read_text("utf-8").splitlines()[1:]]
    return [(unspell(left), unspell(right)) for left, right in lines]


def corpus_texts(corpus: Path) -> list[str]:
    from rbt.formats.parts import open_corpus, read_batches

    parts = open_corpus(corpus).parts()
    return [text for part in parts for batch in read_batches(part.path) for text in batch.column("text").to_pylist()]


def test_v18_v19_the_merges_of_a_corpus_are_those_of_other_trainers(corpus: Path, tmp_path: Path) -> None:
    train_bpe(corpus, tmp_path / "tokenizer", BpeConfig(400), ONE, replace=False)
    texts = corpus_texts(corpus)
    found = merges_of(tmp_path / "tokenizer")
    assert found == NaiveTrainer(words_of(texts)).train(400 - 5)
    assert found == hugging_face_merges(texts, 400 - 5)


@pytest.fixture
def documents() -> list[tuple[str, str]]:
    return [(f"a:{number}", f"{prose(number)} number {number**3}") for number in range(40)]


@pytest.fixture
def tokenizer(documents: list[tuple[str, str]], tmp_path: Path) -> dict[str, bytes]:
    """The files of a tokenizer, of one part and one worker."""
    whole = write_corpus(tmp_path / "whole", [documents])
    train_bpe(whole, tmp_path / "expected", BpeConfig(600), ONE, replace=False)
    return snapshot(tmp_path / "expected")


def test_v20_the_tokenizer_does_not_depend_on_parts_order_or_memory(
    documents: list[tuple[str, str]], tokenizer: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backwards = documents[::-1]
    cut = [documents[:2], documents[2:3], [], documents[3:]]
    corpora = {"backwards": [backwards], "cut": cut, "both": [backwards[:7], backwards[7:30], backwards[30:]]}
    monkeypatch.setattr(word_counts, "SMALLEST_SLOTS", 64)
    monkeypatch.setattr(word_runs, "FEWEST_RUNS", 2)
    for name, parts in corpora.items():
        written = write_corpus(tmp_path / name, parts)
        for memory in (0, 1 << 30):
            out = tmp_path / f"{name}-{memory}"
            train_bpe(written, out, BpeConfig(600), ONE, replace=False, memory_bytes=memory)
            assert snapshot(out) == tokenizer
    assert not list(tmp_path.rglob(ALL_WORDS)), "the words of all parts are gone"


def test_v20_the_tokenizer_does_not_depend_on_workers(
    documents: list[tuple[str, str]], tokenizer: dict[str, bytes], tmp_path: Path
) -> None:
    cut = write_corpus(tmp_path / "cut", [documents[:20], documents[20:]])
    train_bpe(cut, tmp_path / "tokenizer", BpeConfig(600), LocalEngine(2), replace=False)
    assert snapshot(tmp_path / "tokenizer") == tokenizer


def test_counts_of_several_corpora_train_what_their_text_does(
    documents: list[tuple[str, str]], tokenizer: dict[str, bytes], tmp_path: Path
) -> None:
    folders = []
    for number, some in enumerate((documents[:11], documents[11:13], documents[13:])):
        corpus = write_corpus(tmp_path / f"corpus-{number}", [some[:1], some[1:]], inputs=str(number))
        folders.append(tmp_path / f"counts-{number}")
        count_corpus(corpus, folders[-1], ONE, replace=False)
        shutil.rmtree(corpus)  # no text is read
    out = tmp_path / "tokenizer"
    manifest = train_on_counts(folders, out, BpeConfig(600), replace=False)
    files = snapshot(out)
    assert {name: files[name] for name in FILES} == {name: tokenizer[name] for name in FILES}
    assert manifest.facts["documents"] == len(documents)
    assert manifest.facts["bytes"] == sum(len(text.encode()) for _, text in documents)
    assert [verdict.problems for verdict in verify(out)] == [()]
    assert train_on_counts(folders, out, BpeConfig(600), replace=False).table() == manifest.table()
    with pytest.raises(ArtefactError, match="--replace"):
        train_on_counts(folders[:2], out, BpeConfig(600), replace=False)
    with pytest.raises(ArtefactError, match="leave one of them out"):
        train_on_counts([*folders, folders[0]], tmp_path / "other", BpeConfig(600), replace=False)


def test_a_grown_corpus_trains_on_its_new_parts_and_the_old_counts(
    documents: list[tuple[str, str]], tokenizer: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers, count_part = list[int](), count.count_part

    def noted(task: Task, folder: Path) -> TaskOutput:
        numbers.append(task.payload["number"])
        return count_part(task, folder)

    monkeypatch.setattr(count, "count_part", noted)
    parts, out = [documents[:9], documents[9:20], documents[20:]], tmp_path / "tokenizer"
    old = write_corpus(tmp_path / "old", parts[:2], inputs="old")
    train_bpe(old, out, BpeConfig(600), ONE, replace=False)
    train_bpe(write_corpus(tmp_path / "grown", parts), out, BpeConfig(600), ONE, replace=True)
    assert numbers == [0, 1, 2]
    assert snapshot(out) == tokenizer


def test_the_options_of_a_tokenizer_are_those_of_the_trainer(corpus: Path, tmp_path: Path) -> None:
    texts = corpus_texts(corpus)
    words = words_of(texts)
    common = Counter({word: number for word, number in words.items() if number >= COMMON})
    assert 5 < len(common) < len(words)
    expected = {
        "minimum_frequency": (40, hugging_face_merges(texts, 595, min_frequency=40)),
        "maximum_token_bytes": (4, NaiveTrainer(words, most_bytes=4).train(595)),
        "minimum_word_count": (COMMON, NaiveTrainer(common).train(595)),
    }
    plain = hugging_face_merges(texts, 595)
    for option, (value, merges) in expected.items():
        config = BpeConfig(600, **{option: value})
        manifest = train_bpe(corpus, tmp_path / option, config, ONE, replace=False)
        assert merges_of(tmp_path / option) == merges != plain
        assert manifest.config == {"vocab_size": 600, option: value}
        assert manifest.facts["distinct_words"] == len(common if option == "minimum_word_count" else words)
        with pytest.raises(ConfigError, match=rf"{option}: expected 0 or more; found -1"):
            train_bpe(corpus, tmp_path / "none", BpeConfig(600, **{option: -1}), ONE, replace=False)


def test_the_manifest_counts_what_was_read(corpus: Path, tmp_path: Path) -> None:
    manifest = train_bpe(corpus, tmp_path / "tokenizer", BpeConfig(400), ONE, replace=False)
    texts = corpus_texts(corpus)
    assert manifest.facts == {
        "vocab_size": 400, "merges": 400 - 261, "documents": len(texts), "distinct_words": len(words_of(texts)),
        "bytes": sum(len(text.encode()) for text in texts),
    }
    assert [(stage, row.imbalance()) for stage, _, row in manifest.ledger] == [("words", (0, 0))]
    assert [verdict.problems for verdict in verify(tmp_path / "tokenizer")] == [()]


def test_a_corpus_with_too_few_pairs_gives_a_smaller_vocabulary(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    corpus = write_corpus(tmp_path / "corpus", [[("a:0", "abab")]])
    manifest = train_bpe(corpus, tmp_path / "tokenizer", BpeConfig(1000), ONE, replace=False)
    assert (manifest.facts["vocab_size"], manifest.facts["merges"]) == (263, 2)
    assert "263 ids instead of 1000" in caplog.text


def test_a_vocabulary_without_a_merge_is_an_error(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected at least 262"):
        train_bpe(corpus, tmp_path / "tokenizer", BpeConfig(261), ONE, replace=False)


def test_an_empty_corpus_is_an_error(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", [[]])
    with pytest.raises(ArtefactError, match="at least one document"):
        train_bpe(corpus, tmp_path / "tokenizer", BpeConfig(300), ONE, replace=False)


def test_training_again_skips_and_another_size_needs_replace(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "tokenizer"
    first = train_bpe(corpus, out, BpeConfig(300), ONE, replace=False)
    before = (out / "manifest.json").stat().st_mtime_ns
    assert train_bpe(corpus, out, BpeConfig(300), ONE, replace=False).table() == first.table()
    assert (out / "manifest.json").stat().st_mtime_ns == before
    with pytest.raises(ArtefactError, match=r"vocab_size = 300 instead of 310.*--replace"):
        train_bpe(corpus, out, BpeConfig(310), ONE, replace=False)
    assert train_bpe(corpus, out, BpeConfig(310), ONE, replace=True).facts["vocab_size"] == 310


@pytest.mark.parametrize("replace", [False, True])
def test_a_folder_of_something_else_is_never_touched(corpus: Path, tmp_path: Path, replace: bool) -> None:
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.txt").write_text("years of work")
    with pytest.raises(ArtefactError, match="a folder with other files"):
        train_bpe(corpus, foreign, BpeConfig(300), ONE, replace=replace)
    before = snapshot(corpus)
    with pytest.raises(ArtefactError, match="expected a tokenizer, or a new folder; found a corpus"):
        train_bpe(corpus, corpus, BpeConfig(300), ONE, replace=replace)
    assert snapshot(corpus) == before
    assert [path.name for path in foreign.iterdir()] == ["chapter.txt"]


def test_v22_the_folder_loads_in_tokenizers_and_transformers(corpus: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    out = tmp_path / "tokenizer"
    size = train_bpe(corpus, out, BpeConfig(400), ONE, replace=False).facts["vocab_size"]
    fast, auto = Tokenizer.from_file(str(out / "tokenizer.json")), AutoTokenizer.from_pretrained(str(out))
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    expected = [0, 1, 2, 3, size - 1]
    assert [fast.token_to_id(token) for token in specials] == expected
    assert auto.convert_tokens_to_ids(specials) == expected
    assert [auto.bos_token_id, auto.pad_token_id, auto.eos_token_id, auto.unk_token_id, auto.mask_token_id] == expected
    assert len(auto) == size
    ship, sea = fast.encode("ship", add_special_tokens=False).ids, fast.encode(" at sea", add_special_tokens=False).ids
    for ids in (fast.encode("ship <mask> at sea").ids, auto("ship <mask> at sea")["input_ids"]):
        assert ids == [0, *ship, size - 1, *sea, 2]
