"""Chunks of the fused loss; the programs of both losses are in lm_head.py."""

from __future__ import annotations

from memory_models.architecture import Architecture
from memory_models.settings import TrainingSettings
from memory_models.units import ceil_div


def fused_rows(architecture: Architecture, settings: TrainingSettings) -> int:
    """Rows of one chunk: tokens over (V / D), rounded up to a power of two.

    The logits of a chunk [rows, V] then take about as many bytes as the hidden states [n, D]. Each
    trial of a multi-LoRA run has its own loss, and so its own chunks.
    Source: Liger kernel (arXiv 2410.10989), section 3.2.
    """
    chunks = ceil_div(architecture.vocabulary.vocab_size, architecture.hidden_size)
    own = settings.tokens // len(settings.method.ranks)
    rows = ceil_div(own, chunks)
    return min(own, 1 << (rows - 1).bit_length())
