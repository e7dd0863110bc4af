"""`rbt pack`: a corpus and a tokenizer to a packed folder.

    tokenizer ──copy──> OUT/            the tokenizer's files: OUT reads as a tokenizer
    corpus ──encode──> OUT/tokens/      written once, whatever the formats
    tokens ──pack────> OUT/<index>/     one folder a set of options, named after them

OUT/work/ holds the receipts, so that a restart redoes the parts at work, and a grown corpus encodes its new parts.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

from rbt.config import to_table
from rbt.engine import Engine
from rbt.errors import ArtefactError, ConfigError
from rbt.formats import blocks, tokens
from rbt.formats.blocks import PAIR_FORMATS, PAIR_SPECIALS, TOKENS_FOLDER, index_folders
from rbt.formats.parts import Corpus, open_corpus
from rbt.formats.tokenizer import FILES, read_tokenizer
from rbt.formats.tokens import SPLITS, TokenStore
from rbt.ledger import Ledger
from rbt.manifest import MANIFEST, Manifest, load_manifest, write_manifest
from rbt.packing import index, store
from rbt.packing.config import PackConfig
from rbt.packing.packers import PACKERS
from rbt.stage import WORK, Receipt, exclusive, finished, open_out
from rbt.storage import atomic_path

log = logging.getLogger(__name__)
SMALLEST_MAX_TOKENS = 3  # <s>, one token, </s>
SMALLEST_PAIR = PAIR_SPECIALS + 2
INDEX_OPTIONS = ("format", "max_tokens", "separator")  # and the packer's; named, so that a new key makes no index anew


def pack(
    corpus: Path, tokenizer: Path, out: Path, config: PackConfig, engine: Engine, *, replace: bool
) -> Manifest:
    """Encode and pack a corpus into `out`, doing only what is not there yet; the manifest of the index.

    Raises ConfigError, and ArtefactError where `out` holds another tokenizer or tokens and `replace` is off.
    """
    check_config(config)
    opened, identity = open_corpus(corpus), read_tokenizer(tokenizer)
    check_documents(opened, config)
    with exclusive(out, "packed folder"):
        copy_tokenizer(tokenizer, identity, out, replace)
        token_store = make_tokens(opened, identity, out, config.validation_fraction, engine, replace)
        return make_index(token_store, out, config, engine, replace)


def check_config(config: PackConfig) -> None:
    """Raise ConfigError where a value of [pack] cannot be used."""
    smallest = SMALLEST_PAIR if config.format in PAIR_FORMATS else SMALLEST_MAX_TOKENS
    if config.max_tokens < smallest:
        raise ConfigError(f"[pack] max_tokens: expected at least {smallest}", found=str(config.max_tokens))
    if not 0 <= config.validation_fraction < 1:
        raise ConfigError(
            "[pack] validation_fraction: expected 0 <= fraction < 1", found=str(config.validation_fraction)
        )
    if not 0 <= config.seed < 1 << 63:
        raise ConfigError("[pack] seed: expected 0 <= seed < 2^63", found=str(config.seed))
    if not 0 <= config.short_sequence_probability <= 1:
        raise ConfigError(
            "[pack] short_sequence_probability: expected 0 to 1", found=str(config.short_sequence_probability)
        )
    options = PACKERS[config.format].options
    for key, default in (("separator", "document"), ("short_sequence_probability", 0)):
        if key not in options and (found := getattr(config, key)) != default:
            raise ConfigError(
                f"[pack] {key}: expected {default!r} with format {config.format}, which it does not change",
                found=repr(found),
            )


def check_documents(corpus: Corpus, config: PackConfig) -> None:
    """Raise ConfigError where blocks are not to cross documents, and a source does not know where its documents end."""
    pieces = [name for name, has_documents in corpus.sources().items() if not has_documents]
    if config.format != "full-sentences" and pieces:
        raise ConfigError(
            f"[pack] format {config.format}: expected sources of whole documents", path=corpus.folder,
            found=f"pieces of them in {', '.join(pieces)}",
            cure="use --format full-sentences, or set split_books = true for that source and build the corpus again",
        )


def copy_tokenizer(tokenizer: Path, identity: Manifest, out: Path, replace: bool) -> None:
    """Make `out` the same artefact as the tokenizer's folder. Raises ArtefactError where a file of it is damaged."""
    if open_out(out, identity, replace) is not None:
        return
    for record in identity.files:
        if damage := record.damage(tokenizer):
            raise ArtefactError(
                "expected the file as it was written", path=tokenizer / record.path, found=damage,
                cure="train the tokenizer again",
            )
        with atomic_path(out / record.path) as temporary:
            shutil.copyfile(tokenizer / record.path, temporary)
    write_manifest(out, identity)


