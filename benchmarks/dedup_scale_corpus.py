"""Any number of short synthetic documents, each a function of (seed, number), so that any one can be made alone.

    number ──hash──> kind ──> words drawn from a vocabulary of syllables, Zipf-like ──> text

    plain        own words, MINIMUM_WORDS or more: alike nothing else
    exact        the text of a plain document with a lower number
    near         the same with one word, or two in a row, replaced: a Jaccard similarity of .85 or more with it
    boilerplate  a paragraph that about MEMBERS documents share, and a few own words: about .6 alike, to be kept

Exactly those of kind exact and near must go. Parts have the layout of ingestion: Arrow files of `document.SCHEMA`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rbt.corpus.dedup.pipeline import Ingested
from rbt.engine import Engine, advance
from rbt.formats.document import SCHEMA
from rbt.formats.parts import write_table
from rbt.kernels import inline_kernel, kernel
from rbt.rng import hash_keys
from rbt.storage import hash_file

UInt64 = npt.NDArray[np.uint64]
PLAIN, EXACT, NEAR, BOILERPLATE = range(4)
PERCENT = (5, 10, 13)  # of all hundredths, those below: exact, near, boilerplate; the rest is plain
FIRST = 1000  # documents before this number are plain
MEMBERS = 5000  # of a boilerplate group, expected
VOCABULARY, DRAWS = 50_000, 1 << 20  # words; entries of the table that a draw looks up
MINIMUM_WORDS, MORE_WORDS = 90, 40  # of a plain document: 90 to 129, so 86 n-grams of 5 words or more
SHARED_WORDS, OWN_WORDS = 86, 20  # of a boilerplate document
BATCH = 4096
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
LONGEST = 9  # bytes of a word and its blank


@cache
def vocabulary() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """(bytes of all words, each with a blank behind it; their starts (VOCABULARY + 1,); draws -> word (DRAWS,)).

    Draw i of n stands for the word of rank VOCABULARY ** (i / n): every rank r has a share of about 1 / r.
    """
    syllables = [consonant + vowel for consonant in "bcdfghjklmnprstvwz" for vowel in "aeiou"]
    words: list[str] = []
    for length in range(1, 4):
        for number in range(len(syllables) ** length):
            if len(words) < VOCABULARY:
                parts = [syllables[number // len(syllables) ** place % len(syllables)] for place in range(length)]
                words.append("".join(parts) + " ")
    starts = np.cumsum([0, *map(len, words)])
    draws = VOCABULARY ** ((np.arange(DRAWS) + 0.5) / DRAWS) - 1
    return np.frombuffer("".join(words).encode(), np.uint8), starts, draws.astype(np.int32)


@inline_kernel
def _mix(x: Any) -> Any:
    """`rbt.rng.mix64` for one uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@kernel
def kind_of(number: int, seed: np.uint64) -> int:
    """PLAIN, EXACT, NEAR or BOILERPLATE."""
    hundredth = _mix((np.uint64(number) + np.uint64(1)) * GOLDEN ^ seed) % np.uint64(100)
    if number < FIRST or hundredth >= np.uint64(PERCENT[2]):
        return PLAIN
    return EXACT if hundredth < np.uint64(PERCENT[0]) else (NEAR if hundredth < np.uint64(PERCENT[1]) else BOILERPLATE)


@kernel
def kinds(start: int, stop: int, seed: np.uint64) -> npt.NDArray[np.int8]:
    """The kinds of documents start ... stop - 1, int8."""
    found = np.empty(stop - start, dtype=np.int8)
    for number in range(start, stop):
        found[number - start] = kind_of(number, seed)
    return found


@kernel
def original_of(number: int, seed: np.uint64) -> int:
    """The plain document, of a lower number, that an exact or near copy is made of."""
    state = _mix(np.uint64(number) ^ seed ^ GOLDEN)
    while True:
        original = np.int64(state % np.uint64(number))
        if kind_of(original, seed) == PLAIN:
            return original
        state = _mix(state + GOLDEN)


@kernel
def _draw(
    key: np.uint64, count: int, draws: npt.NDArray[np.int32], words: npt.NDArray[np.int32], done: int
) -> int:
    """Put `count` words drawn with a key behind the first `done`; the new number of words."""
    for place in range(count):
        words[done + place] = draws[_mix(key + np.uint64(place + 1) * GOLDEN) >> np.uint64(44)]
    return done + count


