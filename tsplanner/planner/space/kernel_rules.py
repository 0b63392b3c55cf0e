"""Rules of kernels: which GPU, package and model they need.

Each returns what its sentence names, or None where the settings pass; see `rules`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memory_models.device import Machine
from memory_models.settings import Attention, DecoderKernels
from tsplanner.models.families import FLEX_WITHOUT_FORMULA, NO_FLASH
from tsplanner.planner.devices import used_machine
from tsplanner.planner.explain.reasons import Data
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings

DROPOUTS = ("attention_dropout", "attn_pdrop", "attention_probs_dropout_prob")
"""Names of the dropout of attention's weights in configs."""
BF16_CAPABILITY = (8, 0)
"""Compute capability from which a GPU computes in bf16 and runs FlashAttention-2."""


def _capability(request: PlanRequest, hardware: HardwareSettings) -> tuple[int, int]:
    """The compute capability that all GPUs used have."""
    return used_machine(request.machine, hardware).capability


def too_old(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    """Capabilities below 8.0, which all GPUs used have at least."""
    major, minor = _capability(request, hardware)
    return None if (major, minor) >= BF16_CAPABILITY else {"capability": f"{major}.{minor}"}


def flash_capability(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    """FlashAttention-2 begins at compute capability 8.0."""
    if hardware.kernels.attention is not Attention.FLASH_ATTENTION_2:
        return None
    return {} if hardware.accelerator == "cpu" else too_old(request, hardware)


def compiled_capability(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    """Compiled kernels were written for compute capability 8.0 and above."""
    if hardware.kernels.decoder_kernels is not DecoderKernels.COMPILED:
        return None
    return {} if hardware.accelerator == "cpu" else too_old(request, hardware)


def compiled_package(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    """Compiled kernels are made by Triton."""
    wanted = hardware.kernels.decoder_kernels is DecoderKernels.COMPILED
    return None if not wanted or has_compiler(request.machine) else {}


def has_compiler(machine: Machine) -> bool:
    """Whether Triton is there; builds of PyTorch for CUDA on Linux bring it along."""
    return not machine.detected or "triton" in machine.packages


def flash_package(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    """FlashAttention-2 comes with the package flash-attn.

    No plan takes it unasked: who asks for it on a described machine describes that it is there.
    """
    wanted = hardware.kernels.attention is Attention.FLASH_ATTENTION_2
    here = request.machine.detected and "flash_attn" not in request.machine.packages
    return {} if wanted and here else None


def flash_family(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    """Classes that take no FlashAttention-2."""
    wanted = hardware.kernels.attention is Attention.FLASH_ATTENTION_2
    return {} if wanted and request.architecture.model_type in NO_FLASH else None


def _is_flex(hardware: HardwareSettings) -> bool:
    return hardware.kernels.attention is Attention.FLEX_ATTENTION


def flex_capability(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    """flex_attention is run where compiled kernels are."""
    if not _is_flex(hardware):
        return None
    return {} if hardware.accelerator == "cpu" else too_old(request, hardware)


def flex_package(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    """flex_attention is made by Triton, and knows all lengths from torch 2.6."""
    here = not request.machine.detected or "flex_attention" in request.machine.packages
    return {} if _is_flex(hardware) and not here else None


def flex_family(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    """The worker's flex_attention has to know all that this model's attention does."""
    return {} if _is_flex(hardware) and not takes_flex(request) else None


def takes_flex(request: PlanRequest) -> bool:
    """Whether the worker's flex_attention knows all that this model's attention does."""
    model_type, architecture = request.model.model_type, request.architecture
    if request.model.trust_remote_code or _drops_weights(request.model.config):
        return False
    if architecture.layer.recorded:
        return model_type in FLEX_WITHOUT_FORMULA
    return model_type not in NO_FLASH and not architecture.attention.eager_only


def _drops_weights(config: Mapping[str, Any]) -> bool:
    """Whether a model's attention has dropout, which flex_attention has not."""
    inner = config.get("text_config")
    parts = (config, inner if isinstance(inner, Mapping) else {})
    return any(part.get(name) for part in parts for name in DROPOUTS)


def soft_cap(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    """Scaled dot-product attention has no place for a soft cap, and would leave it out."""
    capped = request.architecture.attention.attn_logit_softcapping
    return {} if capped and hardware.kernels.attention is Attention.SDPA else None


def eager_only(request: PlanRequest, hardware: HardwareSettings) -> Data | None:
    """Families for which transformers runs neither sdpa nor FlashAttention-2."""
    attention = hardware.kernels.attention
    if not request.architecture.attention.eager_only or attention in (
        Attention.EAGER,
        Attention.FLEX_ATTENTION,
    ):
        return None
    return {"attention": attention}
