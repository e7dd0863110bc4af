"""An index over the token store: one task a token part.

    sentence_ends, document_ends ──packer──> blocks ──lengths──> rows ──> blocks.npy in row order, rows.npy
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rbt.engine import Engine
from rbt.errors import ArtefactError, ConfigError
from rbt.formats.arrays import write_array
from rbt.formats.blocks import (
    PAIR_FORMATS,
    IndexPart,
    Int64,
    block_lengths,
    cover_problem,
    own_stretches,
    tokens_to_hold,
)
from rbt.formats.tokens import SPLITS, TokenPart, TokenStore, open_part, part_files, token_dtype
from rbt.ledger import Ledger
from rbt.packing.packers import PACKERS
from rbt.packing.pairs import part_state
from rbt.stage import Receipt, Task, TaskOutput, run_tasks

STAGE, STAGE_VERSION = "blocks", 2


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
    config, stem, max_tokens = task.payload["config"], task.name, task.payload["config"]["max_tokens"]
    part = open_part(Path(task.context["tokens"]), stem, token_dtype(task.payload["vocab_size"]))
    blocks, cut_sentences = make_blocks(part, config)
    if problem := cover_problem(own_stretches(blocks), tokens_to_hold(part, blocks)):
        raise ArtefactError(
            "expected each token in exactly one block", path=Path(task.context["tokens"]) / stem, found=problem
        )
    order, rows = PACKERS[config["format"]].rows(block_lengths(part, blocks, config["separator"]), max_tokens)
    made = IndexPart(part, blocks[order], rows)
    names = [f"{stem}.blocks.npy", f"{stem}.rows.npy"]
    write_array(folder / names[0], made.blocks)
    write_array(folder / names[1], made.rows)
    counts = {**made.counts(config["separator"]), "cut_sentences": cut_sentences}
    ledger = Ledger()
    for name, number in counts.items():
        ledger.row(STAGE, task.payload["split"]).count(name, number)
    return TaskOutput(names, ledger, counts)


def make_blocks(part: TokenPart, config: dict[str, Any]) -> tuple[Int64, int]:
    """The blocks of a token part, in the order of its tokens, and how many sentences were cut for them."""
    packer = PACKERS[config["format"]]
    values: dict[str, Any] = {**config, "separator": config["separator"] == "sentence"}
    if "seed" in packer.options:
        values["seed"] = part_state(config["seed"], part.stem)
    ends = np.asarray(part.sentence_ends), np.asarray(part.document_ends)
    return packer.blocks(*ends, config["max_tokens"], *(values[name] for name in packer.options))


def check_pairs(store: TokenStore, format: str) -> None:
    """Raise ConfigError for a pair format where no token part to train on has two documents to make pairs of."""
    documents = 0
    for stem in store.stems("train"):
        documents = max(documents, int(np.count_nonzero(np.diff(store.part(stem).document_ends, prepend=0))))
        if documents > 1:
            return
    raise ConfigError(
        f"[pack] format {format}: expected two documents or more in one part of the corpus, since half of "
        "all pairs are of two documents", path=store.folder, found=f"{documents} at most",
        cure="build a corpus of more documents, or of larger parts (corpus.part_bytes), or use --format full-sentences",
    )


def index_facts(config: dict[str, Any], ledger: Ledger) -> dict[str, Any]:
    """Facts of an index: its format, and the counts of each split with the share of its rows that is filled.

    Raises ArtefactError unless the tokens of all blocks, and those that are listed as dropped, are those that came in.
    """
    splits: dict[str, dict[str, Any]] = {}
    for split in SPLITS:
        counts = ledger.row(STAGE, split).other
        dropped = counts.get("dropped_no_other_document", 0)
        if counts["tokens_in"] != counts["tokens_in_blocks"] + dropped:
            raise ArtefactError(
                f"expected {counts['tokens_in']} tokens in the blocks of {split}",
                found=str(counts["tokens_in_blocks"] + dropped),
            )
        places = counts["rows"] * config["max_tokens"]
        splits[split] = {
            "rows": counts["rows"], "blocks": counts["blocks"], "tokens": counts["tokens_in_blocks"],
            "cut_sentences": counts["cut_sentences"],
            "fill_rate": round(counts["ids"] / places, 6) if places else 0.0,
        }
        if config["format"] in PAIR_FORMATS:
            splits[split] |= {
                "next": counts["next"], "tokens_repeated": counts["tokens_repeated"], "tokens_dropped": dropped,
            }
    return {"format": config["format"], "max_tokens": config["max_tokens"], "splits": splits}
