"""`rbt bpe train`: the merges of byte-level BPE, counted over a whole corpus.

    corpus parts ──texts──> split into words, counted ──merge──> merges ──> tokenizer folder

Hugging Face tokenizers does the counting and merging: the most frequent pair first, ties to the smaller pair of ids,
every word counted. Its result depends neither on threads nor on the order of documents. All ids are 4 leading
specials, 256 bytes, the merges, <mask>: a vocabulary of 50,265 has 50,004 merges, where the released RoBERTa has
50,000, GPT-2's <|endoftext|> and three filler words that stand for nothing.

Known limit: tokenizers counts pairs in 32 bits, so on a corpus whose most frequent pair occurs more than 2**31 times
(tens of gigabytes of English) counts overflow; such a corpus is warned of.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from rbt.config import to_table
from rbt.errors import ArtefactError, ConfigError
from rbt.formats.parts import Corpus, open_corpus, read_batches, text_bytes
from rbt.formats.tokenizer import FILES, KIND, LEADING_SPECIALS, VERSION, write_tokenizer
from rbt.ledger import Ledger
from rbt.manifest import Manifest, record_files, write_manifest
from rbt.packing.config import BpeConfig
from rbt.progress import progress
from rbt.stage import exclusive, open_out

log = logging.getLogger(__name__)
STAGE, STAGE_VERSION = "bpe", 1
NUM_SPECIALS = len(LEADING_SPECIALS) + 1  # and <mask>
NUM_BYTES = 256
COUNTED_BYTES = 1 << 32  # of text, above which pair counts of 32 bits may overflow


def train_bpe(corpus: Path, out: Path, config: BpeConfig, *, replace: bool) -> Manifest:
    """Train a tokenizer on all of a corpus into `out`, or find that it is there. Raises ConfigError, ArtefactError."""
    smallest = NUM_SPECIALS + NUM_BYTES + 1
    if config.vocab_size < smallest:
        raise ConfigError(f"[bpe] vocab_size: expected at least {smallest}", found=str(config.vocab_size))
    opened = open_corpus(corpus)
    if opened.documents() == 0:
        raise ArtefactError("expected at least one document", path=corpus, found="none")
    identity = Manifest(KIND, VERSION, STAGE, STAGE_VERSION, to_table(config), {"corpus": opened.fingerprint}, ())
    with exclusive(out, KIND):
        if (manifest := open_out(out, identity, replace)) is not None:
            log.info("%s: already trained on this corpus", out)
            return manifest
        return _train(opened, out, identity, config.vocab_size)


def _train(corpus: Corpus, out: Path, identity: Manifest, vocab_size: int) -> Manifest:
    ledger = Ledger()
    total = sum(part.bytes for part in corpus.parts())
    if total > COUNTED_BYTES:
        log.warning(
            "%s: %d bytes of text; the trainer counts pairs in 32 bits, so merges of very frequent pairs may come "
            "late or not at all (docs/architecture.md, known limits)", corpus.folder, total,
        )
    with progress("count words", total, "B") as bar:
        merges = train_merges(_texts(corpus, ledger, bar.update), vocab_size - NUM_SPECIALS)
    size = len(write_tokenizer(out, merges))
    if size < vocab_size:
        log.warning("%s: %d ids instead of %d: the corpus has no more pairs to merge", out, size, vocab_size)
    amount = ledger.row(STAGE, "all").outgoing
    manifest = Manifest(
        identity.kind, identity.format_version, identity.stage, identity.stage_version, identity.config,
        identity.inputs, record_files(out, FILES),
        {"vocab_size": size, "merges": len(merges), **amount.table()}, ledger,
    )
    return write_manifest(out, manifest)


def _texts(corpus: Corpus, ledger: Ledger, on_bytes: Callable[[int], object]) -> Iterator[list[str]]:
    row = ledger.row(STAGE, "all")
    for part in corpus.parts():
        for batch in read_batches(part.path):
            texts = batch.column("text")
            size = sum(text_bytes(texts).to_pylist())
            row.take(size, len(texts))
            yield texts.to_pylist()
            row.keep(size, len(texts))
            on_bytes(size)


def train_merges(texts: Iterable[list[str]], num_tokens: int) -> list[tuple[str, str]]:
    """Merges, spelled in byte symbols, until there are `num_tokens` tokens with the 256 bytes, or no pair is left."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=num_tokens, min_frequency=0, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[], show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return [(left, right) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]
