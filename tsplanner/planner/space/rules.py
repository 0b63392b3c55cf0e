"""Rules: what cannot run is refused by name before anything is estimated.

To add one: a name in ``RuleName``, its words in ``sentences.py``, a check, and a row in ``RULES``.
"""

from __future__ import annotations

from collections.abc import Callable

from memory_models.frozen import frozen
from memory_models.settings import (
    Attention,
    Dtype,
    FinetuningType,
    Optimizer,
)
from tsplanner.install import Extra, install_command
from tsplanner.planner.devices import used_devices
from tsplanner.planner.explain.reasons import Data, Refusal, RuleName
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings

Check = Callable[[PlanRequest, HardwareSettings], Data | None]
"""None: the settings pass; else what the rule found, as its sentence names it."""

BITSANDBYTES_OPTIMIZERS = frozenset(
    {Optimizer.ADAMW_BNB_8BIT, Optimizer.PAGED_ADAMW_8BIT, Optimizer.PAGED_ADAMW_32BIT}
)
BF16_CAPABILITY = (8, 0)
"""Compute capability from which a GPU computes in bf16 and runs FlashAttention-2."""


@frozen
class Rule:
    """One thing that cannot run, or that serves nothing."""

    name: RuleName
    check: Check
    shown: bool = True
    """False: the planner's own pruning, which nobody asked for and nobody has to read."""


def _capability(request: PlanRequest, hardware: HardwareSettings) -> tuple[int, int]:
    """The compute capability that all GPUs used have."""
    used = used_devices(request.machine, hardware)
    return min(device.compute_capability for device in used)


def _too_old(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    major, minor = _capability(request, hardware)
    return None if (major, minor) >= BF16_CAPABILITY else {"capability": f"{major}.{minor}"}


def _bf16(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    if hardware.accelerator == "cpu" or Dtype.BF16 not in (
        hardware.base.autocast,
        hardware.base.model_dtype,
    ):
        return None
    return _too_old(request, hardware)


def _flash_capability(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    if hardware.kernels.attention is not Attention.FLASH_ATTENTION_2:
        return None
    return {} if hardware.accelerator == "cpu" else _too_old(request, hardware)


def _flash_package(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    wanted = hardware.kernels.attention is Attention.FLASH_ATTENTION_2
    return {} if wanted and "flash_attn" not in request.machine.packages else None


def _soft_cap(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    # sdpa has no place for a soft cap of the scores, so it would leave the cap out.
    capped = request.architecture.attention.attn_logit_softcapping
    return {} if capped and hardware.kernels.attention is Attention.SDPA else None


def _bitsandbytes(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    optimizer = hardware.kernels.optimizer
    needed = hardware.base.quantization or (
        optimizer if optimizer in BITSANDBYTES_OPTIMIZERS else None
    )
    if needed is None or "bitsandbytes" in request.machine.packages:
        return None
    return {"setting": needed, "install": install_command(Extra.QUANT)}


def _deepspeed(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    stage = hardware.sharding.zero_stage
    if stage == 0 or "deepspeed" in request.machine.packages:
        return None
    return {"stage": stage, "install": install_command(Extra.DEEPSPEED)}


def _quantized_base(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    method = request.learning.method
    if hardware.base.quantization is None or not method.trains_base:
        return None
    return {"method": method.finetuning_type}


def _quantized_sharding(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    quantization = hardware.base.quantization
    if quantization is None or hardware.sharding.zero_stage != 3:
        return None
    return {"quantization": quantization}


def _useless_sharding(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    """ZeRO on one GPU has no other GPU to share with: there it serves only offload, or a pin."""
    sharding = hardware.sharding
    offload = sharding.offload_optimizer or sharding.offload_param
    alone = sharding.world_size == 1 and sharding.zero_stage > 0
    return {} if alone and not offload and "zero_stage" not in request.pins else None


def _useless_offload(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    """An adapter's optimizer states are tens of MiB: only a pin asks for their offload."""
    adapter = request.learning.method.uses_adapter
    pinned = "offload_optimizer" in request.pins
    return {} if adapter and hardware.sharding.offload_optimizer and not pinned else None


def _adalora_sharding(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    # AdaLoRA reallocates LoRA ranks during training, which the fixed shards of ZeRO-3 do not allow.
    adalora = request.learning.method.finetuning_type is FinetuningType.ADALORA
    return {} if adalora and hardware.sharding.zero_stage == 3 else None


def _layer_checkpoints(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    some = hardware.batch.checkpointed_layers is not None
    return {} if some and request.model.trust_remote_code else None


def _devices(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    have, wanted = len(request.machine.devices), hardware.sharding.world_size
    if hardware.accelerator == "cpu" or wanted <= have:
        return None
    return {"wanted": wanted, "have": have}


# The order counts: of several rules that refuse the same settings the first is named, and those
# after ``devices`` may look at the GPUs that the settings use.
RULES = (
    Rule(name=RuleName.DEVICES, check=_devices),
    Rule(name=RuleName.BF16, check=_bf16),
    Rule(name=RuleName.FLASH_ATTENTION_CAPABILITY, check=_flash_capability),
    Rule(name=RuleName.FLASH_ATTENTION_PACKAGE, check=_flash_package),
    Rule(name=RuleName.ATTENTION_SOFT_CAP, check=_soft_cap),
    Rule(name=RuleName.BITSANDBYTES, check=_bitsandbytes),
    Rule(name=RuleName.DEEPSPEED, check=_deepspeed),
    Rule(name=RuleName.QUANTIZED_BASE, check=_quantized_base),
    Rule(name=RuleName.QUANTIZED_SHARDING, check=_quantized_sharding),
    Rule(name=RuleName.USELESS_SHARDING, check=_useless_sharding, shown=False),
    Rule(name=RuleName.USELESS_OFFLOAD, check=_useless_offload, shown=False),
    Rule(name=RuleName.ADALORA_SHARDING, check=_adalora_sharding),
    Rule(name=RuleName.LAYER_CHECKPOINTS, check=_layer_checkpoints),
)
SHOWN = frozenset(rule.name for rule in RULES if rule.shown)
"""Rules whose refusals a person reads."""


def refusal(request: PlanRequest, hardware: HardwareSettings) -> Refusal | None:
    """The refusal by the first rule that refuses these settings; None: no rule does."""
    for rule in RULES:
        data = rule.check(request, hardware)
        if data is not None:
            return Refusal(rule=rule.name, hardware=hardware, data=data)
    return None
