"""`rbt bpe stats` counts what a reader of all texts would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from tokenizers import Tokenizer

from rbt.cli import main
from rbt.engine import LocalEngine
from rbt.errors import ArtefactError
from rbt.formats.parts import open_corpus, read_batches
from rbt.formats.tokenizer import FILES, KIND, VERSION, read_model, spell, write_tokenizer
from rbt.formats.tokens import open_tokens
from rbt.manifest import Manifest, load_manifest, record_files, write_manifest
from rbt.packing.config import PackConfig
from rbt.packing.pack import pack
from rbt.packing.pretokenize import split_words
from rbt.packing.token_statistics import (
    TextAmount,
    TokenStatistics,
    corpus_statistics,
    count_store,
    packed_statistics,
)
from rbt.packing.token_statistics_report import report, show_token

from .conftest import prose, write_corpus

MERGES = [
    ("e", "r"), ("t", "h"), ("th", "e"), ("Ġ", "the"), ("s", "h"), ("sh", "i"), ("shi", "p"), ("v", "er"), ("Ã", "©"),
    ("Q", "Q"),
]


def write_learned(folder: Path) -> Path:
    """A tokenizer of a few merges, of which "QQ" is in no text, with a token that no merge makes."""
    write_tokenizer(folder, MERGES)
    vocab, _ = read_model(folder)
    mask = vocab.pop("<mask>")
    write_tokenizer(folder, MERGES, {**vocab, "<|end|>": mask, "<mask>": mask + 1})
    facts = {"vocab_size": mask + 2, "merges": len(MERGES), "unmerged": ["<|end|>"]}
    write_manifest(folder, Manifest(KIND, VERSION, "gpt2", 1, {}, {}, record_files(folder, FILES), facts))
    return folder


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    return write_learned(tmp_path / "tokenizer")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Texts of three sources that take turns inside batches, with an empty one and special strings, in three parts."""
    documents = [(f"{'abca'[number % 4]}:{number}", prose(number)) for number in range(37)]
    documents += [("b:e", ""), ("c:s", "<mask> </s> <|end|>"), ("a:u", "é日本 the café"), ("b:n", "x\n\n \t they'll ")]
    return write_corpus(tmp_path / "corpus", [documents[:5], documents[5:38], documents[38:]])


def slow_statistics(corpus: Path, tokenizer: Path) -> tuple[Counter[int], dict[str, TextAmount]]:
    """(uses of ids, amounts of sources), text by text with `tokenizers`."""
    reference = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    reference.encode_special_tokens = True  # they are text
    uses: Counter[int] = Counter()
    sources: dict[str, TextAmount] = {}
    for part in open_corpus(corpus).parts():
        for batch in read_batches(part.path):
            for row in batch.to_pylist():
                ids = reference.encode(row["text"], add_special_tokens=False).ids
                uses.update(ids)
                amount = TextAmount(1, len(row["text"].encode()), len(ids), len(split_words(row["text"])))
                sources[row["source"]] = sources.get(row["source"], TextAmount()) + amount
    return uses, sources


def as_counter(uses: Any) -> Counter[int]:
    return Counter({int(id): int(uses[id]) for id in np.flatnonzero(uses)})


def test_a_corpus_is_counted_as_token_by_token(texts: Path, tokenizer: Path) -> None:
    found = corpus_statistics(texts, tokenizer, LocalEngine(1))
    uses, sources = slow_statistics(texts, tokenizer)
    assert as_counter(found.uses) == uses
    assert found.sources == sources
    assert list(found.sources) == ["a", "b", "c"]
    assert found.all == sum(sources.values(), TextAmount())
    assert found.all.tokens == found.uses.sum()
    assert found.all.bytes == (found.uses * found.lengths).sum()


def test_a_packed_folder_is_counted_as_its_corpus(texts: Path, tokenizer: Path, tmp_path: Path) -> None:
    pack(texts, tokenizer, tmp_path / "packed", PackConfig(validation_fraction=0.2), LocalEngine(1), replace=False)
    found = packed_statistics(tmp_path / "packed")
    expected = corpus_statistics(texts, tokenizer, LocalEngine(1))
    assert found.uses.tolist() == expected.uses.tolist()
    assert (found.tokens, found.lengths.tolist()) == (expected.tokens, expected.lengths.tolist())
    assert found.sources == {name: replace(amount, words=None) for name, amount in expected.sources.items()}
    store = open_tokens(tmp_path / "packed" / "tokens")
    stems = [fact["stem"] for fact in store.manifest.facts["parts"]]
    assert count_store(store, stems, chunk_tokens=7).tolist() == expected.uses.tolist()


def test_ids_are_sorted_into_used_unused_and_silent(texts: Path, tokenizer: Path) -> None:
    found = corpus_statistics(texts, tokenizer, LocalEngine(1))
    vocab, _ = read_model(tokenizer)
    uses, _ = slow_statistics(texts, tokenizer)
    silent = [vocab[token] for token in ("<s>", "<pad>", "</s>", "<unk>", "<|end|>", "<mask>")]
    assert found.silent.tolist() == silent
    assert found.unused.tolist() == sorted(set(range(len(vocab))) - uses.keys() - set(silent))
    assert vocab["QQ"] in found.unused
    single = [token for token in vocab if len(token) == 1]
    assert found.single_bytes == sum(uses[vocab[token]] for token in single)
    frequent = sorted(uses, key=lambda id: (-uses[id], id))
    assert found.most_frequent(7).tolist() == frequent[:7]
    assert found.most_frequent(10**6).tolist() == frequent
    longest = [id for _, id in sorted((-len(token), id) for token, id in vocab.items() if id not in silent)]
    assert found.longest(9).tolist() == longest[:9]
    assert found.longest(10**6).tolist() == longest
    assert [found.tokens[id] for id in found.longest(2)] == ["Ġthe", "ship"]


