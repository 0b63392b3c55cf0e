"""Models whose published code holds more than ours does: what ``trust_remote_code`` runs.

Source: modeling_qwen2.py beside the weights of ChatTS-14B (every attention layer builds its own
rotary embedding; the loss turns all logits to fp32 and copies them without their last position).
ChatTS-8B's code uses transformers' Qwen3 decoder and loss.
"""

from __future__ import annotations

from memory_models.architecture import Architecture
from memory_models.settings import changed

OWN_DECODER = frozenset({"chatts"})
"""Model types whose published code is a decoder of its own, not transformers'."""


def as_released(architecture: Architecture) -> Architecture:
    """The architecture as the authors' code runs it; most models: unchanged.

    Cosines and sines of every position, in every layer: L x 2 x positions x A elements.
    """
    if architecture.model_type not in OWN_DECODER:
        return architecture
    caches = 2 * architecture.positions.max_position_embeddings * architecture.attention.head_dim
    return changed(
        architecture,
        rotary_buffer_count=architecture.num_hidden_layers * caches,
        copies_logits=True,
    )
