"""Questions on passages as windows: <s> question </s> </s> some tokens of the passage </s>.

    passage ──tokens──> windows of the room that the question leaves, `stride` tokens from start to start
    answer  ──code points──> bytes ──ends of tokens──> first and last token ──bytes──> text

A window is a unit. Of an answer, characters that a token holds only a part of and white space at its ends are not part.
Source: BERT's run_squad.py, whose doc_stride is the distance from one window to the next, not what they share.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rbt.finetune.features import NO_TARGET, Features, Float64, Texts, joined, make_features
from rbt.finetune.kind import Asked, Encode
from rbt.finetune.sentences import PAIR_SPECIALS
from rbt.tasks.examples import Answer, Example, Question
from rbt.trainer.order import Int64

log = logging.getLogger(__name__)
SPECIALS_IN_FRONT = 3  # <s>, and </s> </s> behind the question
NOWHERE = 0  # the place of <s>: the target of a window that does not hold the whole answer
SCORES = 4  # of a window, see `spans`

Span = tuple[int, int]


@dataclass(frozen=True)
class Windows:
    """Where windows come from. A token of a passage is its place in the window's sequence + `shifts`."""

    edges: Int64  # (questions + 1,): question q is the windows [edges[q], edges[q + 1])
    fronts: Int64  # (windows,): place of the passage's first token in the sequence
    shifts: Int64  # (windows,)
    passages: Int64  # (questions,): the number of each one's passage among `texts`
    texts: Texts
    has_unanswerable: bool

    def text(self, question: int, context: str, first: int, last: int) -> str:
        """The text of tokens `first` to `last` of a question's passage."""
        return span_text(context, self.texts.byte_ends(int(self.passages[question])), (first, last))


def window_starts(passage_tokens: int, room: int, stride: int) -> Int64:
    """The passage's token that each window of up to `room` tokens begins with; the last one reaches the end."""
    step = min(room, stride)
    return np.arange(-(-max(0, passage_tokens - room) // step) + 1) * step


def nearest(context: str, text: str, start: int) -> int | None:
    """Where in a passage a text is, as near to `start` as it can be."""
    before, behind = context.rfind(text, 0, max(0, start) + len(text)), context.find(text, max(0, start))
    found = [place for place in (before, behind) if place >= 0]
    return min(found, key=lambda place: abs(place - start)) if found else None


def answer_bytes(context: str, answer: Answer) -> Span | None:
    """The first byte of an answer in its passage, and the one behind it; None where the passage does not have it.

    Where the text at its start is another, the nearest place that has it counts.
    """
    text = answer.text.strip()
    start = nearest(context, text, answer.start + answer.text.index(text)) if text else None
    if start is None:
        return None
    first = len(context[:start].encode())
    return first, first + len(text.encode())


def span_tokens(byte_ends: Int64, span: Span) -> Span:
    """The first and the last token that hold bytes [first, end) of a text."""
    first, last = np.searchsorted(byte_ends, (span[0], span[1] - 1), side="right").tolist()
    return first, last


def span_text(context: str, byte_ends: Int64, tokens: Span) -> str:
    """The characters that the tokens from a first to a last one hold whole, without white space at the ends."""
    start = int(byte_ends[tokens[0] - 1]) if tokens[0] else 0
    return context.encode()[start : int(byte_ends[tokens[1]])].decode(errors="ignore").strip()


def questions_of(examples: Sequence[Example]) -> list[Question]:
    """The examples, each of which is a question on a passage."""
    found = [example for example in examples if isinstance(example, Question)]
    assert len(found) == len(examples)
    return found


def _gold(question: Question, byte_ends: Int64) -> Span | None:
    """The tokens of the first answer; NOWHERE where there is none to be found, None where it is not known."""
    if question.is_impossible:
        return NOWHERE, NOWHERE
    found = answer_bytes(question.context, question.answers[0]) if question.answers else None
    return None if found is None else span_tokens(byte_ends, found)


def _targets(gold: Span | None, is_impossible: bool, starts: Int64, ends: Int64, shift: Int64) -> Float64:
    """Places of the answer in each window [start, end) of its passage, (windows, 2)."""
    if gold is None:
        return np.full((len(starts), 2), NO_TARGET)
    holds = (gold[0] >= starts) & (gold[1] < ends) & (not is_impossible)
    return np.where(holds[:, None], np.array(gold) - shift[:, None], NOWHERE).astype(np.float64)


def _log(lost: int, torn: int, count: int) -> None:
    if lost:
        log.info("%d of %d questions are not learned from: their passage lacks the answer", lost, count)
    if torn:
        log.info("%d of %d answers are in no window whole: lower finetune.stride", torn, count)


def span_features(asked: Asked, examples: Sequence[Example], encode: Encode) -> Features:
    """A unit a window; its targets are the places of the first answer's first and last token in the sequence.

    Where a window does not hold the whole answer, both are NOWHERE; where the answer is not known, or not in the
    passage, NO_TARGET. A question takes at most half of a sequence. `details`: the Windows. Raises InputError.
    """
    questions = questions_of(examples)
    places = {context: place for place, context in enumerate(dict.fromkeys(each.context for each in questions))}
    texts = encode([*places, *(each.question.strip() for each in questions)])
    room = asked.max_tokens - PAIR_SPECIALS
    most = min(asked.config.question_tokens, room // 2)
    units, targets, fronts, shifts, counts, lost, torn = [], [], [], [], [], 0, 0
    for number, each in enumerate(questions):
        passage, head = texts.ids(places[each.context]), texts.ids(len(places) + number)[:most]
        starts = window_starts(len(passage), room - len(head), asked.config.stride)
        ends = np.minimum(starts + room - len(head), len(passage))
        front = len(head) + SPECIALS_IN_FRONT
        gold = _gold(each, texts.byte_ends(places[each.context]))
        lost += gold is None and bool(each.answers)
        units += [[joined(head, passage[start:end])] for start, end in zip(starts, ends, strict=True)]
        targets.append(_targets(gold, each.is_impossible, starts, ends, starts - front))
        torn += not (gold is None or each.is_impossible or targets[-1].any())
        fronts.append(np.full(len(starts), front))
        shifts.append(starts - front)
        counts.append(len(starts))
    if asked.tuned is None:  # of a model that is still learning
        _log(lost, torn, len(questions))
    windows = Windows(
        np.cumsum([0, *counts]), np.concatenate(fronts), np.concatenate(shifts),
        np.array([places[each.context] for each in questions]), texts, any(each.is_impossible for each in questions),
    )
    return make_features(units, np.concatenate(targets), SCORES, windows)
