"""The rule of a base that FSDP2 shares out: what cannot be trained on slices."""

from __future__ import annotations

from memory_models.settings import Dtype, Optimizer, Quantization
from memory_models.states.expert_adapters import adapted_experts
from tsplanner.planner.explain.reasons import Data
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings

STEPS_SLICES = frozenset({Optimizer.ADAMW_TORCH, Optimizer.ADAMW_TORCH_FUSED})
"""Optimizers whose steps on slices were run."""
NOT_SLICED = frozenset({Quantization.INT8, Quantization.FP8, Quantization.W8A8})
"""Forms whose linears keep what they multiply outside their parameters."""


def fsdp_setting(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    """Another setting that a shared-out base does not go with."""
    if not hardware.sharding.fsdp:
        return None
    method, quantization = request.learning.method, hardware.base.quantization
    # PEFT takes an expert's parameter out of its module while the adapter is added to it.
    experts = adapted_experts(request.architecture, method)
    whole, base = method.trains_everything, hardware.base
    # In slices only what every process uses in every pass can be trained.
    apart = request.architecture.encoder or request.architecture.outside.frozen_linears
    against = {
        f"--finetuning-type {method.finetuning_type}": method.trains_base and not whole,
        "--fsdp-per-host on, where the base is trained": whole and hardware.sharding.fsdp_per_host,
        f"--optimizer {hardware.kernels.optimizer}, where the base is trained": whole
        and hardware.kernels.optimizer not in STEPS_SLICES,
        "fp16, where the base is trained": whole and base.autocast is Dtype.FP16,
        "series or images, where the base is trained": whole and bool(apart),
        "experts, where the base is trained": whole
        and bool(request.architecture.mlp.num_experts_per_tok),
        "--world-size 1": hardware.sharding.world_size == 1,
        f"--quantization {quantization}": quantization in NOT_SLICED,
        f"--streamed-layers {hardware.streaming.words}": hardware.streaming.streams,
        f"--lora-target {method.lora_target}": bool(experts),
        "--trust-remote-code": request.model.trust_remote_code,
    }
    found = next((flag for flag, holds in against.items() if holds), None)
    return None if found is None else {"setting": found}
