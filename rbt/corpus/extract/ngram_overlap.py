"""How much a text shares with a set of questions: the rule by which the Stories corpus was chosen.

    questions ──words──> n-grams, n = 1 to 4 ──count──> hash table: keys uint64 (slots,), counts int32 (slots,)
    text ──words──> uint64 (words,) ──look up──> shared n-grams int64 (4,) ──F1 a length──> weighted mean

    F1_n = 2 shared_n / (n-grams of the text + n-grams of the questions)
    score = (F1_1 + 2 F1_2 + 3 F1_3 + 4 F1_4) / 10

Known of the rule are its weights, n up to 4, the question sets (PDP-60 and WSC-273), the best score of the paper's
corpus (about 0.08) and the size of its documents (947,260 in 31 GB: 33 kB). How a document meets the set is not. Here
all questions are one bag, in which an n-gram counts as often as it occurs, and `shared` is the size of the bags'
intersection. It is the reading that fits: running English prose scores best where it is as long as the questions
together (6,258 words, about 33 kB), and stretches of novels then reach 0.079. By sets instead of bags they reach 0.054
at most; by the best single question, pages that quote one would score near 1 and all others by how short they are.

So length counts much: a page of 300 words scores 0.01 at most, a book of 50,000 words 0.03 however good it is, and a
score says nothing about a single question. N-grams never reach over the end of a question, nor over a blank.

Words are those of `rbt.corpus.dedup.shingles`: runs of `\\w`, lower-cased ("doesn't" and "doesn’t" are doesn, t).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rbt.corpus.dedup.shingles import SHINGLE_BASE, UInt64, character_table, hash_words
from rbt.corpus.extract.questions import BLANK
from rbt.kernels import kernel

LONGEST = 4  # words of an n-gram
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class QuestionNgrams:
    """The n-grams of all questions, as a hash table by open addressing. A slot without a count is free."""

    keys: UInt64  # (slots,), a power of two of them
    counts: Int32  # (slots,)
    totals: tuple[int, ...]  # (4,), n-grams by length


def question_ngrams(questions: Sequence[str]) -> QuestionNgrams:
    """The table of a set of questions, at least four slots an n-gram."""
    pieces = [words_of(piece) for question in questions for piece in question.split(BLANK)]
    counted: dict[int, int] = {}
    totals = [0] * LONGEST
    for words in pieces:
        for length, hash in _ngrams(words):
            counted[hash] = counted.get(hash, 0) + 1
            totals[length - 1] += 1
    slots = 1 << max(4 * len(counted) - 1, 1).bit_length()
    keys, counts = np.zeros(slots, dtype=np.uint64), np.zeros(slots, dtype=np.int32)
    _fill(keys, counts, np.array(list(counted), dtype=np.uint64), np.array(list(counted.values()), dtype=np.int32))
    return QuestionNgrams(keys, counts, tuple(totals))


def overlap_score(text: str, questions: QuestionNgrams) -> float:
    """The score of a text, 0 to 1."""
    words = words_of(text)
    shared = count_shared(words, questions.keys, questions.counts)
    score = 0.0
    for length, (overlap, total) in enumerate(zip(shared.tolist(), questions.totals, strict=True), start=1):
        both = total + max(len(words) - length + 1, 0)
        score += length * 2 * overlap / both if both else 0.0
    return score / sum(range(1, LONGEST + 1))


def words_of(text: str) -> UInt64:
    """The hashes of a text's words in order, uint64 (words,)."""
    data = np.frombuffer(text.encode("utf-8", "surrogatepass"), dtype=np.uint8)
    words = np.empty(len(data) // 2 + 1, dtype=np.uint64)
    return words[: hash_words(data, 0, len(data), character_table(), words)]


def _ngrams(words: UInt64) -> Iterator[tuple[int, int]]:
    """(words, hash) of each n-gram: the same hashes as in `count_shared`."""
    base, values = int(SHINGLE_BASE), words.tolist()
    for first in range(len(values)):
        hash = 0
        for length, word in enumerate(values[first : first + LONGEST], start=1):
            hash = (hash * base + word) % (1 << 64)
            yield length, hash


@kernel
def _slot(keys: UInt64, counts: Int32, hash: np.uint64) -> int:
    """The slot of a hash, or the free one where it would go. Word hashes are mixed well enough to be places."""
    last = np.uint64(len(keys) - 1)
    slot = hash & last
    while counts[slot] > 0 and keys[slot] != hash:
        slot = (slot + np.uint64(1)) & last
    return int(slot)


@kernel
def _fill(keys: UInt64, counts: Int32, hashes: UInt64, numbers: Int32) -> None:
    for index in range(len(hashes)):
        slot = _slot(keys, counts, hashes[index])
        keys[slot] = hashes[index]
        counts[slot] = numbers[index]


@kernel
def count_shared(words: UInt64, keys: UInt64, counts: Int32) -> Int64:
    """How many n-grams the words and the table share, each as often as in the one that has it less: int64 (4,)."""
    left = counts.copy()
    shared = np.zeros(LONGEST, dtype=np.int64)
    for first in range(len(words)):
        hash = np.uint64(0)
        for number in range(min(LONGEST, len(words) - first)):
            hash = hash * SHINGLE_BASE + words[first + number]
            slot = _slot(keys, counts, hash)
            if counts[slot] == 0:
                break  # no question has a longer one that begins with these words either
            if left[slot] > 0:
                left[slot] -= 1
                shared[number] += 1
    return shared
