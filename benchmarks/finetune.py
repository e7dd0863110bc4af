"""Fine-tuning on a task of sentences: examples a second, beside Hugging Face's Trainer on the same files and model.

    python benchmarks/finetune.py [--task sst2] [--size small] [--data DIR]

Each contender has a process of its own (contest.py, finetune_contenders.py) and all cores. It starts from the same
folder: fresh weights of a size, and a BPE of 8,000 ids of the task's own sentences. Both take AdamW, the same batch
size and rate, bf16 on a GPU, float32 on a CPU. `--data` holds the files of the task; default: those of RBT_DATA.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import checkout  # noqa: F401
from contest import Contest, Measured
from finetune_contenders import CONTENDERS

from rbt.formats.tokenizer import write_tokenizer
from rbt.manifest import to_json
from rbt.tasks.sets import find_files, read_examples
from rbt.trainer.config import SIZES, ModelConfig

POSITIONS, VOCAB_SIZE = 512, 8000
FOLDERS = {"sst2": "SST2_sentence", "cola": "CoLA_2col", "rte": "RTE_resplit"}


def write_model(folder: Path, task: str, data: Path, size: str) -> None:
    """A model with fresh weights and a tokenizer of the task's sentences, as a folder that both read."""
    from safetensors.torch import save_file
    from tokenizers import ByteLevelBPETokenizer

    from rbt.trainer.hugging_face import hugging_face_config, to_hugging_face
    from rbt.trainer.model import build_model

    learner = ByteLevelBPETokenizer()
    sentences = (
        text for _, example in read_examples(find_files(task, data, ("train",))) for text in example.texts
    )
    learner.train_from_iterator(sentences, vocab_size=VOCAB_SIZE - 5, min_frequency=2, show_progress=False)
    folder.mkdir()
    learner.save_model(str(folder))
    lines = (folder / "merges.txt").read_text("utf-8").splitlines()
    merges = [(left, right) for left, right in (line.split(" ") for line in lines if not line.startswith("#"))]
    vocab = write_tokenizer(folder, merges)
    config = ModelConfig(size=size)
    model = build_model(config, len(vocab), POSITIONS, 1)
    save_file(to_hugging_face(model.state_dict(), config.shape.layers), folder / "model.safetensors")
    (folder / "config.json").write_text(to_json(hugging_face_config(config, len(vocab), POSITIONS)), "utf-8")


def row(name: str, found: Measured, own: Measured | None) -> str:
    """A contender's row."""
    if found.error:
        return f"| {name} | failed: {found.error} |"
    facts = found.facts
    train = facts["train_examples"] / facts["seconds"]["train"]
    ratio = own.facts["train_examples"] / own.facts["seconds"]["train"] / train if own else 0.0
    cells = [
        name, f"{facts['seconds']['encode']:.1f}", f"{train:,.0f}", f"{ratio:.2f} times as fast" if ratio else "",
        f"{facts['dev_examples'] / facts['seconds']['evaluate']:,.0f}", f"{found.seconds:.1f}",
        f"{facts['score']:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=sorted(FOLDERS), default="sst2")
    parser.add_argument("--data", type=Path, help="folder of the task's files")
    parser.add_argument("--size", choices=sorted(SIZES), default="small", help="of the model")
    parser.add_argument("--train-examples", type=int, default=0, help="0: all")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--runs", type=int, default=3, help="the figures are medians of so many")
    parser.add_argument("--only", action="append", help="a contender to measure (repeatable); default: all")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--work", help="folder for temporary files; default: the system's")
    return parser.parse_args()


def measure(contest: Contest, name: str, job: dict[str, object], runs: int) -> Measured:
    """The run whose training took the median time."""
    found = [contest.measure(name, job, runs=1) for _ in range(runs)]
    if errors := [each for each in found if each.error]:
        return errors[0]
    middle = statistics.median_low(each.facts["seconds"]["train"] for each in found)
    return next(each for each in found if each.facts["seconds"]["train"] == middle)


def main() -> None:
    """Print the table."""
    options = parse_options()
    root = Path(os.environ.get("RBT_DATA", "../shared/data"))
    data = options.data or root / "tasks" / "glue" / FOLDERS[options.task]
    contest = Contest(
        Path(__file__).with_name("finetune_contenders.py"), options.peer_python, options.work, one_core=False
    )
    names = contest.introduce(list(CONTENDERS), options.only, options.runs)
    with TemporaryDirectory(dir=options.work) as temporary:
        model = Path(temporary) / "model"
        write_model(model, options.task, data, options.size)
        job = {
            "task": options.task, "data": str(data.absolute()), "model": str(model),
            "train_examples": options.train_examples, "batch_size": options.batch_size, "epochs": options.epochs,
            "max_tokens": options.max_tokens,
        }
        print(f"\n{options.task}, {options.size}, batches of {options.batch_size}, {options.epochs} epochs\n\n"
              "| | encode, s | train, examples/s | rbt is | evaluate, examples/s | in all, s | accuracy on dev |\n"
              "|---|---:|---:|---:|---:|---:|---:|", flush=True)
        own = None
        for name in names:
            found = measure(contest, name, job, options.runs)
            print(row(name, found, own), flush=True)
            own = found if name == "rbt" and not found.error else own


if __name__ == "__main__":
    main()
