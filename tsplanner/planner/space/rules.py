"""Rules: what cannot run is refused by name before anything is estimated.

To add one: a function from request and candidate to a reason or None, and a row in ``RULES``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from memory_models.settings import (
    Attention,
    Dtype,
    FinetuningType,
    Optimizer,
)
from tsplanner.planner.devices import used_devices
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings

Rule = Callable[[PlanRequest, HardwareSettings], str | None]

BITSANDBYTES_OPTIMIZERS = frozenset(
    {Optimizer.ADAMW_BNB_8BIT, Optimizer.PAGED_ADAMW_8BIT, Optimizer.PAGED_ADAMW_32BIT}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One rule's no: which setting, by which rule, why."""

    rule: str
    setting: str
    reason: str


def _weakest(request: PlanRequest, hardware: HardwareSettings) -> tuple[int, int]:
    """Compute capability that all GPUs used have."""
    used = used_devices(request.machine, hardware)
    return min(device.compute_capability for device in used)


def _bf16(request: PlanRequest, hardware: HardwareSettings) -> str | None:
    if hardware.accelerator == "cpu" or Dtype.BF16 not in (
        hardware.base.autocast,
        hardware.base.model_dtype,
    ):
        return None
    major, minor = _weakest(request, hardware)
    if (major, minor) >= (8, 0):
        return None
    return f"bf16 needs compute capability 8.0, the GPU has {major}.{minor}"


def _flash_capability(request: PlanRequest, hardware: HardwareSettings) -> str | None:
    if hardware.kernels.attention is not Attention.FLASH_ATTENTION_2:
        return None
    if hardware.accelerator == "cpu":
        return "flash_attention_2 needs a GPU"
    major, minor = _weakest(request, hardware)
    if (major, minor) >= (8, 0):
        return None
    return f"flash_attention_2 needs compute capability 8.0, the GPU has {major}.{minor}"


def _flash_package(request: PlanRequest, hardware: HardwareSettings) -> str | None:
    if hardware.kernels.attention is not Attention.FLASH_ATTENTION_2:
        return None
    if "flash_attn" in request.machine.packages:
        return None
    return "flash_attention_2 needs the package flash-attn, which is not installed: sdpa is used"


def _soft_cap(request: PlanRequest, hardware: HardwareSettings) -> str | None:
    if hardware.kernels.attention is not Attention.SDPA:
        return None
    if not request.architecture.attention.attn_logit_softcapping:
        return None
    return "sdpa cannot soft-cap attention's scores, which this model needs: eager is used"


def _bitsandbytes(request: PlanRequest, hardware: HardwareSettings) -> str | None:
    needs = (
        hardware.base.quantization is not None
        or hardware.kernels.optimizer in BITSANDBYTES_OPTIMIZERS
    )
    if not needs or "bitsandbytes" in request.machine.packages:
        return None
    what = hardware.base.quantization or hardware.kernels.optimizer
    return f"{what} needs bitsandbytes: pip install 'tsplanner[quant]'"


def _deepspeed(request: PlanRequest, hardware: HardwareSettings) -> str | None:
    if hardware.sharding.zero_stage == 0 or "deepspeed" in request.machine.packages:
        return None
    return (
        f"ZeRO-{hardware.sharding.zero_stage} needs DeepSpeed: pip install 'tsplanner[deepspeed]'"
    )


def _quantized_base(request: PlanRequest, hardware: HardwareSettings) -> str | None:
    method = request.learning.method.finetuning_type
    if hardware.base.quantization is None or method not in (
        FinetuningType.FULL,
        FinetuningType.FREEZE,
    ):
        return None
    return f"a quantised base cannot be trained by {method}"


def _quantized_sharding(request: PlanRequest, hardware: HardwareSettings) -> str | None:
    quantization = hardware.base.quantization
    if quantization is None or hardware.sharding.zero_stage != 3:
        return None
    return f"{quantization} weights are not sharded by this worker: take ZeRO-2 or plain bf16"


