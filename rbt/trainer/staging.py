"""Copy a packed folder to a node's own disk, and train from there: `--stage-to DIR`.

    PACKED/{tokenizer, tokens/, one index} ──local rank 0 of each node: bytes, hashes──> DIR/{the same}
    other local ranks ──wait until it is there──> DIR

DIR is a packed folder then, whole or absent artefact by artefact: each appears by a rename when its bytes are those of
its manifest. What is there already, and the same, is not copied again. The hash of what is read is compared with the
manifest where xxhash is installed; without it, as on a bare training image, the copy is read again and compared with
what was read from PACKED.
"""

from __future__ import annotations

import errno
import fcntl
import importlib.util
import logging
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rbt.errors import ArtefactError, RbtError
from rbt.formats.blocks import TOKENS_FOLDER, choose_index
from rbt.manifest import MANIFEST, PROVENANCE, FileRecord, Manifest, is_artefact, load_manifest
from rbt.progress import Bar, progress
from rbt.stage import LOCK, WORK, exclusive
from rbt.storage import atomic_path, hash_file, new_hash
from rbt.trainer.speaking import local_rank

log = logging.getLogger(__name__)
KIND = "staged packed folder"
TURN = "turn"
CHUNK_BYTES = 8 << 20
COPIERS = 4  # files at once: a file system over a network is faster with several
POLL_SECONDS = 0.5
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Piece:
    """One artefact of a packed folder: the tokenizer ("."), the tokens, or an index."""

    name: str
    manifest: Manifest

    def problem(self, folder: Path) -> str:
        """Why the piece below `folder` is not this one: "" where it is, "none" where there is none."""
        path = folder / self.name
        if not is_artefact(path):
            return "none"
        if load_manifest(path).fingerprint != self.manifest.fingerprint:
            return f"a copy of another {self.manifest.kind}"
        damaged = [record.path for record in self.manifest.files if not record.is_present(path)]
        return f"{damaged[0]} missing or cut" if damaged else ""


def pieces_of(packed: Path, index: Path) -> list[Piece]:
    """What training reads of a packed folder. Raises ArtefactError where one is not finished."""
    names = (".", TOKENS_FOLDER, index.name)
    return [Piece(name, load_manifest(packed / name)) for name in names]


def stage(packed: Path, format: str, out: Path) -> tuple[Path, str]:
    """Have a copy of a packed folder in `out`; return `out` and the name of the index that `format` chooses.

    Every rank calls it, before it joins the others. Raises ArtefactError where `out` holds something else, which is
    left as it is, or a file of `packed` is damaged, RbtError where there is no room.
    """
    index = choose_index(packed, format)
    pieces = pieces_of(packed, index)
    if out.resolve() == packed.resolve():
        return packed, index.name
    if local_rank():
        while any(piece.problem(out) for piece in pieces):  # torchrun ends this process where local rank 0 fails
            time.sleep(POLL_SECONDS)
        return out, index.name
    if found := _not_ours(out):
        if not any(piece.problem(out) for piece in pieces):
            return out, index.name  # made by another way, and the same
        raise ArtefactError(
            "expected a new or empty folder, or a copy that --stage-to made", path=out, found=found,
            cure="choose another --stage-to",
        )
    with _turn(out):
        missing = _missing(packed, out, pieces)
        if missing:
            _copy_all(packed, out, missing)
    log.info("%s: %s", out, "copied to this node" if missing else "already on this node")
    return out, index.name


def _not_ours(out: Path) -> str:
    """What `out` is, "" where it is new or was made here."""
    if not out.is_dir():
        return "a file" if out.exists() else ""
    lock = out / WORK / LOCK
    kind = lock.read_text("utf-8") if lock.is_file() else ""
    if kind:
        return "" if kind == KIND else f"a {kind}"
    if is_artefact(out):
        return f"a {load_manifest(out).kind}"
    return "a folder with other files" if any(entry.name != WORK for entry in out.iterdir()) else ""


