"""`rbt pretrain`, `rbt export` and `rbt fill-mask`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rbt.cli.options import FOLDER, common, override, say
from rbt.config import Recipe
from rbt.errors import ConfigError

CHECKPOINT_HELP = "Which one: the best is that of the lowest validation loss."


@click.command(epilog="Example: rbt pretrain --gpus 8 --set run.stop_after=1000")
@click.option("--packed", type=FOLDER, default="packed", show_default=True, help="Folder of tokens and indices.")
@click.option("--format", "format_name", help="Index to train on: a format or a folder's name [default: the recipe's].")
@click.option("--out", type=FOLDER, default="run", show_default=True, help="Folder of the run.")
@click.option("--init", type=FOLDER, help="Folder of a model to start from, rbt's or Hugging Face's.")
@click.option(
    "--gpus", type=click.IntRange(0), default=0, show_default=True,
    help="Processes to start on this machine, one a GPU; 0 = this one alone.",
)
@click.option("--deterministic", is_flag=True, help="Take kernels that give the same bits every time, or stop; slower.")
@click.option("--stage-to", type=FOLDER, help="Copy the packed folder to this one first, on the node's own disk.")
@common
def pretrain(
    packed: Path, format_name: str | None, out: Path, init: Path | None, gpus: int, deterministic: bool,
    stage_to: Path | None, recipe: Recipe, quiet: bool,
) -> None:
    """Pretrain a RoBERTa on a packed corpus; continues a run that was stopped.

    With --init, sizes and positions are that model's, whatever [model] says; dropouts are the recipe's.
    """
    from rbt.trainer.config import DataConfig, ModelConfig, RunConfig, ScheduleConfig, check_ranges
    from rbt.trainer.launch import launch
    from rbt.trainer.speaking import is_rank, saying_once

    run = override(recipe, "run", deterministic=deterministic or None).section("run", RunConfig)
    model, data = recipe.section("model", ModelConfig), recipe.section("data", DataConfig)
    schedule = recipe.section("schedule", ScheduleConfig)
    check_ranges(model, data, schedule, run)
    if gpus and not is_rank():
        click.get_current_context().exit(launch(gpus, run.device, "rbt", sys.argv[1:]))
    from rbt.trainer.pretrain import pretrain as train

    with saying_once():
        format_name = format_name or recipe.sections["pack"].format
        train(packed, format_name, out, model, data, schedule, run, init, stage_to)
    say(quiet, *run_summary(out))


def run_summary(out: Path) -> list[str]:
    """The last training and validation lines of a run's metrics, as far as there are any."""
    from rbt.formats.checkpoint import latest_checkpoint, step_of
    from rbt.runs import METRICS, read_records

    records = read_records(out / METRICS)
    trained = [record for record in records if "loss" in record]
    validated = [record for record in records if "validation_loss" in record]
    words = [f"step {trained[-1]['step']:,}: loss {trained[-1]['loss']:.3f}"] if trained else []
    if validated:
        last = validated[-1]
        words.append(f"validation loss {last['validation_loss']:.3f}, perplexity {last['validation_perplexity']:.2f}")
    if not trained:
        newest = latest_checkpoint(out)
        words.insert(0, f"step {step_of(newest) if newest else 0:,}, before the first that is logged")
    return [f"{out}: {'; '.join(words)}" + (" (masked tokens only, base e)" if trained or validated else "")]


@click.command(epilog="Example: rbt export --run run --out model")
@click.option("--run", "run_folder", type=FOLDER, default="run", show_default=True, help="Folder of the run.")
@click.option("--out", type=FOLDER, default="model", show_default=True, help="Folder of the model.")
@click.option("--checkpoint", default="newest", show_default=True, metavar="newest|best|STEP", help=CHECKPOINT_HELP)
@click.option("--replace", is_flag=True, help="Replace a model exported from another checkpoint.")
@common
def export(run_folder: Path, out: Path, checkpoint: str, replace: bool, recipe: Recipe, quiet: bool) -> None:
    """Write a checkpoint as a folder that Hugging Face transformers reads.

    It is a RobertaForMaskedLM, so that the next-sentence head of pair formats is left out.
    """
    from rbt.trainer.export import export as export_model

    export_model(run_folder, out, replace=replace, which=checkpoint)
    say(quiet, f"{out}: AutoModelForMaskedLM.from_pretrained({str(out)!r}) and AutoTokenizer read it")


@click.command("fill-mask", epilog='Example: rbt fill-mask "The capital of France is <mask>."')
@click.argument("text")
@click.option("--model", "folder", type=FOLDER, default="model", show_default=True, help="Folder of the model.")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Fillings to show.")
@common
def fill_mask(text: str, folder: Path, top: int, recipe: Recipe, quiet: bool) -> None:
    """Let an exported model fill each <mask> of TEXT."""
    from rbt.packing.encode import encode_with_specials, token_text
    from rbt.trainer.fill_mask import predict_masks

    ids = encode_with_specials(folder, text)
    predictions = predict_masks(folder, ids, top)
    if not predictions:
        raise ConfigError("expected <mask> in the text", found=repr(text), cure='"The capital of France is <mask>."')
    for number, fillings in enumerate(predictions):
        for token, probability in fillings:
            click.echo(f"mask {number + 1}  {probability:7.2%}  {token_text(folder, token)!r}")
