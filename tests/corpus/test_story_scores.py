"""Stories from scratch: the global threshold, and the two passes over the pages."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus.config import SourceConfig
from rbt.corpus.extract.ngram_overlap import overlap_score, question_ngrams
from rbt.corpus.ingest import ingest, plan_tasks
from rbt.corpus.raw_files import list_raw_files
from rbt.corpus.reading import Reading, Span
from rbt.corpus.sources import read_documents, web
from rbt.corpus.story_scores import kth_greatest, score_pages, select_stories
from rbt.engine import LocalEngine
from rbt.errors import ArtefactError, InputError
from rbt.formats.document import Document
from rbt.formats.parts import read_batches
from rbt.ledger import Ledger
from rbt.storage import hash_file

QUESTIONS = ["The cup did not fit on the shelf because it was too wide.", "Ann gave Ben a book because she had two."]
WORDS = " ".join(QUESTIONS).split()

# the threshold

SCORES = st.lists(st.sampled_from([0.0, 1e-9, 0.01, 0.010000000000000002, 0.5, 1.0]) | st.floats(0, 1), max_size=30)


@given(files=st.lists(SCORES, min_size=1, max_size=4), data=st.data())
def test_the_threshold_is_the_kth_greatest_of_all_files(
    files: list[list[float]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Exactly, whichever file has it; pages without a score do not count."""
    everything = sorted((score for file in files for score in file), reverse=True)
    if not everything:
        return
    folder = tmp_path_factory.mktemp("scores")
    paths = [folder / f"{number}.npy" for number in range(len(files))]
    for path, file in zip(paths, files, strict=True):
        np.save(path, np.array([np.nan, *file, np.nan]))
    k = data.draw(st.integers(1, len(everything)))
    assert kth_greatest(paths, k) == everything[k - 1]


# both passes


