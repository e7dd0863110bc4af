"""A packed folder of random tokens, written straight in the formats: two indices over several token parts."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rbt.formats import blocks, tokens
from rbt.formats.blocks import Index, open_index
from rbt.formats.tokenizer import FILES, KIND, VERSION, build_vocab, write_tokenizer
from rbt.formats.tokens import open_tokens
from rbt.manifest import Manifest, load_manifest, record_files, write_manifest
from rbt.packing.packers import PACKERS
from rbt.packing.pairs import part_state

VOCAB = build_vocab([])  # four specials, 256 bytes, <mask>
VOCAB_SIZE = len(VOCAB)
MAX_TOKENS = 32
Documents = Sequence[Sequence[Sequence[int]]]  # documents of sentences of ids


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    # sums are cut by thread, so that bits are the same for one number of threads only
    torch.set_num_threads(1)


def random_documents(seed: int, count: int) -> list[list[list[int]]]:
    """Documents of one to five sentences of one to twelve tokens, with a skewed distribution."""
    generator = np.random.default_rng(seed)
    return [
        [
            (4 + np.minimum(generator.geometric(0.2, generator.integers(1, 13)), 255)).tolist()
            for _ in range(generator.integers(1, 6))
        ]
        for _ in range(count)
    ]


def write_token_part(folder: Path, stem: str, documents: Documents) -> list[str]:
    """The files of one token part that the trainer reads; their names."""
    sentences = [sentence for document in documents for sentence in document]
    ids = np.array([token for sentence in sentences for token in sentence], dtype="<u2")
    ends = {
        "sentence_ends": np.cumsum([len(sentence) for sentence in sentences], dtype=np.int64),
        "document_ends": np.cumsum([sum(map(len, document)) for document in documents], dtype=np.int64),
    }
    ids.tofile(folder / f"{stem}.tokens.bin")
    for name, values in ends.items():
        np.save(folder / f"{stem}.{name}.npy", values)
    return [f"{stem}.tokens.bin", *(f"{stem}.{name}.npy" for name in ends)]


def full_blocks(documents: Documents, max_tokens: int) -> tuple[list[list[int]], list[int]]:
    """Blocks across documents, one a row, with room for the separators inside."""
    document_ends = np.cumsum([sum(map(len, document)) for document in documents])
    cuts, start, total = [], 0, int(document_ends[-1]) if len(document_ends) else 0
    while start < total:
        end = start + 1
        while end < total and end + 3 - start + np.sum((document_ends > start) & (document_ends <= end)) <= max_tokens:
            end += 1
        cuts.append([start, end])
        start = end
    return cuts, list(range(len(cuts) + 1))


def document_blocks(documents: Documents, max_tokens: int) -> tuple[list[list[int]], list[int]]:
    """A block or more a document, as many in a row as it holds."""
    cuts, rows, start, room = [], [0], 0, max_tokens
    for document in documents:
        end = start + sum(map(len, document))
        while start < end:
            stop = min(end, start + max_tokens - 2)
            if stop - start + 2 > room:
                rows.append(len(cuts))
                room = max_tokens
            cuts.append([start, stop])
            room -= stop - start + 2
            start = stop
    return cuts, [*rows, len(cuts)] if cuts else [0]


def write_packed(
    folder: Path, train: Sequence[Documents], validation: Sequence[Documents] = (), max_tokens: int = MAX_TOKENS
) -> Path:
    """PACKED/ with tokenizer, tokens and the indices full-sentences-N and doc-sentences-N."""
    store = folder / "tokens"
    store.mkdir(parents=True)
    write_tokenizer(folder, [])
    tokenizer = Manifest(
        KIND, VERSION, "bpe", 1, {}, {}, record_files(folder, FILES), {"vocab_size": VOCAB_SIZE, "merges": 0}
    )
    write_manifest(folder, tokenizer)
    parts = [("train", documents) for documents in train] + [("validation", documents) for documents in validation]
    stems = [tokens.part_stem(split, number) for number, (split, _) in enumerate(parts)]
    names = [name for stem, (_, part) in zip(stems, parts, strict=True) for name in write_token_part(store, stem, part)]
    facts = {
        "vocab_size": VOCAB_SIZE,
        "parts": [{"stem": stem, "split": split} for stem, (split, _) in zip(stems, parts, strict=True)],
    }
    manifest = Manifest(
        tokens.KIND, tokens.VERSION, "tokens", 1, {},
        {"corpus": str(len(train)), "tokenizer": tokenizer.fingerprint}, record_files(store, names), facts,
    )
    write_manifest(store, manifest)
    for format, cut in (("full-sentences", full_blocks), ("doc-sentences", document_blocks)):
        index = folder / f"{format}-{max_tokens}"
        index.mkdir()
        for stem, (_, part) in zip(stems, parts, strict=True):
            cuts, rows = cut(part, max_tokens)
            np.save(index / f"{stem}.blocks.npy", np.array(cuts, dtype=np.int64).reshape(-1, 2))
            np.save(index / f"{stem}.rows.npy", np.array(rows, dtype=np.int64))
        files = [path.name for path in sorted(index.glob("*.npy"))]
        config = {"format": format, "max_tokens": max_tokens, "separator": "document"}
        inputs = {"tokens": manifest.fingerprint}
        write_manifest(
            index, Manifest(blocks.KIND, blocks.VERSION, "index", 1, config, inputs, record_files(index, files))
        )
    assert all((folder / name).is_file() for name in FILES)
    return folder


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three parts for training, the middle one empty, and one held out."""
    train = [random_documents(1, 60), [], random_documents(2, 45)]
    return write_packed(tmp_path_factory.mktemp("data") / "packed", train, [random_documents(3, 12)])


