"""GLUE (Wang et al. 2018): nine tasks and the diagnostic set AX, as tables.

The first layout of a task is that of the published files; those behind it are reductions in common use.
"""

from __future__ import annotations

from collections.abc import Mapping

from rbt.tasks.task import Defaults, Task
from rbt.tasks.tsv import Layout, TableTask

ENTAILMENT = {name: name for name in ("entailment", "not_entailment")}
WNLI_LABELS = {"0": "not_entailment", "1": "entailment"}
INFERENCE = {name: name for name in ("entailment", "neutral", "contradiction")}
PAIR = Layout(("sentence1", "sentence2"))
MSR_ID = ("#1 ID", "#2 ID")
STRINGS = ("#1 String", "#2 String")
SHARED = ("dev_ids.tsv", "dev_ids")
ACCURACY, ACCURACY_AND_F1 = ("accuracy",), ("accuracy", "f1")


def _task(
    table: TableTask, metrics: tuple[str, ...], learning_rate: float = 1e-5, batch_size: int = 32,
    submissions: Mapping[str, str] | None = None, also: tuple[str, ...] = (),
    bounds: tuple[float, float] | None = None, answers: str = "",
) -> Task:
    """An entry: classes where the table has labels, else scores."""
    return Task(
        table, "class" if table.labels else "score", metrics, table.labels,
        submissions or {"test": f"{table.folders[0]}.tsv"},
        Defaults(learning_rate=learning_rate, batch_size=batch_size), also, bounds=bounds, answers=answers,
    )


GLUE: dict[str, Task] = {
    "cola": _task(
        TableTask(
            ("CoLA",),
            (
                Layout((3,), label=1, id=(), width=4),  # train and dev have no header, test has one
                Layout(("sentence",)),
                Layout((0,), label=1, id=(), width=2),
            ),
            {"0": "unacceptable", "1": "acceptable"},
        ),
        ("matthews",), 1e-5, 16,
    ),
    "sst2": _task(
        TableTask(
            ("SST-2",), (Layout(("sentence",)), Layout((1,), label=0, id=(), width=2)),
            {"0": "negative", "1": "positive"},
        ),
        ACCURACY,
    ),
    "mrpc": _task(
        TableTask(
            ("MRPC",),
            (
                Layout(STRINGS, label="Quality", id=MSR_ID),
                Layout(STRINGS, label="BOMQuality", id=MSR_ID),  # copies in which the byte order mark became letters
            ),
            {"0": "not_equivalent", "1": "equivalent"},
            {
                "train": ("train.tsv", "msr_paraphrase_train.txt", "train"),
                "dev": ("dev.tsv",),
                "test": ("test.tsv", "msr_paraphrase_test.txt", "test"),
            },
            held_out=SHARED,
        ),
        ACCURACY_AND_F1, 1e-5, 16,
    ),
    "stsb": _task(
        TableTask(("STS-B",), (Layout(("sentence1", "sentence2"), label="score"),)), ("pearson", "spearman"), 2e-5, 16,
        bounds=(0.0, 5.0),
    ),
    "qqp": _task(
        TableTask(
            ("QQP",), (Layout(("question1", "question2"), label="is_duplicate", id=("id",)),),
            {"0": "not_duplicate", "1": "duplicate"}, torn=True,
        ),
        ACCURACY_AND_F1,
    ),
    "mnli": _task(
        TableTask(
            ("MNLI",), (Layout(("sentence1", "sentence2"), label="gold_label"),), INFERENCE,
            {
                "train": ("train.tsv",),
                "dev_matched": ("dev_matched.tsv",), "dev_mismatched": ("dev_mismatched.tsv",),
                "test_matched": ("test_matched.tsv",), "test_mismatched": ("test_mismatched.tsv",),
            },
        ),
        ACCURACY, submissions={"test_matched": "MNLI-m.tsv", "test_mismatched": "MNLI-mm.tsv"}, also=("ax",),
    ),
    "qnli": _task(
        TableTask(("QNLI",), (Layout(("question", "sentence")),), ENTAILMENT), ACCURACY, answers="entailment"
    ),
    "rte": _task(TableTask(("RTE",), (PAIR,), ENTAILMENT), ACCURACY, 2e-5, 16),
    "wnli": Task(
        TableTask(("WNLI",), (PAIR,), WNLI_LABELS), "pronoun", ACCURACY, WNLI_LABELS, {"test": "WNLI.tsv"},
        Defaults(learning_rate=2e-5, batch_size=32, epochs=50),  # few examples: fairseq's updates are some 100 epochs
    ),
    "ax": _task(
        TableTask(
            ("AX", "diagnostic"), (PAIR, Layout(("Premise", "Hypothesis"), label="Label")), INFERENCE,
            {"test": ("diagnostic-full.tsv", "diagnostic.tsv", "ax.tsv")},
        ),
        ("matthews",),
    ),
}