@kernel
def _document(
    number: int, groups: int, seed: np.uint64, draws: npt.NDArray[np.int32], words: npt.NDArray[np.int32]
) -> int:
    """The words of one document; their number."""
    kind = kind_of(number, seed)
    original = number if kind in (PLAIN, BOILERPLATE) else original_of(number, seed)
    key = _mix(np.uint64(original) * GOLDEN + seed)
    if kind == BOILERPLATE:
        group = _mix(key ^ seed) % np.uint64(groups)
        done = _draw(_mix(~group ^ seed), SHARED_WORDS, draws, words, 0)
        return _draw(key, OWN_WORDS, draws, words, done)
    count = _draw(key, MINIMUM_WORDS + np.int64(key % np.uint64(MORE_WORDS)), draws, words, 0)
    if kind == NEAR:
        edit = _mix(np.uint64(number) * GOLDEN ^ ~seed)
        place = np.int64((edit >> np.uint64(8)) % np.uint64(count - 1))
        for offset in range(np.int64(1) + np.int64(edit & np.uint64(1))):
            words[place + offset] = (words[place + offset] + 1 + np.int64(edit >> np.uint64(40)) % 40_000) % VOCABULARY
    return count


@kernel
def _texts(
    start: int, stop: int, groups: int, seed: np.uint64, letters: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64], draws: npt.NDArray[np.int32], text: npt.NDArray[np.uint8],
    ends: npt.NDArray[np.int32],
) -> int:
    """The texts of documents start ... stop - 1, one behind the other, and where each ends; the bytes of all."""
    words = np.empty(256, dtype=np.int32)
    done = 0
    for number in range(start, stop):
        count = _document(number, groups, seed, draws, words)
        for place in range(count):
            for letter in range(starts[words[place]], starts[words[place] + 1]):
                text[done] = letters[letter]
                done += 1
        text[done - 1] = ord(".")
        ends[number - start] = done
    return done


def texts(start: int, stop: int, documents: int, seed: int) -> pa.Array:
    """Documents start ... stop - 1 of a corpus of so many, an Arrow string array."""
    letters, starts, draws = vocabulary()
    groups = max(1, documents * (PERCENT[2] - PERCENT[1]) // 100 // MEMBERS)
    text = np.empty((stop - start) * (MINIMUM_WORDS + MORE_WORDS) * LONGEST, dtype=np.uint8)
    ends = np.zeros(stop - start + 1, dtype=np.int32)
    size = _texts(start, stop, groups, key_of(seed), letters, starts, draws, text, ends[1:])
    return pa.StringArray.from_buffers(stop - start, pa.py_buffer(ends), pa.py_buffer(text[:size]))


def key_of(seed: int) -> np.uint64:
    """What the kernels take for a seed."""
    return np.uint64(hash_keys(seed, 4))


def write_part(task: tuple[str, int, int, int, int]) -> dict[str, Any]:
    """The task (folder, first document, the one behind the last, documents of the corpus, seed): one part."""
    folder, start, stop, documents, seed = task
    path, rows = Path(folder) / f"part-{start:010d}.arrow", Path(folder) / f"part-{start:010d}.rows.npy"
    size = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal size
        for first in range(start, stop, BATCH):
            behind = min(first + BATCH, stop)
            text, empty = texts(first, behind, documents, seed), pa.repeat("", behind - first)
            columns = dict.fromkeys(SCHEMA.names, empty)
            columns |= {"id": pa.array(np.arange(first, behind)).cast(pa.string()), "text": text}
            columns |= {"language_score": pa.repeat(pa.scalar(1, pa.float32()), behind - first)}
            size += pc.sum(pc.binary_length(text)).as_py()
            advance(behind - first)
            yield pa.RecordBatch.from_pydict(columns, schema=SCHEMA)

    write_table(path, batches(), SCHEMA)
    np.save(rows, np.arange(stop - start))
    return {
        "name": f"{start:010d}", "path": path, "hash": hash_file(path), "rows_path": rows, "rows_hash": hash_file(rows),
        "first_number": start, "documents": stop - start, "bytes": size,
    }


def write_corpus(folder: Path, documents: int, part_documents: int, seed: int, engine: Engine) -> list[Ingested]:
    """All parts, in order."""
    folder.mkdir(parents=True)
    tasks = [
        (str(folder), start, min(start + part_documents, documents), documents, seed)
        for start in range(0, documents, part_documents)
    ]
    made = [Ingested(**fields) for fields in engine.map(write_part, tasks, lambda units: None)]
    return sorted(made, key=lambda part: part.first_number)