def page(number: int, text: str, *, html: bool = False, url: str = "") -> bytes:
    """One WARC record of a page: its text (WET), or an HTTP response."""
    content = text.encode()
    if html:
        content = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html><body><p>{text}</p></body></html>".encode()
    head = (
        f"WARC/1.0\r\nWARC-Type: {'response' if html else 'conversion'}\r\nWARC-Record-ID: <urn:uuid:{number}>\r\n"
        f"WARC-Date: 2017-05-06T07:08:09Z\r\nWARC-Target-URI: {url or f'http://site.example/{number}'}\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return gzip.compress(head.encode() + content + b"\r\n\r\n", mtime=0)


def text_of(number: int) -> str:
    """A page that shares the more with the questions the greater `number` % 10 is."""
    return " ".join(WORDS[: 2 + 2 * (number % 10)]) + ", other words."


def project(folder: Path) -> SourceConfig:
    """Three WET files of 40 pages, with records that are no pages between, and the questions."""
    folder.mkdir(exist_ok=True)
    (folder / "questions.txt").write_text("\n".join(QUESTIONS))
    for file in range(3):
        pages = [page(1000 * file + number, text_of(file + number)) for number in range(40)]
        pages.insert(7, page(-1, "no page", url="dns:site.example"))
        (folder / f"{file}.wet.gz").write_bytes(b"".join(pages))
    return SourceConfig("stories", ("*.wet.gz",), questions=("questions.txt",), top_fraction=0.05)


def build(folder: Path, source: SourceConfig, work: Path, workers: int) -> tuple[dict[str, Any], list[str], Ledger]:
    """Both passes: what the first found, the documents of the second, its ledger."""
    files, engine = list_raw_files([source], folder), LocalEngine(workers)
    facts = select_stories(files, work, engine)
    receipts = ingest(plan_tasks(files, facts), work / "ingest", engine)
    ledger, texts = Ledger(), []
    for receipt in receipts:
        ledger.merge(receipt.ledger)
        for batch in read_batches(work / "ingest" / receipt.files[0].path):
            texts += batch.column("text").to_pylist()
    return facts, texts, ledger


def test_the_best_pages_of_all_files_together_are_kept(tmp_path: Path) -> None:
    """5 % of 120 pages are 6; the 12 that tie with the sixth are all kept, the others dropped by rule."""
    source = project(tmp_path / "raw")
    facts, texts, ledger = build(tmp_path / "raw", source, tmp_path / "work", 1)
    best = text_of(9)
    assert texts == [best] * 12
    table = question_ngrams(QUESTIONS)
    assert {fact["threshold"] for fact in facts.values()} == {overlap_score(best, table)}
    row = ledger.row("read", "stories")
    assert {rule: amount.documents for rule, amount in row.dropped.items()} == {"story_score": 108, "not_response": 3}
    assert row.imbalance() == (0, 0)


@pytest.mark.slow
def test_v12_the_selection_does_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    """One worker and two write the same scores, the same threshold and the same documents."""
    source = project(tmp_path / "raw")
    one = build(tmp_path / "raw", source, tmp_path / "one", 1)
    two = build(tmp_path / "raw", source, tmp_path / "two", 2)
    assert (one[1], one[2].table()) == (two[1], two[2].table())
    for task, fact in one[0].items():
        assert {**fact, "selection": ""} == {**two[0][task], "selection": ""}
        assert Path(fact["selection"]).read_bytes() == Path(two[0][task]["selection"]).read_bytes()


def test_another_fraction_or_file_scores_no_page_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The receipts of the first pass stay good; one more file moves the threshold of all."""
    folder, work = tmp_path / "raw", tmp_path / "work"
    source = project(folder)
    scored: list[str] = []

    def counting(location: str, *rest: Any) -> Any:
        scored.append(Path(location).name)
        return score_pages(location, *rest)

    monkeypatch.setattr("rbt.corpus.story_scores.score_pages", counting)
    first, _, _ = build(folder, source, work, 1)
    wider = SourceConfig("stories", source.paths, questions=source.questions, top_fraction=0.5)
    _, texts, _ = build(folder, wider, work, 1)
    assert len(scored) == 3
    assert len(texts) == 60
    (folder / "3.wet.gz").write_bytes(b"".join(page(5000 + n, " ".join(QUESTIONS)) for n in range(9)))
    more, texts, _ = build(folder, source, work, 1)
    assert scored[3:] == ["3.wet.gz"]
    assert len(texts) == 9
    assert more["00-00000"]["threshold"] > first["00-00000"]["threshold"]


def test_sources_have_thresholds_of_their_own_and_others_none(tmp_path: Path) -> None:
    """A fraction is one of a source; published stories and other kinds have no first pass."""
    source = project(tmp_path / "raw")
    sources = [
        SourceConfig("stories", ("questions.txt",), name="published"), source,
        SourceConfig("stories", ("0.wet.gz",), name="whole", questions=source.questions, top_fraction=1),
    ]
    facts = select_stories(list_raw_files(sources, tmp_path / "raw"), tmp_path / "work", LocalEngine(1))
    assert sorted(facts) == ["01-00000", "01-00001", "01-00002", "02-00000"]
    assert facts["01-00000"]["threshold"] > facts["02-00000"]["threshold"]


def test_a_source_without_pages_or_questions_is_an_error(tmp_path: Path) -> None:
    """Before anything is ingested."""
    (tmp_path / "pages.wet.gz").write_bytes(page(1, "no page", url="dns:site.example"))
    (tmp_path / "questions.txt").write_text("\n".join(QUESTIONS))
    (tmp_path / "empty.txt").write_text("\n")
    for questions, expected in (("questions.txt", "pages to score"), ("empty.txt", "file of questions")):
        source = SourceConfig("stories", ("pages.wet.gz",), questions=(questions,))
        with pytest.raises(InputError, match=expected):
            select_stories(list_raw_files([source], tmp_path), tmp_path / "work", LocalEngine(1))


# the second pass of one file


def select_in(path: Path, threshold: float) -> tuple[list[Document], Reading]:
    """Score the pages of a file, then read those at or above a threshold; the account must balance."""
    questions = path.with_name("questions.txt")
    questions.write_text("\n".join(QUESTIONS))
    config = SourceConfig("stories", (str(path),), questions=(str(questions),))
    first = Reading("stories", path.name)
    scores = path.with_suffix(".npy")
    np.save(scores, score_pages(str(path), config, question_ngrams(QUESTIONS), first))
    facts = {
        "selection": str(scores), "selection_hash": hash_file(scores), "threshold": threshold,
        "raw_hash": first.raw_hash,
    }
    return read_selected(path, config, facts)


def read_selected(path: Path, config: SourceConfig, facts: dict[str, Any]) -> tuple[list[Document], Reading]:
    reading = Reading("stories", path.name, Span(0, path.stat().st_size, facts))
    documents = list(read_documents(str(path), config, reading))
    for document in documents:
        reading.row.keep(document.payload_bytes)
    assert reading.row.imbalance() == (0, 0)
    assert reading.raw_bytes == path.stat().st_size
    return documents, reading


def test_pages_that_are_not_chosen_are_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page is extracted when it is scored, and the chosen ones once more."""
    parsed: list[str] = []
    extract = web.extract_guarded

    def counting(extractor: str, body: bytes, *rest: Any) -> Any:
        parsed.append(body.decode())
        return extract(extractor, body, *rest)

    monkeypatch.setattr(web, "extract_guarded", counting)
    path = tmp_path / "pages.warc.gz"
    path.write_bytes(b"".join(page(number, text_of(number), html=True) for number in range(12)))
    documents, reading = select_in(path, 0.5)
    chosen = [document.locator for document in documents]
    assert 0 < len(chosen) < 12
    assert len(parsed) == 12 + len(chosen)
    assert {rule: amount.documents for rule, amount in reading.row.dropped.items()} == {"story_score": 12 - len(chosen)}


def test_damaged_and_doubtful_records_keep_the_two_passes_together(tmp_path: Path) -> None:
    """Pages without text, cut records, repeated and missing record ids: the chosen pages are those that scored."""
    path = tmp_path / "pages.wet.gz"
    broken = bytearray(page(3, text_of(9) * 50))
    broken[len(broken) // 2] ^= 0xFF
    records = [
        page(1, text_of(9)), page(1, text_of(0)), page(1, text_of(9)), bytes(broken), page(4, ""), page(5, "x"),
        page(6, text_of(9), html=True), page(7, text_of(9)), page(8, text_of(8))[:-30],
    ]
    path.write_bytes(b"".join(records))
    documents, reading = select_in(path, 0.5)
    assert [document.text for document in documents] == [text_of(9)] * 4
    assert [document.locator for document in documents] == [f"urn:uuid:{number}" for number in (1, 1, 6, 7)]
    assert {row["reason"] for row in reading.quarantined} == {"corrupt", "truncated"}


def test_a_page_that_had_no_score_is_not_kept(tmp_path: Path) -> None:
    """What was too slow to extract at first and is not the second time was never compared with the others."""
    path = tmp_path / "pages.wet.gz"
    path.write_bytes(page(1, text_of(9)) + page(2, text_of(9)))
    config = SourceConfig("stories", (str(path),), questions=(str(tmp_path / "questions.txt"),))
    scores, reading = tmp_path / "scores.npy", Reading("stories", path.name)
    values = score_pages(str(path), config, question_ngrams(QUESTIONS), reading)
    np.save(scores, np.where([True, False], np.nan, values))
    facts = {
        "selection": str(scores), "selection_hash": hash_file(scores), "threshold": 0.5, "raw_hash": reading.raw_hash,
    }
    documents, reading = read_selected(path, config, facts)
    assert [document.locator for document in documents] == ["urn:uuid:2"]
    assert reading.row.dropped["story_score"].documents == 1


def test_a_file_that_changed_between_the_passes_is_an_error(tmp_path: Path) -> None:
    """Fewer pages, more pages, or as many others: no page is taken by another one's score."""
    path, questions = tmp_path / "pages.wet.gz", tmp_path / "questions.txt"
    questions.write_text("\n".join(QUESTIONS))
    config = SourceConfig("stories", (str(path),), questions=(str(questions),))
    scores, reading = tmp_path / "scores.npy", Reading("stories", path.name)
    path.write_bytes(page(1, text_of(9)) + page(2, text_of(1)))
    np.save(scores, score_pages(str(path), config, question_ngrams(QUESTIONS), reading))
    facts = {
        "selection": str(scores), "selection_hash": hash_file(scores), "threshold": 0.5, "raw_hash": reading.raw_hash,
    }
    assert len(read_selected(path, config, facts)[0]) == 1
    for pages in ([1], [1, 2, 3], [2, 1]):
        path.write_bytes(b"".join(page(number, text_of(number)) for number in pages))
        with pytest.raises(InputError, match="changed meanwhile"):
            read_selected(path, config, facts)
    with pytest.raises(ArtefactError, match="first pass"):
        read_selected(path, config, {**facts, "selection_hash": "xxh3:0"})
    with pytest.raises(InputError, match="read twice"):
        read_selected(path, config, {})
