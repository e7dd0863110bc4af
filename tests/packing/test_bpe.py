"""Merges against a naive trainer, and the tokenizer folder against the libraries that read it."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers

from rbt.engine import LocalEngine
from rbt.errors import ArtefactError, ConfigError
from rbt.formats.tokenizer import byte_symbols
from rbt.formats.verify import verify
from rbt.packing import bpe
from rbt.packing.bpe import train_bpe, train_merges
from rbt.packing.config import BpeConfig

from .conftest import snapshot, write_corpus

Pair = tuple[int, int]


class NaiveTrainer:
    """Byte-level BPE as it is defined: Python integers, every pair counted anew before every merge."""

    def __init__(self, texts: list[str]) -> None:
        self.vocab = {symbol: number for number, symbol in enumerate(sorted(byte_symbols()))}
        split = pre_tokenizers.ByteLevel(add_prefix_space=False)
        counts = Counter(word for text in texts for word, _ in split.pre_tokenize_str(text))
        self.words = [([self.vocab[symbol] for symbol in word], count) for word, count in counts.items()]

    def pair_counts(self) -> Counter[Pair]:
        found: Counter[Pair] = Counter()
        for ids, count in self.words:
            for pair in zip(ids, ids[1:], strict=False):  # noqa: RUF007 (the pair, spelled out)
                found[pair] += count
        return found

    def merge(self, pair: Pair) -> tuple[str, str]:
        spelled = {number: token for token, number in self.vocab.items()}
        left, right = spelled[pair[0]], spelled[pair[1]]
        merged = self.vocab.setdefault(left + right, len(self.vocab))
        for ids, _ in self.words:
            place = 0
            while place < len(ids) - 1:
                if (ids[place], ids[place + 1]) == pair:
                    ids[place : place + 2] = [merged]
                place += 1
        return left, right

    def train(self, num_tokens: int) -> list[tuple[str, str]]:
        merges = []
        while len(self.vocab) < num_tokens and (counts := self.pair_counts()):
            merges.append(self.merge(min(counts, key=lambda pair: (-counts[pair], pair))))
        return merges


@given(texts=st.lists(st.text(alphabet="abcé '\n1", max_size=40), max_size=12), merges=st.integers(1, 40))
def test_v18_v19_merges_are_those_of_a_naive_trainer(texts: list[str], merges: int) -> None:
    assert train_merges([texts], 256 + merges) == NaiveTrainer(texts).train(256 + merges)


def test_v18_every_merge_of_real_words_had_the_highest_count(corpus: Path, tmp_path: Path) -> None:
    train_bpe(corpus, tmp_path / "tokenizer", BpeConfig(400), LocalEngine(1), replace=False)
    lines = (tmp_path / "tokenizer" / "merges.txt").read_text("utf-8").splitlines()[1:]
    assert [tuple(line.split(" ")) for line in lines] == NaiveTrainer(corpus_texts(corpus)).train(400 - 5)


def corpus_texts(corpus: Path) -> list[str]:
    from rbt.formats.parts import open_corpus, read_batches

    parts = open_corpus(corpus).parts()
    return [text for part in parts for batch in read_batches(part.path) for text in batch.column("text").to_pylist()]


def test_v20_merges_do_not_depend_on_threads_or_order(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = corpus_texts(corpus)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    merges = train_merges([texts], 600)
    assert train_merges([[text] for text in reversed(texts)], 600) == merges
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    assert train_merges([texts], 600) == merges


def test_v20_the_tokenizer_does_not_depend_on_parts(tmp_path: Path) -> None:
    documents = [(f"a:{number}", f"the cat number {number} sat") for number in range(9)]
    whole = write_corpus(tmp_path / "whole", [documents])
    cut = write_corpus(tmp_path / "cut", [documents[:2], documents[2:3], documents[3:]])
    for name, corpus in (("one", whole), ("three", cut)):
        train_bpe(corpus, tmp_path / name, BpeConfig(300), LocalEngine(1), replace=False)
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "three")


def test_the_manifest_counts_what_was_read(corpus: Path, tmp_path: Path) -> None:
    manifest = train_bpe(corpus, tmp_path / "tokenizer", BpeConfig(400), LocalEngine(1), replace=False)
    texts = corpus_texts(corpus)
    size = sum(len(text.encode()) for text in texts)
    assert manifest.facts == {"vocab_size": 400, "merges": 400 - 261, "documents": len(texts), "bytes": size}
    assert [(stage, row.imbalance()) for stage, _, row in manifest.ledger] == [("bpe", (0, 0))]
    assert [verdict.problems for verdict in verify(tmp_path / "tokenizer")] == [()]


def test_a_corpus_with_too_few_pairs_gives_a_smaller_vocabulary(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    corpus = write_corpus(tmp_path / "corpus", [[("a:0", "abab")]])
    manifest = train_bpe(corpus, tmp_path / "tokenizer", BpeConfig(1000), LocalEngine(1), replace=False)
    assert (manifest.facts["vocab_size"], manifest.facts["merges"]) == (263, 2)
    assert "263 ids instead of 1000" in caplog.text


def test_a_corpus_above_the_counters_range_is_warned_of(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bpe, "COUNTED_BYTES", 100)
    with caplog.at_level(logging.WARNING):
        train_bpe(corpus, tmp_path / "tokenizer", BpeConfig(300), LocalEngine(1), replace=False)
    assert "32 bits" in caplog.text


def test_a_vocabulary_without_a_merge_is_an_error(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected at least 262"):
        train_bpe(corpus, tmp_path / "tokenizer", BpeConfig(261), LocalEngine(1), replace=False)


def test_an_empty_corpus_is_an_error(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", [[]])
    with pytest.raises(ArtefactError, match="at least one document"):
        train_bpe(corpus, tmp_path / "tokenizer", BpeConfig(300), LocalEngine(1), replace=False)


def test_training_again_skips_and_another_size_needs_replace(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "tokenizer"
    first = train_bpe(corpus, out, BpeConfig(300), LocalEngine(1), replace=False)
    before = (out / "manifest.json").stat().st_mtime_ns
    assert train_bpe(corpus, out, BpeConfig(300), LocalEngine(1), replace=False).table() == first.table()
    assert (out / "manifest.json").stat().st_mtime_ns == before
    with pytest.raises(ArtefactError, match=r"vocab_size = 300 instead of 310.*--replace"):
        train_bpe(corpus, out, BpeConfig(310), LocalEngine(1), replace=False)
    assert train_bpe(corpus, out, BpeConfig(310), LocalEngine(1), replace=True).facts["vocab_size"] == 310


@pytest.mark.parametrize("replace", [False, True])
def test_a_folder_of_something_else_is_never_touched(corpus: Path, tmp_path: Path, replace: bool) -> None:
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.txt").write_text("years of work")
    with pytest.raises(ArtefactError, match="a folder with other files"):
        train_bpe(corpus, foreign, BpeConfig(300), LocalEngine(1), replace=replace)
    before = snapshot(corpus)
    with pytest.raises(ArtefactError, match="expected a tokenizer, or a new folder; found a corpus"):
        train_bpe(corpus, corpus, BpeConfig(300), LocalEngine(1), replace=replace)
    assert snapshot(corpus) == before
    assert [path.name for path in foreign.iterdir()] == ["chapter.txt"]


def test_v22_the_folder_loads_in_tokenizers_and_transformers(corpus: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    out = tmp_path / "tokenizer"
    size = train_bpe(corpus, out, BpeConfig(400), LocalEngine(1), replace=False).facts["vocab_size"]
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
