"""What benchmarks/pack.py compares: documents and one tokenizer in, a packed data set on disk out.

A job has `documents` (a Parquet file of texts), `corpus` (the same as a corpus folder), `tokenizer` (a tokenizer folder
with 50,265 ids), `max_tokens`, and `ids` (a file for the tokens of text that what was packed holds, in order). Timed:
everything from the file of documents to files that a trainer reads. Then, not timed, the tokens of text are read back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from contest import Clock, Contender, Job, serve

BOS, EOS = 0, 2
WORKERS = 1


def _size(paths: Iterable[Path]) -> int:
    """Bytes of files, and of those in folders."""
    return sum(
        file.stat().st_size for path in paths for file in ([path] if path.is_file() else path.rglob("*"))
        if file.is_file()
    )


def _facts(job: Job, ids: Any, disk: int) -> dict[str, Any]:
    import numpy as np

    if job["ids"]:
        np.save(job["ids"], np.asarray(ids, dtype=np.uint16))
    return {"tokens": len(ids), "disk": disk}


def by_rbt(format: str) -> Callable[[Job, Clock], dict[str, Any]]:
    """`rbt pack`: tokens, sentence and document ends, and the index of one format."""

    def run(job: Job, clock: Clock) -> dict[str, Any]:
        import numpy as np

        from rbt.engine import LocalEngine
        from rbt.formats.blocks import choose_index, open_index
        from rbt.packing.config import PackConfig
        from rbt.packing.pack import pack

        out = Path(job["work"]) / "packed"
        config = PackConfig(format, max_tokens=job["max_tokens"], validation_fraction=0.0)  # type: ignore[arg-type]
        with clock:
            pack(Path(job["corpus"]), Path(job["tokenizer"]), out, config, LocalEngine(WORKERS), replace=False)
        folder = choose_index(out, format)
        ids = [np.empty(0, dtype=np.uint16)]
        for part in open_index(folder, "train").parts:
            ordered = part.blocks[np.argsort(part.blocks[:, 0], kind="stable")]
            ids += [np.asarray(part.tokens.tokens[start:end]) for start, end in ordered[:, :2]]
        return _facts(job, np.concatenate(ids), _size([out / "tokens", folder]))

    return run


def by_datatrove(merged: bool) -> Callable[[Job, Clock], dict[str, Any]]:
    """DocumentTokenizer without shuffling, `merged`: and DocumentTokenizerMerger; blocks are windows, when read."""

    def run(job: Job, clock: Clock) -> dict[str, Any]:
        import numpy as np
        from datatrove.executor import LocalPipelineExecutor
        from datatrove.pipeline.readers import ParquetReader
        from datatrove.pipeline.tokens import DocumentTokenizer, DocumentTokenizerMerger
        from loguru import logger

        logger.remove()
        work, documents = Path(job["work"]), Path(job["documents"])
        tokenizer = str(Path(job["tokenizer"]) / "tokenizer.json")
        out = work / ("merged" if merged else "tokens")
        with clock:
            steps = [
                ParquetReader(str(documents.parent), glob_pattern=documents.name),
                DocumentTokenizer(str(work / "tokens"), tokenizer, eos_token="</s>", shuffle_documents=False),
            ]
            LocalPipelineExecutor(steps, tasks=1, workers=1, logging_dir=str(work / "logs")).run()
            if merged:
                merger = DocumentTokenizerMerger(str(work / "tokens"), str(out), "all", shuffle=False, progress=False)
                LocalPipelineExecutor([merger], tasks=1, workers=1, logging_dir=str(work / "merge")).run()
        [path] = out.glob("*.ds")
        ids = np.fromfile(path, dtype=np.uint16)
        ends = np.fromfile(path.with_name(f"{path.name}.index"), dtype=np.uint64).astype(np.int64)
        return _facts(job, np.delete(ids, ends - 1), _size([path, path.with_name(f"{path.name}.index")]))

    return run


def by_datasets(job: Job, clock: Clock) -> dict[str, Any]:
    """Two maps of datasets, as the language-modeling examples of transformers do: tokenize, then join the ids of each
    thousand documents and cut them; what is left over at the end of each thousand is dropped."""
    import numpy as np
    from datasets import disable_progress_bars, load_dataset
    from transformers import PreTrainedTokenizerFast

    disable_progress_bars()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(Path(job["tokenizer"]) / "tokenizer.json"), pad_token="<pad>", mask_token="<mask>",
        bos_token="<s>", eos_token="</s>", cls_token="<s>", sep_token="</s>", unk_token="<unk>",
    )
    size = job["max_tokens"]

    def tokenize(batch: dict[str, list[str]]) -> Any:
        return tokenizer(batch["text"], return_special_tokens_mask=True)

    def group(batch: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        joined = {name: [value for values in column for value in values] for name, column in batch.items()}
        total = len(joined["input_ids"]) // size * size
        return {name: [values[at : at + size] for at in range(0, total, size)] for name, values in joined.items()}

    with clock:
        documents = load_dataset(
            "parquet", data_files=job["documents"], split="train", cache_dir=str(Path(job["work"]) / "cache")
        )
        tokenized = documents.map(tokenize, batched=True, remove_columns=documents.column_names)
        blocks = tokenized.map(group, batched=True)
    arrays = [np.asarray(row) for row in blocks.with_format("numpy")["input_ids"]]
    ids = np.concatenate(arrays) if arrays else np.empty(0, dtype=np.int64)
    return _facts(job, ids[(ids != BOS) & (ids != EOS)], _size(Path(file["filename"]) for file in blocks.cache_files))


RBT = ("rbt", "numba", "numpy", "pyarrow", "sentencex")
CONTENDERS = {
    "rbt, full-sentences": Contender(by_rbt("full-sentences"), ("rbt",), RBT),
    "rbt, doc-sentences": Contender(by_rbt("doc-sentences"), ("rbt",), RBT),
    "datatrove": Contender(by_datatrove(False), ("datatrove.pipeline.tokens",), ("datatrove", "tokenizers")),
    "datatrove, merged": Contender(by_datatrove(True), ("datatrove.pipeline.tokens",), ("datatrove", "tokenizers")),
    "datasets.map": Contender(by_datasets, ("datasets", "transformers"), ("datasets", "transformers", "tokenizers")),
}

if __name__ == "__main__":
    serve(CONTENDERS)
