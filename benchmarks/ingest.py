"""Ingestion of whole sources: raw files to cleaned documents with their language, on one core.

    python benchmarks/ingest.py [--rounds 3] [--data FOLDER]

Each source is read as `rbt corpus build` reads it (one task a file or span: decompress, parse, extract, clean, tell
the language, write), in a process of its own, whose peak memory is shown (without the child that extracts pages);
speeds are medians of wall time, for a machine that does nothing else, after a round in which kernels compile and the
child starts. MB are of the decompressed file (the dump's XML, the WARC's records).
`--peers` runs the scripts in which peers stand beside rbt: benchmarks/wikitext.py, articles.py, warc.py, language.py.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import io
import lzma
import os
import platform
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rbt.corpus.config import SourceConfig
from rbt.corpus.ingest import ingest_file, plan_tasks
from rbt.corpus.raw_files import list_raw_files

DUMP_BYTES = 12_000_000  # compressed; the real piece of a dump is repeated up to this size


def multistream_dump(data: Path, folder: Path) -> list[str]:
    """A multistream dump: the streams of pages of a real one, repeated."""
    raw = (data / "wikipedia/derived/enwiki-A-pages-articles-multistream.xml.bz2").read_bytes()
    index = data / "wikipedia/derived/enwiki-A-pages-articles-multistream-index.txt.bz2"
    first = int(bz2.decompress(index.read_bytes()).partition(b":")[0])
    last = raw.rindex(b"BZh")
    streams = raw[first:last]
    path = folder / "dump.xml.bz2"
    path.write_bytes(raw[:first] + streams * (DUMP_BYTES // len(streams)) + raw[last:])
    return [str(path)]


def plain_dump(data: Path, folder: Path) -> list[str]:
    """The same dump, decompressed."""
    [compressed] = multistream_dump(data, folder)
    path = folder / "dump.xml"
    path.write_bytes(bz2.decompress(Path(compressed).read_bytes()))
    return [str(path)]


def novels(data: Path, folder: Path) -> list[str]:
    """Whole novels, a text file each."""
    return [str(data / "books/100_english_novels/*.txt")]


def news(data: Path, folder: Path) -> list[str]:
    """Real pages as WARC responses."""
    return [str(data / "warc/derived/CC-NEWS-like-A.warc.gz")]


def web_archive(data: Path, folder: Path) -> list[str]:
    """Pages cut from novels, in the published layout: .xz tars in a tar."""
    texts = [path.read_bytes() for path in sorted((data / "books/100_english_novels").glob("*.txt"))]
    pages = [text[at : at + 5000] for text in texts for at in range(0, len(text), 5000)]
    path = folder / "openwebtext.tar"
    with tarfile.open(path, "w") as outer:
        for number in range(4):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as archive:
                for place, page in enumerate(pages[number::4]):
                    _add(archive, f"{place:07d}-{number}.txt", page)
            _add(outer, f"openwebtext/urlsf_subset00-{number}_data.xz", lzma.compress(inner.getvalue(), preset=1))
    return [str(path)]


def json_lines(data: Path, folder: Path) -> list[str]:
    """Web documents as JSON lines, gzip."""
    return [str(data / "openwebtext/dolma_cc_head/**/*.jsonl.gz")]


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


CASES: dict[str, tuple[str, Callable[[Path, Path], list[str]], dict[str, object]]] = {
    "wikipedia, multistream .xml.bz2": ("wikipedia", multistream_dump, {}),
    "wikipedia, plain .xml": ("wikipedia", plain_dump, {}),
    "bookcorpus, .txt": ("bookcorpus", novels, {}),
    "ccnews, .warc.gz": ("ccnews", news, {"since": "", "until": ""}),
    "openwebtext, .xz tars in a tar": ("openwebtext", web_archive, {}),
    "table, .jsonl.gz": ("table", json_lines, {"columns": {"id": "id", "text": "text"}}),
}


def measure(name: str, data: Path, rounds: int) -> str:
    """One row of the table: run in a process of its own."""
    kind, make, options = CASES[name]
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        source = SourceConfig(kind, tuple(make(data, folder)), **options)  # type: ignore[arg-type]
        tasks = [task.as_task(mojibake=False) for task in plan_tasks(list_raw_files([source], folder), {})]
        before, seconds = peak_megabytes(), []
        for _ in range(rounds + 1):
            started = time.perf_counter()
            outputs = [ingest_file(task, folder) for task in tasks]
            seconds.append(time.perf_counter() - started)
        raw = sum(output.result["raw_bytes"] for output in outputs)
        size = sum(decompressed_bytes(Path(task.context["location"])) for task in tasks)
        documents = sum(output.result["documents"] for output in outputs)
        text = sum(output.result["bytes"] for output in outputs)
    spent = statistics.median(seconds[1:])
    figures = [
        f"{raw / 1e6:.1f}", f"{size / 1e6:.1f}", f"{documents:,}", f"{text / 1e6:.1f}", f"{size / 1e6 / spent:.1f}",
        f"{documents / spent:,.0f}", f"{before:.0f}", f"{peak_megabytes():.0f}",
    ]
    return f"| {name} | {' | '.join(figures)} |"


def decompressed_bytes(path: Path) -> int:
    """The size of a file without its outermost compression."""
    opener = {".bz2": bz2.open, ".gz": gzip.open}.get(path.suffix, Path.open)
    with opener(path, "rb") as stream:
        return sum(len(piece) for piece in iter(lambda: stream.read(1 << 20), b""))


def peak_megabytes() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print the table, each row from a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(measure(options.case, options.data, options.rounds))
        return
    print(f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {os.cpu_count()} cores, one used\n")
    columns = ["raw MB", "MB", "documents", "MB of text", "MB/s", "documents/s", "memory before, MB", "at its peak, MB"]
    print(f"| source | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}", flush=True)
    for case in CASES:
        words = [sys.executable, __file__, "--rounds", str(options.rounds), "--data", str(options.data), "--case", case]
        subprocess.run(words, check=True)
    for script in PEERS if options.peers else ():
        print(flush=True)
        subprocess.run([sys.executable, str(Path(__file__).with_name(script))], check=True)


PEERS = ("wikitext.py", "articles.py", "warc.py", "language.py")
DATA = Path(os.environ.get("RBT_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))

if __name__ == "__main__":
    main()
