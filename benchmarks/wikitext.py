"""Wikitext to text: rbt beside mwparserfromhell and wikiextractor, in one run, on one core: speed, and what each loses.

    python benchmarks/wikitext.py [RBT_DATA]

Pages: all of wtf_wikipedia and the articles of the enwiki piece. wikiextractor runs as it does by default, but for the
templates of the dump, which the pieces do not have. Processor seconds, medians of RUNS runs in turn.

Loss. The outputs are cut into sentences; those of different extractors that share most of their words are one sentence,
and it is running prose where at least two of three keep it. Of such sentences
  - prose and quotation marks lost: characters of words, and marks, that at least two keep and this one does not
    (wikiextractor puts quotation marks around italics, so one alone proves nothing);
  - numbers lost: of those that any one keeps.
Left in. Of each output: brackets, tags and attributes of markup, in pieces per 100,000 characters; and the share of
characters in lines that do not end like a sentence: headings, list items, captions, cells.

Whole source: the .xml.bz2 pieces to documents, beside bz2 alone and bz2 and lxml alone. Needs mwparserfromhell and
wikiextractor.
"""

from __future__ import annotations

import bz2
import html
import io
import logging
import os
import platform
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

from lxml import etree

from rbt.corpus.config import SourceConfig
from rbt.corpus.extract.wikitext import extract_wikitext
from rbt.corpus.reading import Reading
from rbt.corpus.sources import dump
from rbt.corpus.sources.dump_page import parse_page
from rbt.engine import available_cores

try:
    import mwparserfromhell
    from wikiextractor.extract import Extractor
except ImportError:
    sys.exit("needs mwparserfromhell and wikiextractor: pip install mwparserfromhell wikiextractor")

RUNS = 5
DUMPS = ("derived/enwiki-A-pages-articles-multistream.xml.bz2", "dumpster-dive/smallwiki-latest-pages-articles.xml.bz2")
SHARED_WORDS = 0.6  # share of the shorter sentence's word pairs that makes two sentences one
MINIMUM_WORDS = 6  # of a sentence that is compared
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]”]*\s+|\n+")
NUMBER = re.compile(r"(?<!\w)\d+(?:[.,]\d+)*")  # no part of a word: wikiextractor writes formula_1 for a formula
WORD = re.compile(r"[^\W\d_]+")
QUOTATION = re.compile(r"[\"“”«»]")
MARKUP = re.compile(
    r"\{\{|\}\}|\[\[|\]\]|\{\||\|\}|\|\||'''|</?[a-z]+[^<>\n]{0,80}>|&(?:nbsp|lt|gt|amp|ndash);"
    r"|\b(?:style|class|align|colspan|rowspan|bgcolor) ?= ?[\"\w]|\bthumb\||\(\s*[,;]|\(\s*\)"
)
LINE_END = re.compile(r"[.!?:…。][\"')\]”]*$")


def read_pages(data: Path) -> list[str]:
    """Wikitext of the pages."""
    pages = [path.read_text("utf-8") for path in sorted((data / "wikipedia/wtf_wikipedia").glob("*.txt"))]
    pages = [html.unescape(page) if "&lt;ref" in page else page for page in pages]  # some were saved escaped
    cutter = dump.PageCutter()
    with bz2.open(data / "wikipedia" / DUMPS[0]) as stream:
        found = [parse_page(page.data) for page in cutter.feed(stream.read())]
    return pages + [page.text.decode() for page in found if not page.redirect]


def by_mwparserfromhell(source: str) -> str:
    """Its strip_code, without references and tables, whose content it would leave between the sentences."""
    code = mwparserfromhell.parse(source)
    for tag in code.filter_tags(matches=lambda tag: str(tag.tag).lower() in ("ref", "table")):
        with suppress(ValueError):  # it went with one around it
            code.remove(tag)
    return str(code.strip_code())


def by_wikiextractor(source: str) -> str:
    """Its paragraphs."""
    return "\n".join(Extractor("1", "1", "", "Page", [source]).clean_text(source, html_safe=False))


CONTENDERS: dict[str, Callable[[str], str]] = {
    "rbt": extract_wikitext, "mwparserfromhell": by_mwparserfromhell, "wikiextractor": by_wikiextractor,
}


def rates(pages: list[str]) -> dict[str, float]:
    """MB of wikitext a second, by contender."""
    size = sum(len(page.encode()) for page in pages) / 1e6
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for _ in range(RUNS):
        for name, extract in CONTENDERS.items():
            start = time.process_time()
            for page in pages:
                extract(page)
            seconds[name].append(time.process_time() - start)
    return {name: size / statistics.median(times) for name, times in seconds.items()}


def sentences(text: str) -> list[str]:
    """Sentences of MINIMUM_WORDS and more."""
    found = (part.strip() for part in SENTENCE_END.split(text))
    return [part for part in found if len(WORD.findall(part)) >= MINIMUM_WORDS]


def word_pairs(sentence: str) -> set[tuple[str, str]]:
    """Pairs of neighboring words; numbers are no words, so that a lost number leaves most pairs as they are."""
    return set(pairwise(WORD.findall(sentence.lower())))


