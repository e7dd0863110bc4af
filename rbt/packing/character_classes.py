"""Which characters are letters, numbers and white space where GPT-2's pattern splits text.

    character_classes.tsv ──> pages (0x1100,) uint8: the page of each 256 code points;  classes (pages, 256) uint8

The table is pinned: `generate_character_classes.py` wrote it from Hugging Face tokenizers 0.23, whose ids ours must
equal, and a test compares it with the installed one. The `regex` package differs on some code points that one of the
two does not know yet.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rbt.utf8 import UNICODE

UInt8 = npt.NDArray[np.uint8]
TABLE_FILE = Path(__file__).with_name("character_classes.tsv")
CLASSES = ("other", "letter", "number", "space")
OTHER, LETTER, NUMBER, SPACE = range(4)
PAGE = 256


def class_of_each() -> UInt8:
    """Class of each code point, uint8 (0x110000,)."""
    classes = np.full(UNICODE, OTHER, dtype=np.uint8)
    for line in TABLE_FILE.read_text("ascii").splitlines():
        first, last, name = line.split("\t")
        classes[int(first, 16) : int(last, 16) + 1] = CLASSES.index(name)
    return classes


@cache
def character_classes() -> tuple[UInt8, UInt8]:
    """(pages (0x1100,) uint8, classes (pages, 256) uint8): `classes[pages[point >> 8], point & 255]` is a class.

    The first page is the first of the table, so that ASCII and Latin are `classes[0]`. A few dozen kilobytes, where
    one byte a code point would be a megabyte.
    """
    rows, pages = np.unique(class_of_each().reshape(-1, PAGE), axis=0, return_inverse=True)
    first = int(pages.ravel()[0])
    order = np.array([first, *(row for row in range(len(rows)) if row != first)])
    places = np.argsort(order)
    table = np.ascontiguousarray(rows[order]), places[pages.ravel()].astype(np.uint8)
    assert len(rows) <= np.iinfo(np.uint8).max + 1
    return table[1], table[0]
