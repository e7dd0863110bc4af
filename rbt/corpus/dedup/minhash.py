"""MinHash signatures, band keys and hashes of texts.

    shingles uint64 ──low 32 bits──> affine permutations ──minimum──> uint32 (bands * rows,) ──hash──> uint64 (bands,)

The permutations are datasketch's `scheme="affine32"` (2.0.0), bit for bit for the same seed and the same 32-bit hash
values: MurmurHash3's finalizer once, then a * h + b modulo 2**32 with a odd. Two texts of Jaccard similarity s share
at least one band key with probability 1 - (1 - s ** rows) ** bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rbt.corpus.dedup.shingles import UInt8, UInt32, UInt64, character_table, hash_shingles, hash_text, hash_words, mix
from rbt.errors import ConfigError
from rbt.formats.parts import string_buffers
from rbt.kernels import inline_kernel, kernel

LARGEST = np.uint32(0xFFFFFFFF)  # the minimum of no hash values
UNROLL = 8  # shingles a pass over the permutations, so that a minimum is loaded and stored once for all of them


@cache
def permutations(number: int, seed: int) -> tuple[UInt32, UInt32]:
    """Parameters (a, b) of datasketch's affine32 permutations, uint32 (number,) each. Raises ConfigError."""
    if not 0 <= seed < 1 << 32:
        raise ConfigError("[corpus] seed: expected 0 to 4294967295 (MinHash seeds have 32 bits)", found=str(seed))
    if not number:  # which datasketch refuses
        return np.empty(0, dtype=np.uint32), np.empty(0, dtype=np.uint32)
    from datasketch import MinHash

    a, b = MinHash(num_perm=number, seed=seed, scheme="affine32").permutations
    return np.ascontiguousarray(a, dtype=np.uint32), np.ascontiguousarray(b, dtype=np.uint32)


@inline_kernel
def _finalize(hash: Any) -> Any:
    """MurmurHash3's 32-bit finalizer."""
    h = np.uint32(hash)
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B))
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35))
    return np.uint32(h ^ (h >> np.uint32(16)))


@kernel
def minimum_hashes(shingles: UInt64, count: int, a: UInt32, b: UInt32, minima: UInt32) -> None:
    """Minimum of each permutation over the low 32 bits of `count` shingle hashes, into `minima` uint32."""
    minima[:] = LARGEST
    block = np.empty(UNROLL, dtype=np.uint32)
    for first in range(0, count, UNROLL):
        for lane in range(UNROLL):  # the last block repeats the last shingle, which changes no minimum
            block[lane] = _finalize(shingles[min(first + lane, count - 1)] & np.uint64(0xFFFFFFFF))
        h0, h1, h2, h3, h4, h5, h6, h7 = (
            block[0], block[1], block[2], block[3], block[4], block[5], block[6], block[7]
        )
        for k in range(len(minima)):
            x, y = a[k], b[k]
            low = min(np.uint32(x * h0 + y), np.uint32(x * h1 + y))
            low = min(low, min(np.uint32(x * h2 + y), np.uint32(x * h3 + y)))
            low = min(low, min(np.uint32(x * h4 + y), np.uint32(x * h5 + y)))
            low = min(low, min(np.uint32(x * h6 + y), np.uint32(x * h7 + y)))
            minima[k] = min(minima[k], low)


@kernel
def hash_bands(minima: UInt32, keys: UInt64) -> None:
    """One key a band of consecutive minima, into `keys`: key <- mix(band + 1), then mix(key ^ mix(minimum + 1))."""
    rows = len(minima) // len(keys)
    for band in range(len(keys)):
        key = mix(np.uint64(band + 1))
        for row in range(rows):
            key = mix(key ^ mix(np.uint64(minima[band * rows + row]) + np.uint64(1)))
        keys[band] = key


@kernel
def _sign(
    data: UInt8, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64], table: UInt32, ngram: int,
    a: UInt32, b: UInt32, minima: UInt32, keys: UInt64, hashes: UInt64,
) -> None:
    longest = 0
    for document in range(len(starts)):
        longest = max(longest, stops[document] - starts[document])
    words = np.empty(longest // 2 + 1, dtype=np.uint64)
    shingles = np.empty(longest // 2 + 1, dtype=np.uint64)
    for document in range(len(starts)):
        count = hash_words(data, starts[document], stops[document], table, words)
        hash_text(words, count, hashes[document])
        if not keys.shape[1]:
            continue
        count = hash_shingles(words, count, ngram, shingles)
        minimum_hashes(shingles, count, a, b, minima[document])
        hash_bands(minima[document], keys[document])


@dataclass(frozen=True)
class Signatures:
    """Of n texts: minima uint32 (n, bands * rows), band keys uint64 (n, bands), text hashes uint64 (n, 2)."""

    minima: UInt32
    band_keys: UInt64
    text_hashes: UInt64


def sign_texts(
    texts: pa.Array, rows: npt.NDArray[np.int64], ngram: int, bands: int, rows_per_band: int, seed: int
) -> Signatures:
    """Sign the given rows of an Arrow string array; with no `bands`, only their text hashes are made."""
    data, offsets = string_buffers(texts)
    a, b = permutations(bands * rows_per_band, seed)
    minima = np.empty((len(rows), len(a)), dtype=np.uint32)
    keys, hashes = (np.empty((len(rows), width), dtype=np.uint64) for width in (bands, 2))
    starts, stops = offsets[rows].astype(np.int64), offsets[rows + 1].astype(np.int64)
    _sign(data, starts, stops, character_table(), ngram, a, b, minima, keys, hashes)
    return Signatures(minima, keys, hashes)
