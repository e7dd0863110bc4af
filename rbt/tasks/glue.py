"""GLUE (Wang et al. 2018): nine tasks and the diagnostic set AX, as tables.

The first layout of a task is that of the published files; those behind it are reductions in common use.
"""

from __future__ import annotations

from rbt.tasks.tsv import Layout, TableTask

ENTAILMENT = {name: name for name in ("entailment", "not_entailment")}
INFERENCE = {name: name for name in ("entailment", "neutral", "contradiction")}
PAIR = Layout(("sentence1", "sentence2"))
MSR_ID = ("#1 ID", "#2 ID")
STRINGS = ("#1 String", "#2 String")
SHARED = ("dev_ids.tsv", "dev_ids")

GLUE: dict[str, TableTask] = {
    "cola": TableTask(
        ("CoLA",),
        (
            Layout((3,), label=1, id=(), width=4),  # train and dev have no header, test has one
            Layout(("sentence",)),
            Layout((0,), label=1, id=(), width=2),
        ),
        {"0": "unacceptable", "1": "acceptable"},
    ),
    "sst2": TableTask(
        ("SST-2",), (Layout(("sentence",)), Layout((1,), label=0, id=(), width=2)),
        {"0": "negative", "1": "positive"},
    ),
    "mrpc": TableTask(
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
    "stsb": TableTask(("STS-B",), (Layout(("sentence1", "sentence2"), label="score"),)),
    "qqp": TableTask(
        ("QQP",), (Layout(("question1", "question2"), label="is_duplicate", id=("id",)),),
        {"0": "not_duplicate", "1": "duplicate"}, torn=True,
    ),
    "mnli": TableTask(
        ("MNLI",), (Layout(("sentence1", "sentence2"), label="gold_label"),), INFERENCE,
        {
            "train": ("train.tsv",),
            "dev_matched": ("dev_matched.tsv",), "dev_mismatched": ("dev_mismatched.tsv",),
            "test_matched": ("test_matched.tsv",), "test_mismatched": ("test_mismatched.tsv",),
        },
    ),
    "qnli": TableTask(("QNLI",), (Layout(("question", "sentence")),), ENTAILMENT),
    "rte": TableTask(("RTE",), (PAIR,), ENTAILMENT),
    "wnli": TableTask(("WNLI",), (PAIR,), {"0": "not_entailment", "1": "entailment"}),
    "ax": TableTask(
        ("AX", "diagnostic"), (PAIR, Layout(("Premise", "Hypothesis"), label="Label")), INFERENCE,
        {"test": ("diagnostic-full.tsv", "diagnostic.tsv", "ax.tsv")},
    ),
}
