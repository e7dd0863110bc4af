"""The trainers that benchmarks/bpe.py compares: documents in, the merges or the tokens of a byte-level BPE out.

A job has `documents` (a Parquet file of texts), `corpus` (the same as a corpus folder) and `vocab` (256 bytes and the
merges); or `copies`, for the case in which pair counts pass 2**31: so many copies of a long word, and a few of a short
one. All split by the GPT-2 pattern and count every word. Tokens are given as hexadecimal bytes in the order of their
ids, without the 256 bytes; merges, where a trainer gives them, as pairs of such.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

from contest import Clock, Contender, Job, serve

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LONG, SHORT, SHORT_COPIES = "a" * 40_000, "bc", 50
MEMORY_BYTES = 4 << 30  # of rbt's counting, which takes what it needs of that
BATCH = 256  # documents that are handed on at once


def texts(job: Job) -> Iterator[str]:
    """The documents of a job, a batch in memory at a time."""
    if "copies" in job:
        yield from repeat(LONG, job["copies"])
        yield from repeat(SHORT, SHORT_COPIES)
        return
    from pyarrow import parquet

    for batch in parquet.ParquetFile(job["documents"]).iter_batches(BATCH, columns=["text"]):
        yield from batch.column("text").to_pylist()


def by_rbt(job: Job, clock: Clock) -> dict[str, Any]:
    """`rbt bpe train` with one worker: a corpus folder to a tokenizer folder, its files written."""
    from rbt.engine import LocalEngine
    from rbt.formats.tokenizer import unspell
    from rbt.packing.bpe import NUM_SPECIALS, train_bpe
    from rbt.packing.config import BpeConfig

    corpus = _overflow_corpus(job) if "copies" in job else Path(job["corpus"])
    out = Path(job["work"]) / "tokenizer"
    with clock:
        config = BpeConfig(job["vocab"] + NUM_SPECIALS)
        train_bpe(corpus, out, config, LocalEngine(1), memory_bytes=MEMORY_BYTES, replace=False)
    lines = (out / "merges.txt").read_text("utf-8").splitlines()[1:]
    merges = [[unspell(side).hex() for side in line.split(" ")] for line in lines]
    return {"tokens": _distinct([left + right for left, right in merges]), "merges": merges}


def _overflow_corpus(job: Job) -> Path:
    """The documents of the case of many copies as a corpus folder."""
    from text_corpus import write_corpus

    documents = ((f"copy:{number}", text) for number, text in enumerate(texts(job)))
    return write_corpus(Path(job["work"]) / "corpus", documents)


def by_tokenizers(job: Job, clock: Clock) -> dict[str, Any]:
    """Hugging Face tokenizers."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    symbols = pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=job["vocab"], min_frequency=0, initial_alphabet=symbols, special_tokens=[], show_progress=False
    )
    with clock:
        tokenizer.train_from_iterator(texts(job), trainer)
    spelled = json.loads(tokenizer.to_str())["model"]
    merges = [[_hexadecimal(side) for side in pair] for pair in spelled["merges"]]
    tokens = [_hexadecimal(token) for token in sorted(spelled["vocab"], key=spelled["vocab"].get)]
    return {"tokens": tokens[len(symbols) :], "merges": merges}


def _hexadecimal(symbols: str) -> str:
    """The bytes behind GPT-2's spelling: printable bytes stand for themselves, the others for U+0100 and on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return bytes(ord(symbol) if ord(symbol) < 256 else others[ord(symbol) - 256] for symbol in symbols).hex()


def by_ffbpe(job: Job, clock: Clock) -> dict[str, Any]:
    """ffbpe, with the alphabet and the tie rule that it has for equality with Hugging Face tokenizers."""
    from ffbpe import BpeTrainer, PreTokenizer

    trainer = BpeTrainer([], initial_alphabet="byte_level", tie_break="smallest_pair_id")
    with clock:
        counter = PreTokenizer([], pat_str=PATTERN).word_counter()
        counter.add_source(texts(job))
        trainer.add_word_counter(counter)
        trainer.train(job["vocab"])
        model = trainer.validate_model()
    path = Path(job["work"]) / "merges.txt"
    model.save_merges_txt(path)
    lines = [line.rpartition(" => ")[0] or line for line in path.read_text("utf-8").splitlines()]
    merges = [[_hexadecimal(side) for side in line.split(" ")] for line in lines if not line.startswith("#version")]
    return {"tokens": _by_rank(model.vocab), "merges": merges}


def by_rustbpe(job: Job, clock: Clock) -> dict[str, Any]:
    """rustbpe; it gives tokens, not merges."""
    import rustbpe

    tokenizer = rustbpe.Tokenizer()
    with clock:
        tokenizer.train_from_iterator(texts(job), job["vocab"], buffer_size=BATCH, pattern=PATTERN)
    tokens = sorted(tokenizer.get_mergeable_ranks(), key=lambda entry: entry[1])
    return {"tokens": _distinct([bytes(token).hex() for token, _ in tokens if len(token) > 1])}


def by_bpeasy(job: Job, clock: Clock) -> dict[str, Any]:
    """bpeasy, without a bound on the length of tokens that text would reach; it gives tokens, not merges."""
    import bpeasy

    with clock:
        vocab = bpeasy.train_bpe(texts(job), PATTERN, len(LONG), job["vocab"], BATCH)
    return {"tokens": _by_rank(vocab)}


def _by_rank(vocab: dict[bytes, int]) -> list[str]:
    return [bytes(token).hex() for token in sorted(vocab, key=lambda token: vocab[token]) if len(token) > 1]


def _distinct(tokens: list[str]) -> list[str]:
    """Each once, where it first stands: two merges can spell the same token."""
    return list(dict.fromkeys(tokens))


CONTENDERS = {
    "rbt": Contender(by_rbt, ("rbt",), ("rbt", "numba", "numpy", "pyarrow")),
    "tokenizers": Contender(by_tokenizers, ("tokenizers", "pyarrow"), ("tokenizers",)),
    "ffbpe": Contender(by_ffbpe, ("ffbpe", "pyarrow"), ("ffbpe",)),
    "rustbpe": Contender(by_rustbpe, ("rustbpe", "pyarrow"), ("rustbpe",)),
    "bpeasy": Contender(by_bpeasy, ("bpeasy", "pyarrow"), ("bpeasy",)),
}

if __name__ == "__main__":
    serve(CONTENDERS)
