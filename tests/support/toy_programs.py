"""Programs of single modules of the toy decoder, and what their tapes keep."""

from __future__ import annotations

from typing import Any

from memory_models.activations.ops import LayerOps
from memory_models.architecture import Architecture, Linear
from memory_models.settings import TrainingSettings, from_flat
from memory_models.symbolic import Size, Value
from tests.support.toy_decoder import TOY

HALF = 2


def layer_ops(
    architecture: Architecture = TOY,
    *,
    trained: bool = False,
    masked: bool = False,
    **changes: Any,
) -> LayerOps:
    """Ops of a decoder layer of a bf16 base under autocast, with LoRA of rank 2."""
    settings = from_flat(TrainingSettings, **{"lora_rank": 2, **changes})
    return LayerOps(architecture, settings.layer, trained=trained, masked=masked)


def uncounted(ops: LayerOps, width: int, bytes: int = HALF) -> Value:
    """An input of ``width`` elements per token, whose own bytes the tape does not count."""
    return ops.tape.uncounted(Size(per_token=width), bytes)


def named(name: str, architecture: Architecture = TOY) -> Linear:
    """The linear of that name."""
    return next(linear for linear in architecture.layer.linears if linear.name == name)
