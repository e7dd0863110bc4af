"""A packed folder: what is in it, what is reused, and that it is the same bytes whatever happened on the way."""

from __future__ import annotations

import shutil
from dataclasses import replace as changed
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rbt.cli.packing import pack_summary
from rbt.engine import LocalEngine
from rbt.errors import ArtefactError, ConfigError
from rbt.formats.blocks import PAIR_FORMATS, block_ids, choose_index, open_index
from rbt.formats.document import ID_SCHEMA
from rbt.formats.parts import open_corpus, open_table, read_batches
from rbt.formats.tokenizer import EOS, read_tokenizer, read_vocab, unspell
from rbt.formats.tokens import SPLITS, TokenPart, open_tokens
from rbt.formats.verify import verify
from rbt.manifest import MANIFEST, Manifest, read_json
from rbt.packing import store
from rbt.packing.bpe import train_bpe
from rbt.packing.config import BpeConfig, PackConfig
from rbt.packing.encode import Encoder
from rbt.packing.pack import index_name, pack
from rbt.packing.packers import PACKERS
from rbt.packing.pairs import part_state
from rbt.packing.sentences import sentence_ends
from rbt.packing.split import always_held_out, held_out

from .conftest import prose, snapshot, write_corpus

CONFIG = PackConfig(max_tokens=64, validation_fraction=0.1)
DOC = changed(CONFIG, format="doc-sentences")
SEGMENTS, SENTENCES = changed(CONFIG, format="segment-pair"), changed(CONFIG, format="sentence-pair")


@pytest.fixture
def tokenizer(corpus: Path, tmp_path: Path) -> Path:
    out = tmp_path / "tokenizer"
    train_bpe(corpus, out, BpeConfig(400), LocalEngine(1), replace=False)
    return out


def run(
    corpus: Path, tokenizer: Path, out: Path, config: PackConfig = CONFIG, workers: int = 1, replace: bool = False
) -> Manifest:
    return pack(corpus, tokenizer, out, config, LocalEngine(workers), replace=replace)


def documents_of(corpus: Path) -> dict[str, str]:
    """Text by id."""
    batches = [batch for part in open_corpus(corpus).parts() for batch in read_batches(part.path)]
    return {row["id"]: row["text"] for batch in batches for row in batch.to_pylist()}


def ids_of(packed: Path, stem: str) -> list[str]:
    ids: list[str] = open_table(packed / "tokens" / f"{stem}.documents.arrow", ID_SCHEMA).column("id").to_pylist()
    return ids


def stretches(part: TokenPart) -> list[tuple[int, int]]:
    """[start, end) of each document."""
    return list(pairwise([0, *part.document_ends.tolist()]))


