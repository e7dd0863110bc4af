"""A packed folder of generated tokens, for benchmarks of the trainer: its rows are as full as rbt's packers make them.

    lengths of sentences and documents (geometric) ──packers──> blocks, rows; ids (log-uniform, as words) ──> tokens

The vocabulary has the specials and the bytes at the ids of rbt's tokenizers; its other tokens are made up, half of them
with a space before them, and no text is encoded to them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rbt.formats import blocks, tokenizer, tokens
from rbt.formats.blocks import block_lengths
from rbt.formats.tokenizer import MASK, build_vocab, write_tokenizer
from rbt.formats.tokens import TokenPart, part_stem, token_dtype
from rbt.manifest import Manifest, record_files, write_manifest
from rbt.rng import rng

VOCAB_SIZE = 50_265
SENTENCE_TOKENS, DOCUMENT_SENTENCES = 25, 30  # on average
FORMATS = ("full-sentences", "doc-sentences", "segment-pair", "sentence-pair")
SEED = 1


def generated_ends(count: int, key: int) -> tuple[np.ndarray, np.ndarray]:
    """(sentence ends, document ends), int64, of about so many tokens."""
    random = rng(SEED, "ends", key)
    sentences = np.cumsum(random.geometric(1 / SENTENCE_TOKENS, max(2, count // SENTENCE_TOKENS)))
    documents = np.cumsum(random.geometric(1 / DOCUMENT_SENTENCES, len(sentences)))
    places = np.append(documents[documents < len(sentences)], len(sentences))
    return sentences.astype(np.int64), sentences[places - 1].astype(np.int64)


def generated_ids(count: int, vocab_size: int, key: int) -> np.ndarray:
    """Ordinary ids, of which the n-th is about as frequent as the n-th word of a language."""
    top = vocab_size - 1 - tokenizer.FIRST_ORDINARY_ID
    places = np.exp(rng(SEED, "ids", key).random(count, dtype=np.float32) * np.float32(np.log(top)))
    ids = tokenizer.FIRST_ORDINARY_ID + np.minimum(places.astype(np.int64) - 1, top - 1)
    return ids.astype(token_dtype(vocab_size))


def _made_up_vocab(vocab_size: int) -> dict[str, int]:
    vocab = {token: number for token, number in build_vocab([]).items() if token != MASK}
    for number in range(len(vocab), vocab_size - 1):
        vocab[f"{'Ġ' * (number % 2)}token{number}"] = number
    return {**vocab, MASK: vocab_size - 1}


def _write_part(store: Path, stem: str, count: int, vocab_size: int, key: int) -> TokenPart:
    sentence_ends, document_ends = generated_ends(count, key)
    ids = generated_ids(int(sentence_ends[-1]), vocab_size, key)
    ids.tofile(store / f"{stem}.tokens.bin")
    np.save(store / f"{stem}.sentence_ends.npy", sentence_ends)
    np.save(store / f"{stem}.document_ends.npy", document_ends)
    return TokenPart(stem, ids, sentence_ends, document_ends)


def _write_index(folder: Path, parts: list[TokenPart], format: str, max_tokens: int, store: Manifest) -> None:
    from rbt.packing.index import make_blocks  # it takes numba, which a folder that is given does without
    from rbt.packing.packers import PACKERS

    config = {
        "format": format, "max_tokens": max_tokens, "separator": "document", "seed": SEED,
        "short_sequence_probability": 0.0,
    }
    folder.mkdir()
    for part in parts:
        cuts, _ = make_blocks(part, config)
        order, rows = PACKERS[format].rows(block_lengths(part, cuts, "document"), max_tokens)
        np.save(folder / f"{part.stem}.blocks.npy", cuts[order])
        np.save(folder / f"{part.stem}.rows.npy", rows)
    files = record_files(folder, [path.name for path in sorted(folder.glob("*.npy"))], "blake2b")
    inputs = {"tokens": store.fingerprint}
    write_manifest(folder, Manifest(blocks.KIND, blocks.VERSION, "blocks", 1, config, inputs, files))


def write_packed(
    folder: Path, count: int, *, formats: tuple[str, ...] = FORMATS[:1], parts: int = 1, max_tokens: int = 512,
    vocab_size: int = VOCAB_SIZE,
) -> Path:
    """PACKED/ of about `count` tokens for training in so many parts, with an index of each format; returns `folder`."""
    store = folder / blocks.TOKENS_FOLDER
    store.mkdir(parents=True)
    write_tokenizer(folder, [], _made_up_vocab(vocab_size))
    own = write_manifest(folder, Manifest(
        tokenizer.KIND, tokenizer.VERSION, "bpe", 1, {}, {}, record_files(folder, tokenizer.FILES, "blake2b"),
        {"vocab_size": vocab_size, "merges": 0},
    ))
    stems = [part_stem("train", number) for number in range(parts)]
    written = [_write_part(store, stem, count // parts, vocab_size, key) for key, stem in enumerate(stems)]
    manifest = write_manifest(store, Manifest(
        tokens.KIND, tokens.VERSION, "tokens", 1, {}, {"corpus": "generated", "tokenizer": own.fingerprint},
        record_files(store, [path.name for path in sorted(store.iterdir())], "blake2b"),
        {"vocab_size": vocab_size, "parts": [{"stem": stem, "split": "train"} for stem in stems]},
    ))
    for format in formats:
        _write_index(folder / f"{format}-{max_tokens}", written, format, max_tokens, manifest)
    return folder
