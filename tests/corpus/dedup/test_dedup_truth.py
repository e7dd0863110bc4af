"""Deduplication of real documents against lists of their pairs that others made."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rbt.corpus.config import DeduplicateConfig
from rbt.corpus.dedup.pipeline import Deduplicated, Ingested, deduplicate
from rbt.corpus.dedup.shingles import shingle_sets
from rbt.engine import LocalEngine

MakeParts = Callable[..., list[Ingested]]
Removed = dict[int, tuple[str, int, float | None]]
Pairs = dict[tuple[str, str], float]
DEFAULT = DeduplicateConfig()


def read_pairs(path: Path) -> Pairs:
    lines = [line.split("\t") for line in path.read_text("utf-8").splitlines()[1:]]
    return {(first, second): float(jaccard) for first, second, jaccard in lines}


def reuters(data: Path) -> dict[str, str]:
    """Body of each article by its NEWID; an article without one has an empty text and is left out."""
    texts = {}
    for number in range(5):
        raw = (data / "general" / "reuters21578" / f"{number}.sgm").read_bytes().decode("latin-1")
        for article in re.finditer(r'NEWID="(\d+)".*?</REUTERS>', raw, re.DOTALL):
            if body := re.search(r"<BODY>(.*?)</BODY>", article[0], re.DOTALL):
                texts[article[1]] = html.unescape(body[1])
    return texts


def bbc(data: Path) -> dict[str, str]:
    paths = [path for topic in ("business", "tech") for path in sorted((data / "general" / "bbc" / topic).glob("*"))]
    return {f"{path.parent.name}/{path.name}": path.read_text("utf-8") for path in paths}


@pytest.fixture(params=[(reuters, "reuters21578_A_pairs.tsv"), (bbc, "bbc_A_pairs.tsv")], ids=["reuters", "bbc"])
def known(request: pytest.FixtureRequest, data: Path) -> tuple[dict[str, str], Pairs]:
    read, name = request.param
    return read(data), read_pairs(data / "neardup" / "derived" / name)


def test_exact_jaccard_of_every_listed_pair_is_the_listed_one(known: tuple[dict[str, str], Pairs]) -> None:
    texts, pairs = known
    for (first, second), jaccard in pairs.items():
        a, b = shingle_sets(pa.array([texts[first], texts[second]]), 5)
        common = len(np.intersect1d(a, b, assume_unique=True))
        assert common / (len(a) + len(b) - common) == pytest.approx(jaccard, abs=1e-4)


def test_removals_of_real_documents_are_right_and_hardly_a_pair_is_missed(
    known: tuple[dict[str, str], Pairs], make_parts: MakeParts,
    removed_numbers: Callable[[list[Ingested], Deduplicated], Removed], tmp_path: Path,
) -> None:
    texts, pairs = known
    names = list(texts)
    parts = make_parts(tmp_path / "in", [list(texts.items())], batch=500)
    result = deduplicate(parts, DEFAULT, 0, tmp_path / "work", LocalEngine(1))
    removed = removed_numbers(parts, result)
    similar = {frozenset(pair): jaccard for pair, jaccard in pairs.items()}
    for number, (_, kept, jaccard) in removed.items():
        assert jaccard == pytest.approx(similar[frozenset((names[number], names[kept]))], abs=1e-4)
        assert jaccard is not None
        assert jaccard >= DEFAULT.threshold
    gone = {names[number] for number in removed}
    wanted = [pair for pair, jaccard in pairs.items() if jaccard >= DEFAULT.threshold]
    missed = [pair for pair in wanted if not gone & set(pair)]
    assert len(missed) <= 0.02 * len(wanted), missed  # pairs at .8 are candidates with probability .998


def test_planted_copies_among_a_thousand_articles_are_found(
    data: Path, make_parts: MakeParts, removed_numbers: Callable[[list[Ingested], Deduplicated], Removed],
    tmp_path: Path,
) -> None:
    folder = data / "neardup" / "minhash_plagiarism"
    lines = [line.split(" ", 1) for line in (folder / "articles_1000.train").read_text("utf-8").splitlines()]
    truth = {frozenset(line.split()) for line in (folder / "articles_1000.truth").read_text("utf-8").splitlines()}
    names = [name for name, _ in lines]
    parts = make_parts(tmp_path / "in", [[(name, text) for name, text in lines]], batch=500)
    config = DeduplicateConfig(threshold=0.5, rows=4, bands=30)
    result = deduplicate(parts, config, 0, tmp_path / "work", LocalEngine(1))
    removed = removed_numbers(parts, result)
    assert {frozenset((names[number], names[kept])) for number, (_, kept, _) in removed.items()} == truth
