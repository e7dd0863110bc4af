"""Real text for the benchmarks of tokenizers and packing: all the plain text in RBT_DATA, the most like books first.

    RBT_DATA ──read, kind by kind──> documents, up to so many bytes ──write──┬─> a corpus folder, for rbt
                                                                             └─> a Parquet file (id, text), for peers

Nothing is repeated to make more of it: a second copy of a text has no new words. The kinds stand in the order of
`KINDS`; a smaller corpus is the beginning of a larger one.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from dedup_corpus import bbc, lee, plagiarism, reuters
from pyarrow import parquet

from rbt.corpus.config import SourceConfig
from rbt.corpus.extract.wikitext import extract_wikitext
from rbt.corpus.reading import Reading
from rbt.corpus.sources import read_documents
from rbt.formats.document import SCHEMA
from rbt.formats.parts import KIND, VERSION, part_name, write_part
from rbt.manifest import Manifest, record_files, write_manifest

DATA = Path(os.environ.get("RBT_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
SENTENCE_CHARACTERS = 40  # a field of a task file that long is a sentence
PART_BYTES = 256_000_000  # of text in a part of the corpus folder
BATCH_DOCUMENTS = 256
Documents = dict[str, str]  # text by id


def novels(data: Path) -> Iterator[str]:
    """Whole novels."""
    for path in sorted((data / "books/100_english_novels").glob("*.txt")):
        yield path.read_text("utf-8-sig")


def news(data: Path) -> Iterator[str]:
    """News of four collections; some articles stand there twice."""
    for read in (reuters, bbc, plagiarism, lee):
        yield from read(data).values()


def encyclopedia_and_web(data: Path) -> Iterator[str]:
    """Articles of the English Wikipedia and of web pages."""
    yield from _read("wikipedia", data / "wikipedia/derived/enwiki-A-pages-articles-multistream.xml.bz2")
    yield from _read("ccnews", data / "warc/derived/CC-NEWS-like-A.warc.gz", since="", until="")
    for path in sorted((data / "wikipedia/wtf_wikipedia").glob("*.txt")):
        yield extract_wikitext(path.read_text("utf-8"))
    yield (data / "bpe/taylorswift.txt").read_text("utf-8")
    for path in sorted((data / "openwebtext/dolma_cc_head").glob("**/*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            yield from (json.loads(line)["text"] for line in lines)


def tasks(data: Path) -> Iterator[str]:
    """Passages, stories and sentences of task files, each once."""
    yield from dict.fromkeys(text for text in _task_texts(data) if len(text) >= SENTENCE_CHARACTERS)


def _task_texts(data: Path) -> Iterator[str]:
    for path in sorted((data / "tasks/squad").glob("**/*.json")):
        for article in json.loads(path.read_text("utf-8"))["data"]:
            for paragraph in article["paragraphs"]:
                yield paragraph["context"]
                yield from (question["question"] for question in paragraph["qas"])
    for path in sorted((data / "tasks/race").glob("**/dev/*/*.txt")):
        passage = json.loads(path.read_text("utf-8"))
        yield from (passage["article"], *passage["questions"])
    tables = [*(data / "tasks/glue").glob("*/*.t[sx][vt]"), *(data / "stories/mctest").glob("*/*.tsv")]
    for path in sorted(tables):
        with path.open(encoding="utf-8-sig", newline="") as lines:
            for fields in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
                yield from (field.replace("\\newline", "\n").replace("\\tab", "\t") for field in fields)


def other_languages(data: Path) -> Iterator[str]:
    """Wikipedia in Latgalian and Marathi, and the same sentences in nine languages and English."""
    yield from _read("wikipedia", data / "wikipedia/dumpster-dive/smallwiki-latest-pages-articles.xml.bz2")
    yield from _read("wikipedia", data / "wikipedia/truncated_multilang/mrwiki-truncated-100k.xml.xz")
    for path in sorted((data / "langid/flores200_devtest").glob("*.devtest")):
        yield path.read_text("utf-8")


def _read(kind: str, path: Path, **options: object) -> Iterator[str]:
    config = SourceConfig(kind, (str(path),), **options)  # type: ignore[arg-type]
    yield from (document.text for document in read_documents(str(path), config, Reading(kind, path.name)))


KINDS: dict[str, Callable[[Path], Iterable[str]]] = {
    "novels": novels,
    "news": news,
    "encyclopedia and web": encyclopedia_and_web,
    "task files": tasks,
    "other languages": other_languages,
}
ENGLISH = tuple(kind for kind in KINDS if kind != "other languages")


def read_texts(data: Path, megabytes: float, kinds: Iterable[str] = tuple(KINDS)) -> Documents:
    """Whole documents of some kinds until there are so many MB (10^6 bytes) of text, or all there are."""
    found: Documents = {}
    room = megabytes * 1e6
    for kind in kinds:
        for number, text in enumerate(KINDS[kind](data)):
            if room <= 0:
                return found
            found[f"{kind.replace(' ', '-')}:{number}"] = text
            room -= len(text.encode())
    return found


def describe(documents: Documents) -> str:
    """What a corpus is, for the reader of a table: MB and documents by kind."""
    sizes: dict[str, list[int]] = {}
    for id, text in documents.items():
        sizes.setdefault(id.partition(":")[0], []).append(len(text.encode()))
    kinds = ", ".join(f"{kind} {sum(found) / 1e6:.1f} MB in {len(found):,}" for kind, found in sizes.items())
    return f"{size_of(documents) / 1e6:.1f} MB, {len(documents):,} documents ({kinds})"


def size_of(documents: Documents) -> int:
    """Bytes of text."""
    return sum(len(text.encode()) for text in documents.values())


def write_parquet(path: Path, documents: Documents) -> Path:
    """Documents for the peers."""
    parquet.write_table(pa.table({"id": list(documents), "text": list(documents.values())}), path)
    return path


def write_corpus(folder: Path, documents: Iterable[tuple[str, str]]) -> Path:
    """The same documents (id, text) as a finished corpus, in parts of PART_BYTES."""
    parts: list[dict[str, object]] = []
    sources: dict[str, object] = {}
    stream = iter(documents)
    while (first := next(stream, None)) is not None:
        part: dict[str, object] = {"path": part_name(len(parts)), "documents": 0, "bytes": 0}
        write_part(folder / part_name(len(parts)), _part(chain([first], stream), part, sources))
        parts.append(part)
    files = record_files(folder, [str(part["path"]) for part in parts])
    facts = {"generation": 0, "sources": sources, "parts": parts}
    write_manifest(folder, Manifest(KIND, VERSION, "corpus build", 1, {}, {"raw": "benchmark"}, files, facts))
    return folder


def _part(
    documents: Iterator[tuple[str, str]], part: dict[str, Any], sources: dict[str, Any]
) -> Iterator[pa.RecordBatch]:
    """Batches of one part, its amounts counted in `part`, the sources met in `sources`."""
    while part["bytes"] < PART_BYTES and (rows := list(islice(documents, BATCH_DOCUMENTS))):
        ids, texts = [id for id, _ in rows], [text for _, text in rows]
        columns: dict[str, list[object]] = {name: [""] * len(rows) for name in SCHEMA.names}
        columns |= {"id": list(ids), "source": [id.partition(":")[0] for id in ids], "language": ["en"] * len(rows)}
        columns |= {"language_score": [1.0] * len(rows), "text": list(texts)}
        part["documents"] += len(rows)
        part["bytes"] += sum(len(text.encode()) for text in texts)
        sources |= {str(source): {"has_documents": True} for source in columns["source"]}
        yield pa.RecordBatch.from_pydict(columns, schema=SCHEMA)
