"""The validation split: a pure function of document ids, so that growing a corpus moves no document.

    ids ──BLAKE2b, 64 bits──> held out where hash < validation_fraction x 2^64, or where chosen from the first ten
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from rbt.rng import hash_text

FIRST_DOCUMENTS = 10
ALWAYS_HELD_OUT = 2  # of the first ten, so that a small corpus has a validation split too


def always_held_out(first_ids: Sequence[str], fraction: float) -> tuple[str, ...]:
    """Which of a corpus's first ten documents are held out whatever the fraction: the two with the smallest hashes.

    None where the corpus has fewer than ten documents, or where a fraction of 0 asks for no validation split.
    """
    if fraction == 0 or len(first_ids) < FIRST_DOCUMENTS:
        return ()
    return tuple(sorted(first_ids[:FIRST_DOCUMENTS], key=hash_text)[:ALWAYS_HELD_OUT])


def held_out(ids: Sequence[str], fraction: float, always: Collection[str]) -> npt.NDArray[np.bool_]:
    """Which documents belong to the validation split, bool (documents,). `fraction`: at least 0, below 1."""
    threshold = int(fraction * 2.0**64)
    return np.array([hash_text(id) < threshold or id in always for id in ids], dtype=np.bool_)