@pytest.fixture(scope="session")
def full_index(packed: Path) -> Index:
    """One block a row."""
    return open_index(packed / f"full-sentences-{MAX_TOKENS}", "train")


@pytest.fixture(scope="session")
def document_index(packed: Path) -> Index:
    """Several blocks a row."""
    return open_index(packed / f"doc-sentences-{MAX_TOKENS}", "train")


@pytest.fixture(scope="session")
def sentence_index(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Index:
    """The blocks of `full_index`, cut in two, with a </s> behind each sentence; rows of one or two of them."""
    folder = tmp_path_factory.mktemp("sentences") / "packed"
    shutil.copytree(packed, folder)
    index = folder / f"full-sentences-{MAX_TOKENS}"
    for path in sorted(index.glob("*.blocks.npy")):
        cuts = np.load(path)
        middles = (cuts[:, 0] + cuts[:, 1] + 1) // 2
        halves = np.stack([cuts[:, 0], middles, middles, cuts[:, 1]], axis=1).reshape(-1, 2)
        halves = halves[halves[:, 0] < halves[:, 1]]
        np.save(path, halves)
        np.save(index / path.name.replace("blocks", "rows"), np.unique([*range(0, len(halves), 2), len(halves)]))
    manifest = load_manifest(index)
    config = {**manifest.config, "separator": "sentence", "max_tokens": 2 * MAX_TOKENS}
    write_manifest(index, replace(manifest, config=config))
    return open_index(index, "train")


def write_pairs(folder: Path, format: str, max_tokens: int = MAX_TOKENS) -> Path:
    """An index of pairs over the tokens of a packed folder, made by its packer; its folder."""
    store, index = open_tokens(folder / "tokens"), folder / f"{format}-{max_tokens}-seed1"
    index.mkdir()
    for stem in (*store.stems("train"), *store.stems("validation")):
        part, packer = store.part(stem), PACKERS[format]
        ends = np.asarray(part.sentence_ends), np.asarray(part.document_ends)
        cuts, _ = packer.blocks(*ends, max_tokens, part_state(1, stem))
        order, rows = packer.rows(blocks.block_lengths(part, cuts, "document"), max_tokens)
        np.save(index / f"{stem}.blocks.npy", cuts[order])
        np.save(index / f"{stem}.rows.npy", rows)
    config = {"format": format, "max_tokens": max_tokens, "separator": "document", "seed": 1}
    inputs = {"tokens": store.manifest.fingerprint}
    files = [path.name for path in sorted(index.glob("*.npy"))]
    write_manifest(
        index, Manifest(blocks.KIND, blocks.VERSION, "blocks", 1, config, inputs, record_files(index, files))
    )
    return index


@pytest.fixture(scope="session", params=blocks.PAIR_FORMATS)
def pair_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of pairs, some rows of several; the part in the middle is empty."""
    train = [random_documents(1, 60), [], random_documents(2, 45)]
    packed = write_packed(tmp_path_factory.mktemp("pairs") / "packed", train, [random_documents(3, 12)])
    return write_pairs(packed, request.param)


@pytest.fixture(scope="session")
def pair_index(pair_folder: Path) -> Index:
    """Its rows to train on."""
    return open_index(pair_folder, "train")
