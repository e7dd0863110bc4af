"""What benchmarks/finetune.py compares: a model fine-tuned on a task of sentences for one epoch, and evaluated.

A job has `task`, `data`, `model` (folders), `train_examples`, `batch_size`, `epochs`, `max_tokens`. A contender returns
the `seconds` that go to `encode` (files and texts to token ids), to `train` and to `evaluate`, the numbers of
`train_examples` and `dev_examples` that went through, and the accuracy on dev behind the last epoch.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import checkout  # noqa: F401
from contest import Clock, Contender, Job, serve

LEARNING_RATE = 1e-4


def by_rbt(job: Job, clock: Clock) -> dict[str, Any]:
    """`rbt finetune` itself."""
    from rbt.finetune import run as run_module
    from rbt.finetune.config import FinetuneConfig
    from rbt.finetune.scores import read_scores
    from rbt.finetune.training import Training
    from rbt.tasks.sets import TASKS
    from rbt.trainer.config import RunConfig

    seconds = {"encode": 0.0, "train": 0.0, "evaluate": 0.0, "between": 0.0}

    def timed(name: str, function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            started = time.perf_counter()
            result = function(*arguments)
            seconds[name] += time.perf_counter() - started
            return result

        return call

    run_module.read_start = timed("encode", run_module.read_start)
    run_module.encode_start = timed("encode", run_module.encode_start)
    run_module.build_training = timed("train", run_module.build_training)
    run_module._train = timed("train", run_module._train)
    run_module.Session.end_epoch = timed("between", run_module.Session.end_epoch)
    Training.evaluate = timed("evaluate", Training.evaluate)
    config = FinetuneConfig(
        learning_rate=LEARNING_RATE, batch_size=job["batch_size"], epochs=job["epochs"],
        max_tokens=job["max_tokens"], train_examples=job["train_examples"], early_stopping=0,
    )
    out = Path(job["work"]) / "run"
    task = TASKS[job["task"]]
    TASKS[job["task"]] = dataclasses.replace(task, metrics=("accuracy",))  # the Trainer's, of every task
    with clock:
        run_module.finetune(job["task"], Path(job["model"]), Path(job["data"]), out, config, RunConfig())
    seconds["train"] -= seconds["between"]  # evaluating and saving, which the Trainer does outside of `train`
    scores = read_scores(out)
    return {
        "seconds": seconds, "train_examples": job["epochs"] * scores["examples"]["train"],
        "dev_examples": (job["epochs"] + 1) * scores["examples"]["dev"], "score": scores["epochs"][-1]["dev accuracy"],
    }


def _splits(job: Job) -> dict[str, list[Any]]:
    """The examples, read by rbt's readers in both ways."""
    from rbt.tasks.sets import find_files, read_examples

    found: dict[str, list[Any]] = {}
    for file, example in read_examples(find_files(job["task"], Path(job["data"]), ("train", "dev"))):
        found.setdefault(file.split, []).append(example)
    if job["train_examples"]:
        found["train"] = found["train"][: job["train_examples"]]
    return found


def by_trainer(group_by_length: bool) -> Any:
    """Hugging Face's Trainer as their example run_glue uses it: `map`, padding to the longest of a batch."""
    def run(job: Job, clock: Clock) -> dict[str, Any]:
        import numpy as np
        import torch
        from datasets import Dataset
        from transformers import (
            AutoModelForSequenceClassification,
            DataCollatorWithPadding,
            RobertaTokenizerFast,
            Trainer,
            TrainingArguments,
        )

        from rbt.tasks.sets import TASKS

        names, on_gpu = list(TASKS[job["task"]].labels.values()), torch.cuda.is_available()
        tokenizer = RobertaTokenizerFast.from_pretrained(job["model"])
        model = AutoModelForSequenceClassification.from_pretrained(job["model"], num_labels=len(names))
        seconds = {}
        with clock:
            started = time.perf_counter()
            encoded = {}
            for split, examples in _splits(job).items():
                columns = {f"text{place}": [each.sentences[place] for each in examples]
                           for place in range(len(examples[0].sentences))}
                table = Dataset.from_dict({**columns, "label": [names.index(each.label) for each in examples]})
                encoded[split] = table.map(
                    lambda rows, columns=tuple(columns): tokenizer(
                        *(rows[name] for name in columns), truncation=True, max_length=job["max_tokens"]
                    ),
                    batched=True, remove_columns=list(columns),
                )
            seconds["encode"] = time.perf_counter() - started
            trainer = Trainer(
                model,
                TrainingArguments(
                    output_dir=str(Path(job["work"]) / "run"), num_train_epochs=job["epochs"],
                    per_device_train_batch_size=job["batch_size"], per_device_eval_batch_size=64,
                    learning_rate=LEARNING_RATE, warmup_steps=0.06, weight_decay=0.1, adam_beta2=0.98,
                    adam_epsilon=1e-6, max_grad_norm=0.0, bf16=on_gpu,
                    use_cpu=not on_gpu, save_strategy="no", logging_strategy="no", report_to="none",
                    disable_tqdm=True, train_sampling_strategy="group_by_length" if group_by_length else "random",
                ),
                train_dataset=encoded["train"], eval_dataset=encoded["dev"],
                data_collator=DataCollatorWithPadding(tokenizer),
                compute_metrics=lambda found: {
                    "accuracy": 100 * float((np.argmax(found.predictions, 1) == found.label_ids).mean())
                },
            )
            started = time.perf_counter()
            trainer.train()
            seconds["train"] = time.perf_counter() - started
            started = time.perf_counter()
            found = trainer.evaluate()
            seconds["evaluate"] = time.perf_counter() - started
        return {
            "seconds": seconds, "train_examples": job["epochs"] * len(encoded["train"]),
            "dev_examples": len(encoded["dev"]), "score": found["eval_accuracy"],
        }

    return run


PEERS = ("transformers", "torch", "accelerate", "datasets")
CONTENDERS = {
    "rbt": Contender(by_rbt, ("rbt", "torch"), ("torch", "numpy")),
    "Trainer": Contender(by_trainer(False), PEERS, PEERS),
    "Trainer, grouped by length": Contender(by_trainer(True), PEERS, PEERS),
}

if __name__ == "__main__":
    serve(CONTENDERS)
