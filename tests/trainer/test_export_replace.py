"""A model takes another's place: whole or not at all, and nothing goes that is not rbt's."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from rbt.errors import ArtefactError, RbtError
from rbt.manifest import MANIFEST, load_manifest, write_manifest
from rbt.trainer.export import export

from .hugging_face_models import save_step


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a checkpoint. Not to be changed by tests."""
    folder = tmp_path_factory.mktemp("export") / "run"
    save_step(folder, 1)
    return folder


def test_another_export_needs_replace(run: Path, tmp_path: Path) -> None:
    own = tmp_path / "run"
    save_step(own, 1)
    out = export(own, tmp_path / "model", replace=False)
    before = (out / MANIFEST).read_bytes()
    assert export(own, out, replace=False) == out
    assert (out / MANIFEST).read_bytes() == before
    save_step(own, 2)
    with pytest.raises(ArtefactError, match="--replace"):
        export(own, out, replace=False)
    export(own, out, replace=True)
    assert load_manifest(out).facts["step"] == 2


def test_a_replacement_that_fails_leaves_the_model_that_was_there(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "run"
    save_step(own, 1)
    out = export(own, tmp_path / "model", replace=False)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    save_step(own, 2)

    def fill_up(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patch, pytest.raises(RbtError, match=r"model: expected room for a model.*no space"):
        patch.setattr("rbt.trainer.export.save_file", fill_up)
        export(own, out, replace=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "run"]


def replaceable(folder: Path) -> tuple[Path, Path]:
    """A run with a second checkpoint, and the model of its first."""
    save_step(folder / "run", 1)
    out = export(folder / "run", folder / "model", replace=False)
    save_step(folder / "run", 2)
    return folder / "run", out


def contents(folder: Path) -> dict[str, bytes]:
    """Every file by its name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["README.md", ".cache/huggingface/download"])
def test_a_model_with_a_foreign_file_beside_it_is_not_replaced(tmp_path: Path, name: str) -> None:
    run, out = replaceable(tmp_path)
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).write_text("a card")
    before = contents(out)
    with pytest.raises(ArtefactError, match=rf"model and nothing beside it; found {name.partition('/')[0]} \(put that"):
        export(run, out, replace=True)
    assert contents(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "run"]


def test_a_file_that_comes_while_a_model_is_replaced_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = replaceable(tmp_path)
    before = contents(out)

    def beside(*arguments: Any) -> None:
        (out / "README.md").write_text("a card")
        write_manifest(*arguments)

    monkeypatch.setattr("rbt.trainer.export.write_manifest", beside)
    with pytest.raises(ArtefactError, match=r"found README\.md"):
        export(run, out, replace=True)
    assert contents(out) == {**before, "README.md": b"a card"}


def test_a_rename_that_fails_puts_the_model_before_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, out = replaceable(tmp_path)
    before = contents(out)

    def fail(self: Path, target: Path) -> Path:
        assert not out.exists()  # the moment in which there is none
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch, pytest.raises(RbtError, match=r"model: expected a place .* Input/output"):
        patch.setattr(Path, "replace", fail)
        patch.setattr("rbt.trainer.export.write_manifest", lambda *arguments: None)
        export(run, out, replace=True)
    assert contents(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "run"]


@pytest.mark.parametrize("is_new_there", [False, True])
def test_what_a_killed_replacement_left_is_ended_or_undone(tmp_path: Path, is_new_there: bool) -> None:
    run, out = replaceable(tmp_path)
    before = contents(out)
    out.rename(aside := tmp_path / ".replaced-model")
    if is_new_there:
        export(run, tmp_path / "other", replace=False).rename(out)
    else:
        with pytest.raises(ArtefactError, match="--replace"):  # it is the old one again
            export(run, out, replace=False)
        assert contents(out) == before
    export(run, out, replace=True)
    assert load_manifest(out).facts["step"] == 2
    assert not aside.exists()


def test_a_link_to_a_model_stays_a_link(tmp_path: Path) -> None:
    run, out = replaceable(tmp_path)
    (link := tmp_path / "link").symlink_to(out)
    export(run, link, replace=True)
    assert link.is_symlink()
    assert load_manifest(out).facts["step"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "model", "run"]


@pytest.mark.parametrize("place", ["/proc/model", "/dev/null/model"])
def test_a_place_that_cannot_be_written_is_not_called_full(run: Path, place: str) -> None:
    with pytest.raises(RbtError, match=f"^{place}: expected a place to write a model to; found .*choose another --out"):
        export(run, Path(place), replace=False)


def test_a_full_disk_in_the_words_of_safetensors_is_one(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_up(*arguments: object, **options: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("rbt.trainer.export.save_file", fill_up)
    with pytest.raises(RbtError, match=r"expected room for a model; .*free some space"):
        export(run, tmp_path / "model", replace=False)


def test_what_a_killed_export_left_is_swept_and_nothing_else(run: Path, tmp_path: Path) -> None:
    for name in (".tmp-77-model", ".tmp-77-my-model", ".tmp-x-model"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"half")
    export(run, tmp_path / "model", replace=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tmp-77-my-model", ".tmp-x-model", "model"]
