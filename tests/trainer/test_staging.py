"""A packed folder is copied to a node's own disk: once, whole or absent, every byte checked."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from rbt.errors import ArtefactError, RbtError
from rbt.formats.blocks import open_index
from rbt.manifest import Manifest, load_manifest, record_files, write_manifest
from rbt.stage import exclusive
from rbt.trainer import staging as module
from rbt.trainer.staging import stage

from .conftest import MAX_TOKENS, random_documents, write_packed
from .runs import tensors, train

new = module.new_hash
FORMAT = f"doc-sentences-{MAX_TOKENS}"


def content(folder: Path) -> dict[str, bytes]:
    """Every file but the lock."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*")) if path.is_file() and path.parent.name != "work"
    }


def expected(packed: Path, *indices: str) -> dict[str, bytes]:
    """The files of a packed folder without those of other indices."""
    kept = {"tokens", "", *indices}
    return {name: data for name, data in content(packed).items() if name.rpartition("/")[0] in kept}


def test_what_training_reads_is_copied_byte_for_byte(packed: Path, tmp_path: Path) -> None:
    assert stage(packed, "doc-sentences", tmp_path / "fast" / "packed") == (tmp_path / "fast" / "packed", FORMAT)
    assert content(tmp_path / "fast" / "packed") == expected(packed, FORMAT)


def test_training_from_a_copy_is_training_from_the_original(packed: Path, tmp_path: Path) -> None:
    """The run is the same to the bit, and goes on from either."""
    train(packed, tmp_path / "straight")
    out = tmp_path / "run"
    train(packed, out, stop_after=5)
    train(packed, out, stage_to=tmp_path / "fast", stop_after=4)
    train(packed, out)
    assert tensors(out) == tensors(tmp_path / "straight")


