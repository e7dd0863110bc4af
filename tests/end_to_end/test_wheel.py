"""A wheel that installs and runs outside the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_wheel_runs_the_demo_outside_the_checkout(tmp_path: Path) -> None:
    def run(*words: str, cwd: Path) -> str:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    source = tmp_path / "source"  # a build leaves files beside the code
    shutil.copytree(ROOT / "rbt", source / "rbt", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(source), cwd=tmp_path)
    (wheel,) = tmp_path.glob("rbt-*.whl")
    run(*pip, "install", "--no-deps", "--target", str(tmp_path / "site"), str(wheel), cwd=tmp_path)
    where = run(sys.executable, "-c", "import rbt; print(rbt.__file__)", cwd=tmp_path)
    assert where.startswith(str(tmp_path / "site"))
    rbt = (sys.executable, "-m", "rbt")
    assert "table-3" in run(*rbt, "ablate", "--list", cwd=tmp_path)
    run(*rbt, "init", "project", "--recipe", "demo", cwd=tmp_path)
    project = tmp_path / "project"
    (project / "raw").symlink_to(ROOT / "examples" / "raw")
    for words in (["corpus", "build"], ["bpe", "train"], ["pack"]):
        run(*rbt, *words, "--quiet", cwd=project)
    run(*rbt, "pretrain", "--set", "schedule.max_steps=2", "--set", "schedule.warmup_steps=1", "--quiet", cwd=project)
    run(*rbt, "export", "--quiet", cwd=project)
    assert "mask 1" in run(*rbt, "fill-mask", "A <mask>.", "--quiet", cwd=project)
