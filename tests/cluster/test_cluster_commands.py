"""The other commands that take --engine, on a cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def rbt(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rbt", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RBT_PROGRESS": "0"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def must(folder: Path, *words: str) -> str:
    done = rbt(folder, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def content(folder: Path) -> dict[str, bytes]:
    """Every file that is promised to be the same."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "provenance.json" and "work" not in path.relative_to(folder).parts
    }


@pytest.mark.slow
def test_v12_urls_and_tokens_of_a_cluster_are_the_same_bytes(cluster: Any, tmp_path: Path) -> None:
    on_cluster = ("--engine", "ray", "--address", cluster.address)
    for month in range(3):
        posts = [
            {"id": f"{month}{n}", "url": f"https://example.org/{n}", "score": n, "created_utc": 1_500_000_000 + n}
            for n in range(50)
        ]
        (tmp_path / f"RS_{month}.jsonl").write_text("".join(json.dumps(post) + "\n" for post in posts))
    dumps = [f"RS_{month}.jsonl" for month in range(3)]
    must(tmp_path, "corpus", "urls", *dumps, "--out", "urls-local")
    assert must(tmp_path, "corpus", "urls", *dumps, "--out", "urls-ray", *on_cluster).count("urls-ray") >= 1
    assert content(tmp_path / "urls-local") == content(tmp_path / "urls-ray")
    assert len(content(tmp_path / "urls-local")) >= 3

    must(tmp_path, "init", "project", "--recipe", "demo")
    folder = tmp_path / "project"
    (folder / "raw").symlink_to(ROOT / "examples" / "raw")
    must(folder, "corpus", "build", "--set", "corpus.part_bytes=4_000")
    must(folder, "bpe", "train", "--vocab-size", "600")
    must(folder, "bpe", "train", "--vocab-size", "600", "--out", "tokenizer-ray", *on_cluster)
    assert content(folder / "tokenizer") == content(folder / "tokenizer-ray")
    assert must(folder, "pack", "--out", "local").replace("local", "ray") == must(
        folder, "pack", "--out", "ray", *on_cluster
    )
    assert content(folder / "local") == content(folder / "ray")


def test_an_address_of_no_cluster_is_one_line(tmp_path: Path) -> None:
    must(tmp_path, "init", "project", "--recipe", "demo")
    (tmp_path / "project" / "raw").symlink_to(ROOT / "examples" / "raw")
    done = rbt(tmp_path / "project", "corpus", "build", "--engine", "ray", "--address", "127.0.0.2:1")
    assert done.returncode == 2
    assert done.stderr == "Error: 127.0.0.2:1: expected a Ray cluster; found no answer (start it, or wait)\n"
