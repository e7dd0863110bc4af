"""What a build says at its end."""

from __future__ import annotations

from typing import Any

import pytest

from rbt.corpus.report import name_the_most_frequent
from rbt.corpus.summary import against_the_paper, amount, percent
from rbt.ledger import Ledger
from rbt.manifest import Manifest


def corpus_of(**sources: dict[str, Any]) -> Manifest:
    facts = {"sources": sources}
    return Manifest("corpus", 1, "corpus build", 1, {}, {}, (), facts, Ledger())


def test_each_corpus_is_set_against_the_figure_of_the_paper() -> None:
    """Documents and bytes of all sources of a kind are added up; a kind the paper lacks has no line."""
    manifest = corpus_of(
        a={"kind": "ccnews", "documents": 500_000, "bytes": 700_000_000},
        b={"kind": "ccnews", "documents": 212_000, "bytes": 136_000_000},
        c={"kind": "table", "documents": 5, "bytes": 5},
        d={"kind": "bookcorpus", "documents": 1, "bytes": 1_600_000_000},
    )
    assert against_the_paper(manifest) == [
        "of the paper's bookcorpus: 1.6 GB of 16 GB, 10 % (the figure is bookcorpus and wikipedia together)",
        "of the paper's ccnews: 0.84 GB of 76 GB, 1.1 %; 0.71 M of 63 M articles, 1.1 %",
    ]


def test_amounts_and_shares_are_short() -> None:
    """Two digits, and never a share of zero for something that is there."""
    numbers = (0, 499, 500, 12_345, 63e6, 4e9)
    assert [amount(number) for number in numbers] == ["0", "499", "0.5 k", "12 k", "63 M", "4 G"]
    assert [amount(number, "B") for number in (0, 499, 16e9)] == ["0 B", "499 B", "16 GB"]
    assert [percent(share) for share in (0.5, 0.012, 1e-9)] == ["50 %", "1.2 %", "less than 0.01 %"]


def test_the_most_frequent_templates_keep_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are one count, of several as frequent the later in the alphabet; other counts stay."""
    monkeypatch.setattr("rbt.corpus.report.NAMED_TEMPLATES", 2)
    ledger = Ledger()
    for name, number in {"template:b": 5, "template:d": 3, "template:c": 3, "template:a": 1, "chapters": 9}.items():
        ledger.row("extract", "wikipedia").count(name, number)
    name_the_most_frequent(ledger, ["wikipedia"])
    assert ledger.row("extract", "wikipedia").other == {
        "template:b": 5, "template:c": 3, "template:(other)": 4, "chapters": 9,
    }
