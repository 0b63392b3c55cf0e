"""What Liger's patch replaces, by model type: a table of its registry.

Trainer's ``use_liger_kernel`` patches the modules of a model that exists already. Liger knows more
types than this table has; what is missing here (mixtures of experts, models that see, Granite,
whose logits it keeps, OLMo 2) is not sized.
Source: liger-kernel 0.8.5, transformers/monkey_patch.py (``MODEL_TYPE_TO_APPLY_LIGER_FN``).
"""

from __future__ import annotations

from memory_models.architecture import Architecture
from memory_models.frozen import frozen
from memory_models.settings import DecoderKernels

LIGER_VERSION = "0.8.5"
"""Version of liger-kernel that this room models."""


@frozen
class LigerPatch:
    """The pieces of one model type; the norms, the gated product and the loss are all replaced."""

    in_place: bool
    """The norm's backward writes into the incoming gradient."""
    rotary: bool = True
    """Query and key are rotated in place."""


IN_PLACE = LigerPatch(in_place=True)
FRESH = LigerPatch(in_place=False)

PATCHES = {
    "gemma": IN_PLACE,
    "gemma2": FRESH,
    "gemma3_text": FRESH,
    "glm4": LigerPatch(in_place=False, rotary=False),
    "llama": IN_PLACE,
    "mistral": IN_PLACE,
    "phi3": IN_PLACE,
    "qwen2": IN_PLACE,
    "qwen3": IN_PLACE,
    "smollm3": IN_PLACE,
}
"""Model types whose patch is sized."""


def patch_of(architecture: Architecture, kernels: DecoderKernels) -> LigerPatch | None:
    """The pieces that run for a model under these kernels; None: Liger replaces nothing."""
    if kernels is not DecoderKernels.LIGER:
        return None
    return PATCHES.get(architecture.model_type)