def test_training_reads_the_copy_alone(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    original = open_index
    monkeypatch.setattr("rbt.trainer.pretrain.open_index", lambda *a: opened.append(a[0]) or original(*a))
    train(packed, tmp_path / "run", stage_to=tmp_path / "fast", stop_after=1)
    assert opened == [tmp_path / "fast" / FORMAT] * 2


def test_what_is_there_is_not_copied_again(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str] = []
    original = module._copy_file

    def copy(source: Path, record: Any, *rest: Any) -> None:
        copied.append(record.path)
        original(source, record, *rest)

    monkeypatch.setattr(module, "_copy_file", copy)
    stage(packed, "doc-sentences", tmp_path / "fast")
    first = len(copied)
    assert first == sum(len(load_manifest(packed / name).files) for name in (".", "tokens", FORMAT))
    stage(packed, "doc-sentences", tmp_path / "fast")
    assert len(copied) == first
    stage(packed, "full-sentences", tmp_path / "fast")  # the tokens are there: another index over them is all it needs
    assert len(copied) == first + len(load_manifest(packed / f"full-sentences-{MAX_TOKENS}").files)
    assert content(tmp_path / "fast") == content(packed)


def test_a_copy_that_was_cut_short_is_finished(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed behind the tokens, amid the index: tokens stay, nothing half is taken for whole, leftovers go."""
    def copy(source: Path, record: Any, *rest: Any) -> None:
        if source.name == FORMAT:
            raise KeyboardInterrupt
        original(source, record, *rest)

    original, out = module._copy_file, tmp_path / "fast"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "_copy_file", copy)
        stage(packed, "doc-sentences", out)
    assert content(out) == {n: data for n, data in content(packed).items() if n.startswith("tokens/")}
    inode = (out / "tokens").stat().st_ino
    (out / ".tmp-1-tokens").mkdir()  # of a process that was killed
    stage(packed, "doc-sentences", out)
    assert content(out) == expected(packed, FORMAT) and (out / "tokens").stat().st_ino == inode


@pytest.mark.parametrize("name", ["tokens/train-00000.tokens.bin", f"{FORMAT}/train-00002.blocks.npy", "vocab.json"])
def test_a_damaged_file_is_named_and_leaves_nothing_of_its_artefact(packed: Path, tmp_path: Path, name: str) -> None:
    source = tmp_path / "packed"
    shutil.copytree(packed, source)
    data = bytearray((source / name).read_bytes())
    data[len(data) // 2] ^= 1
    (source / name).write_bytes(data)
    with pytest.raises(ArtefactError, match=f"{name}: expected {len(data)} bytes with hash xxh3:"):
        stage(source, "doc-sentences", tmp_path / "fast")
    assert not (tmp_path / "fast" / Path(name).parent / "manifest.json").exists()


def test_without_xxhash_the_copy_is_compared_with_what_was_read(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(module, "new_hash", lambda algorithm: pytest.fail() if algorithm == "xxh3" else new(algorithm))
    stage(packed, "doc-sentences", tmp_path / "fast")
    assert content(tmp_path / "fast") == expected(packed, FORMAT)
    monkeypatch.setattr(module, "hash_file", lambda path, algorithm: "blake2b:00")
    with pytest.raises(ArtefactError, match=r"expected the bytes of .*; found others"):
        stage(packed, "doc-sentences", tmp_path / "slow")


def test_a_copy_of_something_else_is_refused_and_kept(packed: Path, tmp_path: Path) -> None:
    other = write_packed(tmp_path / "other", [random_documents(8, 20), random_documents(9, 3)])
    stage(other, "doc-sentences", tmp_path / "fast")
    before = content(tmp_path / "fast")
    with pytest.raises(ArtefactError, match=r"found a copy of another tokens \(delete "):
        stage(packed, "doc-sentences", tmp_path / "fast")
    assert content(tmp_path / "fast") == before


def test_a_copy_with_a_missing_file_is_refused(packed: Path, tmp_path: Path) -> None:
    stage(packed, "doc-sentences", tmp_path / "fast")
    (tmp_path / "fast" / "tokens" / "train-00000.sentence_ends.npy").unlink()
    with pytest.raises(ArtefactError, match=r"found train-00000\.sentence_ends\.npy missing or cut"):
        stage(packed, "doc-sentences", tmp_path / "fast")


def test_a_folder_of_other_files_is_refused(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(ArtefactError, match="found a folder with other files"):
        stage(packed, "doc-sentences", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(("kind", "is_finished"), [("corpus", True), ("tokenizer", True), ("corpus", False)])
def test_an_artefact_that_is_no_copy_is_refused_without_advice_to_delete_it(
    packed: Path, tmp_path: Path, kind: str, is_finished: bool
) -> None:
    """A slip of the pen names a corpus of weeks of work."""
    out = tmp_path / "out"
    with exclusive(out, kind):
        if is_finished:
            (out / "data.txt").write_text("x")
            write_manifest(out, Manifest(kind, 1, kind, 1, {}, {}, record_files(out, ["data.txt"])))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ArtefactError, match=rf"a copy that --stage-to made; found a {kind} \(choose another") as caught:
        stage(packed, "doc-sentences", out)
    assert "delete" not in str(caught.value)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_copy_that_was_made_by_hand_is_used_as_it_is(packed: Path, tmp_path: Path) -> None:
    """And nothing is written there."""
    shutil.copytree(packed, tmp_path / "fast", ignore=shutil.ignore_patterns("work"))
    assert stage(packed, "doc-sentences", tmp_path / "fast") == (tmp_path / "fast", FORMAT)
    assert content(tmp_path / "fast") == content(packed) and not (tmp_path / "fast" / "work").exists()
    (tmp_path / "fast" / "vocab.json").unlink()
    with pytest.raises(ArtefactError, match=r"found a .* \(choose another --stage-to\)"):
        stage(packed, "doc-sentences", tmp_path / "fast")


def test_a_file_in_place_of_the_folder_is_refused(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "fast").touch()
    with pytest.raises(ArtefactError, match=r"fast: expected a new or empty folder.*found a file"):
        stage(packed, "doc-sentences", tmp_path / "fast")


def test_the_packed_folder_itself_is_no_copy(packed: Path) -> None:
    before = content(packed)
    assert stage(packed, "doc-sentences", packed.parent / "." / packed.name) == (packed, FORMAT)
    assert content(packed) == before and not (packed / "work").exists()


def test_v41_too_little_room_is_an_error_before_a_byte_is_written(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    with pytest.raises(RbtError, match=r"expected room for 0\.\d\d GB of the packed folder; found 0\.00 GB free"):
        stage(packed, "doc-sentences", tmp_path / "fast")
    assert content(tmp_path / "fast") == {}


LIMITED = """
import resource, sys
from pathlib import Path
from rbt.errors import RbtError
from rbt.trainer.staging import stage
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    stage(Path(sys.argv[1]), "doc-sentences", Path(sys.argv[2]))
except RbtError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def test_v41_a_disk_that_fills_up_meanwhile_is_the_same_error_and_leaves_no_half_copy(
    packed: Path, tmp_path: Path
) -> None:
    """The system lets no file grow beyond a limit, here that of the largest but a byte."""
    limit = max(record.size for record in load_manifest(packed / "tokens").files) - 1
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(packed), str(tmp_path / "fast"), str(limit)], capture_output=True,
        text=True, timeout=120, check=False,
    )
    assert done.returncode == 1
    assert re.fullmatch(r"RbtError: .*expected room for .*; found .*File too large.*\n", done.stderr)
    assert content(tmp_path / "fast") == {}


def test_the_other_ranks_of_a_node_wait_for_the_copy(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(module, "local_rank", lambda: int(threading.current_thread().name == "second"))

    def wait() -> None:
        found.append(stage(packed, "doc-sentences", tmp_path / "fast"))
        found.append(content(tmp_path / "fast") == expected(packed, FORMAT))

    thread = threading.Thread(target=wait, name="second")
    thread.start()
    thread.join(0.1)
    assert thread.is_alive() and not found  # nobody has begun
    stage(packed, "doc-sentences", tmp_path / "fast")
    thread.join(20)
    assert found == [(tmp_path / "fast", FORMAT), True]


def test_two_jobs_on_a_node_share_a_copy(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits for the first, and copies nothing."""
    copied, errors = list[str](), list[BaseException]()
    begun, original = threading.Event(), module._copy_file

    def copy(source: Path, record: Any, *rest: Any) -> None:
        copied.append(record.path)
        begun.set()
        original(source, record, *rest)

    def run() -> None:
        try:
            stage(packed, "doc-sentences", tmp_path / "fast")
        except BaseException as error:
            errors.append(error)

    monkeypatch.setattr(module, "_copy_file", copy)
    threads = [threading.Thread(target=run) for _ in range(2)]
    threads[0].start()
    assert begun.wait(20)
    threads[1].start()
    for thread in threads:
        thread.join(20)
    assert not errors and len(copied) == len(set(copied))
    assert content(tmp_path / "fast") == expected(packed, FORMAT)
