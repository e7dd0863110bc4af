"""`rbt verify`: read an artefact back: every hash, the ledger, and what its format promises.

Artefacts inside the folder (a packed folder's tokens and indices, a run's checkpoints) are verified too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rbt.errors import ArtefactError
from rbt.formats import blocks, checkpoint, parts, tokenizer, tokens, urls, word_counts
from rbt.formats.corpus_check import check_corpus
from rbt.formats.index_check import check_index
from rbt.formats.tokenizer_check import check_tokenizer
from rbt.ledger import Ledger
from rbt.manifest import MANIFEST, Manifest, load_manifest
from rbt.progress import Bar, progress

MODEL_KIND = "model"


def _nothing_more(folder: Path) -> list[str]:
    """Kinds whose hashes say all: safetensors are read by their own library."""
    return []


CHECKS: dict[str, Callable[[Path], list[str]]] = {
    parts.KIND: check_corpus,
    urls.KIND: urls.check_urls,
    word_counts.KIND: word_counts.check_counts,
    tokenizer.KIND: check_tokenizer,
    tokens.KIND: tokens.check_tokens,
    blocks.KIND: check_index,
    checkpoint.KIND: _nothing_more,
    MODEL_KIND: _nothing_more,
}


@dataclass(frozen=True)
class Verdict:
    """What was found of one artefact; `problems` is empty when it is sound."""

    folder: Path
    kind: str
    files: int
    bytes: int
    problems: tuple[str, ...]


def find_artefacts(folder: Path) -> list[Path]:
    """The artefact in a folder and those below it, save the work folders. Raises ArtefactError where there is none."""
    if not folder.is_dir():
        raise ArtefactError("expected the folder of an artefact", path=folder, found="no such folder")
    found = [path.parent for path in sorted(folder.rglob(MANIFEST)) if "work" not in path.relative_to(folder).parts]
    if not found:
        raise ArtefactError("expected an artefact", path=folder, found=f"no {MANIFEST}: nothing finished is here")
    return found


def verify(folder: Path) -> Iterator[Verdict]:
    """Verify every artefact in `folder`, one verdict each."""
    artefacts = find_artefacts(folder)
    total = sum(path.stat().st_size for artefact in artefacts for path in artefact.iterdir() if path.is_file())
    with progress("verify", total, "B") as bar:
        for artefact in artefacts:
            yield verify_one(artefact, bar)


def verify_one(folder: Path, bar: Bar) -> Verdict:
    """Verify one artefact by its manifest."""
    try:
        manifest = load_manifest(folder)
    except ArtefactError as error:
        return Verdict(folder, "unknown", 0, 0, (str(error),))
    size = sum(record.size for record in manifest.files)
    problems = [*_damages(folder, manifest, bar), *_imbalances(manifest.ledger)]
    if not problems:  # a damaged file would only be reported twice
        problems = CHECKS[manifest.kind](folder) if manifest.kind in CHECKS else [f"unknown kind {manifest.kind!r}"]
    return Verdict(folder, manifest.kind, len(manifest.files), size, tuple(problems))


def _damages(folder: Path, manifest: Manifest, bar: Bar) -> Iterator[str]:
    for record in manifest.files:
        if damage := record.damage(folder):
            yield f"{record.path}: {damage}"
        bar.update(record.size)


def _imbalances(ledger: Ledger) -> Iterator[str]:
    for stage, source, row in ledger:
        documents, size = row.imbalance()
        if documents or size:
            yield f"ledger: {stage} of {source}: {documents} documents and {size} bytes unaccounted for"
