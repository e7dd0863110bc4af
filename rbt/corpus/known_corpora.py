"""Finished corpora as deduplication knows them: their parts, their signatures, and whether these can be compared.

    other corpora ──number from 0──> Known parts <──number behind them── generations of the corpus that grows
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rbt.config import Recipe, to_table
from rbt.corpus.config import CorpusConfig, DeduplicateConfig
from rbt.corpus.contamination import COUNTS
from rbt.corpus.dedup.inputs import Known, KnownPart
from rbt.corpus.dedup.sign import identity as signature_identity
from rbt.errors import ArtefactError
from rbt.formats import signatures
from rbt.formats.parts import Corpus, open_corpus


def know(recipe: Recipe, grown: Corpus | None, against: Sequence[Path]) -> tuple[Known, dict[str, Any]]:
    """(what new documents are compared with, the fingerprints that name it). Raises ArtefactError."""
    found: list[KnownPart] = []
    others = 0
    corpora = [open_corpus(folder) for folder in against]
    for place, corpus in enumerate(corpora):
        check_signatures(recipe, corpus)
        stem = f"other-{place:02d}"
        name = corpus.manifests[0].config["corpus"]["name"] or stem  # "" would make it an older generation
        found += _parts(corpus, stem, others, name)
        others += corpus.manifests[-1].facts["numbers"]
    ancestry: dict[str, Any] = {"against": [corpus.fingerprint for corpus in corpora]} if corpora else {}
    base = others
    if grown is not None:
        check_same_rules(recipe, grown)
        check_signatures(recipe, grown)
        found += _parts(grown, "generation", others, "")
        base += grown.manifests[-1].facts["numbers"]
        ancestry["parent"] = grown.fingerprint
    return Known(tuple(found), others, base), ancestry


def known_paragraphs(grown: Corpus | None) -> list[tuple[Path, str]]:
    """(path, content hash) of the runs of a corpus's paragraphs."""
    return _signature_files(grown, signatures.PARAGRAPHS)


def known_contamination(grown: Corpus | None) -> list[Path]:
    """Where the counts of a corpus's evaluation n-grams are."""
    return [path for path, _ in _signature_files(grown, COUNTS)]


def _signature_files(grown: Corpus | None, name: str) -> list[tuple[Path, str]]:
    """(path, content hash) of the files beside the signatures whose names begin so, of all generations."""
    generations = zip(grown.folders, grown.manifests, strict=True) if grown is not None else ()
    return [
        (folder / record.path, record.hash)
        for folder, manifest in generations
        for record in manifest.files if record.path.startswith(f"{signatures.FOLDER}/{name}")
    ]


def _parts(corpus: Corpus, name: str, shift: int, other: str) -> Iterator[KnownPart]:
    for generation, (folder, manifest) in enumerate(zip(corpus.folders, corpus.manifests, strict=True)):
        hashes = {record.path: record.hash for record in manifest.files}
        stem = f"{name}-{generation:04d}"
        for number, part in enumerate(manifest.facts["parts"]):
            signed = f"{signatures.FOLDER}/{part['path']}"
            yield KnownPart(
                f"{stem}-{number:05d}", folder / part["path"], hashes[part["path"]], folder / signed, hashes[signed],
                part["documents"], shift, other,
            )
        if not other:  # what another corpus removed is of no use: it does not hold it
            removed = f"{signatures.FOLDER}/{signatures.REMOVED}"
            yield KnownPart(f"{stem}-removed", None, "", folder / removed, hashes[removed], 0, shift)


def check_signatures(recipe: Recipe, corpus: Corpus) -> None:
    """Raise ArtefactError where a corpus's signatures do not compare with those that the recipe makes."""
    config, seed = recipe.section("deduplicate", DeduplicateConfig), recipe.section("corpus", CorpusConfig).seed
    wanted = signature_identity(config, seed)
    for folder, manifest in zip(corpus.folders, corpus.manifests, strict=True):
        made_with = manifest.facts["signatures"]
        keys = sorted(wanted.keys() | made_with.keys())
        for key in ("near", *keys):  # without it there are no bands, no rows, no seed: not these are to be set
            if wanted.get(key) != made_with.get(key):
                section = "corpus" if key == "seed" else "deduplicate"
                raise ArtefactError(
                    f"expected signatures made with {section}.{key} = {wanted.get(key)!r}, as the recipe says",
                    path=folder, found=repr(made_with.get(key)),
                    cure="it was made by another version of rbt or of Unicode: build it again"
                    if key in ("version", "words")
                    else f"--set {section}.{key}={_as_toml(made_with.get(key))}, or build it again",
                )


def check_same_rules(recipe: Recipe, corpus: Corpus) -> None:
    """Raise ArtefactError where the recipe would deduplicate by other rules than the corpus that it adds to."""
    wanted, used = to_table(recipe.sections["deduplicate"]), corpus.manifests[0].config["deduplicate"]
    for key, value in wanted.items():
        if used.get(key) != value:
            raise ArtefactError(
                f"expected the corpus's own deduplicate.{key} = {used.get(key)!r}", path=corpus.folder,
                found=f"{value!r} in the recipe", cure=f"--set deduplicate.{key}={_as_toml(used.get(key))}",
            )


def _as_toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
