"""The whole pipeline on the mini corpus: what is kept, what is dropped and why, and that nothing is lost unseen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rbt.formats import document, quarantine, removals
from rbt.formats.blocks import open_index
from rbt.formats.parts import open_corpus, open_table
from rbt.formats.tokens import open_tokens
from rbt.ledger import Ledger
from rbt.manifest import load_manifest

LEDGER_STAGES = ("read", "extract", "clean", "filter", "deduplicate", "parts")


def rows(path: Path, schema: pa.Schema) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = open_table(path, schema).to_pylist()
    return found


@pytest.fixture(scope="session")
def kept(built: Any) -> dict[str, dict[str, Any]]:
    """Documents of the corpus by id."""
    parts = open_corpus(built.folder / "corpus").parts()
    return {row["id"]: row for part in parts for row in rows(part.path, document.SCHEMA)}


@pytest.fixture(scope="session")
def removed(built: Any) -> dict[str, dict[str, Any]]:
    """Rows of removed.arrow by id."""
    return {row["id"]: row for row in rows(built.folder / "corpus" / removals.NAME, removals.SCHEMA)}


def test_at_least_sixty_documents_of_six_sources_are_kept(kept: dict[str, dict[str, Any]]) -> None:
    sources = {row["source"] for row in kept.values()}
    assert sources == {"wikipedia", "bookcorpus", "ccnews", "openwebtext", "stories", "letters"}
    assert len(kept) >= 60


@pytest.mark.parametrize(
    ("first", "second", "rule"),
    [
        ("wikipedia:19", "wikipedia:235", "near_duplicate"),
        ("bookcorpus:harbor-lights-second-edition", "bookcorpus:harbor-lights", "near_duplicate"),
        ("openwebtext:0000009", "letters:letter-13", "exact_duplicate"),
        ("openwebtext:0000005", "openwebtext:0000016", "exact_duplicate"),
        ("openwebtext:0000008", "openwebtext:0000017", "exact_duplicate"),
    ],
)
def test_v8_of_a_planted_pair_the_first_is_kept_and_the_second_names_it(
    kept: dict[str, Any], removed: dict[str, Any], first: str, second: str, rule: str
) -> None:
    first_id = next(id for id in kept if id.startswith(first))
    second_row = next(row for id, row in removed.items() if id.startswith(second))
    assert (second_row["kept_id"], second_row["rule"]) == (first_id, rule)
    assert second_row["jaccard"] >= 0.8


def test_v8_the_two_planted_news_pairs_go(kept: dict[str, Any], removed: dict[str, Any]) -> None:
    news = [row for row in removed.values() if row["source"] == "ccnews" and row["kept_id"]]
    assert len(news) == 2
    assert all(row["kept_id"] in kept and row["jaccard"] >= 0.8 for row in news)


def test_v7_nothing_else_is_taken_for_a_duplicate(removed: dict[str, Any]) -> None:
    assert sum(bool(row["kept_id"]) for row in removed.values()) == 7


def test_other_languages_and_short_texts_go_by_their_rules(removed: dict[str, Any]) -> None:
    by_rule: dict[str, set[str]] = {}
    for id, row in removed.items():
        by_rule.setdefault(row["rule"], set()).add(id)
    assert {"wikipedia:271"} <= by_rule["language"]
    assert len(by_rule["language"]) == 3
    assert "wikipedia:241" in by_rule["too_short"]


def test_pages_that_are_no_articles_are_counted_not_listed(built: Any, kept: dict[str, Any]) -> None:
    row = Ledger.from_table(load_manifest(built.folder / "corpus").ledger.table()).row("read", "wikipedia")
    assert row.dropped["redirect"].documents == 2
    assert row.dropped["namespace"].documents == 3
    assert not kept.keys() & {"wikipedia:13", "wikipedia:247"}
    news = load_manifest(built.folder / "corpus").ledger.row("read", "ccnews")
    assert news.dropped["date"].documents == 2
    assert news.dropped["http_status"].documents == 1
    assert news.dropped["mime"].documents == 1


def test_invariant_5_each_broken_file_is_named_and_what_is_whole_around_it_is_kept(
    built: Any, kept: dict[str, Any]
) -> None:
    bad = rows(built.folder / "corpus" / quarantine.NAME, quarantine.SCHEMA)
    assert {row["source"] for row in bad} == {
        "wikipedia", "bookcorpus", "ccnews", "openwebtext", "stories", "letters"
    }
    assert all(row["origin"] and row["reason"] for row in bad)
    whole = {"wikipedia:900012", "wikipedia:900019", "bookcorpus:broken-encoding"}
    assert whole <= kept.keys()
    assert sum(row["origin"] == "CC-NEWS-20161004090000-00002.warc.gz" for row in kept.values()) == 2
    assert sum(row["origin"] == "broken.jsonl" for row in kept.values()) == 3


def test_text_is_what_was_written_and_markup_is_gone(kept: dict[str, Any]) -> None:
    for row in kept.values():
        assert not any(mark in row["text"] for mark in ("{{", "}}", "[[", "]]", "<p>", "</", "\r", "  "))
        assert row["text"] == row["text"].strip()
    lighthouse = kept["wikipedia:12"]
    assert lighthouse["title"] == "Lighthouse"
    assert kept["letters:letter-01"]["date"]


def test_invariant_1_the_ledger_balances_from_records_to_blocks(built: Any) -> None:
    corpus = load_manifest(built.folder / "corpus")
    corpus.ledger.chain(LEDGER_STAGES)
    raw = sum(row.other["raw_bytes"] for stage, _, row in corpus.ledger if stage == "read")
    assert raw == sum(path.stat().st_size for path in raw_files(built.folder / "raw"))
    documents = sum(row.outgoing.documents for stage, _, row in corpus.ledger if stage == "parts")
    size = sum(row.outgoing.bytes for stage, _, row in corpus.ledger if stage == "parts")
    store = open_tokens(built.folder / "packed" / "tokens")
    facts = store.manifest.facts["parts"]
    assert sum(part["documents"] for part in facts) == documents == corpus.facts["documents"]
    assert sum(part["bytes"] for part in facts) == size == corpus.facts["bytes"]
    for name in ("full-sentences-64", "doc-sentences-64"):
        for split in ("train", "validation"):
            index = open_index(built.folder / "packed" / name, split)
            tokens = sum(len(part.tokens.tokens) for part in index.parts)
            in_blocks = sum(int((part.blocks[:, 1] - part.blocks[:, 0]).sum()) for part in index.parts)
            assert in_blocks == tokens > 0


def raw_files(folder: Path) -> list[Path]:
    found = [path for path in folder.rglob("*") if path.is_file() and "-index" not in path.name]
    assert len(found) > 10
    return found


def test_decoding_the_token_store_gives_the_corpus_back(built: Any, kept: dict[str, Any]) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(built.folder / "tokenizer" / "tokenizer.json"))
    store = open_tokens(built.folder / "packed" / "tokens")
    seen = 0
    for fact in store.manifest.facts["parts"]:
        part = store.part(fact["stem"])
        ids = pa.ipc.open_file(str(store.folder / f"{fact['stem']}.documents.arrow")).read_all()["id"].to_pylist()
        starts = [0, *part.document_ends.tolist()[:-1]]
        for id, start, end in zip(ids, starts, part.document_ends.tolist(), strict=True):
            assert tokenizer.decode(part.tokens[start:end].tolist(), skip_special_tokens=False) == kept[id]["text"]
            seen += 1
    assert seen == len(kept)


def test_doc_sentences_blocks_end_with_their_documents_and_full_ones_cross(built: Any) -> None:
    doc = open_index(built.folder / "packed" / "doc-sentences-64", "train")
    full = open_index(built.folder / "packed" / "full-sentences-64", "train")

    def crossing(index: Any) -> int:
        ends = [np.searchsorted(p.tokens.document_ends, p.blocks[:, 0], side="right") for p in index.parts]
        lasts = [np.searchsorted(p.tokens.document_ends, p.blocks[:, 1] - 1, side="right") for p in index.parts]
        return int(sum((first != last).sum() for first, last in zip(ends, lasts, strict=True)))

    assert crossing(doc) == 0
    assert crossing(full) > 0
    assert doc.num_blocks > full.num_blocks
    assert doc.num_rows < doc.num_blocks


def test_the_exported_model_is_read_by_transformers_and_fills_a_mask(built: Any) -> None:
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(built.folder / "model")
    model = AutoModelForMaskedLM.from_pretrained(built.folder / "model").eval()
    text = "The keeper lit the <mask>."
    with torch.no_grad():
        encoded = tokenizer(text, return_tensors="pt")
        place = (encoded["input_ids"][0] == tokenizer.mask_token_id).nonzero().item()
        probabilities = model(**encoded).logits[0, place].softmax(-1)
    output = built.must("fill-mask", text, "--top", "3", small=False)
    first = output.splitlines()[0]
    best = int(probabilities.argmax())
    assert repr(tokenizer.decode([best])) in first
    assert f"{float(probabilities[best]):.2%}" in first


def test_every_artefact_verifies_and_a_flipped_byte_is_found(
    new_project: Callable[[], Any], built: Any, tmp_path: Path
) -> None:
    import shutil

    output = built.must("verify", ".", small=False)
    for kind in ("corpus", "tokenizer", "tokens", "blocks", "checkpoint", "model"):
        assert f": {kind}, " in output
    copied = tmp_path / "packed"
    shutil.copytree(built.folder / "packed", copied)
    path = copied / "tokens" / "train-00000.tokens.bin"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    result = built.run("verify", str(copied), small=False)
    assert result.exit_code == 2
    assert "train-00000.tokens.bin: hash" in result.output


def test_the_formats_open_in_pyarrow_polars_and_datasets(built: Any, kept: dict[str, Any], tmp_path: Path) -> None:
    import datasets
    import polars

    paths = sorted(str(path) for path in (built.folder / "corpus").glob("part-*.arrow"))
    assert len(paths) > 1
    assert sum(len(polars.read_ipc(path)) for path in paths) == len(kept)
    loaded = datasets.load_dataset("arrow", data_files=paths, split="train", cache_dir=str(tmp_path))
    assert set(loaded["id"]) == kept.keys()


def test_running_again_does_nothing_and_changing_the_recipe_is_refused(built: Any) -> None:
    before = {path: path.stat().st_mtime_ns for path in built.folder.rglob("*.arrow")}
    built.must("corpus", "build")
    built.must("bpe", "train")
    built.must("pack")
    assert {path: path.stat().st_mtime_ns for path in built.folder.rglob("*.arrow")} == before
    result = built.run("corpus", "build", "--set", "clean.minimum_characters=300")
    assert result.exit_code == 2
    assert "clean.minimum_characters = 200 instead of 300" in result.output
    assert "--replace" in result.output


def test_show_and_why_answer_for_kept_dropped_and_unknown_documents(built: Any) -> None:
    assert "title:          Lighthouse" in built.must("corpus", "show", "--id", "wikipedia:12", small=False)
    assert built.must("corpus", "show", "--random", "2", small=False).count("source:") == 2
    assert "wikipedia:12: kept" in built.must("corpus", "why", "wikipedia:12", small=False)
    assert "near_duplicate of wikipedia:19" in built.must("corpus", "why", "wikipedia:235", small=False)
    assert "dropped by filter: too_short" in built.must("corpus", "why", "wikipedia:241", small=False)
    result = built.run("corpus", "why", "wikipedia:999999", small=False)
    assert result.exit_code == 2
    assert "wikipedia:999999" in result.output


def test_metrics_have_a_line_a_step_and_the_loss_falls(built: Any) -> None:
    lines = [json.loads(line) for line in (built.folder / "run" / "metrics.jsonl").read_text().splitlines()]
    trained = [line for line in lines if "loss" in line]
    assert [line["step"] for line in trained] == list(range(1, 13))
    assert {"perplexity", "learning_rate", "gradient_norm", "tokens_per_second"} <= trained[0].keys()
    assert trained[-1]["loss"] < trained[0]["loss"]
    assert any("validation_loss" in line for line in lines)


def test_a_trace_of_the_run_has_the_tokens_that_its_metrics_logged(built: Any, kept: dict[str, Any]) -> None:
    lines = [json.loads(line) for line in (built.folder / "run" / "metrics.jsonl").read_text().splitlines()]
    logged = {line["step"]: line["tokens"] for line in lines if "loss" in line}
    index = open_index(built.folder / "packed" / "full-sentences-64", "train")
    for step in logged:
        found = json.loads(built.must("trace", "--run", "run", "--step", str(step), "--json", small=False))
        assert sum(len(ids) for read in found["blocks"] for _, ids in index.read_row(read["row"])) == logged[step]
        assert {document["id"] for document in found["documents"]} <= kept.keys()
    largest = found["documents"][0]["id"]
    back = json.loads(built.must("trace", "--run", "run", "--document", largest, "--json", small=False))
    assert step in {read["step"] for read in back["reads"]}


def test_a_document_can_be_read_in_the_blocks_that_hold_it(built: Any, kept: dict[str, Any]) -> None:
    format = ("--format", "full-sentences")
    found = json.loads(built.must("trace", "--document", "wikipedia:12", *format, "--json", small=False))
    shown = [
        built.must("pack", *format, "--split", found["split"], "--explain", str(block["block"]), small=False)
        for block in found["blocks"]
    ]
    lines = [line for output in shown for line in output.splitlines() if line.split(" ")[0] == "wikipedia:12"]
    pieces = [line[line.index('"') + 1 : line.rindex('"')].replace("\\n", "\n") for line in lines]
    assert "".join(pieces) == kept["wikipedia:12"]["text"]


def test_statistics_are_those_that_packing_reported(built: Any) -> None:
    output = built.must("pack", "stats", "--format", "doc-sentences", small=False)
    facts = load_manifest(built.folder / "packed" / "doc-sentences-64").facts["splits"]
    rates = [line.split()[2:] for line in output.splitlines() if line.startswith("fill rate")]
    assert rates == [[f"{facts[split]['fill_rate']:.2%}" for split in ("train", "validation")]]


def test_nothing_is_written_outside_the_named_folders(built: Any) -> None:
    assert {path.name for path in built.folder.iterdir()} == {
        "rbt.toml", "raw", "corpus", "tokenizer", "packed", "run", "model"
    }
    assert not list(built.folder.rglob(".tmp-*"))