def make_tokens(
    corpus: Corpus, tokenizer: Manifest, out: Path, fraction: float, engine: Engine, replace: bool
) -> TokenStore:
    """The token store of a packed folder, written where it is not there yet."""
    folder = out / TOKENS_FOLDER
    identity = Manifest(
        tokens.KIND, tokens.VERSION, store.STAGE, store.STAGE_VERSION, {"validation_fraction": fraction},
        {"corpus": corpus.fingerprint, "tokenizer": tokenizer.fingerprint}, (),
    )
    if (manifest := finished(folder, identity, replace)) is not None:
        log.info("%s: already encoded", folder)
        return TokenStore(folder, manifest)
    (folder / MANIFEST).unlink(missing_ok=True)
    _drop_indices(out, identity.fingerprint)
    tokenizer_hash = next(record.hash for record in tokenizer.files if record.path == FILES[0])
    receipts = store.encode_parts(
        corpus, out, tokenizer_hash, fraction, folder, out / WORK / TOKENS_FOLDER, engine
    )
    facts = token_facts([fact for receipt in receipts for fact in receipt.result["parts"]], tokenizer)
    return TokenStore(folder, finish(folder, identity, receipts, facts, merged_ledger(receipts)))


def _drop_indices(out: Path, tokens_fingerprint: str) -> None:
    for folder in index_folders(out):
        if load_manifest(folder).inputs["tokens"] != tokens_fingerprint:
            (folder / MANIFEST).unlink()
            shutil.rmtree(folder)


def token_facts(parts: list[dict[str, Any]], tokenizer: Manifest) -> dict[str, Any]:
    """Facts of a token store: what each part holds, in order, and the sums of each split."""
    vocab_size = tokenizer.facts["vocab_size"]
    sums = {
        split: {
            name: sum(part[name] for part in parts if part["split"] == split)
            for name in ("tokens", "documents", "sentences", "bytes")
        }
        for split in SPLITS
    }
    return {"vocab_size": vocab_size, "dtype": tokens.token_dtype(vocab_size).name, "parts": parts, "splits": sums}


def index_options(config: PackConfig) -> dict[str, Any]:
    """The keys of [pack] that shape an index, and nothing else."""
    names = {*INDEX_OPTIONS, *PACKERS[config.format].options}
    return {key: value for key, value in to_table(config).items() if key in names}


def index_name(config: PackConfig) -> str:
    """Folder of an index, after every option that shapes it."""
    name = f"{config.format}-{config.max_tokens}"
    if config.separator != "document":
        name += f"-separator-{config.separator}"
    if config.format in PAIR_FORMATS:
        name += f"-seed{config.seed}"
    return name + (f"-short{config.short_sequence_probability}" if config.short_sequence_probability else "")


def make_index(token_store: TokenStore, out: Path, config: PackConfig, engine: Engine, replace: bool) -> Manifest:
    """The index of a packed folder that the configuration asks for, written where it is not there yet."""
    name, options = index_name(config), index_options(config)
    inputs = {"tokens": token_store.manifest.fingerprint}
    identity = Manifest(blocks.KIND, blocks.VERSION, index.STAGE, index.STAGE_VERSION, options, inputs, ())
    if (manifest := finished(out / name, identity, replace)) is not None:
        log.info("%s: already packed", out / name)
        return manifest
    if config.format in PAIR_FORMATS:
        index.check_pairs(token_store, config.format)
    (out / name / MANIFEST).unlink(missing_ok=True)
    receipts = index.index_parts(token_store, options, out / name, out / WORK / name, engine)
    ledger = merged_ledger(receipts)
    return finish(out / name, identity, receipts, index.index_facts(options, ledger), ledger)


def merged_ledger(receipts: Iterable[Receipt]) -> Ledger:
    """The sum of the tasks' ledgers."""
    ledger = Ledger()
    for receipt in receipts:
        ledger.merge(receipt.ledger)
    return ledger


def finish(
    folder: Path, identity: Manifest, receipts: Sequence[Receipt], facts: dict[str, Any], ledger: Ledger
) -> Manifest:
    """Drop what an older run left in a folder, check the ledger, and write the manifest."""
    records = tuple(record for receipt in receipts for record in receipt.files)
    ledger.chain([identity.stage])
    for stale in {path.name for path in folder.iterdir() if path.is_file()} - {record.path for record in records}:
        (folder / stale).unlink()
    return write_manifest(folder, changed(identity, files=records, facts=facts, ledger=ledger))
