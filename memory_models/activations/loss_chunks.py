"""Chunks of the fused loss; its program and the plain loss's stand in tail.py."""

from __future__ import annotations

from memory_models.architecture import Architecture
from memory_models.settings import TrainingSettings
from memory_models.units import ceil_div


def fused_rows(architecture: Architecture, settings: TrainingSettings) -> int:
    """Rows of a chunk: tokens over (V / D), rounded up to a power of two.

    multi-LoRA trials have losses, and so chunks, of their own.
    So a chunk's logits [rows, V] take about as much as the hidden states [n, D].
    Source: Liger kernel (arXiv 2410.10989), section 3.2.
    """
    chunks = ceil_div(architecture.vocabulary.vocab_size, architecture.hidden_size)
    own = settings.tokens // len(settings.method.ranks)
    rows = ceil_div(own, chunks)
    return min(own, 1 << (rows - 1).bit_length())
