"""Stages: tasks with receipts, so that a restart redoes at most the tasks in flight.

    tasks ──engine──> data files, then a receipt each ──> receipts in task order ──> the caller reduces them

A task's receipt is valid when its fingerprint (stage, version, config, payload, stamp of the raw input) is the same
and its files are there in full size. An artefact is made in a folder without a manifest; the manifest comes last.

    OUT/work/<stage>/            data files of the tasks
    OUT/work/<stage>/receipts/   one JSON file a task
"""

from __future__ import annotations

import fcntl
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from rbt import engine as engines
from rbt.engine import Engine
from rbt.errors import ArtefactError
from rbt.ledger import Ledger
from rbt.manifest import (
    MANIFEST,
    PROVENANCE,
    FileRecord,
    Manifest,
    fingerprint,
    is_artefact,
    load_manifest,
    read_json,
    record_files,
    to_json,
)
from rbt.progress import progress
from rbt.storage import sweep, write_text

log = logging.getLogger(__name__)
WORK, LOCK = "work", "lock"
PLURALS = ("blocks", "tokens", "urls", "counts")  # ends of kinds


@dataclass(frozen=True)
class Task:
    """One unit of work. `payload` (JSON values) holds all that shapes the output; `stamp` says that a raw input is
    still the same; `size` is the task's share of the progress bar; `context` is passed on but shapes nothing
    (absolute paths)."""

    name: str
    payload: Mapping[str, Any]
    size: int = 1
    stamp: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskOutput:
    """What a task function returns: names of the files it wrote into its folder, its ledger, a small JSON result."""

    files: Sequence[str] = ()
    ledger: Ledger = field(default_factory=Ledger)
    result: Mapping[str, Any] = field(default_factory=dict)


TaskFunction = Callable[[Task, Path], TaskOutput]


@dataclass(frozen=True)
class Receipt:
    """What is known of a finished task."""

    task: str
    fingerprint: str
    files: tuple[FileRecord, ...]
    ledger: Ledger
    result: Mapping[str, Any]

    def table(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "task": self.task, "fingerprint": self.fingerprint, "files": [vars(record) for record in self.files],
            "ledger": self.ledger.table(), "result": self.result,
        }

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Receipt:
        """Read back what `table` wrote."""
        return cls(
            table["task"], table["fingerprint"], tuple(FileRecord(**record) for record in table["files"]),
            Ledger.from_table(table["ledger"]), table["result"],
        )


@dataclass(frozen=True)
class _Job:
    function: TaskFunction
    task: Task
    fingerprint: str
    folder: Path
    receipt: Path

    def __str__(self) -> str:
        return f"task {self.task.name}"


def _run_job(job: _Job) -> Receipt:
    started = time.time()
    job.receipt.unlink(missing_ok=True)  # an older one would vouch for files that are about to change
    output = job.function(job.task, job.folder)
    engines.advance_to(job.task.size)
    receipt = Receipt(
        job.task.name, job.fingerprint, record_files(job.folder, output.files), output.ledger, output.result
    )
    table = {**receipt.table(), "seconds": round(time.time() - started, 3)}
    write_text(job.receipt, to_json(table))
    return receipt


def _valid_receipt(job: _Job) -> Receipt | None:
    if not job.receipt.is_file():
        return None
    try:
        receipt = Receipt.from_table(read_json(job.receipt))
    except (KeyError, TypeError, ValueError, AttributeError):  # of another layout: no receipt of this task
        return None
    same = receipt.fingerprint == job.fingerprint and all(record.is_present(job.folder) for record in receipt.files)
    return receipt if same else None


def run_tasks(
    stage: str, version: int, config: Any, tasks: Sequence[Task], function: TaskFunction, folder: Path,
    engine: Engine, *, unit: str = "task", receipts_folder: Path | None = None,
) -> list[Receipt]:
    """Run the tasks that have no valid receipt; return all receipts in task order.

    Tasks write their files into `folder`; receipts go to `receipts_folder`, by default `folder/receipts`. The order in
    which tasks finish, the number of workers and restarts change nothing in what is returned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    marks = receipts_folder or folder / "receipts"
    jobs = []
    for task in tasks:
        mark = fingerprint([stage, version, config, task.name, task.payload, task.stamp])
        jobs.append(_Job(function, task, mark, folder, marks / f"{task.name}.json"))
    receipts = {job.task.name: receipt for job in jobs if (receipt := _valid_receipt(job))}
    assert len({task.name for task in tasks}) == len(tasks), f"stage {stage}: task names must be unique"
    missing = [job for job in jobs if job.task.name not in receipts]
    finished = sum(job.task.size for job in jobs if job.task.name in receipts)
    with progress(stage, sum(task.size for task in tasks), unit, initial=finished) as bar:
        for receipt in engine.map(_run_job, missing, bar.update):
            receipts[receipt.task] = receipt
    return [receipts[task.name] for task in tasks]


def hold(file: IO[Any], folder: Path) -> None:
    """Hold an open file of a folder for this process, until it is closed. Raises ArtefactError where another does."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise ArtefactError(
            "expected no other run on this folder", path=folder, found="one at work", cure="wait for it, or end it"
        ) from error


