"""Word counts: how often each word of a corpus occurs, kept so that a tokenizer can be trained without the text.

    COUNTS/part-00000.words.arrow    one row a word of that corpus part: word (bytes), count; by word, ascending

A word is what GPT-2's pattern makes of text. Parts are counted apart, so that counts of new parts can be added later;
whoever wants the sums merges the sorted files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rbt.errors import ArtefactError
from rbt.formats.parts import read_batches, write_table
from rbt.manifest import Manifest, read_manifest

KIND, VERSION = "word-counts", 1
MADE_BY = "rbt bpe count"
ANY_COUNTS = "part-*.words.*"  # pattern of the files
SCHEMA = pa.schema([("word", pa.large_binary()), ("count", pa.int64())])
BATCH_ROWS, BATCH_BYTES = 1 << 15, 1 << 20  # of a file, so that many files can be read at once
Int64 = npt.NDArray[np.int64]


def counts_name(number: int) -> str:
    """File of a part's words, by the corpus part's number."""
    return f"part-{number:05d}.words.arrow"


def word_buffers(batch: pa.RecordBatch) -> tuple[npt.NDArray[np.uint8], Int64, Int64]:
    """(bytes of the words, one behind the other, uint8; their ends, int64; their counts, int64) of some rows."""
    words, counts = batch.column("word"), batch.column("count")
    edges = np.frombuffer(words.buffers()[1], dtype=np.int64)[words.offset : words.offset + len(words) + 1]
    data = words.buffers()[2]
    characters = np.frombuffer(data, dtype=np.uint8) if data is not None else np.empty(0, dtype=np.uint8)
    return characters[edges[0] : edges[-1]], edges[1:] - edges[0], counts.to_numpy()


def word_batch(data: npt.NDArray[np.uint8], ends: Int64, counts: Int64) -> pa.RecordBatch:
    """What `word_buffers` gives, as rows."""
    edges = np.concatenate([np.zeros(1, dtype=np.int64), ends])
    words = pa.Array.from_buffers(pa.large_binary(), len(ends), [None, pa.py_buffer(edges), pa.py_buffer(data)])
    return pa.RecordBatch.from_arrays([words, pa.array(counts, pa.int64())], schema=SCHEMA)


def write_counts(path: Path, batches: Iterable[pa.RecordBatch]) -> tuple[int, int]:
    """Write sorted rows, in small batches that depend on the rows alone; (words, sum of the counts)."""
    words = total = size = 0

    def pieces() -> Iterator[tuple[int, pa.RecordBatch]]:
        nonlocal words, total, size
        for batch in batches:
            _, ends, counts = word_buffers(batch)
            numbers = (size + ends) // BATCH_BYTES + (words + np.arange(len(ends))) // BATCH_ROWS
            cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(ends)]
            yield from ((int(numbers[cut]), batch.slice(cut, end - cut)) for cut, end in pairwise(cuts) if end > cut)
            words, total = words + len(counts), total + int(counts.sum())
            size += int(ends[-1]) if len(ends) else 0

    write_table(path, (_joined(some) for _, some in groupby(pieces(), itemgetter(0))), SCHEMA)
    return words, total


def _joined(pieces: Iterable[tuple[int, pa.RecordBatch]]) -> pa.RecordBatch:
    (batch,) = pa.Table.from_batches([piece for _, piece in pieces]).combine_chunks().to_batches()
    return batch


def open_counts(folder: Path) -> Manifest:
    """The manifest of finished word counts. Raises ArtefactError."""
    return read_manifest(folder, KIND, VERSION, MADE_BY)


def check_counts(folder: Path) -> list[str]:
    """What is wrong with word counts: words ascending, each once, counts above 0, sums as in the manifest."""
    problems = []
    for fact in open_counts(folder).facts["parts"]:
        try:
            problem = _part_problem(folder / fact["path"], fact)
        except ArtefactError as error:
            problem = str(error)
        if problem:
            problems.append(f"{fact['path']}: {problem}")
    return problems


def _part_problem(path: Path, fact: dict[str, Any]) -> str:
    words = total = size = 0
    last: bytes | None = None
    for batch in read_batches(path, SCHEMA):
        _, ends, counts = word_buffers(batch)
        if (counts < 1).any():
            return "expected counts above 0"
        for word in batch.column("word").to_pylist():
            if last is not None and word <= last:
                return f"expected words ascending; found {word!r} behind {last!r}"
            last = word
        words, total = words + len(counts), total + int(counts.sum())
        size += int(np.dot(np.diff(ends, prepend=0), counts))
    found = {"distinct_words": words, "words": total, "bytes": size}
    for name, number in found.items():
        if fact[name] != number:
            return f"expected {fact[name]} {name}; found {number}"
    return ""
