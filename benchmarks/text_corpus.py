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
from pathlib import Path

import pyarrow as pa
from dedup_corpus import bbc, lee, pages, plagiarism, reuters
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
PART_BYTES = 64_000_000  # of text in a part of the corpus folder
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
    yield from pages(data).values()
    for path in sorted((data / "wikipedia/wtf_wikipedia").glob("*.txt")):
        yield extract_wikitext(path.read_text("utf-8"))
    yield (data / "bpe/taylorswift.txt").read_text("utf-8")
    for path in sorted((data / "openwebtext/dolma_cc_head").glob("**/*.jsonl.gz")):
        yield from (json.loads(line)["text"] for line in gzip.open(path, "rt", encoding="utf-8"))


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
    for path in ("dumpster-dive/smallwiki-latest-pages-articles.xml.bz2", "truncated_multilang"):
        for file in [data / "wikipedia" / path] if path.endswith("bz2") else (data / "wikipedia" / path).glob("*.xz"):
            config = SourceConfig("wikipedia", (str(file),))
            reading = Reading("wikipedia", "wikipedia")
            yield from (document.text for document in read_documents(str(file), config, reading))
    for path in sorted((data / "langid/flores200_devtest").glob("*.devtest")):
        yield path.read_text("utf-8")


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


def write_corpus(folder: Path, documents: Documents) -> Path:
    """The same documents as a finished corpus."""
    facts, sources = [], {}
    for number, ids in enumerate(_part_ids(documents)):
        columns: dict[str, list[object]] = {name: [""] * len(ids) for name in SCHEMA.names}
        columns |= {"id": list(ids), "source": [id.partition(":")[0] for id in ids], "language": ["en"] * len(ids)}
        columns |= {"language_score": [1.0] * len(ids), "text": [documents[id] for id in ids]}
        table = pa.table(columns, schema=SCHEMA)
        write_part(folder / part_name(number), table.to_batches(max_chunksize=256))
        size = sum(len(documents[id].encode()) for id in ids)
        facts.append({"path": part_name(number), "documents": len(ids), "bytes": size})
        sources |= {str(source): {"has_documents": True} for source in columns["source"]}
    files = record_files(folder, [str(fact["path"]) for fact in facts])
    made = {"generation": 0, "sources": sources, "parts": facts}
    write_manifest(folder, Manifest(KIND, VERSION, "corpus build", 1, {}, {"raw": "benchmark"}, files, made))
    return folder


def _part_ids(documents: Documents) -> Iterator[list[str]]:
    ids: list[str] = []
    size = 0
    for id, text in documents.items():
        ids.append(id)
        size += len(text.encode())
        if size >= PART_BYTES:
            yield ids
            ids, size = [], 0
    if ids:
        yield ids
