"""The documents that benchmarks/dedup.py compares on: real ones, recombined ones, and planted near-duplicates of both.

    RBT_DATA ──read──> real documents ──sentences──> recombined documents, until there is enough text
                            └──────────── plant ────────────┴──> families: a document and its copies ──shuffle──> corpus

Real documents alone are about 20 MB. To have more, their sentences are shuffled over all documents and put together
anew: every second family is of such a document, so that words and sentences stay real, and a sentence stands in several
documents, as boilerplate does. One family in 12 has an exact copy, one in 4 has one to three near copies: random words
replaced, inserted and deleted, as many as make an expected Jaccard similarity drawn from .5 to .95. A smaller corpus is
made of the first families of a larger one.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import regex

from rbt.corpus.clean import clean_text
from rbt.corpus.config import SourceConfig
from rbt.corpus.reading import Reading
from rbt.corpus.sources import read_documents
from rbt.rng import rng

STRETCH = 5000  # characters of a novel that make a document
MINIMUM_CHARACTERS, MINIMUM_WORDS = 200, 20
NGRAM = 5  # words; what the planted similarities are meant for
EXACT_FAMILIES, NEAR_FAMILIES = 1 / 12, 1 / 4
LOWEST, HIGHEST = 0.5, 0.95  # expected Jaccard similarity of a near copy with its original
REAL_SHARE = 0.5  # of the families, as long as there are real documents
SENTENCES = (8, 40)  # of a recombined document
UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]")
Texts = dict[str, str]  # by a name of the benchmark's own


def reuters(data: Path) -> Texts:
    """Body of each article by its NEWID; those without one are left out."""
    texts = {}
    for path in sorted((data / "general" / "reuters21578").glob("*.sgm")):
        raw = path.read_bytes().decode("latin-1")
        for article in re.finditer(r'NEWID="(\d+)".*?</REUTERS>', raw, re.DOTALL):
            if body := re.search(r"<BODY>(.*?)</BODY>", article[0], re.DOTALL):
                texts[article[1]] = html.unescape(body[1])
    return texts


def bbc(data: Path) -> Texts:
    """Articles by topic and file name."""
    paths = sorted((data / "general" / "bbc").glob("*/*.txt"))
    return {f"{path.parent.name}/{path.name}": path.read_text("utf-8") for path in paths}


def plagiarism(data: Path) -> Texts:
    """News articles by their names, ten of them in two versions."""
    lines = (data / "neardup" / "minhash_plagiarism" / "articles_1000.train").read_text("utf-8").splitlines()
    return dict(line.split(" ", 1) for line in lines)


def lee(data: Path) -> Texts:
    """News, one document a line."""
    lines = (data / "general" / "gensim" / "lee_background.cor").read_text("utf-8").splitlines()
    return {str(number): line for number, line in enumerate(lines)}


def novels(data: Path) -> Texts:
    """Stretches of novels."""
    texts = {}
    for path in sorted((data / "books" / "100_english_novels").glob("*.txt")):
        text = path.read_text("utf-8-sig")
        cuts = range(0, len(text), STRETCH)
        texts |= {f"{path.stem}/{start}": text[start : start + STRETCH] for start in cuts}
    return texts


def pages(data: Path) -> Texts:
    """Articles of web pages and of pieces of two Wikipedias."""
    sources = {
        "ccnews": data / "warc" / "derived" / "CC-NEWS-like-A.warc.gz",
        "wikipedia": data / "wikipedia" / "derived" / "enwiki-A-pages-articles-multistream.xml.bz2",
    }
    texts = {}
    for kind, path in sources.items():
        config = SourceConfig(kind, (str(path),), since="", until="")  # type: ignore[arg-type]
        texts |= {document.id: document.text for document in read_documents(str(path), config, Reading(kind, kind))}
    return texts


def real_documents(data: Path) -> list[str]:
    """All real documents of a useful length, cleaned as rbt cleans them, in a fixed order; none with a character that
    is a word by itself for rbt, and part of one for its peers."""
    texts = []
    for read in (reuters, bbc, plagiarism, lee, novels, pages):
        cleaned = (clean_text(text).text for text in read(data).values())
        texts += [
            text for text in cleaned
            if len(text) >= MINIMUM_CHARACTERS and len(text.split()) >= MINIMUM_WORDS and not UNSPACED.search(text)
        ]
    return texts


def recombined(documents: list[str], random: np.random.Generator) -> Iterator[str]:
    """Documents of sentences drawn from all of these, each sentence once a round, without end."""
    sentences = [sentence for text in documents for sentence in re.split(r"(?<=[.!?]) +|\n+", text) if sentence]
    while True:
        order = random.permutation(len(sentences)).tolist()
        while order:
            count = int(random.integers(*SENTENCES))
            text = " ".join(sentences[place] for place in order[-count:])
            del order[-count:]
            if len(text) >= MINIMUM_CHARACTERS and len(text.split()) >= MINIMUM_WORDS:
                yield text


def edited(text: str, jaccard: float, words: list[str], random: np.random.Generator) -> str:
    """A near copy: words replaced, inserted before, or deleted, independently, at the rate that leaves the expected
    share of n-grams (1 - J) / (1 + J) changed."""
    changed = (1 - jaccard) / (1 + jaccard)
    rate = 1 - (1 - changed) ** (1 / NGRAM)
    pieces = re.split(r"(\w+)", text)
    places = np.arange(1, len(pieces), 2)
    for place in places[random.random(len(places)) < rate].tolist():
        word = words[int(random.integers(len(words)))]
        pieces[place] = {0: word, 1: f"{word} {pieces[place]}", 2: ""}[int(random.integers(3))]
    return "".join(pieces)


def family(text: str, words: list[str], random: np.random.Generator) -> list[str]:
    """A document and its planted copies."""
    members = [text]
    if random.random() < EXACT_FAMILIES:
        members.append(text)
    if random.random() < NEAR_FAMILIES:
        for _ in range(int(random.integers(1, 4))):
            members.append(edited(text, float(random.uniform(LOWEST, HIGHEST)), words, random))
    return members


def build_corpus(data: Path, megabytes: list[float], seed: int) -> list[list[str]]:
    """A corpus of each size (MB of 10^6 bytes of text): the documents in random order."""
    real = real_documents(data)
    random = rng(seed, "families")
    words = sorted({word for text in real[:2000] for word in re.findall(r"[a-z]+", text)})
    originals = [real[place] for place in random.permutation(len(real)).tolist()]
    more = recombined(real, rng(seed, "sentences"))
    made: list[list[str]] = []
    total = 0.0
    while total < max(megabytes) * 1e6:
        is_real = originals and random.random() < REAL_SHARE
        made.append(family(originals.pop() if is_real else next(more), words, random))
        total += sum(len(text.encode()) for text in made[-1])
    return [_first(made, size * 1e6, seed) for size in megabytes]


def _first(families: list[list[str]], size: float, seed: int) -> list[str]:
    documents: list[str] = []
    total = 0.0
    for members in families:
        if total >= size:
            break
        documents += members
        total += sum(len(text.encode()) for text in members)
    return [documents[place] for place in rng(seed, "order").permutation(len(documents)).tolist()]
