"""The paper's results of fine-tuning, in percent: tables 5 to 8 of RoBERTa, arXiv 1907.11692. Its names of models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PAPER = "RoBERTa: A Robustly Optimized BERT Pretraining Approach, arXiv 1907.11692"
Row = Mapping[str, float]  # name of a column -> figure


@dataclass(frozen=True)
class Column:
    """A figure of a task's runs: `score` is `split metric`, as in scores.json; `part`: which data set of the task's."""

    name: str
    task: str
    score: str
    part: str = ""


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: Mapping[str, Row]
    notes: tuple[str, ...]


def _row(columns: tuple[Column, ...], *figures: float | None) -> Row:
    """Figures in the order of the columns; None where the paper has none."""
    pairs = zip(columns, figures, strict=True)
    return {column.name: figure for column, figure in pairs if figure is not None}


GLUE = (
    Column("MNLI-m", "mnli", "dev_matched accuracy"), Column("MNLI-mm", "mnli", "dev_mismatched accuracy"),
    Column("QNLI", "qnli", "dev accuracy"), Column("QQP", "qqp", "dev accuracy"), Column("RTE", "rte", "dev accuracy"),
    Column("SST", "sst2", "dev accuracy"), Column("MRPC", "mrpc", "dev accuracy"),
    Column("CoLA", "cola", "dev matthews"), Column("STS", "stsb", "dev pearson"),
    Column("WNLI", "wnli", "dev accuracy"),
)
SQUAD = (
    Column("SQuAD 1.1 EM", "squad", "dev exact_match", "v1.1"), Column("SQuAD 1.1 F1", "squad", "dev token_f1", "v1.1"),
    Column("SQuAD 2.0 EM", "squad", "dev exact_match", "v2.0"), Column("SQuAD 2.0 F1", "squad", "dev token_f1", "v2.0"),
)
RACE = (
    Column("Accuracy", "race", "dev accuracy"), Column("Middle", "race", "dev accuracy_middle"),
    Column("High", "race", "dev accuracy_high"),
)
TABLES = (
    PaperTable(
        "Table 5", "GLUE, dev", GLUE,
        {
            "BERT large": _row(GLUE, 86.6, None, 92.3, 91.3, 70.4, 93.2, 88.0, 60.6, 90.0, None),
            "XLNet large": _row(GLUE, 89.8, None, 93.9, 91.8, 83.8, 95.6, 89.2, 63.6, 91.8, None),
            "RoBERTa large": _row(GLUE, 90.2, 90.2, 94.7, 92.2, 86.6, 96.4, 90.9, 68.0, 92.4, 91.3),
            "RoBERTa base (table 8)": _row(GLUE, 87.6, None, 92.8, 91.9, 78.7, 94.8, 90.2, 63.6, 91.2, None),
            "large, Books + Wiki, 100K steps (table 8)": _row(
                GLUE, 89.0, None, 93.9, 91.9, 84.5, 95.3, 90.2, 66.3, 91.6, None
            ),
            "large, all data, 100K steps (table 8)": _row(
                GLUE, 89.3, None, 94.0, 92.0, 82.7, 95.6, 91.4, 66.1, 92.2, None
            ),
            "large, all data, 300K steps (table 8)": _row(
                GLUE, 90.0, None, 94.5, 92.2, 83.3, 96.1, 91.1, 67.4, 92.3, None
            ),
        },
        (
            "CoLA: Matthews correlation. STS: Pearson correlation. The others: accuracy. The paper does not name its "
            "metrics; these are the usual ones, and what else a task is scored by is in the list of runs.",
        ),
    ),
    PaperTable(
        "Table 6", "SQuAD, dev", SQUAD,
        {
            "BERT large": _row(SQUAD, 84.1, 90.9, 79.0, 81.8), "XLNet large": _row(SQUAD, 89.0, 94.5, 86.1, 88.8),
            "RoBERTa large": _row(SQUAD, 88.9, 94.6, 86.5, 89.4),
        },
        (),
    ),
    PaperTable(
        "Table 7", "RACE; the paper's figures: test, those of runs: dev", RACE,
        {
            "BERT large": _row(RACE, 72.0, 76.6, 70.1), "XLNet large": _row(RACE, 81.7, 85.4, 80.2),
            "RoBERTa large": _row(RACE, 83.2, 86.5, 81.3),
        },
        ("The paper's figures are of the test set, those of runs here of dev.",),
    ),
)
