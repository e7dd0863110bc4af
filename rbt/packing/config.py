"""Configuration of the tokenizer and of packing: sections [bpe] and [pack] of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Format = Literal["full-sentences", "doc-sentences", "segment-pair", "sentence-pair"]


@dataclass(frozen=True)
class BpeConfig:
    """[bpe]."""

    vocab_size: int = 50_265  # all ids: 5 specials, 256 bytes, the rest merges
    minimum_frequency: int = 0  # pairs that occur less often are not merged, though ids stay unused; 0 = merge all
    maximum_token_bytes: int = 0  # no longer token is made; 0 = no limit
    minimum_word_count: int = 0  # words that occur less often are left out, which saves memory; 0 = count all


@dataclass(frozen=True)
class PackConfig:
    """[pack]. Changing `validation_fraction` writes the token store anew; the rest shapes an index only."""

    format: Format = "full-sentences"
    max_tokens: int = 512  # of a row and of a block, special tokens included
    separator: Literal["document", "sentence"] = "document"
    seed: int = 1  # of the pair formats: where they are split, and what stands beside what
    short_sequence_probability: float = 0.0  # of segment-pair: share of documents read in shorter chunks; .1 in BERT
    validation_fraction: float = 0.001  # of the documents, by hash of the id
