"""Compiled code on disk: found again by the same functions, and by no others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import rbt
from rbt.kernels import meaning

INNER = """
import numpy as np
from rbt.kernels import {inner} as compiled
STEP, TABLE = 1, np.array([10, 20])

@compiled
def inner(number):
    return number + STEP + TABLE[0]
"""
OUTER = """
from inner import inner
from rbt.kernels import kernel

@kernel
def outer(number):
    return below(number) + 100

@kernel
def below(number):
    return inner(number)

print(outer(0), outer.stats.cache_hits[outer.signatures[0]], len(outer.stats.cache_misses))
"""


def run(folder: Path, seed: str) -> str:
    """What outer.py says in a process of its own: the result, and whether its code came from disk."""
    path = os.pathsep.join([str(folder), str(Path(rbt.__file__).parent.parent)])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed, "NUMBA_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, "-W", "error", "outer.py"]
    done = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()


CHANGES = [("STEP, TABLE = 1", "STEP, TABLE = 2", 112), ("[10, 20]", "[30, 20]", 131), ("+ STEP", "- STEP", 109)]


@pytest.mark.slow
@pytest.mark.parametrize(("inner", "changes"), [("kernel", CHANGES), ("inline_kernel", CHANGES[:1])])
def test_code_on_disk_is_not_run_after_what_it_calls_has_changed_in_another_file(
    tmp_path: Path, inner: str, changes: list[tuple[str, str, int]]
) -> None:
    """A constant, an array and a function of another file, behind a function that is defined below its caller."""
    (tmp_path / "outer.py").write_text(OUTER)
    source = INNER.format(inner=inner)
    (tmp_path / "inner.py").write_text(source)
    assert run(tmp_path, "1") == "111 0 1"
    assert run(tmp_path, "2") == "111 1 0"
    for old, new, expected in changes:
        (tmp_path / "inner.py").write_text(source.replace(old, new))
        assert run(tmp_path, "1") == f"{expected} 0 1"


def test_a_function_means_what_it_and_all_that_it_names_say() -> None:
    """Two functions that differ in a constant alone mean different things; recursion ends."""

    def one(depth: int) -> int:
        return two(depth) + 1

    def two(depth: int) -> int:
        return one(depth - 1) + 2

    def other(depth: int) -> int:
        return two(depth) + 3

    assert meaning(one) == meaning(one) != meaning(other)  # type: ignore[arg-type]


LIST = """
from numba.core.dispatcher import Dispatcher
from rbt.corpus.extract import html_choose, html_scan, wikitext_brackets, wikitext_inline, wikitext_lines, wikitext_tags
from rbt.kernels import meaning
for module in (html_choose, html_scan, wikitext_brackets, wikitext_inline, wikitext_lines, wikitext_tags):
    for name, value in sorted(vars(module).items()):
        if isinstance(value, Dispatcher):
            print(module.__name__, name, meaning(value.py_func))
"""


def test_the_package_s_kernels_mean_the_same_in_every_process() -> None:
    """Nothing that differs between processes (an address, an order of hashes) is in a meaning: code would be lost."""
    printed = [
        subprocess.run(
            [sys.executable, "-c", LIST], env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert printed[0].count(b"\n") > 50
    assert printed[0] == printed[1]
