"""All formats but FULL-SENTENCES ask for whole documents."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rbt.engine import LocalEngine
from rbt.errors import ConfigError
from rbt.manifest import load_manifest, write_manifest
from rbt.packing.bpe import train_bpe
from rbt.packing.config import BpeConfig, Format, PackConfig
from rbt.packing.pack import pack

FULL = PackConfig(max_tokens=64, validation_fraction=0.1)


@pytest.mark.parametrize("format", ["doc-sentences", "segment-pair", "sentence-pair"])
def test_a_source_of_pieces_is_refused_and_full_sentences_takes_it(
    corpus: Path, tmp_path: Path, format: Format
) -> None:
    """The error names the source that holds pieces of documents, no other, and both cures."""
    manifest = load_manifest(corpus)
    sources = {"a": {"has_documents": True}, "b": {"has_documents": False}}
    write_manifest(corpus, replace(manifest, facts={**manifest.facts, "sources": sources}))
    tokenizer, out = tmp_path / "tokenizer", tmp_path / "packed"
    train_bpe(corpus, tokenizer, BpeConfig(400), LocalEngine(1), replace=False)
    with pytest.raises(ConfigError) as error:
        pack(corpus, tokenizer, out, replace(FULL, format=format), LocalEngine(1), replace=False)
    assert f"format {format}" in str(error.value)
    assert "pieces of them in b (" in str(error.value)
    assert "--format full-sentences" in str(error.value)
    assert "split_books = true" in str(error.value)
    assert not out.exists()
    pack(corpus, tokenizer, out, FULL, LocalEngine(1), replace=False)
    assert (out / "full-sentences-64").is_dir()
