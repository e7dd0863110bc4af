"""Which phrase a pronoun stands for, by the model's own masked-language head: WNLI in the pronoun-span format.

    row ──find_mention──> text with a pronoun, and the row's phrase ──other phrases of the text──> a unit
    <s> Ann thanked Mary because <mask> had helped. </s>      a sequence a phrase, with as many masks as it has tokens

The score of a phrase is the mean log-probability of its tokens at the masks. Other phrases are those of the other rows
with the same text and pronoun, and the noun phrases of the text. Rows that say what is so ("entailment") are learned
from, the others give phrases. A row is so where no other phrase has a higher score than its own.
Source: paper, section 5.1; fairseq examples/roberta/wsc, which finds noun phrases with a parser, spaCy's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rbt.finetune.batches import UnitBatch
from rbt.finetune.choices import unit_scores
from rbt.finetune.features import NO_TARGET, Features, Float64, joined, make_features, shortened
from rbt.finetune.heads import Outputs
from rbt.finetune.kind import Asked, Encode, Kind, Prediction
from rbt.finetune.mentions import FREE, WORD, Mention, find_mention, in_place, within_sentence
from rbt.finetune.noun_phrases import noun_phrases
from rbt.finetune.sentences import SINGLE_SPECIALS, mean_scores, sentences_of
from rbt.tasks.examples import Example, Sentences
from rbt.trainer.batches import places
from rbt.trainer.order import Int64

log = logging.getLogger(__name__)
OWN = 0  # place of the row's phrase among a unit's


@dataclass(frozen=True)
class Masked:
    """`Features.details`: what stands behind the masks, and which example a unit is."""

    mask_id: int
    answers: Int64  # (masks,): the ids of all sequences' phrases
    edges: Int64  # (sequences + 1,): sequence s has the masks [edges[s], edges[s + 1])
    examples: Int64  # (units,)


def content(phrase: str) -> tuple[str, ...]:
    """The words by which phrases are the same: "the cup" is "a cup"."""
    words = [word.lower() for word in WORD.findall(phrase)]
    return tuple(word for word in words if word not in FREE) or tuple(words)


def phrases_of(text: str, mention: Mention, others: Sequence[str]) -> list[str]:
    """The row's phrase, the `others` that differ from it, and the noun phrases that share no phrase's words whole."""
    found = {content(phrase): phrase for phrase in (*reversed(others), mention.phrase)}
    ordered = [content(mention.phrase), *dict.fromkeys(content(phrase) for phrase in others)]
    for start, end in noun_phrases(text):
        phrase = within_sentence(text[start:end], text)
        words = content(phrase)
        is_new = not any(set(words) <= set(each) or set(each) <= set(words) for each in found)
        if is_new and not start <= mention.start < end:
            found[words] = phrase
            ordered.append(words)
    return [found[words] for words in dict.fromkeys(ordered)]


def mentions_of(sentences: Sequence[Sentences]) -> dict[int, Mention]:
    """What was found, by the number of the row."""
    found = {number: find_mention(*each.sentences[:2]) for number, each in enumerate(sentences)}
    return {number: mention for number, mention in found.items() if mention is not None}


def pronoun_features(asked: Asked, examples: Sequence[Example], encode: Encode) -> Features:
    """A unit a row whose pronoun was found, a sequence a phrase, the row's first; the target is OWN where it is so.

    `details`: Masked. What is so is not known of the other rows, nor learned where a text has one phrase alone.
    """
    sentences, (_, positive) = sentences_of(examples), asked.task.labels.values()
    mentions = mentions_of(sentences)
    if lost := len(sentences) - len(mentions):
        log.info("%d of %d rows have no pronoun that was found: they are not learned from", lost, len(sentences))
    phrases = list(_phrases(sentences, mentions))
    units, answers = _masked(asked, [sentences[number].sentences[0] for number in mentions], mentions, phrases, encode)
    targets = [
        OWN if sentences[number].label == positive and len(found) > 1 else NO_TARGET
        for number, found in zip(mentions, phrases, strict=True)
    ]
    details = Masked(
        asked.mask_id, np.concatenate([np.empty(0, dtype=np.int64), *answers]), np.cumsum([0, *map(len, answers)]),
        np.array(list(mentions), dtype=np.int64),
    )
    return make_features(units, np.array(targets, dtype=np.float64), max(map(len, phrases), default=1), details)


def _phrases(sentences: Sequence[Sentences], mentions: Mapping[int, Mention]) -> Iterator[list[str]]:
    """The phrases of each row that has a mention."""
    shared: dict[tuple[str, int], list[str]] = {}
    for number, mention in mentions.items():
        shared.setdefault((sentences[number].sentences[0], mention.start), []).append(mention.phrase)
    for number, mention in mentions.items():
        text = sentences[number].sentences[0]
        yield phrases_of(text, mention, shared[text, mention.start])


def _masked(
    asked: Asked, texts: Sequence[str], mentions: Mapping[int, Mention], phrases: Sequence[Sequence[str]],
    encode: Encode,
) -> tuple[list[list[list[Int64]]], list[Int64]]:
    """The pieces of each unit's sequences, and the ids behind the masks of each sequence."""
    written = [
        _written(text, mention, found) for text, mention, found in zip(texts, mentions.values(), phrases, strict=True)
    ]
    encoded, first = encode(list(chain.from_iterable(written))), 0
    units, answers = [], list[Int64]()
    for parts in written:
        left, right = encoded.ids(first), encoded.ids(first + 1)
        found = [encoded.ids(number) for number in range(first + 2, first + len(parts))]
        units.append([_with_masks(left, right, len(ids), asked) for ids in found])
        answers += found
        first += len(parts)
    return units, answers


