"""Adapters on the experts of a mixture, in the words of other trainers, which all go by PEFT."""

from __future__ import annotations

from memory_models.architecture import Architecture
from memory_models.settings import ALL_LINEAR, Method
from memory_models.states.adapters import adapter_parameters, is_targeted
from memory_models.states.expert_adapters import (
    CLAIMING_TYPES,
    DOWN,
    DOWN_NAMES,
    GATE_UP,
    HALVES,
    adapted_experts,
    rank_factor,
)
from memory_models.states.expert_counts import MIXTRAL_TYPES, expert_share, peft_all_linear_count
from tsplanner.errors import TsplannerError


def module_names(architecture: Architecture, method: Method) -> list[str]:
    """Names for PEFT's target_modules, in the order in which the modules run.

    Raises:
        TsplannerError: PEFT has no names for the experts of this family.
    """
    linears = [
        each.name for each in architecture.layer.linears if is_targeted(architecture, each, method)
    ]
    found = list(dict.fromkeys(linears))
    if _by_parameter(architecture, method):
        return found
    adapted = [each.name for each in adapted_experts(architecture, method)]
    if not adapted:
        return found
    kind = architecture.model_type
    if kind not in CLAIMING_TYPES | MIXTRAL_TYPES:
        raise TsplannerError(
            f"PEFT has no names for the experts of {kind}, by which another trainer could adapt "
            "gate and up at twice the rank: plan again with --lora-target "
            f"{','.join([*found, GATE_UP, DOWN])}, or export torchrun for tsplanner's own worker."
        )
    place = 1 if kind in MIXTRAL_TYPES else 0
    if GATE_UP in adapted:
        found += HALVES[place]
    if DOWN in adapted:
        found.append(DOWN_NAMES[place])
    return found


def parameter_names(architecture: Architecture, method: Method) -> list[str]:
    """Names for PEFT's target_parameters; none where names of modules mean the experts."""
    if not _by_parameter(architecture, method):
        return []
    return [f"experts.{each.name}" for each in adapted_experts(architecture, method)]


def _by_parameter(architecture: Architecture, method: Method) -> bool:
    """Whether the experts are asked for by the parameters' own names, at the rank itself."""
    experts = adapted_experts(architecture, method)
    return bool(experts) and rank_factor(tuple(method.lora_target)) == 1


def require_module_names(architecture: Architecture, method: Method, trainer: str) -> None:
    """Refuse targets that are parameters for a trainer that takes modules alone.

    Raises:
        TsplannerError: the experts are asked for by the parameters' own names.
    """
    if _by_parameter(architecture, method):
        raise TsplannerError(
            f"{trainer} takes names of modules, and {GATE_UP} of the experts is a parameter: plan "
            "again with gate_proj,up_proj,down_proj in --lora-target, or export trl, axolotl or "
            "torchrun."
        )


def notes(architecture: Architecture, method: Method) -> list[str]:
    """What a reader of the exported file should know of the experts; nothing in a dense model."""
    share = expert_share(architecture)
    if not share or not method.uses_adapter:
        return []
    if adapted_experts(architecture, method):
        count = adapter_parameters(architecture, method)
        return [
            "The experts are fused parameters in transformers 5, which PEFT from 0.18 on adapts by "
            f"these names: {count:,} parameters are trained. Older versions adapt one linear per "
            "expert."
        ]
    line = f"The experts, {share:.0%} of the parameters, take no adapter and stay frozen"
    theirs = peft_all_linear_count(architecture, method)
    if method.lora_target == ALL_LINEAR and theirs is not None:
        line += f"; PEFT's own all-linear would train {theirs:,} parameters, the router included"
    return [f"{line}."]
