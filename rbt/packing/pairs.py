"""Pairs: two stretches of text that follow each other, or come from two documents (RoBERTa paper, section 4.2).

    sentence_ends (int64, ascending) ──cut──> piece_ends: sentences of at most half the room
    piece_ends, document_ends, draws ──sample──> blocks (n, 5) int64 [a_start, a_end, b_start, b_end, is_next]

A pair is <s> A </s> </s> B </s>: four special tokens, and room for max_tokens - 4. BERT's sampling, in whole sentences:
a document is read in chunks as long as fit, and each is split after a random sentence into A and the rest. Heads, the
rest is B; tails, B starts at a random sentence of another document, and the rest goes back to be read again. BERT lets
a chunk grow past the room and trims the pair to size. Here a sentence that does not fit starts the next chunk, so that
no token is lost and where a segment ends says nothing of the label; A gives back sentences until B's first one fits.

Every token is in A of one pair, or in B of one whose is_next is 1; what the other pairs' B repeat is counted apart. The
last sentence of a document may be left without one behind it: such a pair is never next, and the first pair after it
that has a choice is next without a coin, so that half of all pairs are. A part with one document has no other one to
draw from: its pairs are all next, and a last sentence without a partner is in no pair, the one thing that is dropped.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rbt.formats.blocks import PAIR_SPECIALS
from rbt.kernels import kernel
from rbt.packing.draws import below, draw
from rbt.rng import hash_keys, hash_text

Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]
HALF = np.uint64(1 << 31)  # of the draws
COIN, SPLIT, DOCUMENT, SENTENCE, SHORT, TARGET = range(6)  # tags of draws, the last key but one


def part_state(seed: int, stem: str) -> int:
    """The state of which all draws of a token part are made."""
    return int(hash_keys(seed, hash_text("pairs"), hash_text(stem)))


def segment_pair(
    sentence_ends: Int64, document_ends: Int64, max_tokens: int, state: int, short_sequence_probability: float = 0.0
) -> tuple[Int64, int]:
    """SEGMENT-PAIR: segments of several sentences. (blocks (n, 5) int64, sentences cut).

    `short_sequence_probability`: of a document to be read in chunks of a random length, 0 in the paper, .1 in BERT.
    """
    return _pairs(sentence_ends, document_ends, max_tokens, state, short_sequence_probability, False)


def sentence_pair(sentence_ends: Int64, document_ends: Int64, max_tokens: int, state: int) -> tuple[Int64, int]:
    """SENTENCE-PAIR: two single sentences. (blocks (n, 5) int64, sentences cut)."""
    return _pairs(sentence_ends, document_ends, max_tokens, state, 0.0, True)


def _pairs(
    sentence_ends: Int64, document_ends: Int64, max_tokens: int, state: int, short: float, single: bool
) -> tuple[Int64, int]:
    room = max_tokens - PAIR_SPECIALS
    piece_ends, cut = _cut(sentence_ends, room // 2)
    with_text = document_ends[np.diff(document_ends, prepend=0) > 0]
    first_pieces = np.concatenate([[0], np.searchsorted(piece_ends, with_text, side="right")]).astype(np.int64)
    keys = hash_keys(state, np.arange(TARGET + 1))
    return _sample(piece_ends, first_pieces, room, keys, round(short * 2**32), single), int(cut)


@kernel
def _cut(sentence_ends: Int64, longest: int) -> tuple[Int64, int]:
    """Ends of sentences, those of more than `longest` tokens cut into pieces of that many. (ends, sentences cut)."""
    tokens = sentence_ends[-1] if len(sentence_ends) else 0
    piece_ends = np.empty(len(sentence_ends) + tokens // longest, dtype=np.int64)
    count = cut = start = 0
    for end in sentence_ends:
        if end - start > longest:
            cut += 1
        while start < end:
            start = min(start + longest, end)
            piece_ends[count] = start
            count += 1
    return piece_ends[:count].copy(), cut


@kernel
def _sample(
    piece_ends: Int64, first_pieces: Int64, room: int, keys: UInt64, short_below: int, single: bool
) -> Int64:
    """`first_pieces`: (documents + 1,), each holds one piece at least; `keys`: states of the draws, by tag."""
    blocks = np.empty((len(piece_ends), 5), dtype=np.int64)
    count = owed = a_start = 0  # owed: pairs that are to be next without a coin
    has_others = len(first_pieces) > 2
    for document in range(len(first_pieces) - 1):
        here, last = first_pieces[document], first_pieces[document + 1]
        target = room
        if draw(keys[SHORT], a_start) < np.uint64(short_below):
            target = 2 + below(draw(keys[TARGET], a_start), room - 1)
        while here < last:
            stop = _grow(piece_ends, here, here + 2, min(here + 2, last) if single else last, target, room)
            has_choice = stop > here + 1
            if not (has_others or has_choice):
                break  # the last sentence of the only document
            middle = here + 1 + below(draw(keys[SPLIT], a_start), max(1, stop - here - 1))
            is_next = has_choice and (not has_others or owed > 0 or draw(keys[COIN], a_start) < HALF)
            if has_others and not has_choice:
                owed += 1
            elif owed > 0:
                owed -= 1
            b_first, b_stop = middle, stop
            if not is_next:
                b_first, limit = _elsewhere(first_pieces, document, keys, a_start)
                while _length(piece_ends, here, middle) + _length(piece_ends, b_first, b_first + 1) > room:
                    middle -= 1  # any two pieces fit
                taken = _length(piece_ends, here, middle)
                b_stop = _grow(
                    piece_ends, b_first, b_first + 1, b_first + 1 if single else limit, target - taken, room - taken
                )
                stop = middle
            blocks[count, 0], blocks[count, 1] = a_start, piece_ends[middle - 1]
            blocks[count, 2], blocks[count, 3] = _start(piece_ends, b_first), piece_ends[b_stop - 1]
            blocks[count, 4] = is_next
            count += 1
            here, a_start = stop, piece_ends[stop - 1]
    return blocks[:count].copy()


@kernel
def _start(piece_ends: Int64, piece: int) -> Any:
    return piece_ends[piece - 1] if piece else 0


@kernel
def _length(piece_ends: Int64, first: int, stop: int) -> Any:
    return piece_ends[stop - 1] - _start(piece_ends, first)


@kernel
def _grow(piece_ends: Int64, first: int, stop: int, limit: int, target: int, room: int) -> int:
    """The pieces [first, stop) and more, below `limit`, while they have fewer than `target` tokens and fit; the end."""
    stop = min(stop, limit)
    start = _start(piece_ends, first)
    while stop < limit and piece_ends[stop - 1] - start < target and piece_ends[stop] - start <= room:
        stop += 1
    return stop


@kernel
def _elsewhere(first_pieces: Int64, document: int, keys: UInt64, a_start: int) -> tuple[int, int]:
    """A random sentence of another document, and the end of that document, in pieces."""
    other = below(draw(keys[DOCUMENT], a_start), len(first_pieces) - 2)
    other += int(other >= document)
    first, limit = first_pieces[other], first_pieces[other + 1]
    return first + below(draw(keys[SENTENCE], a_start), limit - first), limit
