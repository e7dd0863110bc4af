"""Runs the contenders of benchmarks/dedup.py in processes of their own, and collects what they measured."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from rbt.formats.document import SCHEMA
from rbt.formats.parts import write_part
from rbt.storage import hash_file

SCRIPT = Path(__file__).with_name("dedup_contenders.py")
SECONDS = 3600  # for one run of one contender
SETTINGS = {"ngram": 5, "bands": 20, "rows": 6, "threshold": 0.8}


@dataclass(frozen=True)
class Measured:
    """A contender on one set of documents: the median of its runs, its removals, or why there are none."""

    seconds: float
    megabytes: float  # peak memory, the median
    warm_megabytes: float  # peak before the timed run: interpreter, imports, a small slice
    removed: set[int]
    error: str = ""


def write_documents(folder: Path, texts: Sequence[str]) -> dict[str, Any]:
    """Write texts for every contender; the fields `documents` and `parts` of its `Job`."""
    folder.mkdir(parents=True)
    ids = pa.array([str(number) for number in range(len(texts))])
    parquet.write_table(pa.table({"id": ids, "text": pa.array(texts)}), folder / "documents.parquet")
    return {"documents": str(folder / "documents.parquet"), "parts": [write_ingested(folder, texts)]}


def write_ingested(folder: Path, texts: Sequence[str]) -> dict[str, Any]:
    """One ingested part of all texts, as the fields of `rbt.corpus.dedup.inputs.Ingested`."""
    path, rows = folder / "part.arrow", folder / "part.rows.npy"
    columns = {name: [""] * len(texts) for name in SCHEMA.names}
    columns |= {"id": [str(number) for number in range(len(texts))], "text": list(texts)}
    table = pa.table({**columns, "language_score": [1.0] * len(texts)}, schema=SCHEMA)
    write_part(path, table.to_batches(max_chunksize=4096))
    np.save(rows, np.arange(len(texts)))
    return {
        "name": "00", "path": str(path), "hash": hash_file(path), "rows_path": str(rows), "rows_hash": hash_file(rows),
        "first_number": 0, "documents": len(texts), "bytes": sum(len(text.encode()) for text in texts),
    }


def availability(peer_python: str) -> dict[str, Any]:
    """What can be imported: `dedup_contenders.availability` of this interpreter for rbt, of the other for its peers."""

    def ask(python: str) -> dict[str, Any]:
        answer = subprocess.run([python, str(SCRIPT)], capture_output=True, text=True, check=False)
        if answer.returncode:
            sys.exit(f"{python} {SCRIPT.name}: {answer.stderr.strip().splitlines()[-1]}")
        found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
        return found

    own, peers = ask(sys.executable), ask(peer_python)
    return {**peers, "contenders": {**peers["contenders"], "rbt": own["contenders"]["rbt"]}}


def measure(name: str, python: str, warm: dict[str, Any], timed: dict[str, Any], work: Path, runs: int) -> Measured:
    """Run a contender `runs` times, each time in a new process and an empty folder."""
    results = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(dir=work) as folder:
            answer = _run_once(name, python, warm, timed, Path(folder))
        if isinstance(answer, str):
            return Measured(0, 0, 0, set(), answer)
        results.append(answer)
    removed = [set(result["removed"]) for result in results]
    if any(other != removed[0] for other in removed):
        print(f"{name}: its runs removed {sorted(map(len, removed))} documents; the first run's are scored")
    seconds, megabytes, warm_megabytes = (
        statistics.median(result[key] for result in results) for key in ("seconds", "megabytes", "warm_megabytes")
    )
    return Measured(seconds, megabytes, warm_megabytes, removed[0])


def _run_once(
    name: str, python: str, warm: dict[str, Any], timed: dict[str, Any], folder: Path
) -> dict[str, Any] | str:
    """The result of one process, or the last line that it said."""
    for stage in ("warm", "timed"):
        (folder / stage).mkdir()
    job = {
        "contender": name, "result": str(folder / "result.json"),
        "warm": {"contender": name, "work": str(folder / "warm"), **warm, **SETTINGS},
        "timed": {"contender": name, "work": str(folder / "timed"), **timed, **SETTINGS},
    }
    (folder / "job.json").write_text(json.dumps(job))
    try:
        command = [python, str(SCRIPT), str(folder / "job.json")]
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return f"not finished after {SECONDS} s"
    if answer.returncode:
        return (answer.stderr.strip().splitlines() or [f"exit status {answer.returncode}"])[-1]
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result
