"""The trainer runs where only torch, numpy and safetensors are installed."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import rbt
from rbt.trainer.config import DataConfig, RunConfig, ScheduleConfig

ABSENT = (
    "click", "datasets", "datasketch", "fastwarc", "fsspec", "lxml", "numba", "polars", "_polars", "py3langid",
    "pyarrow", "regex", "resiliparse", "sentencex", "tensorboard", "tokenizers", "tqdm", "transformers", "xxhash",
)
PROGRAM = f"""
import importlib.util, sys
from pathlib import Path
assert [name for name in {ABSENT!r} if importlib.util.find_spec(name)] == []
from rbt.trainer import export, fill_mask, pretrain
code = pretrain.main(sys.argv[1:])
export.export(Path("run"), Path("model"), replace=False)
fill_mask.predict_masks(Path("model"), [0, 260, 2], 3)
sys.exit(code)
"""
TRACING = """
import sys
sys.modules["torch"] = None
from rbt.trainer import config, masking, order
print(order.permute(2, 1, 0, 10), masking.masking_rule(config.DataConfig(), {"<mask>": 99}).mask_id)
"""


@pytest.fixture(scope="module")
def bare_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages without those that a bare image lacks."""
    folder = tmp_path_factory.mktemp("bare")
    for entry in Path(torch.__file__).parent.parent.iterdir():
        if not entry.name.startswith(ABSENT) and entry.suffix != ".pth":
            (folder / entry.name).symlink_to(entry)
    return folder


def test_pretraining_export_and_predictions_need_no_other_package(
    packed: Path, bare_packages: Path, tmp_path: Path
) -> None:
    tables = {
        "model": {"layers": 1, "hidden": 16, "heads": 2, "feed_forward": 24},
        "data": dataclasses.asdict(DataConfig(global_batch=4)),
        "schedule": dataclasses.asdict(ScheduleConfig(max_steps=2, warmup_steps=1)),
        "run": dataclasses.asdict(RunConfig(device="cpu")),
    }
    settings = [
        part for name, table in tables.items() for key, value in table.items()
        for part in ("--set", f"{name}.{key}={json.dumps(value)}")
    ]
    arguments = ["--packed", str(packed), "--format", "full-sentences", "--out", "run", "--stage-to", "fast", *settings]
    path = os.pathsep.join([str(bare_packages), str(Path(rbt.__file__).parent.parent)])
    done = subprocess.run(
        [sys.executable, "-S", "-c", PROGRAM, *arguments], env={**os.environ, "PYTHONPATH": path}, cwd=tmp_path,
        capture_output=True, text=True, timeout=120, check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "checkpoints" / "step-00000002" / "manifest.json").is_file()
    assert (tmp_path / "model" / "config.json").is_file()
    assert (tmp_path / "fast" / "tokens" / "manifest.json").is_file()


def test_tracing_needs_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", TRACING], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] == "99"
