"""A compiled model, which is compiled a few times and stays compiled.

    sizes of the stream ──marked as dynamic──> one compilation for all of them, for each way of attention

Without the marks the first size is compiled for itself, and those of a size of 1 always are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rbt.trainer.attention import Layout

COMPILATIONS = 64  # at most; a few are needed, and beyond torch's own limit of 8 it goes on without compiling


def _allow_compilations(number: int) -> None:
    config = torch._dynamo.config
    name = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"  # in older torch
    setattr(config, name, max(number, getattr(config, name)))


def _mark(part: Tensor | None) -> None:
    """Let the sizes of a stream's tensor vary: all of them, since rows and their width do in a layout under a mask."""
    for dimension in range(0 if part is None else part.dim()):
        torch._dynamo.maybe_mark_dynamic(part, dimension)


class Compiled(nn.Module):
    """Calls a model of streams, compiled: its arguments are tensors, a layout, or None."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        torch.compiler.reset()  # a process that trains one run behind the other would come to the limit
        _allow_compilations(COMPILATIONS)
        self.compiled = torch.compile(model)

    def forward(self, *arguments: Tensor | Layout | None) -> Any:
        """As the model's."""
        for argument in arguments:
            if isinstance(argument, Layout):
                for part in (argument.edges, argument.gather, argument.scatter, argument.segments):
                    _mark(part)
            else:
                _mark(argument)
        return self.compiled(*arguments)