def test_every_document_comes_back_from_its_tokens(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    run(corpus, tokenizer, tmp_path / "packed")
    tokens_by_id = {number: token for token, number in read_vocab(tmp_path / "packed").items()}
    token_store, found = open_tokens(tmp_path / "packed" / "tokens"), {}
    for split in SPLITS:
        for stem in token_store.stems(split):
            part = token_store.part(stem)
            for id, (start, end) in zip(ids_of(tmp_path / "packed", stem), stretches(part), strict=True):
                found[id] = unspell("".join(tokens_by_id[int(token)] for token in part.tokens[start:end])).decode()
    assert found == documents_of(corpus)


def test_documents_are_split_by_their_ids(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    run(corpus, tokenizer, tmp_path / "packed")
    ids = list(documents_of(corpus))
    expected = held_out(ids, 0.1, always_held_out(ids, 0.1))
    token_store = open_tokens(tmp_path / "packed" / "tokens")
    for split, wanted in zip(SPLITS, (~expected, expected), strict=True):
        found = [id for stem in token_store.stems(split) for id in ids_of(tmp_path / "packed", stem)]
        assert found == [id for id, is_wanted in zip(ids, wanted, strict=True) if is_wanted]
    assert 2 <= expected.sum() < len(ids)


def test_sentence_ends_are_those_of_each_document(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    run(corpus, tokenizer, tmp_path / "packed")
    texts, encoder = documents_of(corpus), Encoder(tokenizer)
    token_store = open_tokens(tmp_path / "packed" / "tokens")
    for stem in (*token_store.stems("train"), *token_store.stems("validation")):
        part, expected = token_store.part(stem), []
        for id, (start, end) in zip(ids_of(tmp_path / "packed", stem), stretches(part), strict=True):
            encoded = encoder.encode(pa.array([texts[id]]))
            assert encoded.ids.tolist() == part.tokens[start:end].tolist()
            ends = encoded.byte_ends
            expected += (sentence_ends(texts[id], "en", ends) + start).tolist()
        assert part.sentence_ends.tolist() == expected


def test_v23_the_ledger_follows_documents_into_tokens_and_blocks(
    corpus: Path, tokenizer: Path, tmp_path: Path
) -> None:
    manifest = run(corpus, tokenizer, tmp_path / "packed")
    texts, token_store = documents_of(corpus), open_tokens(tmp_path / "packed" / "tokens")
    for _, source, row in token_store.manifest.ledger:
        own = [text for id, text in texts.items() if id.startswith(f"{source}:")]
        assert row.outgoing.table() == {"documents": len(own), "bytes": sum(len(text.encode()) for text in own)}
    total = sum(row.other["tokens"] for _, _, row in token_store.manifest.ledger)
    assert total == sum(facts["tokens"] for facts in manifest.facts["splits"].values())
    for split, facts in manifest.facts["splits"].items():
        index = open_index(tmp_path / "packed" / "full-sentences-64", split)
        lengths = [len(ids) for row in range(index.num_rows) for _, ids in index.read_row(row)]
        assert (facts["rows"], facts["blocks"]) == (index.num_rows, index.num_blocks)
        assert facts["fill_rate"] == pytest.approx(sum(lengths) / (index.num_rows * 64), abs=1e-6)


@pytest.mark.parametrize(
    ("format", "separator"),
    [*product(("full-sentences", "doc-sentences"), ("document", "sentence")), *product(PAIR_FORMATS, ("document",))],
)
def test_v28_packing_parts_is_packing_them_one_by_one(
    corpus: Path, tokenizer: Path, tmp_path: Path, format: str, separator: str
) -> None:
    config = changed(CONFIG, format=format, separator=separator)  # type: ignore[arg-type]
    run(corpus, tokenizer, tmp_path / "packed", config)
    index = open_index(tmp_path / "packed" / index_name(config), "train")
    assert len(index.parts) == 3
    for part in index.parts:
        option = part_state(1, part.tokens.stem) if format in PAIR_FORMATS else separator == "sentence"
        blocks, _ = PACKERS[format].blocks(
            np.array(part.tokens.sentence_ends), np.array(part.tokens.document_ends), 64, option
        )
        assert len(blocks) and sorted(part.blocks.tolist()) == blocks.tolist()
        for start, stop in zip(part.rows[:-1], part.rows[1:], strict=True):
            texts = [block_ids(part.tokens, block, separator) for block in part.blocks[start:stop]]
            assert 0 < sum(map(len, texts)) <= 64


def test_a_packed_folder_is_sound_and_is_its_own_tokenizer(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    for config in (CONFIG, DOC, changed(CONFIG, separator="sentence"), SEGMENTS, SENTENCES):
        run(corpus, tokenizer, tmp_path / "packed", config)
    verdicts = list(verify(tmp_path / "packed"))
    assert [verdict.problems for verdict in verdicts] == [()] * 7
    assert read_tokenizer(tmp_path / "packed").table() == read_tokenizer(tokenizer).table()
    names = {
        "full-sentences-64", "doc-sentences-64", "full-sentences-64-separator-sentence", "segment-pair-64-seed1",
        "sentence-pair-64-seed1",
    }
    assert names < {path.name for path in (tmp_path / "packed").iterdir()}
    assert choose_index(tmp_path / "packed", "doc-sentences").name == "doc-sentences-64"


def test_v23_the_ledger_follows_tokens_into_pairs(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    for config in (SEGMENTS, SENTENCES):
        manifest = run(corpus, tokenizer, tmp_path / "packed", config)
        for split, facts in manifest.facts["splits"].items():
            index = open_index(tmp_path / "packed" / index_name(config), split)
            counts = manifest.ledger.row("blocks", split).other
            blocks = np.concatenate([part.blocks for part in index.parts])
            a, b, is_next = blocks[:, 1] - blocks[:, 0], blocks[:, 3] - blocks[:, 2], blocks[:, 4]
            assert counts["tokens_in"] == sum(len(part.tokens.tokens) for part in index.parts) > 0
            assert counts["tokens_in"] == counts["tokens_in_blocks"] + counts["dropped_no_other_document"]
            assert counts["tokens_in_blocks"] == facts["tokens"] == (a + b * is_next).sum()
            assert counts["tokens_repeated"] == facts["tokens_repeated"] == (b * (1 - is_next)).sum()
            assert counts["next"] == facts["next"] == is_next.sum()
            assert counts["separators"] == 2 * len(blocks)
            lengths = [len(ids) for row in range(index.num_rows) for _, ids in index.read_row(row)]
            assert counts["ids"] == sum(lengths)


def test_the_summary_tells_how_many_pairs_are_next(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    manifest = run(corpus, tokenizer, tmp_path / "packed", SENTENCES)
    facts = manifest.facts["splits"]["train"]
    lines = pack_summary(tmp_path / "packed", manifest)
    share, repeated = facts["next"] / facts["blocks"], facts["tokens_repeated"]
    assert f"{share:.1%} of the pairs are next; the others repeat {repeated:,} tokens; 0 dropped" in lines[2]
    assert not any("next" in line for line in pack_summary(tmp_path, run(corpus, tokenizer, tmp_path / "packed")))


def test_another_seed_is_another_index(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    manifests = [
        run(corpus, tokenizer, tmp_path / "packed", config)
        for config in (SEGMENTS, changed(SEGMENTS, seed=2), changed(SEGMENTS, short_sequence_probability=0.5))
    ]
    names = ["segment-pair-64-seed1", "segment-pair-64-seed2", "segment-pair-64-seed1-short0.5"]
    blocks = {np.load(tmp_path / "packed" / name / "train-00001.blocks.npy").tobytes() for name in names}
    assert len(blocks) == len({manifest.fingerprint for manifest in manifests}) == 3
    with pytest.raises(ConfigError, match=r"expected one index; found segment-pair-64-seed1, segment-pair"):
        choose_index(tmp_path / "packed", "segment-pair")


def test_keys_of_the_pair_formats_leave_other_indices_as_they_are(
    corpus: Path, tokenizer: Path, tmp_path: Path
) -> None:
    first = run(corpus, tokenizer, tmp_path / "packed", DOC)
    assert first.config == {"format": "doc-sentences", "max_tokens": 64, "separator": "document"}
    assert run(corpus, tokenizer, tmp_path / "packed", changed(DOC, seed=7)).table() == first.table()


@pytest.mark.parametrize("format", PAIR_FORMATS)
def test_v27_a_corpus_without_two_documents_in_a_part_is_an_error_with_a_cure(
    tokenizer: Path, tmp_path: Path, format: str
) -> None:
    """Also where each part has one; a part with one among others is packed, its last sentence may be left out."""
    config = changed(CONFIG, format=format, validation_fraction=0.0)  # type: ignore[arg-type]
    alone = [("a:0", ""), ("a:1", "One is here. Two is here. Three is here."), ("a:2", "")]
    one = write_corpus(tmp_path / "one", [alone, [("b:0", "Four is here. Five is here.")]])
    with pytest.raises(ConfigError, match=rf"{format}: expected two documents .* found 1 at most .*part_bytes.*full-s"):
        run(one, tokenizer, tmp_path / "refused", config)
    assert not (tmp_path / "refused" / index_name(config)).exists()
    two = write_corpus(tmp_path / "two", [alone, [("b:0", "Four is here. Five is here."), ("b:1", "Six is here.")]])
    facts = run(two, tokenizer, tmp_path / "packed", config).facts["splits"]["train"]
    assert (facts["tokens_dropped"] > 0) == (format == "sentence-pair")
    assert 0 < facts["next"] < facts["blocks"]
    assert all(verdict.problems == () for verdict in verify(tmp_path / "packed"))



def test_a_second_format_reuses_the_tokens(
    corpus: Path, tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(corpus, tokenizer, tmp_path / "packed")
    monkeypatch.setattr(store, "encode_parts", None)  # calling it would be an error
    second = run(corpus, tokenizer, tmp_path / "packed", DOC)
    assert first.inputs == second.inputs
    assert first.facts["splits"]["train"]["tokens"] == second.facts["splits"]["train"]["tokens"]
    before = snapshot(tmp_path / "packed")
    assert run(corpus, tokenizer, tmp_path / "packed", DOC).table() == second.table()
    assert snapshot(tmp_path / "packed") == before


@pytest.mark.slow
def test_two_workers_write_the_same_bytes_as_one(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    for config in (DOC, SEGMENTS):
        run(corpus, tokenizer, tmp_path / "one", config)
        run(corpus, tokenizer, tmp_path / "two", config, workers=2)
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")


def test_a_killed_run_resumes_to_the_same_bytes(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    run(corpus, tokenizer, packed)
    before = snapshot(packed)
    kept = (packed / "tokens" / "train-00000.tokens.bin").stat().st_ino
    for name in ("tokens/manifest.json", "full-sentences-64/manifest.json", "work/tokens/part-00001.json",
                 "tokens/train-00002.tokens.bin", "full-sentences-64/train-00001.rows.npy"):
        (packed / name).unlink()
    (packed / "tokens" / ".tmp-1-train-00002.tokens.bin").write_bytes(b"half")
    (packed / "tokens" / "train-00009.tokens.bin").write_bytes(b"of an older run")
    run(corpus, tokenizer, packed)
    assert snapshot(packed) == before
    assert (packed / "tokens" / "train-00000.tokens.bin").stat().st_ino == kept


def test_another_tokenizer_needs_replace_and_then_replaces_all(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    packed, other = tmp_path / "packed", tmp_path / "other"
    train_bpe(corpus, other, BpeConfig(350), LocalEngine(1), replace=False)
    run(corpus, tokenizer, packed, DOC)
    before = snapshot(packed)
    with pytest.raises(ArtefactError, match=r"vocab_size = 400 instead of 350.*--replace"):
        run(corpus, other, packed)
    assert snapshot(packed) == before
    run(corpus, other, packed, replace=True)
    run(corpus, other, tmp_path / "fresh")
    assert snapshot(packed) == snapshot(tmp_path / "fresh")


def test_an_index_among_tokens_or_a_tokenizer_of_other_runs_is_refused(
    corpus: Path, tokenizer: Path, tmp_path: Path
) -> None:
    """What a replacement leaves that was killed, or somebody who copies folders."""
    packed, other = tmp_path / "packed", tmp_path / "other"
    run(corpus, tokenizer, packed, DOC)
    run(corpus, tokenizer, other, changed(DOC, validation_fraction=0.5))
    shutil.rmtree(other / "doc-sentences-64")
    shutil.copytree(packed / "doc-sentences-64", other / "doc-sentences-64")
    with pytest.raises(ArtefactError, match=r"doc-sentences-64: .* found one over other tokens"):
        open_index(other / "doc-sentences-64", "train")
    (packed / MANIFEST).unlink()
    with pytest.raises(ArtefactError, match="expected a finished tokenizer"):
        open_index(packed / "doc-sentences-64", "train")
    train_bpe(corpus, tmp_path / "smaller", BpeConfig(350), LocalEngine(1), replace=False)
    with pytest.raises(ArtefactError, match=r"--replace"):
        run(corpus, tmp_path / "smaller", packed, DOC)
    with pytest.raises(ArtefactError, match="expected the tokenizer of the token store"):
        open_index(packed / "doc-sentences-64", "train")
    run(corpus, tmp_path / "smaller", packed, DOC, replace=True)
    assert all(verdict.problems == () for verdict in verify(packed))


def test_another_fraction_needs_replace_and_drops_older_indices(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    packed, more = tmp_path / "packed", changed(CONFIG, validation_fraction=0.5)
    run(corpus, tokenizer, packed, DOC)
    with pytest.raises(ArtefactError, match=r"validation_fraction = 0.1 instead of 0.5.*--replace"):
        run(corpus, tokenizer, packed, more)
    run(corpus, tokenizer, packed, more, replace=True)
    run(corpus, tokenizer, tmp_path / "fresh", more)
    assert snapshot(packed) == snapshot(tmp_path / "fresh")


def test_a_grown_corpus_encodes_its_new_parts_only(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    run(corpus, tokenizer, packed)
    documents = list(documents_of(corpus).items())
    parts = [documents[:12], documents[12:25], documents[25:], [("c:0", prose(3)), ("c:1", prose(4))]]
    grown = write_corpus(tmp_path / "grown", parts, inputs="raw and more")
    with pytest.raises(ArtefactError, match="--replace"):
        run(grown, tokenizer, packed)
    old = {name: (packed / "tokens" / name).stat().st_ino for name in snapshot(packed / "tokens")}
    run(grown, tokenizer, packed, replace=True)
    run(grown, tokenizer, tmp_path / "fresh")
    assert snapshot(packed) == snapshot(tmp_path / "fresh")
    del old["manifest.json"]
    assert {name: (packed / "tokens" / name).stat().st_ino for name in old} == old


def test_a_cut_file_is_told_and_replaced(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    run(corpus, tokenizer, packed)
    before = snapshot(packed)
    with (packed / "tokens" / "train-00001.tokens.bin").open("r+b") as stream:
        stream.truncate(10)
    with pytest.raises(ArtefactError, match="missing or cut"):
        run(corpus, tokenizer, packed)
    run(corpus, tokenizer, packed, replace=True)
    assert snapshot(packed) == before


def test_v25_parts_without_documents_and_empty_documents_are_packed(tokenizer: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "odd", [[], [("a:0", ""), ("a:1", "One. Two."), ("a:2", "")], [("a:3", "x")]])
    manifest = run(corpus, tokenizer, tmp_path / "packed", changed(CONFIG, validation_fraction=0.0))
    assert [fact["documents"] for fact in open_tokens(tmp_path / "packed" / "tokens").manifest.facts["parts"]] == [
        0, 0, 3, 0, 1, 0,
    ]
    assert manifest.facts["splits"]["train"]["blocks"] == 2
    assert manifest.facts["splits"]["validation"] == {
        "rows": 0, "blocks": 0, "tokens": 0, "cut_sentences": 0, "fill_rate": 0.0,
    }
    index = open_index(tmp_path / "packed" / "full-sentences-64", "train")
    assert [EOS in ids[1:-1] for row in range(2) for _, ids in index.read_row(row)] == [False, False]
    assert all(verdict.problems == () for verdict in verify(tmp_path / "packed"))


def test_a_corpus_that_is_not_what_its_manifest_says_is_an_error(
    corpus: Path, tokenizer: Path, tmp_path: Path
) -> None:
    other = write_corpus(tmp_path / "other", [[("a:0", "short")]])
    shutil.copyfile(other / "part-00000.arrow", corpus / "part-00001.arrow")
    with pytest.raises(ArtefactError, match=r"part-00001.arrow: expected 13 documents .* found 1 documents"):
        run(corpus, tokenizer, tmp_path / "packed")


def test_a_damaged_tokenizer_is_not_copied(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    text = (tokenizer / "merges.txt").read_text("utf-8")
    (tokenizer / "merges.txt").write_text(text.replace("o", "0", 1), "utf-8")
    with pytest.raises(ArtefactError, match=r"merges\.txt: expected the file as it was written"):
        run(corpus, tokenizer, tmp_path / "packed")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (PackConfig(max_tokens=2), "max_tokens: expected at least 3"),
        (PackConfig(validation_fraction=1.0), "validation_fraction: expected 0 <= fraction < 1"),
        (PackConfig("sentence-pair", 5), "max_tokens: expected at least 6; found 5"),
        (PackConfig("segment-pair", separator="sentence"), "separator: expected 'document' with format segment-pair"),
        (PackConfig("segment-pair", seed=-1), "seed: expected 0 <= seed"),
        (PackConfig("segment-pair", short_sequence_probability=1.5), "short_sequence_probability: expected 0 to 1"),
        (PackConfig("sentence-pair", short_sequence_probability=0.1), "short_sequence_probability: expected 0 with"),
    ],
)
def test_values_that_cannot_be_used_are_errors(
    corpus: Path, tokenizer: Path, tmp_path: Path, config: PackConfig, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(corpus, tokenizer, tmp_path / "packed", config)
    assert not (tmp_path / "packed").exists()


def test_v26_formats_differ_in_blocks_on_real_text(data: Path, tmp_path: Path) -> None:
    lines = (data / "general" / "gensim" / "lee_background.cor").read_text("utf-8").splitlines()[:100]
    corpus = write_corpus(tmp_path / "corpus", [[(f"lee:{number}", line) for number, line in enumerate(lines)]])
    train_bpe(corpus, tmp_path / "tokenizer", BpeConfig(2000), LocalEngine(1), replace=False)
    full, doc = (
        run(corpus, tmp_path / "tokenizer", tmp_path / "packed", changed(config, max_tokens=512)).facts["splits"]
        for config in (CONFIG, DOC)
    )
    segments, sentences = (
        run(corpus, tmp_path / "tokenizer", tmp_path / "packed", changed(config, max_tokens=512)).facts["splits"]
        for config in (SEGMENTS, SENTENCES)
    )
    numbers = [facts["train"]["blocks"] for facts in (full, doc, segments, sentences)]
    assert 1 < numbers[0] < numbers[1] < numbers[2] < numbers[3]
    assert len({facts["train"]["tokens"] for facts in (full, doc, segments, sentences)}) == 1
    assert min(facts["train"]["fill_rate"] for facts in (doc, segments, sentences)) > 0.9
    assert read_json(tmp_path / "packed" / "tokens" / "manifest.json")["facts"]["splits"]["train"]["documents"] < 100
