"""Configuration of fine-tuning: section [finetune] of a recipe.

Source: paper, section 5.1 and table 10; where it says nothing, fairseq's values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class FinetuneConfig:
    """[finetune]. 0, or -1 for the weight decay: the task's own value, see `rbt/tasks`."""

    seed: int = 1  # of fresh weights, order and dropout
    batch_size: int = 0  # examples a step, over all ranks; a window of a long passage is one
    learning_rate: float = 0.0  # the peak
    epochs: int = 0
    weight_decay: float = -1.0
    max_tokens: int = 0  # of a sequence
    train_examples: int = 0  # that are learned from, the first ones; 0 = all
    dev_fraction: float = 0.0  # of train that is held out as dev where the files have no dev; 0 = that is an error
    warmup_fraction: float = 0.06  # of all steps; then linear decay to 0
    beta1: float = 0.9
    beta2: float = 0.98
    epsilon: float = 1e-6
    clip_norm: float = 0.0  # 0 = off
    dropout: float = 0.1
    attention_dropout: float = 0.1
    head_dropout: float = 0.0  # before and inside the head; fairseq's pooler dropout
    early_stopping: int = 3  # epochs without a better score on dev, after which a run stops; 0 = never
    batch_tokens: int = 8192  # of a forward pass, at most, padding counted
    ranking: bool = False  # qnli: compare the sentences of a question with each other, as for the paper's test results
    pronoun_loss: Literal["cross-entropy", "margin"] = "cross-entropy"  # wnli; the margin is the paper's
    margin_alpha: float = 1.0  # of the margin: what a phrase costs that scores more than the right one less beta
    margin_beta: float = 0.0
    stride: int = 128  # squad: tokens from the start of one window of a passage to that of the next, as in BERT
    question_tokens: int = 64  # squad: of a question, at most
    answer_tokens: int = 30  # squad: of an answer, at most
    option_tokens: int = 128  # race: of question and option together, at most
    batch_sizes: tuple[int, ...] = ()  # of a sweep; none: the task's
    learning_rates: tuple[float, ...] = ()
