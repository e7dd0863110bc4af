"""GPT-2's split of text into words, over bytes: the alternatives of its pattern, tried in their order at each place.

    's | 't | 're | 've | 'm | 'll | 'd |  ?letters |  ?numbers |  ?others | white space not before text | white space

"Others" are neither letters, numbers nor white space; the optional space is U+0020 alone. A stretch of white space
leaves its last character to the word behind it. Every byte is in exactly one word.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rbt.kernels import inline_kernel, kernel
from rbt.packing.character_classes import SPACE, character_classes
from rbt.utf8 import decode

UInt8 = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]
_APOSTROPHE, _BLANK = 0x27, 0x20
_D, _E, _L, _M, _R, _S, _T, _V = (ord(letter) for letter in "delmrstv")


@inline_kernel
def _character(data: Any, place: Any, stop: Any, pages: Any, classes: Any) -> Any:
    """(class, bytes) of the character at `place`."""
    byte = data[place]
    if byte < 128:
        return classes[0, byte], 1
    point, length = decode(data, place, stop)
    return classes[pages[point >> 8], point & 255], length


@inline_kernel
def _contraction_end(data: Any, place: Any, stop: Any) -> Any:
    """Behind the contraction whose apostrophe is at `place`; `place` where there is none."""
    if place + 1 >= stop:
        return place
    second = data[place + 1]
    if second in (_S, _T, _M, _D):
        return place + 2
    if place + 2 < stop:
        third = data[place + 2]
        if (third == _E and second in (_R, _V)) or (third == _L and second == _L):
            return place + 3
    return place


@kernel
def word_end(data: UInt8, place: int, stop: int, pages: UInt8, classes: UInt8) -> int:
    """Behind the word that starts at `place`, for place < stop; `stop` is the end of the text.

    `pages` and `classes` are those of `character_classes`.
    """
    start = place
    if data[place] == _APOSTROPHE:
        place = _contraction_end(data, place, stop)
        if place > start:
            return place
    elif data[place] == _BLANK and place + 1 < stop:
        place += 1
    kind, length = _character(data, place, stop, pages, classes)
    if kind == SPACE:
        return _white_end(data, start, stop, pages, classes)
    place += length
    while place < stop:
        byte = data[place]
        if byte < 128:
            if classes[0, byte] != kind:
                return place
            place += 1
        else:
            other, length = _character(data, place, stop, pages, classes)
            if other != kind:
                return place
            place += length
    return place


@kernel
def _white_end(data: UInt8, start: int, stop: int, pages: UInt8, classes: UInt8) -> int:
    """Behind the white space at `start`, but for its last character where text follows and another is left."""
    place, last = start, start
    while place < stop:
        kind, length = _character(data, place, stop, pages, classes)
        if kind != SPACE:
            return last if last > start else place
        last = place
        place += length
    return place


@kernel
def word_ends(data: UInt8, start: int, stop: int, pages: UInt8, classes: UInt8) -> Int64:
    """End of each word of the text data[start:stop], int64."""
    ends = np.empty(stop - start, dtype=np.int64)
    count = 0
    while start < stop:
        start = word_end(data, start, stop, pages, classes)
        ends[count] = start
        count += 1
    return ends[:count].copy()


def split_words(text: str) -> list[bytes]:
    """The words of a text, as UTF-8; for a text at a time (buffers of many texts go to the kernels)."""
    data = text.encode()
    ends = word_ends(np.frombuffer(data, dtype=np.uint8), 0, len(data), *character_classes()).tolist()
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
