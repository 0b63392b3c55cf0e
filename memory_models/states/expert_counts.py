"""What adapters on the experts of a mixture would train, beside what a method trains."""

from __future__ import annotations

from dataclasses import replace

from memory_models.architecture import Architecture, Role
from memory_models.settings import Method
from memory_models.states.adapters import is_targeted, trainable_parameters
from memory_models.states.expert_adapters import (
    CLAIMING_TYPES,
    DOWN,
    GATE_UP,
    HALVES,
    expert_matrices,
    meaning_experts,
)
from memory_models.states.weights import total_parameters

MIXTRAL_TYPES = frozenset({"mixtral", "minimax", "minimax_m2"})
"""Model types on which PEFT's all-linear adapts the experts under Mixtral's old names."""


def expert_share(architecture: Architecture) -> float:
    """Share of the parameters that lies in the experts; 0 in a dense model."""
    experts = sum(
        each.weight_count * each.copies_in(architecture) for each in expert_matrices(architecture)
    )
    return experts / total_parameters(architecture)


def targets_with_experts(architecture: Architecture, method: Method) -> tuple[str, ...]:
    """Names that mean the linears which a method adapts, and the experts."""
    linears = [each.name for each in architecture.layer.linears if each.count == 1]
    wanted = [
        each.name for each in architecture.layer.linears if is_targeted(architecture, each, method)
    ]
    usual = (*HALVES[0], DOWN)
    means = meaning_experts(usual, linears, architecture.model_type) == usual
    return tuple(dict.fromkeys([*wanted, *(usual if means else (GATE_UP, DOWN))]))


def count_with_experts(architecture: Architecture, method: Method) -> int:
    """Elements that a method would train with adapters on the experts as well."""
    targets = targets_with_experts(architecture, method)
    return trainable_parameters(architecture, replace(method, lora_target=targets))


def peft_all_linear_count(architecture: Architecture, method: Method) -> int | None:
    """Elements that PEFT's own all-linear trains; None where it leaves the experts out.

    It adapts the router as well. Source: peft/utils/transformers_weight_conversion.py.
    """
    if architecture.model_type not in CLAIMING_TYPES | MIXTRAL_TYPES:
        return None
    routers = sum(
        each.copies_in(architecture) * method.adapter_rank * (each.in_features + each.out_features)
        for each in architecture.layer.linears
        if each.role is Role.ROUTER
    )
    return count_with_experts(architecture, method) + routers
