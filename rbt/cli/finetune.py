"""`rbt finetune`, `rbt predict`, `rbt score` and `rbt table`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rbt.cli.options import FOLDER, common, override, say
from rbt.config import Recipe
from rbt.errors import ConfigError

GPUS_HELP = "Processes to start on this machine for each run, one a GPU; 0 = this one alone."
RUN_HELP = "RUN is the folder of a run of `rbt finetune`, or of a sweep."


@click.command(epilog="Example: rbt finetune rte --model model --data glue --out rte --sweep --seeds 5")
@click.argument("task")
@click.option("--model", type=FOLDER, help="Folder of the model to start from, rbt's or Hugging Face's.")
@click.option("--data", type=FOLDER, required=True, help="Folder or zip with the files of the task, or of all of GLUE.")
@click.option("--out", type=FOLDER, required=True, help="Folder of the run, or of all runs and sweep.json.")
@click.option("--sweep", "is_sweep", is_flag=True, help="Run the grid of batch sizes and learning rates.")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Runs of each configuration.")
@click.option("--init-from", type=FOLDER, metavar="RUN", help="Start from the model of this run, or chosen of a sweep.")
@click.option("--gpus", type=click.IntRange(0), default=0, show_default=True, help=GPUS_HELP)
@click.option("--deterministic", is_flag=True, help="Take kernels that give the same bits every time; slower.")
@common
def finetune(
    task: str, model: Path | None, data: Path, out: Path, is_sweep: bool, seeds: int, init_from: Path | None,
    gpus: int, deterministic: bool, recipe: Recipe, quiet: bool,
) -> None:
    """Fine-tune a model on TASK: a task of GLUE, squad, race; continues what was stopped.

    \b
    One run: OUT has its model, predictions on dev and scores.
    --sweep, or --seeds above 1: OUT has a folder a run, and sweep.json.

    The grid of --sweep is finetune.batch_sizes x finetune.learning_rates, else the task's. Seeds are the outer loop.
    The configuration is chosen that has the smallest share of diverged runs, and of those the best median on dev over
    its seeds. A run diverged if it says the same of all examples, or if its losses ceased to be finite.
    """
    from rbt.finetune.config import FinetuneConfig
    from rbt.finetune.data import task_named
    from rbt.finetune.sweep import Inputs, alone, grid, sweep
    from rbt.trainer.config import RunConfig
    from rbt.trainer.speaking import is_rank, saying_once

    defaults, config = task_named(task).defaults, recipe.section("finetune", FinetuneConfig)
    run = override(recipe, "run", deterministic=deterministic or None).section("run", RunConfig)
    is_one = not is_sweep and seeds == 1
    if is_one and gpus and not is_rank():
        from rbt.trainer.launch import launch

        click.get_current_context().exit(launch(gpus, run.device, "rbt", sys.argv[1:]))
    with saying_once():
        inputs = Inputs(task, start_folder(model, init_from), data)
        if is_one:
            from rbt.finetune.run import finetune as fine_tune

            fine_tune(task, inputs.model, data, out, alone(config, defaults), run)
            is_whole = (out / "scores.json").is_file()
        else:
            configs = grid(config, defaults) if is_sweep else [alone(config, defaults)]
            is_whole = sweep(inputs, out, configs, run, seeds, gpus)
    say(quiet, *finetune_summary(out, is_whole))


def start_folder(model: Path | None, init_from: Path | None) -> Path:
    """The folder of the model that runs start from. Raises ArtefactError, ConfigError."""
    from rbt.finetune.results import chosen_run
    from rbt.finetune.scores import MODEL_FOLDER

    if init_from is None:
        if model is None:
            raise ConfigError("expected --model or --init-from", found="neither")
        return model
    result = chosen_run(init_from)
    if result.has_diverged:
        raise ConfigError(
            "--init-from: expected a run that did not diverge", found=str(result.folder),
            cure="fine-tune with another seed or a smaller learning rate",
        )
    if model is not None:
        from rbt.trainer.model_folder import read_model_folder

        if read_model_folder(model).weights != result.facts["pretrained_weights"]:
            raise ConfigError(
                f"--init-from: expected a run that began from {model}", found=f"{result.folder}, of another model",
                cure="leave out --model",
            )
    return result.folder / MODEL_FOLDER


def finetune_summary(out: Path, is_whole: bool) -> list[str]:
    """What was found, and whether all of it is there."""
    from rbt.finetune.results import SWEEP, read_results
    from rbt.finetune.sweep import summary

    is_there = is_whole or (out / SWEEP).is_file()
    lines = summary(read_results(out)) if is_there else []
    return [*lines, f"{out}: {'finished' if is_whole else 'not all of it yet: the same command goes on'}"]


@click.command(epilog="Example: rbt predict runs/mnli runs/rte --split test --data glue --out glue.zip")
@click.argument("runs", type=FOLDER, nargs=-1, required=True, metavar="RUN...")
@click.option("--split", default="test", show_default=True, help="Beginning of the splits' names: test, dev_matched.")
@click.option("--data", type=FOLDER, required=True, help="Folder or zip with the files of the task, or of all of GLUE.")
@click.option("--out", type=FOLDER, required=True, metavar="FILE", help="A .zip, .tsv, .json or .jsonl.")
@click.option(
    "--ensemble", type=click.IntRange(0), default=0, metavar="N",
    help="Average the N best runs of each task that did not diverge; 0 = one run a task.",
)
@click.option("--gpus", type=click.IntRange(0), default=0, show_default=True, help=GPUS_HELP)
@common
def predict(
    runs: tuple[Path, ...], split: str, data: Path, out: Path, ensemble: int, gpus: int, recipe: Recipe, quiet: bool
) -> None:
    """Write what fine-tuned models say of the test set, or of another split.

    RUN is the folder of a run of `rbt finetune`, or of a sweep: then the best run of its chosen configuration.

    \b
    FILE.zip     what GLUE's leaderboard takes, of several tasks; of mnli also the diagnostics
    FILE.tsv     index and prediction, spelled as in the task's files
    FILE.json    {id: prediction}, what SQuAD's scorer takes
    FILE.jsonl   {"id": ..., "prediction": ...} a line
    """
    from rbt.finetune.predict import predict as ask
    from rbt.finetune.submission import ZIP, check_suffix, left_out
    from rbt.trainer.config import RunConfig
    from rbt.trainer.speaking import is_rank, saying_once

    run = recipe.section("run", RunConfig)
    suffix = check_suffix(out)
    if gpus and not is_rank():
        from rbt.trainer.launch import launch

        click.get_current_context().exit(launch(gpus, run.device, "rbt", sys.argv[1:]))
    with saying_once():
        written = ask(runs, data, split, out, run, ensemble)
    lines = [f"{out}: {each.task} {each.split}, {len(each.predictions):,} predictions" for each in written]
    if suffix == ZIP and (missing := left_out(written)):
        lines.append(f"{out}: without {', '.join(missing)}; GLUE's leaderboard takes a zip with all of its files")
    say(quiet, *lines)


@click.command(epilog="Example: rbt score rte predictions.jsonl --data glue")
@click.argument("task")
@click.argument("predictions", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--data", type=FOLDER, required=True, help="Folder or zip with the files of the task, or of all of GLUE.")
@click.option("--split", default="dev", show_default=True, help="Beginning of the splits' names: dev, dev_matched.")
@common
def score(task: str, predictions: Path, data: Path, split: str, recipe: Recipe, quiet: bool) -> None:
    """Compare a file of PREDICTIONS with the answers of a split of TASK.

    It is a .zip, .tsv, .json or .jsonl, as `rbt predict` and `rbt finetune` write them; a .zip may hold several splits.
    """
    from rbt.finetune.config import FinetuneConfig
    from rbt.finetune.scoring import score_predictions

    config = recipe.section("finetune", FinetuneConfig)
    for name, scores in score_predictions(task, predictions, data, split, config).items():
        click.echo(f"{task} {name}: " + ", ".join(f"{metric} {value:.2f}" for metric, value in scores.items()))


@click.command(epilog="Example: rbt table runs/mnli runs/rte runs/squad --out table.md")
@click.argument("runs", type=FOLDER, nargs=-1, required=True, metavar="RUN...")
@click.option("--out", type=FOLDER, required=True, metavar="TABLE.md", help="The page; a .png is written beside it.")
@common
def table(runs: tuple[Path, ...], out: Path, recipe: Recipe, quiet: bool) -> None:
    """Show runs and sweeps beside the paper's tables 5 (GLUE), 6 (SQuAD) and 7 (RACE).

    A line a pretrained model: medians over seeds, with the smallest and the largest. Runs that diverged are marked.
    """
    from rbt.finetune.table import write_tables

    if out.suffix.lower() != ".md":
        raise ConfigError("--out: expected a file name that ends in .md", found=str(out))
    picture = write_tables(out, runs)
    say(quiet, out.read_text("utf-8"), f"{out}, {picture}")
