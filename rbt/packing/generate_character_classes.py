"""Write `character_classes.tsv` anew: `python -m rbt.packing.generate_character_classes`.

The classes are asked of the installed Hugging Face tokenizers, character by character, because libraries differ on
code points that no version of Unicode has assigned yet, and ids must be those of tokenizers.
"""

from __future__ import annotations

from itertools import groupby

from tokenizers import pre_tokenizers

from rbt.packing.character_classes import CLASSES, TABLE_FILE
from rbt.storage import write_text
from rbt.utf8 import UNICODE

CHUNK = 1 << 14  # code points asked at once
SURROGATES = range(0xD800, 0xE000)
COMPANIONS = {"letter": "a", "number": "1", "other": "!"}  # a character of a class stays together with another of it


def class_of_each() -> list[str]:
    """The class of every code point by the split of tokenizers' ByteLevel; surrogates, which no text has, are other."""
    classes = ["space"] * UNICODE
    for point in SURROGATES:
        classes[point] = "other"
    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    for first in range(0, UNICODE, CHUNK):
        points = [point for point in range(first, first + CHUNK) if point not in SURROGATES]
        for name, companion in COMPANIONS.items():
            words = {span for _, span in split.pre_tokenize_str("".join(f"{companion}{chr(p)}\n" for p in points))}
            for place, point in enumerate(points):
                if (3 * place, 3 * place + 2) in words:
                    classes[point] = name
    return classes


def table_text() -> str:
    """The file's text: first code point, last code point (hexadecimal), class; stretches of class other left out."""
    lines, first = [], 0
    for name, run in groupby(class_of_each()):
        size = len(list(run))
        if name in CLASSES[1:]:
            lines.append(f"{first:04X}\t{first + size - 1:04X}\t{name}\n")
        first += size
    return "".join(lines)


if __name__ == "__main__":
    write_text(TABLE_FILE, table_text())
