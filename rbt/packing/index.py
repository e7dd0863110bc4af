"""An index over the token store: one task a token part.

    sentence_ends, document_ends ──packer──> blocks ──lengths──> rows ──> blocks.npy in row order, rows.npy
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rbt.engine import Engine
from rbt.errors import ArtefactError
from rbt.formats.arrays import write_array
from rbt.formats.blocks import block_lengths, cover_problem
from rbt.formats.tokens import SPLITS, TokenStore, open_part, part_files, token_dtype
from rbt.ledger import Ledger
from rbt.packing.packers import PACKERS
from rbt.stage import Receipt, Task, TaskOutput, run_tasks

STAGE, STAGE_VERSION = "blocks", 1


def index_parts(
    store: TokenStore, config: dict[str, Any], out: Path, receipts: Path, engine: Engine
) -> list[Receipt]:
    """Pack all token parts into `out`; receipts in the store's order, with the counts of each part."""
    hashes = {record.path: record.hash for record in store.manifest.files}
    tasks = [
        Task(
            fact["stem"],
            {
                "split": fact["split"], "vocab_size": store.vocab_size, "config": config,
                "files": [hashes[name] for name in part_files(fact["stem"])],
            },
            fact["tokens"], context={"tokens": str(store.folder)},
        )
        for fact in store.manifest.facts["parts"]
    ]
    return run_tasks(
        STAGE, STAGE_VERSION, config, tasks, index_part, out, engine, unit="token", receipts_folder=receipts
    )


def index_part(task: Task, folder: Path) -> TaskOutput:
    """The task: blocks and rows of one token part."""
    config, stem = task.payload["config"], task.name
    part = open_part(Path(task.context["tokens"]), stem, token_dtype(task.payload["vocab_size"]))
    packer, max_tokens = PACKERS[config["format"]], config["max_tokens"]
    blocks, cut_sentences = packer.blocks(
        np.asarray(part.sentence_ends), np.asarray(part.document_ends), max_tokens, config["separator"] == "sentence"
    )
    if problem := cover_problem(blocks, len(part.tokens)):
        raise ArtefactError(
            "expected each token in exactly one block", path=Path(task.context["tokens"]) / stem, found=problem
        )
    lengths = block_lengths(part, blocks, config["separator"])
    order, rows = packer.rows(lengths, max_tokens)
    names = [f"{stem}.blocks.npy", f"{stem}.rows.npy"]
    write_array(folder / names[0], blocks[order])
    write_array(folder / names[1], rows)
    counts = {
        "tokens_in": len(part.tokens), "tokens_in_blocks": int((blocks[:, 1] - blocks[:, 0]).sum()),
        "ids": int(lengths.sum()), "blocks": len(blocks), "rows": len(rows) - 1, "cut_sentences": cut_sentences,
    }
    counts["separators"] = counts["ids"] - counts["tokens_in_blocks"] - 2 * counts["blocks"]
    ledger = Ledger()
    for name, number in counts.items():
        ledger.row(STAGE, task.payload["split"]).count(name, number)
    return TaskOutput(names, ledger, counts)


def index_facts(config: dict[str, Any], ledger: Ledger) -> dict[str, Any]:
    """Facts of an index: its format, and the counts of each split with the share of its rows that is filled.

    Raises ArtefactError unless the tokens of all blocks are the tokens that came in.
    """
    splits: dict[str, dict[str, Any]] = {}
    for split in SPLITS:
        counts = ledger.row(STAGE, split).other
        if counts["tokens_in"] != counts["tokens_in_blocks"]:
            raise ArtefactError(
                f"expected {counts['tokens_in']} tokens in the blocks of {split}",
                found=str(counts["tokens_in_blocks"]),
            )
        places = counts["rows"] * config["max_tokens"]
        splits[split] = {
            "rows": counts["rows"], "blocks": counts["blocks"], "tokens": counts["tokens_in_blocks"],
            "cut_sentences": counts["cut_sentences"],
            "fill_rate": round(counts["ids"] / places, 6) if places else 0.0,
        }
    return {"format": config["format"], "max_tokens": config["max_tokens"], "splits": splits}