@contextmanager
def _turn(out: Path) -> Iterator[None]:
    """Wait for other jobs that copy to the same folder."""
    (out / WORK).mkdir(parents=True, exist_ok=True)
    with (out / WORK / TURN).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _missing(packed: Path, out: Path, pieces: list[Piece]) -> list[Piece]:
    """The pieces that `out` lacks. Raises ArtefactError where it has others in their place."""
    problems = {piece.name: piece.problem(out) for piece in pieces}
    for name, problem in problems.items():
        if problem not in ("", "none"):
            raise ArtefactError(
                f"expected a copy of {packed / name}, or nothing", path=out / name, found=problem,
                cure=f"delete {out}, or choose another --stage-to",
            )
    return [piece for piece in pieces if problems[piece.name]]


def _copy_all(packed: Path, out: Path, pieces: list[Piece]) -> None:
    size = sum(record.size for piece in pieces for record in piece.manifest.files)
    with exclusive(out, KIND):
        free = shutil.disk_usage(out).free
        if size > free:
            raise _no_room(out, size, f"{_gigabytes(free)} free")
        try:
            with progress("stage", size, "B") as bar:
                for piece in sorted(pieces, key=lambda piece: piece.name == "."):  # the tokenizer last
                    _copy_piece(packed, out, piece, bar)
        except OSError as error:
            raise (_no_room(out, size, str(error)) if error.errno in NO_ROOM else error) from error


def _no_room(out: Path, size: int, found: str) -> RbtError:
    return RbtError(
        f"expected room for {_gigabytes(size)} of the packed folder", path=out, found=found,
        cure="free some space, or choose another --stage-to",
    )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.2f} GB"


def _copy_piece(packed: Path, out: Path, piece: Piece, bar: Bar) -> None:
    """Copy an artefact: a folder as a whole, the files of the tokenizer one by one, its manifest last."""
    source = packed / piece.name
    if piece.name == ".":
        for record in piece.manifest.files:
            with atomic_path(out / record.path) as temporary:
                _copy_file(source, record, temporary, bar, threading.Lock())
        for name in (PROVENANCE, MANIFEST):
            with atomic_path(out / name) as temporary:
                shutil.copyfile(source / name, temporary)
        return
    with atomic_path(out / piece.name) as folder, _copiers() as copiers:
        folder.mkdir()
        lock = threading.Lock()
        copies = [
            copiers.submit(_copy_file, source, record, folder / record.path, bar, lock)
            for record in piece.manifest.files
        ]
        for copy in copies:
            copy.result()
        for name in (PROVENANCE, MANIFEST):
            shutil.copyfile(source / name, folder / name)


@contextmanager
def _copiers() -> Iterator[ThreadPoolExecutor]:
    """Threads; an error leaves what has not begun undone."""
    pool = ThreadPoolExecutor(COPIERS)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _copy_file(source: Path, record: FileRecord, target: Path, bar: Bar, lock: threading.Lock) -> None:
    """Copy one file, and check size and hash. Raises ArtefactError, OSError."""
    algorithm = record.hash.partition(":")[0]
    is_checkable = algorithm != "xxh3" or importlib.util.find_spec("xxhash") is not None
    algorithm = algorithm if is_checkable else "blake2b"
    digest, size = new_hash(algorithm), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with (source / record.path).open("rb") as reader, target.open("wb") as writer:
        while chunk := reader.read(CHUNK_BYTES):
            writer.write(chunk)
            digest.update(chunk)
            size += len(chunk)
            with lock:
                bar.update(len(chunk))
    found = f"{algorithm}:{digest.hexdigest()}"
    if size != record.size or (is_checkable and found != record.hash):
        raise ArtefactError(
            f"expected {record.size} bytes with hash {record.hash}", path=source / record.path,
            found=f"{size} bytes with hash {found}", cure="pack again",
        )
    if not is_checkable and hash_file(target, algorithm) != found:
        raise ArtefactError(f"expected the bytes of {source / record.path}", path=target, found="others")