def small() -> TokenStatistics:
    """Two sources, one of them without text."""
    sources = {"books": TextAmount(3, 1000, 300, 150), "news": TextAmount(0, 0, 0, 0)}
    uses = np.array([0, 0, 0, 0, 100, 200, 0], dtype=np.int64)
    return TokenStatistics(
        ["<s>", "<pad>", "</s>", "<unk>", "a", "ab", "abc"], np.array([0, 0, 0, 0, 1, 2, 3]), uses, sources
    )


def test_the_report_shows_ratios_and_ids() -> None:
    text = "\n".join(report(small()))
    lines = {line.strip().split("  ")[0]: line.split() for line in text.splitlines()}
    assert lines["books"] == ["books", "3", "1,000", "300", "3.333", "2.000"]
    assert lines["news"] == ["news", "0", "0", "0", "-", "-"]
    assert lines["all"][1:] == lines["books"][1:]
    assert lines["tokens that are one byte"][-2:] == ["100", "33.33%"]
    assert lines["never used"][-2:] == ["1", "14.29%"]
    assert "\n    6 'abc'\n" in text
    assert "id 5                     200   66.67%  'ab'" in text
    assert "id 6                       0        3  'abc'" in text


def test_many_unused_ids_are_shown_by_both_ends() -> None:
    nothing, one = np.zeros(14, dtype=np.int64), np.ones(14, dtype=np.int64)
    found = replace(small(), tokens=list("abcdefg") * 2, uses=nothing, lengths=one)
    text = "\n".join(report(found))
    assert "first  0 'a'  1 'b'  2 'c'  3 'd'  4 'e'\n" in text
    assert "last   9 'c'  10 'd'  11 'e'  12 'f'  13 'g'\n" in text


@pytest.mark.parametrize(
    ("data", "shown"),
    [(" é\n".encode(), r"' é\n'"), ("é".encode()[:1], r"b'\xc3'"), (b"-" * 99, "'" + "-" * 43 + "...'")],
)
def test_tokens_are_shown_as_text_or_bytes(data: bytes, shown: str) -> None:
    assert show_token(spell(data)) == shown


def drop_tokens(store: Path) -> None:
    manifest = load_manifest(store)
    for _, source, row in manifest.ledger:
        if source == "a":
            row.count("tokens", 5)
    write_manifest(store, manifest)


def use_another_tokenizer(store: Path) -> None:
    manifest = load_manifest(store)
    write_manifest(store, replace(manifest, inputs={**manifest.inputs, "tokenizer": "0"}))


def write_high_id(store: Path) -> None:
    path = store / "train-00001.tokens.bin"
    path.write_bytes(np.uint16(5000).tobytes() + path.read_bytes()[2:])


def write_other_id(store: Path) -> None:
    path = store / "train-00001.tokens.bin"
    path.write_bytes(np.uint16(0).tobytes() + path.read_bytes()[2:])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_tokens, "tokens, as the ledger says"),
        (use_another_tokenizer, "expected the tokenizer of the token store"),
        (write_high_id, "expected ids below 272; found 5000"),
        (write_other_id, "bytes of tokens, as the ledger says"),
    ],
)
def test_a_store_that_does_not_hold_what_it_says_is_refused(
    texts: Path, tokenizer: Path, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    pack(texts, tokenizer, tmp_path / "packed", PackConfig(), LocalEngine(1), replace=False)
    damage(tmp_path / "packed" / "tokens")
    with pytest.raises(ArtefactError, match=message) as error:
        packed_statistics(tmp_path / "packed")
    assert "\n" not in str(error.value)


def test_the_command_prints_and_draws(texts: Path, tokenizer: Path, tmp_path: Path) -> None:
    options = ["--corpus", str(texts), "--tokenizer", str(tokenizer), "--workers", "1", "--quiet"]
    plot = tmp_path / "tokens.png"
    result = CliRunner().invoke(main, ["bpe", "stats", *options, "--plot", str(plot)], catch_exceptions=False)
    assert result.output.splitlines()[0].endswith("tokenizer: 272 ids")
    assert result.output.splitlines()[2:] == report(corpus_statistics(texts, tokenizer, LocalEngine(1)))
    assert plot.read_bytes().startswith(b"\x89PNG")
    first = plot.read_bytes()
    CliRunner().invoke(main, ["bpe", "stats", *options, "--plot", str(plot)], catch_exceptions=False)
    assert plot.read_bytes() == first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--packed", "x", "--corpus", "y"], "expected one of --packed and --corpus; found both"),
        (["--packed", "x", "--workers", "1"], "expected one of --packed and --workers"),
        (["--plot", "x.pdf"], "expected a file name that ends in .png; found x.pdf"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["bpe", "stats", *options])
    assert (result.exit_code, message in result.output) == (2, True)
