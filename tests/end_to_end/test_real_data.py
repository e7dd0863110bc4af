"""The whole pipeline on real raw files: a model that learns more than how often each token occurs."""

from __future__ import annotations

import csv
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rbt.formats.blocks import open_index
from rbt.formats.tokens import open_tokens
from rbt.manifest import load_manifest

RECIPE = """
[corpus]
name = "real"
part_bytes = 4_000_000
[[source]]
kind = "wikipedia"
paths = ["{data}/wikipedia/derived/enwiki-A-pages-articles-multistream.xml.bz2"]
[[source]]
kind = "bookcorpus"
paths = ["{data}/books/100_english_novels/*.txt"]
[[source]]
kind = "ccnews"
paths = ["{data}/warc/derived/CC-NEWS-like-A.warc.gz"]
since = ""
until = ""
[[source]]
kind = "openwebtext"
paths = ["openwebtext.tar"]
[[source]]
kind = "stories"
paths = ["stories.txt"]
[[source]]
kind = "table"
name = "web"
paths = ["{data}/openwebtext/dolma_cc_head/multiple_files/cc_en_head-0091.jsonl.gz"]
columns = {{ id = "id", text = "text" }}
[bpe]
vocab_size = 8000
[pack]
max_tokens = 128
validation_fraction = 0.1
[model]
layers = 2
hidden = 128
heads = 2
feed_forward = 512
dropout = 0.0
attention_dropout = 0.0
[data]
global_batch = 32
[schedule]
max_steps = 1500
warmup_steps = 200
peak_learning_rate = 1e-3
[run]
log_every = 50
checkpoint_every = 500
validate_every = 500
validation_rows = 256
"""


def write_web_archive(path: Path, source: Path) -> None:
    """The published layout of the web archive: xz-compressed tars inside a tar."""
    with zipfile.ZipFile(source) as texts, tarfile.open(path, "w") as outer:
        names = [name for name in texts.namelist() if name.endswith(".txt")]
        for number, part in enumerate((names[::2], names[1::2])):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as archive:
                for name in part:
                    add(archive, Path(name).name, texts.read(name))
            add(outer, f"openwebtext/urlsf_subset00-{number}_data.xz", lzma.compress(inner.getvalue()))


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def write_stories(path: Path, sources: list[Path]) -> None:
    """One paragraph a line, a blank line between stories."""
    stories = []
    for source in sources:
        with source.open(encoding="utf-8") as stream:
            for row in csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE):
                stories.append(row[2].replace("\\newline", "\n").replace("\\tab", " "))
    path.write_text("\n\n".join("\n".join(filter(None, map(str.strip, s.split("\n")))) for s in stories), "utf-8")


@pytest.fixture(scope="module")
def real(data: Path, new_project: Callable[[], Any]) -> Any:
    """A project over the real raw files, built up to the model."""
    project = new_project()
    (project.folder / "rbt.toml").write_text(RECIPE.format(data=data))
    write_web_archive(project.folder / "openwebtext.tar", data / "openwebtext" / "hf_openwebtext_dummy.zip")
    folder = data / "stories" / "mctest" / "MCTest"
    write_stories(project.folder / "stories.txt", [folder / f"{name}.tsv" for name in ("mc160.train", "mc500.train")])
    for words in (("corpus", "build"), ("bpe", "train"), ("pack",), ("pack", "--format", "doc-sentences")):
        project.must(*words, small=False)
    project.must("pretrain", "--format", "full-sentences", small=False)
    project.must("export", small=False)
    return project


def unigram_entropy(folder: Path) -> float:
    """Entropy in nats of the training tokens' own frequencies: the loss of whoever knows them and nothing else."""
    store = open_tokens(folder / "packed" / "tokens")
    counts = sum(
        np.bincount(store.part(stem).tokens, minlength=store.vocab_size) for stem in store.stems("train")
    )
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


@pytest.mark.slow
def test_the_validation_loss_falls_well_below_the_unigram_entropy(real: Any) -> None:
    lines = [json.loads(line) for line in (real.folder / "run" / "metrics.jsonl").read_text().splitlines()]
    validated = [line["validation_loss"] for line in lines if "validation_loss" in line]
    entropy = unigram_entropy(real.folder)
    assert validated[-1] < entropy - 0.5, f"validation loss {validated[-1]:.2f}, unigram entropy {entropy:.2f}"
    assert validated[-1] < validated[0]


@pytest.mark.slow
def test_every_source_is_there_and_the_ledger_balances(real: Any) -> None:
    manifest = load_manifest(real.folder / "corpus")
    manifest.ledger.chain(("read", "extract", "clean", "filter", "deduplicate", "parts"))
    sources = manifest.facts["sources"]
    assert sources["bookcorpus"]["documents"] == 12
    assert sources["ccnews"]["documents"] > 150
    assert sources["wikipedia"]["documents"] > 40
    assert sources["stories"]["documents"] > 300
    assert sources["openwebtext"]["documents"] == 4
    assert sources["web"]["documents"] > 5


@pytest.mark.slow
def test_v26_the_two_formats_differ_in_blocks_and_hold_the_same_tokens(real: Any) -> None:
    packed = real.folder / "packed"
    full, doc = (open_index(packed / f"{name}-sentences-128", "train") for name in ("full", "doc"))
    assert full.num_blocks != doc.num_blocks
    tokens = [sum(int((p.blocks[:, 1] - p.blocks[:, 0]).sum()) for p in index.parts) for index in (full, doc)]
    assert tokens[0] == tokens[1]


@pytest.mark.slow
def test_everything_verifies(real: Any) -> None:
    assert "sound" in real.must("verify", ".", small=False)