def _useless_sharding(request: PlanRequest, hardware: HardwareSettings) -> str | None:
    """One rank has nobody to share with: ZeRO there only serves offload, or a pin."""
    pinned = "zero_stage" in request.pins
    offload = hardware.sharding.offload_optimizer or hardware.sharding.offload_param
    if (
        hardware.sharding.world_size == 1
        and hardware.sharding.zero_stage
        and not offload
        and not pinned
    ):
        return "ZeRO on one GPU shares with nobody"
    return None


def _useless_offload(request: PlanRequest, hardware: HardwareSettings) -> str | None:
    """An adapter's optimizer states are tens of MiB: only a pin asks for their offload."""
    adapter = request.learning.method.finetuning_type.uses_adapter
    pinned = "offload_optimizer" in request.pins
    if adapter and hardware.sharding.offload_optimizer and not pinned:
        return "optimizer offload saves almost nothing for an adapter; parameter offload does"
    return None


def _adalora_sharding(request: PlanRequest, hardware: HardwareSettings) -> str | None:
    if (
        request.learning.method.finetuning_type is FinetuningType.ADALORA
        and hardware.sharding.zero_stage == 3
    ):
        return "AdaLoRA reallocates ranks, which ZeRO-3's shards do not allow"
    return None


def _layer_checkpoints(request: PlanRequest, hardware: HardwareSettings) -> str | None:
    if hardware.batch.checkpointed_layers is None or not request.model.trust_remote_code:
        return None
    return "a model's own remote code checkpoints all of its layers or none"


def _devices(request: PlanRequest, hardware: HardwareSettings) -> str | None:
    have = len(request.machine.devices)
    if hardware.accelerator == "cpu" or hardware.sharding.world_size <= have:
        return None
    return f"{hardware.sharding.world_size} GPUs are asked for, the machine has {have}"


RULES: dict[str, Rule] = {
    "devices": _devices,
    "bf16": _bf16,
    "flash-attention-capability": _flash_capability,
    "flash-attention-package": _flash_package,
    "attention-soft-cap": _soft_cap,
    "bitsandbytes": _bitsandbytes,
    "deepspeed": _deepspeed,
    "quantized-base": _quantized_base,
    "quantized-sharding": _quantized_sharding,
    "useless-sharding": _useless_sharding,
    "useless-offload": _useless_offload,
    "adalora-sharding": _adalora_sharding,
    "layer-checkpoints": _layer_checkpoints,
}


def refusal(request: PlanRequest, hardware: HardwareSettings) -> Refusal | None:
    """The first rule that refuses these settings, or None."""
    for name, rule in RULES.items():
        reason = rule(request, hardware)
        if reason is not None:
            return Refusal(rule=name, setting=describe(hardware), reason=reason)
    return None


def checkpoint_words(hardware: HardwareSettings, layers: int | None = None) -> str:
    """Which layers are checkpointed; ``layers``: of how many."""
    if not hardware.batch.gradient_checkpointing:
        return "checkpointing off"
    if hardware.batch.checkpointed_layers is None:
        return "checkpointing on"
    total = "" if layers is None else f" of {layers}"
    return f"checkpointing {hardware.batch.checkpointed_layers}{total} layers"


def describe(hardware: HardwareSettings) -> str:
    """The settings that set a family of plans apart, in a few words."""
    words = [
        str(hardware.base.quantization)
        if hardware.base.quantization
        else str(hardware.base.model_dtype)
    ]
    if hardware.accelerator == "cpu":
        words.append("CPU")
    elif hardware.sharding.zero_stage:
        offload = [
            name
            for name, on in (
                ("param", hardware.sharding.offload_param),
                ("optimizer", hardware.sharding.offload_optimizer),
            )
            if on
        ]
        tail = f" + {' and '.join(offload)} offload" if offload else ""
        words.append(f"ZeRO-{hardware.sharding.zero_stage} x{hardware.sharding.world_size}{tail}")
    else:
        words.append(
            f"DDP x{hardware.sharding.world_size}"
            if hardware.sharding.world_size > 1
            else "one GPU"
        )
    if hardware.kernels.optimizer in BITSANDBYTES_OPTIMIZERS:
        words.append(str(hardware.kernels.optimizer))
    return " · ".join(words)
