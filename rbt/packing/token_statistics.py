"""`rbt bpe stats`: how a tokenizer's ids are used by the text of a corpus, or by a token store.

    corpus part ──batches──> encode ──kernel──> uses of each id, (sources, ids) int64 ──sum──┐
    token part ──memory map, in chunks──> bincount ──> uses of each id, (ids,) int64 ──sum──┴─> TokenStatistics

A token store keeps no text and not the source of a document: from it the ids are counted over all sources, documents,
bytes and tokens of each are its ledger's, and words are not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rbt import engine as engines
from rbt.engine import Engine
from rbt.errors import ArtefactError
from rbt.formats.blocks import TOKENS_FOLDER
from rbt.formats.parts import open_corpus, read_batches, string_buffers, text_bytes
from rbt.formats.tokenizer import read_model, read_tokenizer, token_lengths, unmerged_tokens
from rbt.formats.tokens import TokenStore, open_tokens
from rbt.kernels import kernel
from rbt.packing.character_classes import character_classes
from rbt.packing.encode import Encoder
from rbt.packing.pretokenize import word_end
from rbt.packing.store import STAGE
from rbt.progress import progress

Int64 = npt.NDArray[np.int64]
CHUNK_TOKENS = 1 << 22  # of a memory map, counted at a time


@dataclass(frozen=True)
class TextAmount:
    """How much text there is, and how many tokens it is. `words`: of GPT-2's pattern; None where not counted."""

    documents: int = 0
    bytes: int = 0
    tokens: int = 0
    words: int | None = 0

    def __add__(self, other: TextAmount) -> TextAmount:
        """Both together."""
        words = None if self.words is None or other.words is None else self.words + other.words
        return TextAmount(
            self.documents + other.documents, self.bytes + other.bytes, self.tokens + other.tokens, words
        )


@dataclass(frozen=True)
class TokenStatistics:
    """Uses of each id, int64 (ids,), over all sources; bytes of text behind each id; what each source has.

    `tokens`: the ids' tokens as the vocabulary spells them.
    """

    tokens: Sequence[str]
    lengths: Int64
    uses: Int64
    sources: Mapping[str, TextAmount]

    @property
    def all(self) -> TextAmount:
        """All sources together."""
        return sum(self.sources.values(), TextAmount())

    @property
    def unused(self) -> Int64:
        """Ids that stand for text and never occur, ascending."""
        return np.flatnonzero((self.uses == 0) & (self.lengths > 0))

    @property
    def silent(self) -> Int64:
        """Ids that stand for no text, ascending: special tokens, and tokens that no merge makes."""
        return np.flatnonzero(self.lengths == 0)

    @property
    def single_bytes(self) -> int:
        """Tokens in the text that are one byte."""
        return int(self.uses[self.lengths == 1].sum())

    def longest(self, number: int) -> Int64:
        """The ids of most bytes, at least one; of as many, the smaller ids first."""
        order = np.argsort(-self.lengths, kind="stable")[:number]
        return np.asarray(order[self.lengths[order] > 0])

    def most_frequent(self, number: int) -> Int64:
        """The ids of most uses, at least one; of as many, the smaller ids first."""
        order = np.argsort(-self.uses, kind="stable")[:number]
        return np.asarray(order[self.uses[order] > 0])


@kernel
def count_tokens(ids: npt.NDArray[Any], text_ends: Int64, sources: Int64, uses: Int64, tokens: Int64) -> None:
    """Count ids of texts into uses[source, id] and tokens[source]; text_ends[i] is the token behind text i."""
    token = 0
    for text in range(len(text_ends)):
        source = sources[text]
        tokens[source] += text_ends[text] - token
        while token < text_ends[text]:
            uses[source, ids[token]] += 1
            token += 1


@kernel
def count_words(
    data: npt.NDArray[np.uint8], edges: npt.NDArray[Any], sources: Int64, pages: npt.NDArray[np.uint8],
    classes: npt.NDArray[np.uint8], words: Int64,
) -> None:
    """Count the words of the texts data[edges[i]:edges[i + 1]] into words[source]."""
    for text in range(len(edges) - 1):
        place, stop = int(edges[text]), int(edges[text + 1])
        while place < stop:
            place = word_end(data, place, stop, pages, classes)
            words[sources[text]] += 1


@dataclass(frozen=True)
class _Part:
    path: str
    tokenizer: str
    bytes: int

    def __str__(self) -> str:
        return f"task {Path(self.path).name}"


@dataclass
class _Counts:
    """What a task finds: uses of each id over all sources, and each source's amounts."""

    uses: Int64
    sources: dict[str, TextAmount] = field(default_factory=dict)

    def add(self, uses: Int64, sources: Mapping[str, TextAmount]) -> None:
        """Count some more."""
        self.uses += uses
        for source, amount in sources.items():
            self.sources[source] = self.sources.get(source, TextAmount()) + amount


