"""The mini corpus is what examples/README.md says, byte for byte."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def test_the_raw_files_are_made_again_byte_for_byte(examples: Path, tmp_path: Path) -> None:
    specification = importlib.util.spec_from_file_location("regenerate", examples / "regenerate.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["regenerate"] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    module.build(tmp_path)
    kept = {path.relative_to(examples / "raw"): path for path in (examples / "raw").rglob("*") if path.is_file()}
    made = {path.relative_to(tmp_path): path for path in tmp_path.rglob("*") if path.is_file()}
    assert kept.keys() == made.keys()
    assert [str(name) for name in kept if kept[name].read_bytes() != made[name].read_bytes()] == []
