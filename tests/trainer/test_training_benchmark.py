"""What the benchmark of training counts is what was trained."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from .conftest import MAX_TOKENS

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.parametrize(("step_rows", "micro_batch", "trained"), [(5, 3, 3), (6, 3, 6), (5, "auto", 5), (4, 9, 4)])
def test_rows_that_a_peer_leaves_out_are_not_counted(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step_rows: int, micro_batch: Any, trained: int
) -> None:
    """Hugging Face's model in a plain loop, on full rows; the rows of its passes are counted."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    contenders, contest = (importlib.import_module(name) for name in ("train_contenders", "contest"))
    from transformers import RobertaForMaskedLM

    rows, forward = list[int](), RobertaForMaskedLM.forward

    def counted(self: Any, input_ids: Any, **others: Any) -> Any:
        rows.append(len(input_ids))
        return forward(self, input_ids, **others)

    monkeypatch.setattr(RobertaForMaskedLM, "forward", counted)
    monkeypatch.setattr(contenders, "matmul_rate", lambda precision, clock: 1.0)
    job = {
        "packed": str(packed), "index": f"full-sentences-{MAX_TOKENS}", "max_tokens": MAX_TOKENS, "size": "tiny",
        "step_rows": step_rows, "micro_batch": micro_batch, "compile": False, "precision": "float32", "warm_steps": 1,
        "steps": 2, "cpu_time": True, "work": str(tmp_path),
    }
    found = contenders.by_loop(job, contest.Clock())
    assert sum(rows) == 3 * trained and found["tokens"] == trained * MAX_TOKENS
    assert len(found["milliseconds"]["whole"]) == 2
