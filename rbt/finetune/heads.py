"""What stands on the encoder: a score of each sequence, of each token, or of the tokens that a mask stands for.

Names and order of weights are those of Hugging Face's RobertaForSequenceClassification, ForQuestionAnswering and
ForMultipleChoice, see `model_folder`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from rbt.trainer.attention import Layout
from rbt.trainer.model import Roberta, initialize

Outputs = Tensor | tuple[Tensor, Tensor | None]


class SequenceHead(nn.Module):
    """Scores (sequences, outputs) of the state of each <s>: dropout, dense, tanh, dropout, output."""

    def __init__(self, hidden: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.dense = nn.Linear(hidden, hidden)
        self.output = nn.Linear(hidden, outputs)

    def forward(self, states: Tensor, starts: Tensor) -> Tensor:
        """(tokens, hidden) and (sequences,) to (sequences, outputs)."""
        first = functional.dropout(states.index_select(0, starts), self.dropout, self.training)
        mixed = functional.dropout(torch.tanh(self.dense(first)), self.dropout, self.training)
        scores: Tensor = self.output(mixed)
        return scores


class SpanHead(nn.Module):
    """Scores of each token as the first and as the last of an answer, and, where asked, of there being none."""

    def __init__(self, hidden: int, dropout: float, has_unanswerable: bool) -> None:
        super().__init__()
        self.output = nn.Linear(hidden, 2)
        self.answerable = SequenceHead(hidden, 1, dropout) if has_unanswerable else None

    def forward(self, states: Tensor, starts: Tensor) -> tuple[Tensor, Tensor | None]:
        """(tokens, hidden) and (sequences,) to (tokens, 2), and (sequences,): above 0 where there is no answer."""
        none = None if self.answerable is None else self.answerable(states, starts).squeeze(1)
        return self.output(states), none


class FineTuned(nn.Module):
    """An encoder with a head; without one, the model's own masked-language head is trained on."""

    def __init__(self, encoder: Roberta, head: nn.Module | None) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        if head is not None:
            for name, parameter in encoder.named_parameters():
                parameter.requires_grad_(not name.startswith(("head_", "next_")))

    def forward(
        self, ids: Tensor, positions: Tensor, layout: Layout, starts: Tensor, places: Tensor | None = None
    ) -> Outputs:
        """What the head makes of a stream; without one, logits (places, vocabulary) at places of the stream."""
        states = self.encoder.encode(ids, positions, layout)
        if self.head is None:
            assert places is not None
            return self.encoder.predict(states.index_select(0, places))
        precise = states.to(torch.promote_types(states.dtype, torch.float32))  # in bfloat16 neighboring scores tie
        with torch.autocast(states.device.type, enabled=False):
            outputs: Outputs = self.head(precise, starts)
        return outputs


def fresh(head: nn.Module, seed: int) -> nn.Module:
    """The head with new weights, each a function of (seed, its name): N(0, 0.02), biases 0."""
    with torch.no_grad():
        for name, parameter in head.named_parameters():
            initialize(f"finetune.{name}", parameter, seed)
    return head
