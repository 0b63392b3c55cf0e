"""Models whose published code (``trust_remote_code``) holds more memory than our own code.

Source: modeling_qwen2.py beside the weights of ChatTS-14B (every attention layer builds its own
rotary embedding; the loss casts all logits to fp32 and copies them without the last position).
ChatTS-8B's code uses transformers' Qwen3 decoder and loss.
"""

from __future__ import annotations

from memory_models.architecture import Architecture
from memory_models.settings import changed

OWN_DECODER = frozenset({"chatts"})
"""Model types whose published code has a decoder of its own instead of transformers' one."""


def as_released(architecture: Architecture) -> Architecture:
    """The architecture as the authors' code runs it; most architectures do not change.

    Every layer caches cosines and sines of every position: L x 2 x positions x A elements.
    """
    if architecture.model_type not in OWN_DECODER:
        return architecture
    caches = 2 * architecture.positions.max_position_embeddings * architecture.attention.head_dim
    return changed(
        architecture,
        rotary_buffer_count=architecture.num_hidden_layers * caches,
        copies_logits=True,
    )
