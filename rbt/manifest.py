"""A manifest makes a folder an artefact: written last, deterministic, enough to check every byte.

    manifest.json     kind, format version, stage, config, inputs, fingerprint, files with hashes, facts, ledger
    provenance.json   what differs from run to run (time, host, versions, stamps of raw files); not hashed
"""

from __future__ import annotations

import json
import platform
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import rbt
from rbt.errors import ArtefactError
from rbt.ledger import Ledger
from rbt.storage import hash_file, write_text

MANIFEST, PROVENANCE = "manifest.json", "provenance.json"


def to_json(value: Any) -> str:
    """Canonical, readable JSON: sorted keys, one space of indent, no NaN."""
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def fingerprint(value: Any) -> str:
    """32 hexadecimal digits (BLAKE2b-128) of a JSON value."""
    return blake2b(to_json(value).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class FileRecord:
    """A file of an artefact: its path inside the folder, its size in bytes and its "algorithm:hex" hash."""

    path: str
    size: int
    hash: str

    @classmethod
    def of(cls, folder: Path, name: str, algorithm: str = "xxh3") -> FileRecord:
        """Measure a file that is on disk."""
        return cls(name, (folder / name).stat().st_size, hash_file(folder / name, algorithm))

    def is_present(self, folder: Path) -> bool:
        """Whether a file of this size is there (a cheap check; `damage` reads it)."""
        path = folder / self.path
        return path.is_file() and path.stat().st_size == self.size

    def damage(self, folder: Path) -> str:
        """What is wrong with the file on disk; "" when it is as recorded."""
        if not (folder / self.path).is_file():
            return "missing"
        if not self.is_present(folder):
            return f"{(folder / self.path).stat().st_size} bytes instead of {self.size}"
        found = hash_file(folder / self.path, self.hash.partition(":")[0])
        return "" if found == self.hash else f"hash {found} instead of {self.hash}"


@dataclass(frozen=True)
class Manifest:
    """The contract of one artefact. `facts` holds what readers of this kind need (counts, ids, sources)."""

    kind: str
    format_version: int
    stage: str
    stage_version: int
    config: Mapping[str, Any]
    inputs: Mapping[str, Any]
    files: tuple[FileRecord, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def fingerprint(self) -> str:
        """Identity of the artefact: what it was made by and from, and nothing about where or when."""
        return fingerprint(
            {"stage": self.stage, "version": self.stage_version, "config": self.config, "inputs": self.inputs}
        )

    def table(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "kind": self.kind, "format_version": self.format_version,
            "stage": self.stage, "stage_version": self.stage_version,
            "config": self.config, "inputs": self.inputs, "fingerprint": self.fingerprint,
            "files": [vars(record) for record in self.files],
            "facts": self.facts, "ledger": self.ledger.table(),
        }


def is_artefact(folder: Path) -> bool:
    """Whether a folder has a manifest."""
    return (folder / MANIFEST).is_file()


def write_manifest(folder: Path, manifest: Manifest, provenance: Mapping[str, Any] | None = None) -> Manifest:
    """Write provenance.json, then manifest.json, which turns `folder` into an artefact."""
    run = {
        "rbt": rbt.__version__, "python": platform.python_version(), "host": socket.gethostname(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    write_text(folder / PROVENANCE, to_json({**run, **(provenance or {})}))
    write_text(folder / MANIFEST, to_json(manifest.table()))
    return manifest


def read_json(path: Path) -> Any:
    """A JSON file that rbt wrote. Raises ArtefactError where it is missing or is not JSON."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ArtefactError("expected a file written by rbt", path=path, found="none") from error
    except ValueError as error:
        raise ArtefactError("expected JSON", path=path, found=str(error), cure="rebuild it") from error


def read_manifest(folder: Path, kind: str, version: int, made_by: str) -> Manifest:
    """The manifest of `folder`, which must be of `kind` and `version`. `made_by`: the command to name as the cure."""
    if not is_artefact(folder):
        found = "no such folder" if not folder.exists() else f"no {MANIFEST}: not finished"
        raise ArtefactError(f"expected a finished {kind}", path=folder, found=found, cure=f"run `{made_by}`")
    manifest = load_manifest(folder)
    if (manifest.kind, manifest.format_version) != (kind, version):
        raise ArtefactError(
            f"expected a {kind} of format version {version}", path=folder,
            found=f"{manifest.kind} of format version {manifest.format_version}",
            cure=f"run `{made_by}` of this version into another --out" if manifest.kind == kind
            else f"name the folder that `{made_by}` wrote",
        )
    return manifest


def load_manifest(folder: Path) -> Manifest:
    """The manifest of any artefact. Raises ArtefactError where it does not hold together."""
    table = read_json(folder / MANIFEST)
    try:
        manifest = Manifest(
            table["kind"], table["format_version"], table["stage"], table["stage_version"], table["config"],
            table["inputs"], tuple(FileRecord(**record) for record in table["files"]),
            table["facts"], Ledger.from_table(table["ledger"]),
        )
        recorded = table["fingerprint"]
    except (KeyError, TypeError) as error:
        raise ArtefactError(
            "expected a manifest of rbt", path=folder / MANIFEST, found=f"no valid {error}", cure="rebuild it"
        ) from error
    if recorded != manifest.fingerprint:
        raise ArtefactError(
            f"expected fingerprint {recorded}", path=folder / MANIFEST, found=manifest.fingerprint,
            cure="the manifest was edited: rebuild it",
        )
    return manifest


def record_files(folder: Path, names: Iterable[str], algorithm: str = "xxh3") -> tuple[FileRecord, ...]:
    """Records of files inside `folder`, in the order given."""
    return tuple(FileRecord.of(folder, name, algorithm) for name in names)
