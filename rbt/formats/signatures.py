"""`signatures/`: what is needed to compare new documents with those of a corpus, without reading its text.

    signatures/part-00000.arrow   one line a document of the part of the same name
    signatures/removed.arrow      one line a document that deduplication removed as a duplicate
    signatures/paragraphs-*.npy   hashes of paragraphs, where these are deduplicated
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

UInt64 = npt.NDArray[np.uint64]
FOLDER = "signatures"
REMOVED = "removed.arrow"
PARAGRAPHS = "paragraphs-"  # uint64 (3, n): 128-bit hash of the words, document << 24 | place; by leading bits
SCHEMA = pa.schema(
    [
        ("number", pa.int64()),  # priority: the place among all documents that were read, over all generations
        ("id_hash", pa.uint64()),  # xxh3-64 of the id's UTF-8
        ("text_hash", pa.binary(16)),  # of the sequence of words, big-endian
        ("band_keys", pa.list_(pa.uint64())),  # one key a band; none where near duplicates are not looked for
    ]
)
REMOVED_SCHEMA = pa.schema(
    [
        *SCHEMA,
        ("kept_number", pa.int64()),  # of the kept document it was removed for; -1: one of another corpus
        ("jaccard", pa.float64()),  # with it
    ]
)


def text_hash_column(hashes: UInt64) -> pa.Array:
    """The column of text hashes uint64 (n, 2)."""
    buffer = pa.py_buffer(np.ascontiguousarray(hashes.astype(">u8")))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(hashes), [None, buffer])


def text_hashes(column: pa.FixedSizeBinaryArray) -> UInt64:
    """What `text_hash_column` was made of."""
    data = np.frombuffer(column.buffers()[1], dtype=">u8").reshape(-1, 2)
    return data[column.offset : column.offset + len(column)].astype(np.uint64)

