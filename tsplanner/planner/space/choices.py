"""What each part of the settings of a GPU may be: precision, kernels, checkpoints, sharding."""

from __future__ import annotations

from itertools import product
from typing import Any

from memory_models.activations.attention import plain_attention
from memory_models.settings import (
    Attention,
    BaseStorage,
    DecoderKernels,
    Dtype,
    Kernels,
    LossKernel,
    Optimizer,
    Quantization,
    Sharding,
)
from tsplanner.models.quantized import stored_base
from tsplanner.planner.request import Pins, PlanRequest

SHARDINGS = (
    Sharding(),
    Sharding(zero_stage=2),
    Sharding(zero_stage=2, offload_optimizer=True),
    Sharding(zero_stage=3),
    Sharding(zero_stage=3, offload_param=True),
    Sharding(zero_stage=3, offload_param=True, offload_optimizer=True),
)
"""Ways in which GPUs may share the model; each group of GPUs fills in its ``world_size``."""
SLICES = (Sharding(fsdp=True), Sharding(fsdp=True, fsdp_per_host=True))
"""Ways in which FSDP2 shares a base out: over all GPUs, and over those of each machine."""


def quantization_choices(
    request: PlanRequest, otherwise: list[Quantization | None]
) -> list[Quantization | None]:
    """The quantisations that the base may have: one alone if its weights are stored in it."""
    stored = stored_base(request.model.config)
    if stored is not None:
        return [stored.quantization]
    found: list[Quantization | None] = pinned_or(request.pins, "quantization", otherwise)
    return found


def upcasts(pins: Pins, quantization: Quantization | None) -> bool:
    """Whether the unquantised parts are cast to fp32: only if asked for, as it takes memory.

    Without a quantised base the setting says nothing, so it keeps its default.
    """
    return bool(pins.get("upcast_unquantized", False)) if quantization else True


def kernel_choices(request: PlanRequest) -> list[Kernels]:
    """The kernels of attention, loss, optimizer and decoder layers that a GPU may use."""
    pins = request.pins
    options = product(
        pinned_or(pins, "attention", _attentions(request)),
        pinned_or(pins, "loss_kernel", [LossKernel.FUSED, LossKernel.PLAIN]),
        pinned_or(pins, "optimizer", _optimizers(request)),
    )
    return [
        Kernels(
            attention=attention,
            loss_kernel=loss,
            optimizer=optimizer,
            decoder_kernels=pins.get("decoder_kernels", DecoderKernels.FUSED),
            # The worker runs PyTorch's allocator this way, so memory is sized for it.
            expandable_segments=True,
        )
        for attention, loss, optimizer in options
    ]


def _attentions(request: PlanRequest) -> list[Attention]:
    """What transformers runs; beside eager attention flex_attention, which writes no scores.

    FlashAttention-2 was never run here, so that a plan has it only where a person asks for it.
    """
    plain = plain_attention(request.architecture.attention)
    return [plain, Attention.FLEX_ATTENTION] if plain is Attention.EAGER else [plain]


def pinned_or(pins: Pins, name: str, otherwise: Any) -> Any:
    """The pinned value alone, or all values of ``otherwise`` if none is pinned."""
    return [pins.get(name)] if name in pins else otherwise


def checkpoint_choices(request: PlanRequest) -> list[bool]:
    """Checkpointing off and on; ``checkpointed_layers.py`` searches for the number of layers."""
    pins = request.pins
    if "gradient_checkpointing" in pins:
        return [pins.get("gradient_checkpointing")]
    return [False, True] if pins.get("checkpointed_layers") is None else [True]


def dtype_choices(request: PlanRequest, autocast: Dtype) -> list[Dtype]:
    """Dtypes of the base; weights trained under fp16 take fp32, as their gradients are unscaled."""
    if "model_dtype" in request.pins:
        return [request.pins.get("model_dtype")]
    trained = request.learning.method.trains_base
    return [Dtype.FP32 if trained and autocast is Dtype.FP16 else autocast]


def _optimizers(request: PlanRequest) -> list[Optimizer]:
    """Optimizers. One in 8 bits changes what is learned a little: only a trained base gets it."""
    if request.learning.method.trains_base and not asks_for_slices(request.pins):
        return [Optimizer.ADAMW_TORCH_FUSED, Optimizer.ADAMW_BNB_8BIT]
    return [Optimizer.ADAMW_TORCH_FUSED]


def sharding_choices(request: PlanRequest) -> list[Sharding]:
    """Ways to shard. ZeRO-1 saves less than ZeRO-2 at equal traffic, so it has to be pinned.

    So has ZeRO-3 with the optimizer alone in RAM: slices of the weights take less than its states.
    """
    stage = request.pins.get("zero_stage")
    if asks_for_slices(request.pins):
        trains = request.learning.method.trains_base and "fsdp_per_host" not in request.pins
        return list(SLICES[:1] if trains else SLICES)
    if stage == 1:
        return [Sharding(zero_stage=1), Sharding(zero_stage=1, offload_optimizer=True)]
    plain = [found for found in SHARDINGS if stage is None or found.zero_stage == stage]
    if stage == 3 and request.pins.get("offload_optimizer"):
        plain.append(Sharding(zero_stage=3, offload_optimizer=True))
    unasked = not any(name in request.pins for name in ("zero_stage", "fsdp", "fsdp_per_host"))
    # No GPU has trained slices of the base itself, so that this has to be pinned.
    slices = unasked and request.learning.method.uses_adapter
    return [*plain, *(SLICES if slices else ())]


def asks_for_slices(pins: Pins) -> bool:
    """Whether a person wants the base shared out by FSDP2."""
    return bool(pins.get("fsdp") or pins.get("fsdp_per_host"))


def pointless(request: PlanRequest, base: BaseStorage, sharding: Sharding) -> bool:
    """Whether sharding serves nothing here, so that only users who pin it get it.

    FSDP2 shares a 4-bit base out for more methods and kernels than ZeRO-3, whose bytes no GPU has
    confirmed there: only a user who asks for both gets it. A rule
    refuses int8 there and 8-bit products under any ZeRO, which only a user who asks for ZeRO has to
    read. With an adapter on a plain base ZeRO-2 shards a few MiB. With an adapter on a quantised
    base DeepSpeed also casts the weights that would stay in fp32 (embedding, head, norms), which
    can free the GiB that are missing.
    """
    if "zero_stage" in request.pins:
        asked = "quantization" in request.pins or stored_base(request.model.config) is not None
        return base.has_4bit and sharding.zero_stage == 3 and not asked
    if base.multiplies_8bit:
        return sharding.zero_stage > 0
    adapter = request.learning.method.uses_adapter
    return sharding.zero_stage == 3 if base.quantization else adapter and sharding.zero_stage == 2