def _written(text: str, mention: Mention, phrases: Sequence[str]) -> list[str]:
    """What stands left and right of the pronoun, and each phrase as it stands there: joined they are encoded alike."""
    left, right = text[: mention.start], mention.suffix + text[mention.end:]
    space = " " if left.endswith(" ") else ""
    here = [space + in_place(phrase, text, mention.start) for phrase in phrases]
    return [left.removesuffix(" "), right, *here]


def _with_masks(left: Int64, right: Int64, masks: int, asked: Asked) -> list[Int64]:
    """The pieces of a sequence; of a long text what is nearest to the masks."""
    room = max(0, asked.max_tokens - SINGLE_SPECIALS - masks)
    left, right = shortened(left[::-1], right, room)
    return joined(np.concatenate([left[::-1], np.full(masks, asked.mask_id), right]))


def _no_head(asked: Asked, hidden: int, features: Features) -> nn.Module | None:
    return None


def _places(batch: UnitBatch, features: Features) -> Tensor:
    is_mask: Tensor = batch.ids == features.details.mask_id
    return is_mask.nonzero()[:, 0]


def _scores(asked: Asked, outputs: Outputs, batch: UnitBatch, features: Features) -> Tensor:
    assert isinstance(outputs, Tensor)
    masked: Masked = features.details
    counts = masked.edges[batch.sequences + 1] - masked.edges[batch.sequences]
    edges = np.cumsum([0, *counts])
    answers = masked.answers[np.repeat(masked.edges[batch.sequences], counts) + places(edges)]
    logits = outputs.float()  # (masks, vocabulary)
    right = logits.gather(1, torch.from_numpy(answers)[:, None].to(logits.device))[:, 0]
    sequences = torch.from_numpy(np.repeat(np.arange(len(counts)), counts)).to(logits.device)
    sums = logits.new_zeros(len(counts)).index_add(0, sequences, right - logits.logsumexp(1))
    return unit_scores(sums / torch.from_numpy(counts).to(logits.device), batch.unit_edges, features.width)


def _losses(asked: Asked, outputs: Outputs, batch: UnitBatch, features: Features) -> Tensor:
    """Of units whose own phrase is the right one."""
    scores, config = _scores(asked, outputs, batch, features), asked.config
    if config.pronoun_loss == "cross-entropy":
        return functional.cross_entropy(scores, batch.targets[:, 0].long(), reduction="sum")
    own, others = scores[:, :1], scores[:, 1:]
    costs = config.margin_alpha * (others - own + config.margin_beta).clamp(min=0) - own
    total: Tensor = costs.where(others.isfinite(), 0.0).sum()
    return total


def _predictions(
    asked: Asked, examples: Sequence[Example], features: Features, scores: Float64
) -> list[Prediction]:
    negative, positive = asked.task.labels.values()
    found = [negative] * len(examples)  # the label of most rows of WNLI
    for number, row in zip(features.details.examples, scores, strict=True):
        if row[OWN] >= row.max():
            found[number] = positive
    if lost := len(examples) - len(scores):
        log.info("%d of %d rows have no pronoun that was found: they are predicted %s", lost, len(examples), negative)
    return found


PRONOUN = Kind(
    pronoun_features, _no_head, _losses, _scores, _predictions, "RobertaForMaskedLM", _places, combine=mean_scores
)
