"""How much arithmetic training needs, and what share of the hardware's peak a run reaches.

Per token, forward and backward: 6 N + 12 L H T for the encoder, N = L (4 H^2 + 2 H F), plus f x 6 (H^2 + V H) for the
head at the share f of positions that are predicted. Attention is bidirectional, so nothing is halved; embeddings are
looked up, not multiplied. Form: PaLM paper, appendix B. T is the length of a row: blocks that share one attend to less,
so that of DOC-SENTENCES and pairs too much is counted, by a part of the attention's term. Peaks are those of half
precision, against which float32 is held too.
"""

from __future__ import annotations

from rbt.trainer.config import Shape

PEAKS = {  # dense bf16 (V100: fp16) FLOP/s by a part of the device's name, the more specific first
    "V100": 125e12,
    "A100": 312e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H200": 989e12,
}


def encoder_weights(shape: Shape) -> int:
    """N: weights of the encoder's matrix products."""
    return shape.layers * (4 * shape.hidden**2 + 2 * shape.hidden * shape.feed_forward)


def training_flops_per_token(shape: Shape, max_tokens: int, vocab_size: int, predicted: float) -> float:
    """FLOP a token of forward and backward; `predicted` is the share of positions the head sees."""
    encoder = 6 * encoder_weights(shape) + 12 * shape.layers * shape.hidden * max_tokens
    return encoder + predicted * 6 * (shape.hidden**2 + vocab_size * shape.hidden)


def peak_flops(device_name: str) -> float | None:
    """Dense bf16 peak of a GPU by its name, None where it is not known."""
    return next((peak for part, peak in PEAKS.items() if part in device_name), None)