def _one(kind: str) -> str:
    """A kind of output behind its article; a plural has none."""
    return kind if kind.endswith(PLURALS) else f"{'an' if kind[:1] in set('aeiou') else 'a'} {kind}"


@contextmanager
def exclusive(out: Path, kind: str) -> Iterator[None]:
    """Hold OUT for one process: a second run is an error, and leftovers of a killed one are swept.

    OUT/work/lock says what kind of output OUT is for, finished or not; another kind is an ArtefactError.
    """
    refuse_foreign(out)
    (out / WORK).mkdir(parents=True, exist_ok=True)
    with (out / WORK / LOCK).open("a+", encoding="utf-8") as lock:
        hold(lock, out)
        lock.seek(0)
        if (before := lock.read()) not in ("", kind):
            raise ArtefactError(
                f"expected {_one(kind)}, or a new folder", path=out, found=_one(before), cure="choose another --out"
            )
        if not before:
            lock.write(kind)
            lock.flush()
        sweep(out)
        yield


def refuse_foreign(out: Path) -> None:
    """Raise ArtefactError where OUT holds files and is not rbt's folder, or is a file."""
    if out.is_file():
        raise ArtefactError("expected a folder", path=out, found="a file", cure="choose another --out")
    if is_artefact(out) or not out.is_dir() or (out / WORK / LOCK).is_file():
        return
    if any(entry.name != WORK for entry in out.iterdir()):  # a work folder alone: killed before it was locked
        raise ArtefactError(
            "expected a new or empty folder", path=out, found="a folder with other files", cure="choose another --out"
        )


def finished(out: Path, identity: Manifest, replace: bool) -> Manifest | None:
    """The artefact in OUT if it is whole and what `identity` asks for; None where there is none, or it may go.

    Raises ArtefactError where OUT is of another kind, or was made from something else and `replace` is off.
    """
    if not is_artefact(out):
        return None
    manifest = load_manifest(out)
    if manifest.fingerprint == identity.fingerprint and all(record.is_present(out) for record in manifest.files):
        return manifest
    if manifest.kind != identity.kind:
        raise ArtefactError(
            f"expected {_one(identity.kind)}, or a new folder", path=out, found=_one(manifest.kind),
            cure="choose another --out",
        )
    if not replace:
        raise ArtefactError(
            "expected an output made from this recipe", path=out, found=difference(manifest, identity),
            cure="--replace builds it anew, --out puts it elsewhere",
        )
    return None


def open_out(out: Path, identity: Manifest, replace: bool) -> Manifest | None:
    """Decide what to do with OUT: `finished`, and cleared where it is to be made anew."""
    if (manifest := finished(out, identity, replace)) is not None:
        return manifest
    refuse_foreign(out)
    if is_artefact(out):
        clear(out)
    return None


def difference(manifest: Manifest, wanted: Manifest) -> str:
    """The first thing in which two artefacts' identities differ, in words."""
    if manifest.stage_version != wanted.stage_version:
        return f"version {manifest.stage_version} of stage {manifest.stage!r} instead of {wanted.stage_version}"
    for what in ("config", "inputs"):
        old, new = _flat(getattr(manifest, what)), _flat(getattr(wanted, what))
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                return f"{what} {key} = {old.get(key)!r} instead of {new.get(key)!r}"
    return "a file that is missing or cut"


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {k: v for key, item in value.items() for k, v in _flat(item, f"{prefix}.{key}".lstrip(".")).items()}
    if isinstance(value, list | tuple):
        return {k: v for n, item in enumerate(value) for k, v in _flat(item, f"{prefix}.{n}").items()}
    return {prefix: value}


def clear(out: Path) -> None:
    """Make a folder no artefact any more: its manifest goes first, then what it lists and the artefacts inside.

    The work folder stays, and so does what is not ours.
    """
    records = load_manifest(out).files
    (out / MANIFEST).unlink()
    for name in [PROVENANCE, *(record.path for record in records)]:
        (out / name).unlink(missing_ok=True)
    for entry in out.iterdir():
        if entry.is_dir() and is_artefact(entry):
            shutil.rmtree(entry)
