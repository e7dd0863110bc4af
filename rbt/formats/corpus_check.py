"""What the format of a corpus promises, checked on its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rbt.errors import ArtefactError
from rbt.formats import audit, removals
from rbt.formats.parts import LEDGER, Part, open_corpus, read_batches, text_bytes
from rbt.ledger import Ledger
from rbt.manifest import load_manifest, read_json
from rbt.rng import UInt64, hash_text


def check_corpus(folder: Path) -> list[str]:
    """Problems of a finished corpus, or of a later generation in its own folder: counts, unique ids, empty texts,
    removals that name no kept document, pairs of the audit that are no removals. Memory: 8 bytes a document."""
    try:
        manifest = load_manifest(folder)
        generation = manifest.facts["generation"]
        corpus = open_corpus(folder.parent if generation else folder)
        problems: list[str] = []
        ids = [_ids_of(part) for part in corpus.parts(range(generation))]
        for part in corpus.parts([generation]):
            ids.append(_check_part(part, problems))
        kept = np.sort(np.concatenate([np.empty(0, dtype=np.uint64), *ids]))
        if repeats := int((kept[1:] == kept[:-1]).sum()):
            problems.append(f"an id occurs twice: {repeats} repeats")
        problems += _check_removals(folder / removals.NAME, kept)
        problems += audit.check_audit(folder / audit.NAME, folder / removals.NAME)
        if Ledger.from_table(read_json(folder / LEDGER)).table() != manifest.ledger.table():
            problems.append(f"{LEDGER} differs from the manifest's ledger")
    except ArtefactError as error:
        return [str(error)]
    return problems


def _check_part(part: Part, problems: list[str]) -> UInt64:
    """Hashes of a part's ids; what is wrong with it goes to `problems`."""
    documents = size = 0
    ids = [np.empty(0, dtype=np.uint64)]
    for batch in read_batches(part.path):
        ids.append(_hashes(batch.column("id").to_pylist()))
        documents += batch.num_rows
        lengths = text_bytes(batch.column("text")).to_pylist()
        size += sum(lengths)
        problems += [f"{part.path.name}: document {n} has no text" for n, s in enumerate(lengths) if s == 0]
    if (documents, size) != (part.documents, part.bytes):
        found, recorded = f"{documents} documents of {size} bytes", f"{part.documents} of {part.bytes}"
        problems.append(f"{part.path.name}: {found} instead of {recorded}")
    return np.concatenate(ids)


def _ids_of(part: Part) -> UInt64:
    return np.concatenate([_hashes(batch.column("id").to_pylist()) for batch in read_batches(part.path)])


def _hashes(ids: list[str]) -> UInt64:
    return np.array([hash_text(id) for id in ids], dtype=np.uint64)


def _check_removals(path: Path, kept: UInt64) -> list[str]:
    problems = []
    for batch in read_batches(path, removals.SCHEMA):
        wanted = _hashes(batch.column("kept_id").to_pylist())
        is_kept = np.searchsorted(kept, wanted, side="right") > np.searchsorted(kept, wanted)
        for row, names_kept in zip(batch.to_pylist(), is_kept, strict=True):
            removal = f"{path.name}: {row['id']} was removed"
            if row["kept_id"] and not row["kept_in"] and not names_kept:
                problems.append(f"{removal} for {row['kept_id']}, which was not kept")
            if row["jaccard"] is not None and row["jaccard"] < float(row["threshold"]):
                problems.append(f"{removal} at Jaccard {row['jaccard']}, below {row['threshold']}")
    return problems