def corpus_statistics(corpus: Path, tokenizer: Path, engine: Engine) -> TokenStatistics:
    """Encode all of a corpus and count; one task a part, nothing is written. Raises ArtefactError."""
    read_tokenizer(tokenizer)
    tokens, lengths = _vocabulary(tokenizer)
    opened = open_corpus(corpus)
    parts = [_Part(str(part.path), str(tokenizer), part.bytes) for part in opened.parts()]
    found = _Counts(np.zeros(len(tokens), dtype=np.int64), {name: TextAmount() for name in sorted(opened.sources())})
    with progress("stats: encode", sum(part.bytes for part in parts), "B") as bar:
        for counts in engine.map(count_part, parts, bar.update):
            found.add(counts.uses, counts.sources)
    return TokenStatistics(tokens, lengths, found.uses, found.sources)


def count_part(part: _Part) -> _Counts:
    """The task: encode one corpus part and count."""
    encoder = Encoder(Path(part.tokenizer))
    found = _Counts(np.zeros(encoder.vocab_size, dtype=np.int64))
    for batch in read_batches(Path(part.path)):
        names, uses, amounts = _count_batch(batch, encoder)
        found.add(uses, dict(zip(names, amounts, strict=True)))
        engines.advance(sum(amount.bytes for amount in amounts))
    engines.advance_to(part.bytes)
    return found


def _count_batch(batch: pa.RecordBatch, encoder: Encoder) -> tuple[list[str], Int64, list[TextAmount]]:
    """(source names, uses of each id, an amount a source) of one batch."""
    column, texts = pc.dictionary_encode(batch.column("source")), batch.column("text")
    names = column.dictionary.to_pylist()
    sources = column.indices.to_numpy().astype(np.int64)
    encoded = encoder.encode(texts)
    uses = np.zeros((len(names), encoder.vocab_size), dtype=np.int64)
    tokens, words = np.zeros(len(names), dtype=np.int64), np.zeros(len(names), dtype=np.int64)
    count_tokens(encoded.ids, encoded.text_ends, sources, uses, tokens)
    count_words(*string_buffers(texts), sources, *character_classes(), words)
    documents = np.bincount(sources, minlength=len(names))
    sizes = np.zeros(len(names), dtype=np.int64)
    np.add.at(sizes, sources, text_bytes(texts).to_numpy())
    table = np.stack([documents, sizes, tokens, words], axis=1).tolist()
    return names, uses.sum(axis=0), [TextAmount(*row) for row in table]


def packed_statistics(packed: Path) -> TokenStatistics:
    """Count the tokens of a packed folder, whose tokenizer is its own.

    Raises ArtefactError where the token store is of another tokenizer, or does not hold what its ledger says.
    """
    store, identity = open_tokens(packed / TOKENS_FOLDER), read_tokenizer(packed)
    if identity.fingerprint != store.manifest.inputs["tokenizer"]:
        raise ArtefactError(
            "expected the tokenizer of the token store", path=packed, found="another one", cure="pack with --replace"
        )
    tokens, lengths = _vocabulary(packed)
    sources = {
        source: TextAmount(row.outgoing.documents, row.outgoing.bytes, row.other.get("tokens", 0), None)
        for stage, source, row in store.manifest.ledger if stage == STAGE
    }
    stems = [fact["stem"] for fact in store.manifest.facts["parts"]]
    uses = count_store(store, stems)
    found = TokenStatistics(tokens, lengths, uses, dict(sorted(sources.items())))
    amount = found.all
    for name, told, counted in (
        ("tokens", amount.tokens, int(uses.sum())), ("bytes of tokens", amount.bytes, int((uses * lengths).sum())),
    ):
        if told != counted:
            raise ArtefactError(
                f"expected {told:,} {name}, as the ledger says", path=store.folder, found=f"{counted:,}",
                cure="`rbt verify` says what is damaged; then pack again with --replace",
            )
    return found


def count_store(store: TokenStore, stems: Iterable[str], chunk_tokens: int = CHUNK_TOKENS) -> Int64:
    """Uses of each id in some parts, int64 (ids,). Raises ArtefactError where an id is not of the vocabulary."""
    uses = np.zeros(store.vocab_size, dtype=np.int64)
    parts = [store.part(stem) for stem in stems]
    with progress("stats: count", sum(len(part.tokens) for part in parts), "token") as bar:
        for part in parts:
            for start in range(0, len(part.tokens), chunk_tokens):
                chunk = part.tokens[start : start + chunk_tokens]
                counted = np.bincount(chunk, minlength=len(uses))
                if len(counted) > len(uses):
                    raise ArtefactError(
                        f"expected ids below {len(uses)}", path=store.folder / part.stem, found=str(len(counted) - 1),
                        cure="pack again with --replace",
                    )
                uses += counted
                bar.update(len(chunk))
    return uses


def _vocabulary(folder: Path) -> tuple[list[str], Int64]:
    """(tokens by id, bytes behind each)."""
    vocab, merges = read_model(folder)
    return sorted(vocab, key=vocab.__getitem__), token_lengths(vocab, unmerged_tokens(vocab, merges))
