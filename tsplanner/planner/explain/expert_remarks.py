"""What a person should know of a plan for a mixture of experts. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from memory_models.settings import ALL_LINEAR
from memory_models.states.expert_adapters import PLAIN_LORA, adapted_experts
from memory_models.states.expert_counts import (
    count_with_experts,
    expert_share,
    peft_all_linear_count,
    targets_with_experts,
)
from tsplanner.planner.explain.reasons import Remark, RemarkKind
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings, training_settings


def expert_remarks(request: PlanRequest, hardware: HardwareSettings) -> Iterator[Remark]:
    """That the experts stay frozen, and that a quantised base leaves them as they are."""
    architecture, learning = request.architecture, request.learning
    share = expert_share(architecture)
    if not share or not learning.method.finetuning_type.uses_adapter:
        return
    method = training_settings(learning, hardware, 1).method
    plain = method.finetuning_type in PLAIN_LORA and not method.lora_dropout
    if method.lora_target == ALL_LINEAR and plain:
        theirs = peft_all_linear_count(architecture, method)
        yield Remark(
            kind=RemarkKind.FROZEN_EXPERTS if theirs is None else RemarkKind.PEFT_ADAPTS_EXPERTS,
            data={
                "share": share,
                "count": count_with_experts(architecture, method),
                "targets": ",".join(targets_with_experts(architecture, method)),
                "theirs": theirs or 0,
            },
        )
    elif not adapted_experts(architecture, method):
        yield Remark(kind=RemarkKind.EXPERTS_STAY_FROZEN, data={"share": share})
    if hardware.base.quantization is not None:
        upcast = hardware.base.upcasts and not hardware.sharding.zero_stage
        yield Remark(
            kind=RemarkKind.EXPERTS_UPCAST if upcast else RemarkKind.EXPERTS_NOT_QUANTIZED,
            data={
                "share": share,
                "dtype": str(hardware.base.model_dtype),
                "quantization": str(hardware.base.quantization),
            },
        )


def too_large_experts(request: PlanRequest) -> Iterator[Remark]:
    """Where nothing fits: that a quantised base would not help."""
    share = expert_share(request.architecture)
    if share and request.learning.method.finetuning_type.uses_adapter:
        yield Remark(kind=RemarkKind.QUANTIZING_SPARES_EXPERTS, data={"share": share})