def clusters(outputs: list[str]) -> list[list[list[str]]]:
    """Sentences that are one, as lists by extractor; those that one alone keeps too."""
    found: list[list[list[str]]] = []
    first: list[set[tuple[str, str]]] = []  # word pairs of a cluster's first sentence
    places: dict[tuple[str, str], list[int]] = {}  # clusters that a word pair began
    for number, output in enumerate(outputs):
        for sentence in sentences(output):
            pairs = word_pairs(sentence)
            votes = Counter(place for pair in pairs for place in places.get(pair, ()))
            best = max(votes, key=lambda place: votes[place] / len(pairs | first[place]), default=-1)
            if best < 0 or votes[best] < SHARED_WORDS * min(len(pairs), len(first[best])) or (
                3 * votes[best] < max(len(pairs), len(first[best]))
            ):
                best = len(found)
                found.append([[] for _ in outputs])
                first.append(pairs)
                for pair in pairs:
                    places.setdefault(pair, []).append(best)
            found[best][number].append(sentence)
    return found


class Losses:
    """Sums over clusters, one entry an extractor."""

    def __init__(self, extractors: int) -> None:
        self.total = Counter[str]()
        self.lost = [Counter[str]() for _ in range(extractors)]

    def add(self, cluster: list[list[str]]) -> None:
        """Count a sentence that at least two keep."""
        words = [Counter(word for part in parts for word in WORD.findall(part.lower())) for parts in cluster]
        self._count("prose", words, 1, len)
        self._count("numbers", [Counter(NUMBER.findall(" ".join(parts))) for parts in cluster], 0, lambda number: 1)
        self._count("quotes", [Counter(QUOTATION.findall(" ".join(parts))) for parts in cluster], 1, lambda mark: 1)

    def _count(self, kind: str, tokens: list[Counter[str]], rank: int, weight: Callable[[str], int]) -> None:
        """`rank` 0: what any one keeps is the truth; 1: what two keep."""
        for token in set().union(*tokens):
            truth = sorted((counts[token] for counts in tokens), reverse=True)[rank]
            self.total[kind] += truth * weight(token)
            for lost, counts in zip(self.lost, tokens, strict=True):
                lost[kind] += max(truth - counts[token], 0) * weight(token)


def measure_losses(outputs: list[list[str]]) -> Losses:
    """Losses over pages; `outputs`: by extractor, by page."""
    losses = Losses(len(outputs))
    for page in zip(*outputs, strict=True):
        for cluster in clusters(list(page)):
            if sum(1 for parts in cluster if parts) >= 2:
                losses.add(cluster)
    return losses


def left_in(texts: list[str]) -> tuple[float, float]:
    """Pieces of markup per 100,000 characters, and the share of characters in lines that end like no sentence."""
    text = "\n".join(texts)
    lines = [line for line in text.split("\n") if line.strip()]
    loose = sum(len(line) for line in lines if not LINE_END.search(line.strip()))
    return len(MARKUP.findall(text)) / len(text) * 1e5, loose / sum(map(len, lines))


def whole_source(path: Path) -> tuple[float, float, float]:
    """MB of XML a second: bz2 alone, bz2 and lxml alone, rbt from the file to documents."""
    raw = path.read_bytes()
    size = len(bz2.decompress(raw)) / 1e6

    def parse() -> None:
        for _, element in etree.iterparse(io.BytesIO(bz2.decompress(raw)), tag="{*}text", huge_tree=True):
            element.clear()

    def read() -> None:
        for _ in dump.read(str(path), SourceConfig("wikipedia", ()), Reading("wikipedia", path.name)):
            pass

    seconds: list[list[float]] = [[], [], []]
    for _ in range(RUNS):
        for times, run in zip(seconds, (lambda: bz2.decompress(raw), parse, read), strict=True):
            start = time.process_time()
            run()
            times.append(time.process_time() - start)
    decompressed, parsed, read_whole = (size / statistics.median(times) for times in seconds)
    return decompressed, parsed, read_whole


def main() -> None:
    """Print the tables."""
    logging.disable(logging.CRITICAL)  # wikiextractor's warnings
    root = Path(__file__).resolve().parent.parent
    argument = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("RBT_DATA", str(root.parent / "shared" / "data"))
    data = Path(argument)
    pages = read_pages(data)
    outputs = [[extract(page) for page in pages] for extract in CONTENDERS.values()]  # compiles and warms up, too
    speeds, losses = rates(pages), measure_losses(outputs)
    packages = ("rbt", "mwparserfromhell", "wikiextractor", "numba", "lxml")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    print(f"{len(pages)} pages, {sum(len(page.encode()) for page in pages) / 1e6:.1f} MB of wikitext; "
          f"Python {platform.python_version()}, {versions}; one of {available_cores()} cores")
    print(f"reference: {losses.total['prose']} characters of prose, {losses.total['numbers']} numbers, "
          f"{losses.total['quotes']} quotation marks\n")
    print("| | MB/s of wikitext | prose lost | numbers lost | quotation marks lost | markup left /100k | no sentence |")
    print("|---|---|---|---|---|---|---|")
    for name, lost, texts in zip(CONTENDERS, losses.lost, outputs, strict=True):
        shares = " | ".join(f"{lost[kind] / losses.total[kind]:.2%}" for kind in ("prose", "numbers", "quotes"))
        markup, loose = left_in(texts)
        print(f"| {name} | {speeds[name]:.1f} | {shares} | {markup:.1f} | {loose:.1%} |")
    print("\n| whole source, MB of XML a second | bz2 alone | bz2 and lxml | rbt |\n|---|---|---|---|")
    for name in DUMPS:
        shown = " | ".join(f"{rate:.1f}" for rate in whole_source(data / "wikipedia" / name))
        print(f"| {Path(name).name} | {shown} |")


if __name__ == "__main__":
    main()
