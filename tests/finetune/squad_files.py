"""Made-up questions on passages, as SQuAD's files have them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rbt.formats.tokenizer import spell
from rbt.tasks.examples import Answer, Question

OWNERS = ("Ana", "Ben", "Cleo", "Dov", "Edda", "Finn", "Gita", "Hal", "Ines", "Jon")
THINGS = ("red kite", "old map", "tin cup", "gray goat", "wool hat", "clay jug", "long rope", "door", "drum", "émeu")


def question(context: str, text: str | None, start: int | None = None, id: str = "q") -> Question:
    """A question on a passage that `text` answers, at its first place if no `start` is given; None: unanswerable."""
    answers = () if text is None else (Answer(text, context.index(text) if start is None else start),)
    return Question(id, "train", "", context, "What is it?", answers, text is None)


def made_questions(split: str, with_unanswerable: bool) -> list[Question]:
    """Twenty: what each of ten owns, and what another owns, or where they are from, which no passage says."""
    found = []
    for number, (owner, thing) in enumerate(zip(OWNERS, THINGS, strict=True)):
        other, others = OWNERS[number - 1], THINGS[number - 1]
        context = f"{other} owns the {others}, and {owner} owns the {thing}."
        found.append(Question(f"{number}a", split, "", context, f"What does {owner} own?",
                              (Answer(thing, context.index(thing)),)))
        asked, answers = f"What does {other} own?", (Answer(others, context.index(others)),)
        if with_unanswerable:
            asked, answers = f"Where is {other} from?", ()
        found.append(Question(f"{number}b", split, "", context, asked, answers, not answers))
    return found


def word_merges(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Merges that make tokens of the words of some texts, each with the space in front of it, byte by byte."""
    words = dict.fromkeys(word for text in texts for word in (" " + text).replace(" ", "\n ").split("\n"))
    merges: dict[tuple[str, str], None] = {}
    for word in words:
        symbols = spell(word.encode())
        merges.update({(symbols[:end], symbols[end]): None for end in range(1, len(symbols))})
    return list(merges)


def write_squad(path: Path, questions: Sequence[Question]) -> Path:
    """A file of questions, each in a paragraph of its own; `is_impossible` as v2.0 has it."""
    paragraphs = [
        {
            "context": each.context,
            "qas": [{
                "id": each.id, "question": each.question, "is_impossible": each.is_impossible,
                "answers": [{"text": answer.text, "answer_start": answer.start} for answer in each.answers],
            }],
        }
        for each in questions
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"version": "made", "data": [{"title": "made", "paragraphs": paragraphs}]}), "utf-8")
    return path
