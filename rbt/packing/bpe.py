"""`rbt bpe train`: the merges of byte-level BPE, learned from the words of a whole corpus.

    corpus parts ──count──> sorted word counts ──merge──> words ──learn merges──> tokenizer folder

The counts are those of the corpus at hand, kept under OUT/work, or of folders that `rbt bpe count` made, so that new
text is added without reading the old. The result depends on the words and their counts alone. All ids are 4 leading
specials, 256 bytes, the merges, <mask>: a vocabulary of 50,265 has 50,004 merges, where the released RoBERTa has
50,000, GPT-2's <|endoftext|> and three filler words that stand for nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from dataclasses import replace as changed
from pathlib import Path

import numpy as np
import pyarrow as pa

from rbt.config import to_table
from rbt.engine import Engine
from rbt.errors import ArtefactError, ConfigError
from rbt.formats.parts import read_batches
from rbt.formats.tokenizer import FILES, KIND, LEADING_SPECIALS, VERSION, spell, write_tokenizer
from rbt.formats.word_counts import SCHEMA, counts_name, open_counts, word_buffers, write_counts
from rbt.ledger import Ledger
from rbt.manifest import Manifest, record_files, write_manifest
from rbt.packing import count
from rbt.packing.config import BpeConfig
from rbt.packing.laid_words import Counted, lay_out
from rbt.packing.merges import NUM_BYTES, byte_ids, learn_merges
from rbt.packing.word_runs import merge_runs
from rbt.progress import Bar, progress
from rbt.stage import WORK, exclusive, open_out

log = logging.getLogger(__name__)
STAGE, STAGE_VERSION = "bpe", 2  # 1 counted pairs in 32 bits
NUM_SPECIALS = len(LEADING_SPECIALS) + 1  # and <mask>
LARGEST_VOCAB_SIZE = 1 << 24
ALL_WORDS = "all-words"  # the merged counts, while they are in use


@dataclass(frozen=True)
class WordFiles:
    """Counted words: the files, and the ledger of the text that they were counted in."""

    paths: Sequence[Path]
    ledger: Ledger


def train_bpe(
    corpus: Path, out: Path, config: BpeConfig, engine: Engine, *, replace: bool, memory_bytes: int = count.MEMORY_BYTES
) -> Manifest:
    """Train a tokenizer on all of a corpus into `out`, or find that it is there. Raises ConfigError, ArtefactError."""
    check_config(config)
    opened = count.open_documents(corpus)
    identity = _identity(config, {"corpus": opened.fingerprint})
    with exclusive(out, KIND):
        if (manifest := _open(out, identity, replace)) is not None:
            return manifest
        folder = out / WORK / count.STAGE
        receipts = count.count_parts(opened, folder, folder / "receipts", engine, memory_bytes)
        ledger = Ledger()
        for receipt in receipts:
            ledger.merge(receipt.ledger)
        paths = [folder / counts_name(number) for number in range(len(receipts))]
        return _train(WordFiles(paths, ledger), out, identity, config, memory_bytes)


def train_on_counts(
    folders: Sequence[Path], out: Path, config: BpeConfig, *, replace: bool, memory_bytes: int = count.MEMORY_BYTES
) -> Manifest:
    """The same from folders of word counts, of different corpus parts. Raises ConfigError, ArtefactError."""
    check_config(config)
    manifests = [open_counts(folder) for folder in folders]
    count.check_distinct_parts(manifests, folders)
    for folder, counted in zip(folders, manifests, strict=True):
        check_files(folder, counted)
    fingerprints = sorted(manifest.fingerprint for manifest in manifests)  # whatever their order
    inputs = {f"counts {number}": fingerprint for number, fingerprint in enumerate(fingerprints)}
    identity = _identity(config, inputs)
    with exclusive(out, KIND):
        if (manifest := _open(out, identity, replace)) is not None:
            return manifest
        paths, ledger = list[Path](), Ledger()
        for folder, counted in zip(folders, manifests, strict=True):
            paths += [folder / fact["path"] for fact in counted.facts["parts"]]
            ledger.merge(counted.ledger)
        return _train(WordFiles(paths, ledger), out, identity, config, memory_bytes)


def check_files(folder: Path, manifest: Manifest) -> None:
    """Raise ArtefactError where a file of word counts is damaged: a wrong count would be believed."""
    for record in manifest.files:
        if damage := record.damage(folder):
            raise ArtefactError(
                "expected the file as it was written", path=folder / record.path, found=damage,
                cure="run `rbt bpe count --replace`",
            )


def check_config(config: BpeConfig) -> None:
    """Raise ConfigError where a value of [bpe] cannot be used."""
    smallest = NUM_SPECIALS + NUM_BYTES + 1
    if config.vocab_size < smallest:
        raise ConfigError(f"[bpe] vocab_size: expected at least {smallest}", found=str(config.vocab_size))
    if config.vocab_size > LARGEST_VOCAB_SIZE:
        raise ConfigError(f"[bpe] vocab_size: expected at most {LARGEST_VOCAB_SIZE}", found=str(config.vocab_size))
    for key in ("minimum_frequency", "maximum_token_bytes", "minimum_word_count"):
        if getattr(config, key) < 0:
            raise ConfigError(f"[bpe] {key}: expected 0 or more", found=str(getattr(config, key)))


def _identity(config: BpeConfig, inputs: dict[str, str]) -> Manifest:
    options = {key: value for key, value in to_table(config).items() if value}  # off = not there, as before the key was
    return Manifest(KIND, VERSION, STAGE, STAGE_VERSION, options, inputs, ())


def _open(out: Path, identity: Manifest, replace: bool) -> Manifest | None:
    manifest = open_out(out, identity, replace)
    if manifest is not None:
        log.info("%s: already trained on this", out)
    return manifest


def _train(words: WordFiles, out: Path, identity: Manifest, config: BpeConfig, memory_bytes: int) -> Manifest:
    merges, distinct = learn(words.paths, config, memory_bytes, out / WORK / ALL_WORDS)
    size = len(write_tokenizer(out, [(spell(left), spell(right)) for left, right in merges]))
    if size < config.vocab_size:
        log.warning("%s: %d ids instead of %d: the corpus has no more pairs to merge", out, size, config.vocab_size)
    amount = words.ledger.row(count.STAGE, "all").outgoing
    facts = {"vocab_size": size, "merges": len(merges), "distinct_words": distinct, **amount.table()}
    words.ledger.chain([count.STAGE])
    return write_manifest(
        out, changed(identity, files=record_files(out, FILES), facts=facts, ledger=words.ledger)
    )


def learn(
    paths: Sequence[Path], config: BpeConfig, memory_bytes: int, scratch: Path
) -> tuple[list[tuple[bytes, bytes]], int]:
    """(merges, distinct words) of files of word counts. `scratch`: a file for the words of all, gone at the end."""
    merged = paths[0] if len(paths) == 1 else scratch
    for stale in scratch.parent.glob(f"{scratch.name}*"):  # of a run that was killed
        stale.unlink()
    try:
        if len(paths) > 1:
            scratch.parent.mkdir(parents=True, exist_ok=True)
            with progress("merge word counts", None, "word") as bar:
                write_counts(scratch, _counted_by(bar, merge_runs(paths, memory_bytes, scratch)))
        num_tokens = config.vocab_size - NUM_SPECIALS
        laid = lay_out(lambda: _read(merged, config.minimum_word_count), byte_ids(), num_tokens)
        with progress("learn merges", num_tokens - NUM_BYTES, "merge") as bar:

            def show(left: bytes, right: bytes) -> None:
                spelled = (repr(token.decode("utf-8", "replace")) for token in (left, right))
                bar.set_postfix_str(" + ".join(spelled), refresh=False)
                bar.update()

            merges = learn_merges(
                laid, num_tokens, minimum_frequency=config.minimum_frequency,
                most_bytes=config.maximum_token_bytes, on_merge=show,
            )
        return merges, laid.words
    finally:
        if merged is scratch:
            scratch.unlink(missing_ok=True)


def _counted_by(bar: Bar, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield batch
        bar.update(len(batch))


def _read(path: Path, minimum_count: int) -> Iterator[Counted]:
    """Words of a file that occur often enough."""
    for batch in read_batches(path, SCHEMA):
        counts = batch.column("count").to_numpy()
        yield word_buffers(batch if minimum_count < 2 else batch.filter(np.asarray(counts >= minimum_count)))
