"""`rbt pack --explain N` shows a block as it is: its sentences, separators, documents and ids."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from rbt import cli
from rbt.errors import ConfigError
from rbt.formats.block_documents import block_spans
from rbt.formats.blocks import block_ids, open_index, separator_positions
from rbt.formats.tokenizer import byte_symbols, read_vocab
from rbt.packing.explain import explain_block, id_lines, spelled, token_text

from .packed_folder import CUTTERS, MAX_TOKENS, Cutter, cut_full, words, write_folder

DOCUMENTS = [("a:0", ["A cat."]), ("a:none", []), ("b:1", ["It ran. ", "So\ndid I, and then some more."])]
WIDTH = 66


def cut_at(*blocks: list[int]) -> Cutter:
    """These blocks in one row, of a part that has documents."""
    return lambda _, document_ends, __: (list(blocks), [0, len(blocks)]) if document_ends else ([], [0])


def text_of(lines: Sequence[str]) -> list[str]:
    """The lines from <s> on, up to the ids."""
    return list(lines)[list(lines).index("<s>") : list(lines).index("", list(lines).index("<s>"))]


def test_a_block_across_documents_reads_as_it_is_laid_down(tmp_path: Path) -> None:
    cutter = cut_at([2, 20], [20, 28])
    write_folder(tmp_path / "packed", [[], DOCUMENTS], cutters={"full-sentences": cutter})
    lines = explain_block(tmp_path / "packed" / f"full-sentences-{MAX_TOKENS}", "train", 0, WIDTH)
    assert lines[:19] == [
        f"block 0 of full-sentences-{MAX_TOKENS}, train (0 to 1)",
        f"  format  full-sentences, rows of at most {MAX_TOKENS} ids, </s> behind each document",
        "  part    train-00001, tokens [2, 20)",
        "  block   21 of 32 (65.6%) ids: 18 tokens, 3 special",
        "  row     0: blocks 0 to 1, 31 of 32 (96.9%) ids",
        "",
        "document  sentence  tokens    text",
        "<s>",
        'a:0            1/1  [2, 6)    ... "cat."',
        "</s>",
        'b:1            1/2  [6, 14)   "It ran. "',
        'b:1            2/2  [14, 20)  "So\\ndid" ...',
        "</s>",
        "",
        "place  id and token, a space spelled Ġ",
        "    0    0 <s>    70 c      68 a      87 t      17 .       2 </s>",
        "    6   44 I      87 t     224 Ġ      85 r      68 a      81 n",
        "   12   17 .     224 Ġ      54 S      82 o     202 Ċ      71 d",
        "   18   76 i      71 d       2 </s>",
    ]


def test_a_pair_shows_both_texts_and_whether_they_follow_each_other(tmp_path: Path) -> None:
    cutter = cut_at([6, 14, 14, 20, 1], [6, 14, 0, 6, 0])
    write_folder(tmp_path / "packed", [DOCUMENTS], cutters={"segment-pair": cutter})
    folder = tmp_path / "packed" / f"segment-pair-{MAX_TOKENS}"
    following, other = (explain_block(folder, "train", number, WIDTH) for number in (0, 1))
    assert following[1] == f"  format  segment-pair, rows of at most {MAX_TOKENS} ids, </s> </s> behind A"
    assert following[2] == "  part    train-00000, tokens [6, 14), [14, 20)"
    assert following[3] == "  block   18 of 32 (56.2%) ids: 14 tokens, 4 special"
    assert [lines[5] for lines in (following, other)] == [
        "  pair    is_next = 1: B is what follows A", "  pair    is_next = 0: B is from elsewhere",
    ]
    assert text_of(other) == [
        "<s>", 'b:1            1/2  [6, 14)  "It ran. "', "</s> </s>", 'a:0            1/1  [0, 6)   "A cat."', "</s>",
    ]


def test_behind_a_sentence_and_its_document_stand_both_separators(tmp_path: Path) -> None:
    cutter = cut_at([0, 41])
    write_folder(tmp_path / "packed", [DOCUMENTS], separator="sentence", cutters={"full-sentences": cutter})
    lines = explain_block(tmp_path / "packed" / f"full-sentences-{MAX_TOKENS}", "train", 0, WIDTH)
    assert [line for line in text_of(lines) if line.startswith("</s>")] == ["</s> </s>", "</s>", "</s>"]


@pytest.mark.parametrize(
    ("format", "separator"), [*((format, "document") for format in CUTTERS), ("full-sentences", "sentence")]
)
def test_what_is_shown_of_every_block_is_its_text_its_sentences_and_its_ids(
    tmp_path: Path, format: str, separator: str
) -> None:
    generator = np.random.default_rng(3)
    parts = [words(generator, 9), [], words(generator, 8)]
    texts = dict(document for part in parts for document in part)
    write_folder(tmp_path / "packed", parts, separator=separator, cutters={format: CUTTERS[format]})
    folder = tmp_path / "packed" / f"{format}-{MAX_TOKENS}"
    index, vocab = open_index(folder, "train"), spelled(tmp_path / "packed")
    number = 0
    for part in index.parts:
        for block in part.blocks:
            lines = explain_block(folder, "train", number, WIDTH)
            ids = [int(cell) for line in lines[lines.index("", 8) + 2 :] for cell in re.findall(r"(\d+) \S", line[6:])]
            assert ids == block_ids(part.tokens, block, separator).tolist()
            shown = text_of(lines)
            assert " ".join(shown).split().count("</s>") == ids.count(2)
            pieces = [re.fullmatch(r'(\S+) +(\d+)/(\d+)  \[(\d+), (\d+)\) +(\.\.\. )?"(.*)"( \.\.\.)?', line)
                      for line in shown if not line.startswith("<")]
            place = 0
            edges = [edge for span in block_spans(block) for edge in span]
            assert [int(pieces[0][4]), int(pieces[-1][5])] == [edges[0], edges[-1]]  # type: ignore[index]
            for piece in pieces:
                assert piece is not None
                id, sentence, of, start, end, before, text, after = piece.groups()
                whole = texts[id][int(sentence) - 1]
                assert len(texts[id]) == int(of)
                inside = token_text(part.tokens.tokens[int(start) : int(end)].tolist(), vocab)
                assert text == inside
                if not before and not after:
                    assert text == token_text([read_vocab(folder.parent)[s] for s in spell_bytes(whole)], vocab)
                else:
                    assert int(end) - int(start) < len(whole.encode())
                place += int(end) - int(start)
            assert place == sum(end - start for start, end in block_spans(block))
            number += 1
    assert number == index.num_blocks


def spell_bytes(text: str) -> str:
    return "".join(byte_symbols()[byte] for byte in text.encode())


def test_separators_are_shown_where_the_format_puts_them(tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    cutters = {"full-sentences": cut_full}
    write_folder(tmp_path / "packed", [words(generator, 20)], separator="sentence", cutters=cutters)
    folder = tmp_path / "packed" / f"full-sentences-{MAX_TOKENS}"
    part = open_index(folder, "train").parts[0]
    for number, (start, end) in enumerate(part.blocks.tolist()):
        lines, found, place = text_of(explain_block(folder, "train", number, WIDTH)), [], 0
        for line in lines[1:-1]:
            if line.startswith("</s>"):
                found += [place] * len(line.split())
            else:
                place = int(line.split("[")[1].split(")")[0].split(", ")[1]) - start
        assert found == separator_positions(part.tokens, start, end, "sentence").tolist()


def test_a_text_stays_one_line_and_can_be_told_back() -> None:
    vocab = sorted(byte_symbols())
    numbers = {symbol: number for number, symbol in enumerate(vocab)}

    def shown(data: bytes) -> str:
        return token_text([numbers[byte_symbols()[byte]] for byte in data], vocab)

    assert shown("a\nb\r\tc\\n\u00a0\u2028\x00 \U000e0001é".encode()) == (
        "a\\nb\\r\\tc\\\\n\\u00a0\\u2028\\u0000 \\U000e0001é"
    )
    assert shown("é".encode()[:1]) == "\\xc3"
    for data in (bytes(range(256)), "\\xc3 ß \\u00a0".encode()):
        back = shown(data).encode("ascii", "backslashreplace")
        assert b"\n" not in back
        pieces = re.findall(rb"\\x..|\\u....|\\.|[^\\]", back)
        assert b"".join(pieces) == back


def test_ids_stand_in_lines_as_wide_as_asked() -> None:
    vocab = ["<s>", "<pad>", "</s>", "<unk>", "Ġword", "x" * 40]
    lines = id_lines(np.array([0, 4, 4, 5, 4, 2], dtype=np.int64), vocab, 70)
    assert [re.findall(r"(\d) (\S+)", line[7:]) for line in lines[1:]] == [
        [("0", "<s>"), ("4", "Ġword")], [("4", "Ġword"), ("5", "x" * 40)], [("4", "Ġword"), ("2", "</s>")],
    ]
    assert [int(line[:5]) for line in lines[1:]] == [0, 2, 4]


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    generator = np.random.default_rng(1)
    return write_folder(tmp_path / "packed", [words(generator, 9), words(generator, 8)], [words(generator, 5)])


def test_a_number_outside_is_named_with_those_there_are(packed: Path) -> None:
    folder = packed / f"full-sentences-{MAX_TOKENS}"
    last = open_index(folder, "train").num_blocks - 1
    with pytest.raises(ConfigError, match=rf"expected a block of train; found {last + 1} \(there are 0 to {last}\)"):
        explain_block(folder, "train", last + 1, WIDTH)


def rbt(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ["pack", *arguments])


def test_the_packed_folder_is_all_that_it_takes(packed: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "p"
    shutil.move(packed, moved)
    for arguments, split in (((), "train"), (("--split", "validation"), "validation")):
        result = rbt("--out", str(moved), "--format", "doc-sentences", "--explain", "2", *arguments)
        assert result.exit_code == 0, result.output
        lines = explain_block(moved / f"doc-sentences-{MAX_TOKENS}", split, 2, 80)
        assert result.output.splitlines()[: len(lines) // 2] == lines[: len(lines) // 2]
    by_name = rbt("--out", str(moved), "--format", f"doc-sentences-{MAX_TOKENS}", "--explain", "2", "--quiet")
    assert "document" in by_name.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--explain", "0"], "expected one index; found doc-sentences-32, full-sentences-32, segment-pair-32"),
        (["--explain", "0", "--format", "doc-sentences-7"], "expected an index of format 'doc-sentences-7'"),
        (["--explain", "0", "--format", "docs"], "'docs' is not one of"),
        (["--explain", "-1"], "-1 is not in the range"),
        (["--explain", "1000", "--format", "doc-sentences"], "found 1000 (there are 0 to "),
        (["--split", "train"], "--split: expected --explain N beside it"),
        (["--format", "doc-sentences-7"], "--format: expected one of full-sentences, doc-sentences"),
        (["stats", "--explain", "3"], "No such option"),
    ],
)
def test_a_mistake_is_one_line(packed: Path, arguments: list[str], message: str) -> None:
    out = [] if arguments[0] == "stats" else ["--out", str(packed)]
    result = rbt(*out, *arguments)
    assert (result.exit_code, result.output.count("\n")) == (2, 1), result.output
    assert message in result.output


def test_options_of_packing_in_front_of_another_command_are_refused(packed: Path) -> None:
    result = rbt("--out", str(packed), "stats")
    assert result.exit_code == 2
    assert "--out: options go behind the command, `main pack stats ...`" in result.output
    assert rbt("--out", str(packed), "sats").output.startswith("Error: No such command 'sats'")
