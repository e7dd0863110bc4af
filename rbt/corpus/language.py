"""Language identification: text to (ISO 639 code, probability), by py3langid's naive Bayes model of 138 languages.

    sample ──UTF-8──> bytes ──automaton──> count of each byte n-gram the model knows ──log(1 + count) @ weights──>
    log posterior of each class, float64 (classes,) ──softmax at temperature sqrt(bytes)──> probabilities

The model is py3langid's; the walk through its automaton and the sum are a kernel here, in place of the library's loop
over bytes in Python, and summed in a fixed order in 64 bits, so that a score does not depend on the machine.
A document is judged by a bounded sample: its first, middle and last 400 characters. That is three sentences or so,
from which English is told from other languages about as surely as from the whole text; so more text adds cost, not
certainty, and three places guard against a foreign quotation at the start or an English footer under a foreign page.
docs/benchmarks.md compares the model with others (`benchmarks/language.py`).
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from rbt.kernels import kernel

WINDOW_CHARACTERS = 400
DIGITS = 4  # scores are rounded, so that they do not depend on the last bits of a machine's exp and log
UNKNOWN = "und"
_TWO_LETTERS = {
    "kik": "ki", "gug": "gn", "sdh": "ku", "hbo": "he", "arz": "ar", "ary": "ar", "wuu": "zh", "yue": "zh", "uzs": "uz",
}


@dataclass(frozen=True)
class Model:
    """The model's arrays, as py3langid loads them."""

    languages: tuple[str, ...]
    language_of: npt.NDArray[np.int64]  # (classes,) place in `languages`: classes of one language share a name
    moves: npt.NDArray[np.uint32]  # (rows * 256,) next state by row and byte
    rows: npt.NDArray[np.int64]  # (states,) row of each state, times 256
    features: npt.NDArray[np.int64]  # (states,) the feature that ends in a state, or -1
    weights: npt.NDArray[np.float32]  # (features, classes)
    priors: npt.NDArray[np.float64]  # (classes,)


@cache
def load_model() -> Model:
    """The model that comes with py3langid."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    loaded: Any = LanguageIdentifier.from_model_file(MODEL_FILE)
    names, language_of = np.unique([_TWO_LETTERS.get(name, name) for name in loaded.nb_classes], return_inverse=True)
    return Model(
        tuple(names.tolist()),
        language_of.astype(np.int64),
        np.frombuffer(loaded.tk_nextmove, dtype=np.uint32),
        np.asarray(loaded.tk_row, dtype=np.int64) * 256,
        np.asarray(loaded.tk_output, dtype=np.int64),
        np.asarray(loaded.nb_ptc, dtype=np.float32),
        np.asarray(loaded.nb_pc, dtype=np.float64),
    )


@kernel
def log_posteriors(data: Any, moves: Any, rows: Any, features: Any, weights: Any, priors: Any) -> Any:
    """(priors + sum over the features in `data` of log(1 + count) * weights[feature], number of features).

    data: uint8; the sum: float64 (classes,).
    """
    counts = np.zeros(len(weights), dtype=np.int32)
    met = np.empty(len(data), dtype=np.int64)  # in the order in which they are first met
    number = 0
    state = np.int64(0)
    for letter in data:
        state = np.int64(moves[rows[state] + letter])
        feature = features[state]
        if feature >= 0:
            if counts[feature] == 0:
                met[number] = feature
                number += 1
            counts[feature] += 1
    scores = priors.copy()
    for feature in met[:number]:
        amount = math.log1p(counts[feature])
        row = weights[feature]
        for place in range(len(scores)):
            scores[place] += amount * row[place]
    return scores, number


def sample(text: str) -> str:
    """What of a text is looked at: all of a short one, else three windows."""
    size = WINDOW_CHARACTERS
    if len(text) <= 3 * size:
        return text
    middle = (len(text) - size) // 2
    return f"{text[:size]} {text[middle : middle + size]} {text[-size:]}"


def identify(text: str) -> tuple[str, float]:
    """The language of a text and its probability; ("und", 0.0) where nothing in it says anything.

    Codes are ISO 639-1 where a language has one, else ISO 639-3; "zxx" is no language (code, markup, tables).
    """
    looked_at = sample(text)
    if not any(character.isalpha() for character in looked_at):
        return UNKNOWN, 0.0
    looked_at = unicodedata.normalize("NFC", looked_at.lower() if looked_at.isupper() else looked_at)
    data = np.frombuffer(looked_at.encode("utf-8", "surrogatepass"), dtype=np.uint8)
    model = load_model()
    scores, met = log_posteriors(data, model.moves, model.rows, model.features, model.weights, model.priors)
    if not met:
        return UNKNOWN, 0.0
    scores /= math.sqrt(len(data))  # the library's temperature
    odds = np.bincount(model.language_of, np.exp(scores - scores.max()))
    place = int(odds.argmax())
    return model.languages[place], round(float(odds[place] / odds.sum()), DIGITS)
