"""Which parts of a real mixture take adapters, as arguments of PEFT's LoraConfig.

What a name means is decided in ``memory_models/states/expert_adapters.py``, for plan and worker
alike. PEFT translates names itself for some families and versions; the arguments made here are
full names, which it leaves as they are.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from memory_models.settings import ALL_LINEAR, Method
from memory_models.states.expert_adapters import (
    CLAIMED,
    CLAIMING_TYPES,
    DOWN,
    EXPERT_NAMES,
    GATE_UP,
    PLAIN_LORA,
    ROUTER_NAMES,
    meaning_experts,
    names_experts,
    rank_factor,
)
from tsplanner.errors import TsplannerError


def fused_experts(model: nn.Module) -> list[str]:
    """Full names of the modules that hold the experts of a layer in fused parameters."""
    return [
        name
        for name, module in model.named_modules()
        if {GATE_UP, DOWN} <= {key for key, _ in module.named_parameters(recurse=False)}
    ]


def names_of_linears(model: nn.Module, names: list[str]) -> list[str]:
    """Those of the names of linears that PEFT does not read as experts or router of this model."""
    if not _claims_names(model):
        return names
    return [name for name in names if name not in CLAIMED | ROUTER_NAMES]


def _claims_names(model: Any) -> bool:
    return model.config.model_type in CLAIMING_TYPES and bool(fused_experts(model))


def expert_targets(model: Any, targets: list[str] | str, linears: list[str]) -> list[str]:
    """Those of the targets that mean the experts; ``linears`` are the names of the linears.

    Raises:
        TsplannerError: a target is the router.
    """
    if targets == ALL_LINEAR or not set(targets) & (EXPERT_NAMES | ROUTER_NAMES):
        return []
    if not fused_experts(model):
        return []
    if routers := [name for name in targets if name in ROUTER_NAMES]:
        raise TsplannerError(
            f'lora_target "{routers[0]}" is the router, which is never adapted: leave it out.'
        )
    return list(meaning_experts(targets, linears, model.config.model_type))


def expert_options(model: nn.Module, names: list[str], method: Method) -> dict[str, Any]:
    """Arguments of LoraConfig that adapt the experts; none where no target means them.

    Raises:
        TsplannerError: a method that PEFT does not have for experts, or half of a parameter.
    """
    if not names:
        return {}
    if method.finetuning_type not in PLAIN_LORA:
        raise TsplannerError(
            f"{method.finetuning_type} does not reach the experts: take lora, or leave "
            f"{', '.join(names)} out of lora_target."
        )
    try:
        gate_up, down = names_experts(names)
    except ValueError as error:
        raise TsplannerError(f"{error}.") from error
    wanted = [key for key, chosen in ((GATE_UP, gate_up), (DOWN, down)) if chosen]
    factor = rank_factor(names) if gate_up else 1
    options: dict[str, Any] = {
        "target_parameters": [f"{name}.{key}" for name in fused_experts(model) for key in wanted]
    }
    if factor > 1:
        # The same rank and scale for gate and for up as each would have had as a linear.
        pattern = rf".*\.{GATE_UP}"
        options["rank_pattern"] = {pattern: factor * method.lora_rank}
        options["alpha_pattern"] = {pattern: factor * method.alpha}
    return options
