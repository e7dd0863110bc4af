"""The encoders that benchmarks/encode.py compares: documents and GPT-2's vocabulary in, token ids out.

A job has `documents` (a Parquet file of texts), `tokenizer` (a tokenizer folder with that vocabulary, for rbt),
`encoder` and `merges` (GPT-2's own two files, for the peers) and `ids` (a file for what comes out, or ""). Timed: from
texts in memory, as each takes them, to one array of uint16 ids of all documents and where each document ends, which is
what a token store holds. Batches of a few megabytes, so that peak memory is the encoder's and not the corpus's twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from contest import Clock, Contender, Job, serve

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
BATCH = 256  # documents
Encoded = tuple[Any, Any]  # ids of some documents, uint16 (tokens,), and their ends, int64 (documents,)


def _batches(job: Job) -> list[Any]:
    """Arrow string arrays."""
    from pyarrow import parquet

    file = parquet.ParquetFile(job["documents"])
    return [batch.column("text") for batch in file.iter_batches(BATCH, columns=["text"])]


def _joined(documents: Iterator[Any]) -> Encoded:
    """Ids of documents, arrays or lists, as one array and their ends."""
    import numpy as np

    arrays = [np.asarray(ids, dtype=np.uint16) for ids in documents]
    ends = np.cumsum([len(array) for array in arrays], dtype=np.int64)
    return np.concatenate(arrays) if arrays else np.empty(0, np.uint16), ends


def _run(job: Job, clock: Clock, batches: list[Any], encode: Callable[[Any], Encoded]) -> dict[str, Any]:
    """Encode all batches, timed, and keep the ids where they are wanted."""
    import numpy as np

    with clock:
        found = [encode(batch) for batch in batches]
    if job["ids"]:
        counts = [np.diff(ends, prepend=0) for _, ends in found]
        np.savez(job["ids"], ids=np.concatenate([ids for ids, _ in found]), counts=np.concatenate(counts))
    return {"tokens": sum(len(ids) for ids, _ in found)}


def by_rbt(job: Job, clock: Clock) -> dict[str, Any]:
    """`rbt.packing.encode`, which `rbt pack` writes tokens with."""
    from rbt.packing.encode import Encoder

    encoder = Encoder(Path(job["tokenizer"]))

    def encode(texts: Any) -> Encoded:
        encoded = encoder.encode(texts)
        return encoded.ids.copy(), encoded.text_ends

    return _run(job, clock, _batches(job), encode)


def by_tokenizers(job: Job, clock: Clock) -> dict[str, Any]:
    """Hugging Face tokenizers, without special tokens and offsets."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE.from_file(job["encoder"], job["merges"]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)

    def encode(texts: list[str]) -> Encoded:
        return _joined(encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False))

    return _run(job, clock, [batch.to_pylist() for batch in _batches(job)], encode)


def by_tiktoken(job: Job, clock: Clock) -> dict[str, Any]:
    """tiktoken, its ranks made from GPT-2's vocabulary."""
    import tiktoken

    ranks = {token: number for token, number in _vocabulary(job).items() if token != b"<|endoftext|>"}
    encoding = tiktoken.Encoding("gpt2", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})

    def encode(texts: list[str]) -> Encoded:
        return _joined(encoding.encode_to_numpy(text, disallowed_special=()) for text in texts)

    return _run(job, clock, [batch.to_pylist() for batch in _batches(job)], encode)


def by_ffbpe(job: Job, clock: Clock) -> dict[str, Any]:
    """ffbpe, which takes a file of merges without the line of the version."""
    from ffbpe import BpeEncoder

    merges = Path(job["work"]) / "merges.txt"
    merges.write_text(Path(job["merges"]).read_text("utf-8").partition("\n")[2], "utf-8")
    encoder = BpeEncoder.load(vocab_file=job["encoder"], merges_file=merges, pat_str=PATTERN)

    def encode(texts: list[str]) -> Encoded:
        return _joined(encoder.encode_to_numpy(text) for text in texts)

    return _run(job, clock, [batch.to_pylist() for batch in _batches(job)], encode)


def _vocabulary(job: Job) -> dict[bytes, int]:
    """Bytes of each token, to its id: printable bytes are spelled as themselves, the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    table = json.loads(Path(job["encoder"]).read_text("utf-8"))
    return {
        bytes(ord(symbol) if ord(symbol) < 256 else others[ord(symbol) - 256] for symbol in token): number
        for token, number in table.items()
    }


CONTENDERS = {
    "rbt": Contender(by_rbt, ("rbt",), ("rbt", "numba", "numpy", "pyarrow")),
    "tokenizers": Contender(by_tokenizers, ("tokenizers", "pyarrow", "numpy"), ("tokenizers",)),
    "tiktoken": Contender(by_tiktoken, ("tiktoken", "pyarrow", "numpy"), ("tiktoken",)),
    "ffbpe": Contender(by_ffbpe, ("ffbpe", "pyarrow", "numpy"), ("ffbpe",)),
}

if __name__ == "__main__":
    serve(CONTENDERS)
