"""`rbt pack --explain N`: one block of a finished index, as a person reads it.

    block number ──index──> part, row, spans ──sentence_ends, document_ends──> sentences ──vocab.json──> lines
                                             ──block_ids──> ids beside their tokens

Needs the packed folder alone: its tokenizer spells the ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from rbt.errors import ArtefactError, ConfigError
from rbt.formats.block_documents import DAMAGED, block_spans, document_ids, document_span, read_block, span_documents
from rbt.formats.blocks import Index, IndexPart, Int64, block_ids, open_index, separator_positions
from rbt.formats.tokenizer import LEADING_SPECIALS, read_vocab, unspell
from rbt.formats.tokens import TokenPart

BEGIN, END = LEADING_SPECIALS[0], LEADING_SPECIALS[2]
WIDEST_TOKEN = 24  # characters of a token's cell; longer ones are shown whole all the same


@dataclass(frozen=True)
class BlockSentence:
    """What a block holds of one sentence: `number` of `of` in its document, from 1; tokens [start, end) of the part."""

    document: str
    number: int
    of: int
    start: int
    end: int
    began_before: bool  # the block before has its beginning
    goes_on: bool  # its end is in another block
    text: str




def explain_block(folder: Path, split: str, number: int, width: int) -> list[str]:
    """Lines on block `number` (from 0, over all parts) of a split of the index in `folder`, at most `width` where cut.

    Raises ConfigError where there is no such block, and ArtefactError as `open_index` does.
    """
    index = open_index(folder, split)
    if not 0 <= number < index.num_blocks:
        blocks = f"0 to {index.num_blocks - 1:,}" if index.num_blocks else "none: no block"
        raise ConfigError(
            f"--explain: expected a block of {split}", path=folder, found=str(number), cure=f"there are {blocks}"
        )
    place = int(np.searchsorted(index.first_block, number, side="right")) - 1
    part, local = index.parts[place], number - int(index.first_block[place])
    vocab, block = spelled(folder.parent), read_block(folder, part, local)
    ids = block_ids(part.tokens, block, separator_of(index))
    if int(ids.max()) >= len(vocab):
        raise ArtefactError(f"expected ids below {len(vocab)}", path=folder, found=str(int(ids.max())), cure=DAMAGED)
    return [
        *_header(index, folder, split, place, local, len(ids)), "",
        *_text_lines(folder.parent / "tokens", part, local, separator_of(index), vocab), "",
        *id_lines(ids, vocab, width),
    ]


def separator_of(index: Index) -> str:
    """What a </s> stands behind inside the blocks of an index."""
    return str(index.manifest.config["separator"])


def spelled(packed: Path) -> list[str]:
    """The token of each id, spelled in byte symbols."""
    vocab = read_vocab(packed)
    tokens = [""] * (max(vocab.values()) + 1)
    for token, number in vocab.items():
        tokens[number] = token
    return tokens


def _header(index: Index, folder: Path, split: str, place: int, local: int, length: int) -> list[str]:
    part, config = index.parts[place], index.manifest.config
    block = part.blocks[local]
    row = int(np.searchsorted(part.rows, local, side="right")) - 1
    first, last = int(part.rows[row]), int(part.rows[row + 1])
    together = (read_block(folder, part, number) for number in range(first, last))
    filled = sum(len(block_ids(part.tokens, each, separator_of(index))) for each in together)
    before = int(index.first_block[place])
    company = f"blocks {before + first:,} to {before + last - 1:,}" if last - first > 1 else "this block alone"
    spans = block_spans(block)
    where = ", ".join(f"[{start}, {end})" for start, end in spans)
    tokens = sum(end - start for start, end in spans)
    separators = "</s> </s> behind A" if len(spans) == 2 else f"</s> behind each {separator_of(index)}"
    lines = [
        f"block {before + local:,} of {folder.name}, {split} (0 to {index.num_blocks - 1:,})",
        f"  format  {config['format']}, rows of at most {index.max_tokens} ids, {separators}",
        f"  part    {part.tokens.stem}, tokens {where}",
        f"  block   {_share(length, index.max_tokens)} ids: {tokens} tokens, {length - tokens} special",
        f"  row     {int(index.first_row[place]) + row:,}: {company}, {_share(filled, index.max_tokens)} ids",
    ]
    if len(spans) == 2:
        follows = "B is what follows A" if block[4] else "B is from elsewhere"
        lines += [f"  pair    is_next = {int(block[4])}: {follows}"]
    return lines


def _share(number: int, of: int) -> str:
    return f"{number} of {of} ({number / of:.1%})"


def _text_lines(tokens: Path, part: IndexPart, local: int, separator: str, vocab: Sequence[str]) -> list[str]:
    spans = block_spans(part.blocks[local])
    sentences = [list(span_sentences(tokens, part.tokens, start, end, vocab)) for start, end in spans]
    cells = [[_cells(sentence) for sentence in span] for span in sentences]
    head = ("document", "sentence", "tokens", "text")
    names, numbers, places, _ = (max(map(len, column)) for column in zip(head, *chain(*cells), strict=True))
    is_pair = len(spans) == 2

    def line(name: str, number: str, place: str, text: str) -> str:
        return f"{name:<{names}}  {number:>{numbers}}  {place:<{places}}  {text}"

    lines = [line(*head), BEGIN]
    for number, (start, end) in enumerate(spans):
        inside = () if is_pair else separator_positions(part.tokens, start, end, separator).tolist()
        behind = Counter(start + position for position in inside)
        for sentence, row in zip(sentences[number], cells[number], strict=True):
            lines.append(line(*row))
            if behind[sentence.end]:
                lines.append(" ".join([END] * behind[sentence.end]))
        lines.append(f"{END} {END}" if is_pair and number == 0 else END)
    return lines


def _cells(sentence: BlockSentence) -> tuple[str, str, str, str]:
    text = ("... " if sentence.began_before else "") + f'"{sentence.text}"' + (" ..." if sentence.goes_on else "")
    return sentence.document, f"{sentence.number}/{sentence.of}", f"[{sentence.start}, {sentence.end})", text


def span_sentences(
    tokens: Path, part: TokenPart, start: int, end: int, vocab: Sequence[str]
) -> Iterator[BlockSentence]:
    """What [start, end) of a part holds of each sentence, in order. `tokens`: folder of the token store."""
    numbers, _ = span_documents(part, start, end)
    for number, id in zip(numbers.tolist(), document_ids(tokens, part.stem, numbers), strict=True):
        document_start, document_end = document_span(part, number)
        first = int(np.searchsorted(part.sentence_ends, document_start, side="right"))
        last = int(np.searchsorted(part.sentence_ends, document_end, side="left"))
        here = int(np.searchsorted(part.sentence_ends, max(start, document_start), side="right"))
        for sentence in range(here, last + 1):
            begins = int(part.sentence_ends[sentence - 1]) if sentence else 0
            ends = int(part.sentence_ends[sentence])
            if begins >= end:
                break
            left, right = max(begins, start), min(ends, end)
            text = token_text(part.tokens[left:right].tolist(), vocab)
            yield BlockSentence(
                id, sentence - first + 1, last - first + 1, left, right, begins < start, ends > end, text
            )


def token_text(ids: Sequence[int], vocab: Sequence[str]) -> str:
    """The text of ordinary ids on one line.

    What is not printable, and a backslash, is escaped as in Python; bytes that are no character (of one that was cut)
    are \\x and two digits, which stand for nothing else.
    """
    text = unspell("".join(vocab[id] for id in ids)).decode("utf-8", "surrogateescape")
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # what "surrogateescape" makes of a byte
        return f"\\x{code - 0xDC00:02x}"
    if character.isprintable() and character != "\\":
        return character
    plain = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}
    return plain.get(character) or (f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}")


def id_lines(ids: Int64, vocab: Sequence[str], width: int) -> list[str]:
    """Ids beside their spelled tokens, as many a line as the width holds, with the place of a line's first id."""
    widest = min(WIDEST_TOKEN, max(len(vocab[id]) for id in ids.tolist()))
    digits = max(len(str(id)) for id in ids.tolist())
    a_line = max(1, (width - 5) // (digits + widest + 3))
    cells = [f"{id:>{digits}} {vocab[id]:<{widest}}" for id in ids.tolist()]
    lines = [
        f"{place:>5}  {'  '.join(cells[place : place + a_line])}".rstrip() for place in range(0, len(cells), a_line)
    ]
    return ["place  id and token, a space spelled Ġ", *lines]


