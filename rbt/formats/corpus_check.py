"""What the format of a corpus promises, checked on its files."""

from __future__ import annotations

from pathlib import Path

from rbt.errors import ArtefactError
from rbt.formats import removals
from rbt.formats.parts import LEDGER, open_corpus, read_batches, text_bytes
from rbt.ledger import Ledger
from rbt.manifest import read_json
from rbt.rng import hash_text


def check_corpus(folder: Path) -> list[str]:
    """Problems of a finished corpus: counts, unique ids, empty texts, removals that name no kept document."""
    try:
        corpus = open_corpus(folder)
        problems: list[str] = []
        seen: set[int] = set()  # 8 bytes a document
        for part in corpus.parts():
            documents = size = 0
            for batch in read_batches(part.path):
                hashes = [hash_text(id) for id in batch.column("id").to_pylist()]
                documents += len(hashes)
                lengths = text_bytes(batch.column("text")).to_pylist()
                size += sum(lengths)
                problems += [f"{part.path.name}: document {n} has no text" for n, s in enumerate(lengths) if s == 0]
                problems += [f"{part.path.name}: an id occurs twice" for h in hashes if h in seen]
                seen.update(hashes)
            if (documents, size) != (part.documents, part.bytes):
                found, recorded = f"{documents} documents of {size} bytes", f"{part.documents} of {part.bytes}"
                problems.append(f"{part.path.name}: {found} instead of {recorded}")
        for path in corpus.removals():
            problems += _check_removals(path, seen)
        if Ledger.from_table(read_json(folder / LEDGER)).table() != corpus.manifests[0].ledger.table():
            problems.append(f"{LEDGER} differs from the manifest's ledger")
    except ArtefactError as error:
        return [str(error)]
    return problems


def _check_removals(path: Path, kept: set[int]) -> list[str]:
    problems = []
    for batch in read_batches(path, removals.SCHEMA):
        for row in batch.to_pylist():
            removal = f"{path.name}: {row['id']} was removed"
            if row["kept_id"] and hash_text(row["kept_id"]) not in kept:
                problems.append(f"{removal} for {row['kept_id']}, which was not kept")
            if row["jaccard"] is not None and row["jaccard"] < float(row["threshold"]):
                problems.append(f"{removal} at Jaccard {row['jaccard']}, below {row['threshold']}")
    return problems
