"""The command line: parse, call, report. Everything heavy is imported inside the command that needs it.

    options.py    what commands share       corpus.py     rbt corpus ...
    project.py    rbt init, rbt verify      duplicates.py rbt corpus duplicates, rbt corpus curve
    tokenizer.py  rbt bpe train, count      token_stats.py rbt bpe stats
    packing.py    rbt pack                  views.py      rbt pack --explain, rbt pack stats
    trace.py      rbt trace                 training.py   rbt pretrain, export, fill-mask
    runs.py       rbt runs compare          ablate.py     rbt ablate
    finetune.py   rbt finetune, predict, score, table
"""

from __future__ import annotations

import click

from rbt import __version__
from rbt.cli.ablate import ablate
from rbt.cli.corpus import corpus
from rbt.cli.duplicates import curve, duplicates
from rbt.cli.finetune import finetune, predict, score, table
from rbt.cli.options import CONTEXT, RbtGroup
from rbt.cli.packing import pack
from rbt.cli.project import init, verify
from rbt.cli.runs import runs
from rbt.cli.token_stats import stats as token_stats
from rbt.cli.tokenizer import bpe
from rbt.cli.trace import trace
from rbt.cli.training import export, fill_mask, pretrain
from rbt.cli.views import stats


@click.group(cls=RbtGroup, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="rbt")
def main() -> None:
    """From raw dumps to a RoBERTa.

    \b
    rbt init            write rbt.toml, see which raw files go where
    rbt corpus build    raw files -> clean, deduplicated Arrow parts
    rbt bpe train       corpus    -> byte-level BPE tokenizer
    rbt pack            both      -> tokens, blocks and rows
    rbt pretrain        packed    -> checkpoints
    rbt export          run       -> a Hugging Face folder
    rbt finetune        model     -> GLUE, SQuAD, RACE
    """


for command in (duplicates, curve):
    corpus.add_command(command)
bpe.add_command(token_stats)
pack.add_command(stats)
# in the order of the work
for command in (
    init, corpus, bpe, pack, pretrain, runs, trace, ablate, export, fill_mask, finetune, predict, score, table, verify,
):
    main.add_command(command)
