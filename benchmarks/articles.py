"""Pages to articles: rbt beside its peers on pages whose articles people marked, in one run, on one core.

    python benchmarks/articles.py [RBT_DATA]

F1, precision and recall are of the bags of four-word shingles of a page, each averaged over the pages with a full human
body. Those pages are split in two by a hash of their host. rbt's rules were made on one half, so its F1 on all pages is
flattered; "held out" is the other half, of which no page was read and only total scores were seen meanwhile. Must
and must-not are shares of the segments of the pages without a full body that a text has: the more of the first and the
fewer of the second the better; spaces and soft hyphens are evened out on both sides.
Speed is pages a second of processor time, the median of RUNS runs over all pages, from bytes; rbt's has title and date.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import sha1
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trafilatura
from fastwarc.warc import ArchiveIterator, WarcRecordType
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from rbt.corpus.extract.html import extract_article
from rbt.corpus.extract.page_facts import decode_html
from rbt.engine import available_cores

RUNS = 3
Page = tuple[bytes, str | None]
Extract = Callable[[bytes, str | None], str]
Shingles = Counter[tuple[str, ...]]


def by_readability(html: bytes, charset: str | None) -> str:
    """readability-lxml's summary, as text."""
    import lxml.html
    from readability import Document

    try:
        summary = lxml.html.fromstring(Document(decode_html(html, charset)).summary())
    except (ValueError, lxml.etree.LxmlError):
        return ""
    return "\n".join(summary.itertext())


def by_resiliparse(html: bytes, charset: str | None) -> str:
    """resiliparse's main content."""
    tree = HTMLTree.parse(decode_html(html, charset))
    return extract_plain_text(tree, main_content=True, list_bullets=False, alt_texts=False, comments=False)


def by_trafilatura(**settings: Any) -> Extract:
    """trafilatura with some settings."""
    return lambda html, charset: trafilatura.extract(html, **settings) or ""


CONTENDERS: dict[str, Extract] = {
    "rbt": lambda html, charset: extract_article(html, charset).text,
    "trafilatura": by_trafilatura(),
    "trafilatura, fast": by_trafilatura(fast=True),
    "trafilatura, no comments": by_trafilatura(include_comments=False),
    "trafilatura, favor_precision": by_trafilatura(favor_precision=True),
    "trafilatura, favor_recall": by_trafilatura(favor_recall=True),
    "readability-lxml": by_readability,
    "resiliparse": by_resiliparse,
}


def read_pages(stem: str) -> dict[str, Page]:
    """Body and declared charset by URL."""
    with Path(f"{stem}.warc.gz").open("rb") as stream:
        records = ArchiveIterator(stream, record_types=WarcRecordType.response)
        return {
            record.headers["WARC-Target-URI"].strip("<> "): (record.reader.read(), record.http_charset)
            for record in records
        }


def read_gold(stem: str) -> list[dict[str, Any]]:
    """What people marked: articleBody, or with and without."""
    return [json.loads(line) for line in Path(f"{stem}.gold.jsonl").read_text("utf-8").splitlines()]


def is_held_out(url: str) -> bool:
    """Whether a page belongs to the half that no rule was made on."""
    return bool(sha1((urlsplit(url).hostname or "").encode()).digest()[0] & 1)


def shingles(text: str) -> Shingles:
    """Runs of four words, with repeats."""
    words = re.findall(r"\w+", text.replace("\xad", ""))
    return Counter(tuple(words[start : start + 4]) for start in range(max(len(words) - 3, 1)))


def agreement(found: Shingles, marked: Shingles) -> tuple[float, float, float]:
    """(F1, precision, recall) of two bags."""
    common = (found & marked).total()
    return 2 * common / (found.total() + marked.total()), common / found.total(), common / marked.total()


def even(text: str) -> str:
    """A text in which segments are looked up."""
    return " ".join(text.replace("\xad", "").split())


def median_rate(extract: Extract, pages: Sequence[Page]) -> float:
    """Pages a second of processor time."""
    extract(*pages[0])
    seconds = []
    for _ in range(RUNS):
        start = time.process_time()
        for page in pages:
            extract(*page)
        seconds.append(time.process_time() - start)
    return len(pages) / statistics.median(seconds)


def scores(texts: dict[str, str], gold: list[dict[str, Any]]) -> list[str]:
    """F1, precision, recall on all pages and on those held out; must and must-not."""
    rows = {row["url"].strip(): row for row in gold}
    bodies = {url: row["articleBody"] for url, row in rows.items() if "articleBody" in row}
    agreed = {url: agreement(shingles(texts[url]), shingles(body)) for url, body in bodies.items()}
    cells = []
    for chosen in ([*agreed.values()], [values for url, values in agreed.items() if is_held_out(url)]):
        cells += [f"{statistics.mean(column):.3f}" for column in zip(*chosen, strict=True)]
    for key in ("with", "without"):
        found = [even(part) in even(texts[url]) for url, row in rows.items() for part in row.get(key, [])]
        cells.append(f"{statistics.mean(found):.3f}")
    return cells


def main() -> None:
    """Print the table."""
    logging.disable(logging.CRITICAL)  # the peers tell of each page that they find nothing in
    root = Path(__file__).resolve().parent.parent
    argument = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("RBT_DATA", str(root.parent / "shared" / "data"))
    stem = f"{argument}/warc/derived/CC-NEWS-like-A"
    pages, gold = read_pages(stem), read_gold(stem)
    absent = {"readability-lxml"} if find_spec("readability") is None else set()
    names = [name for name in ("rbt", "trafilatura", "readability-lxml", "resiliparse") if name not in absent]
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    bodies = [row["url"] for row in gold if "articleBody" in row]
    print(f"{len(pages)} pages, {sum(len(html) for html, _ in pages.values()) / 1e6:.0f} MB; {len(bodies)} with a full "
          f"body, {sum(map(is_held_out, bodies))} of them held out; Python {platform.python_version()}, {versions}; "
          f"one of {available_cores()} cores\n")
    print("| | pages/s | F1 | precision | recall | F1, held out | precision | recall | must | must not |")
    print("|---|" + "---:|" * 9)
    for name, extract in CONTENDERS.items():
        if name in absent:
            continue
        texts = {url: extract(*page) for url, page in pages.items()}
        rate = median_rate(extract, list(pages.values()))
        print(f"| {name} | {rate:.0f} | " + " | ".join(scores(texts, gold)) + " |", flush=True)


if __name__ == "__main__":
    main()
