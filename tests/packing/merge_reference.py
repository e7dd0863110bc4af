"""Trainers that the merges of rbt are compared with: a naive one, and that of Hugging Face tokenizers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from rbt.formats.tokenizer import byte_symbols, unspell
from rbt.packing.laid_words import LaidWords, lay_out
from rbt.packing.merges import byte_ids, learn_merges

Pair = tuple[int, int]
Merge = tuple[bytes, bytes]
BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False)


def words_of(texts: Iterable[str]) -> Counter[bytes]:
    """Words of texts by the split of Hugging Face tokenizers, with their counts."""
    return Counter(text[start:end].encode() for text in texts for _, (start, end) in BYTE_LEVEL.pre_tokenize_str(text))


class NaiveTrainer:
    """Byte-level BPE as it is defined: Python integers, every pair counted anew before every merge."""

    def __init__(self, words: Mapping[bytes, int], most_bytes: int = 1 << 60) -> None:
        self.spelled = [unspell(symbol) for symbol in sorted(byte_symbols())]
        ids = {token: number for number, token in enumerate(self.spelled)}
        self.words = [([ids[bytes([byte])] for byte in word], count) for word, count in words.items()]
        self.most_bytes = most_bytes

    def pair_counts(self) -> Counter[Pair]:
        found: Counter[Pair] = Counter()
        for ids, count in self.words:
            for left, right in pairwise(ids):
                if len(self.spelled[left] + self.spelled[right]) <= self.most_bytes:
                    found[left, right] += count
        return found

    def merge(self, pair: Pair) -> None:
        self.spelled.append(self.spelled[pair[0]] + self.spelled[pair[1]])
        for ids, _ in self.words:
            place = 0
            while place < len(ids) - 1:
                if (ids[place], ids[place + 1]) == pair:
                    ids[place : place + 2] = [len(self.spelled) - 1]
                place += 1

    def train(self, num_tokens: int) -> list[Merge]:
        """Merges until there are so many tokens or no pairs; no token is ever made of two different pairs."""
        merges: list[Merge] = []
        while len(self.spelled) < num_tokens and (counts := self.pair_counts()):
            pair = min(counts, key=lambda pair: (-counts[pair], pair))
            merges.append((self.spelled[pair[0]], self.spelled[pair[1]]))
            assert b"".join(merges[-1]) not in self.spelled
            self.merge(pair)
        return merges


def hugging_face_merges(texts: Sequence[str], num_tokens: int, **options: Any) -> list[Merge]:
    """The merges that the trainer of tokenizers learns from texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = BYTE_LEVEL
    trainer = trainers.BpeTrainer(
        vocab_size=num_tokens, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=[],
        show_progress=False, **{"min_frequency": 0, **options},
    )
    tokenizer.train_from_iterator(texts, trainer)
    return [(unspell(left), unspell(right)) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]


def laid_words(words: Mapping[bytes, int], num_tokens: int, batch: int = 1 << 30) -> LaidWords:
    """Words as the trainer takes them, read in batches of so many words."""
    rows = list(words.items())
    batches = []
    for first in range(0, len(rows), batch):
        some, counts = zip(*rows[first : first + batch], strict=True)
        ends = np.cumsum([len(word) for word in some], dtype=np.int64)
        batches.append((np.frombuffer(b"".join(some), dtype=np.uint8), ends, np.array(counts, dtype=np.int64)))
    return lay_out(lambda: batches, byte_ids(), num_tokens)


def learned(words: Mapping[bytes, int], num_tokens: int, **options: Any) -> list[Merge]:
    """The merges that rbt learns from words."""
    return learn_merges(laid_words(words, num_tokens), num_tokens, **options)
