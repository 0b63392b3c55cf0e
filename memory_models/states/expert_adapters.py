"""LoRA on the experts of a mixture, which transformers 5 keeps as two fused parameters per layer.

``gate_up_proj`` is [E, 2F, D] and ``down_proj`` is [E, D, F]. PEFT (tuners/lora/layer.py,
ParamWrapper) gives such a parameter an A of R E rows and a B of R E columns, R for each expert.
The names that the experts had as linears still mean them, and gate and up together take twice the
rank, because the parameter holds both. Source: peft/utils/transformers_weight_conversion.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from memory_models.architecture import Architecture, Linear, Role
from memory_models.settings import ALL_LINEAR, FinetuningType, Method

GATE_UP, DOWN = "gate_up_proj", "down_proj"
"""Names of the fused parameters."""
HALVES = (("gate_proj", "up_proj"), ("w1", "w3"))
"""Names that gate and up had as linears of an expert; the second pair is Mixtral's."""
DOWN_NAMES = (DOWN, "w2")
EXPERT_NAMES = frozenset({"gate_proj", "up_proj", "w1", "w3", GATE_UP, *DOWN_NAMES})
"""Names that mean the experts where a layer has experts and no linear of that name."""
PLAIN_LORA = (FinetuningType.LORA, FinetuningType.RSLORA)
"""Methods that PEFT has for a fused parameter."""
CLAIMING_TYPES = frozenset(
    {
        "afmoe",
        "cohere2_moe",
        "deepseek_v2",
        "deepseek_v3",
        "deepseek_v32",
        "dots1",
        "ernie4_5_moe",
        "exaone_moe",
        "flex_olmo",
        "glm4_moe",
        "glm4_moe_lite",
        "glm4v_moe",
        "glm_moe_dsa",
        "hunyuan_v1_moe",
        "longcat_flash",
        "mellum",
        "olmoe",
        "qwen3_moe",
        "qwen3_next",
        "solar_open",
    }
)
"""Model types on which PEFT 0.21 reads gate_proj, up_proj and down_proj as the experts even where
dense layers and shared experts have linears of these names; it has no name for those linears."""
CLAIMED = frozenset({"gate_proj", "up_proj", "down_proj"})
ROUTER_NAMES = frozenset({"gate", "router"})
"""Names of routers, which are linears in the code of some families."""


def meaning_experts(
    names: Sequence[str], linears: Sequence[str], model_type: str
) -> tuple[str, ...]:
    """Those of the targets that mean the experts of a mixture with ``linears`` in its layers.

    A shared expert of Qwen2-MoE keeps its names, unless a fused parameter is named beside them.
    """
    claimed: frozenset[str] = CLAIMED if model_type in CLAIMING_TYPES else frozenset()
    if GATE_UP in names and GATE_UP not in linears:
        claimed |= {DOWN}
    return tuple(
        name for name in names if name in claimed or (name in EXPERT_NAMES and name not in linears)
    )


def names_experts(names: Sequence[str]) -> tuple[bool, bool]:
    """Whether the names mean the fused gate and up, and whether they mean down.

    Raises:
        ValueError: gate without up, or up without gate.
    """
    both = GATE_UP in names
    for pair in HALVES:
        found = [name for name in pair if name in names]
        if len(found) == 1:
            missing = pair[1] if found[0] == pair[0] else pair[0]
            raise ValueError(
                f'lora_target "{found[0]}" needs "{missing}" beside it: the experts keep both in '
                "one parameter"
            )
        both = both or len(found) == len(pair)
    return both, any(name in names for name in DOWN_NAMES)


def rank_factor(names: Sequence[str]) -> int:
    """Rank of the adapter on gate and up together over the rank that was asked for."""
    return 1 if GATE_UP in names else 2


def expert_matrices(architecture: Architecture) -> tuple[Linear, ...]:
    """The fused parameters of a layer's experts; none in a dense model."""
    if not any(each.count > 1 for each in architecture.layer.linears):
        return ()
    experts = {each.name: each for each in architecture.layer.linears if each.count > 1}
    fused = [experts[name] for name in (GATE_UP, DOWN) if name in experts]
    gate = experts.get("gate_proj")
    if gate is not None:
        both = replace(gate, name=GATE_UP, role=Role.GATE_UP, out_features=2 * gate.out_features)
        fused.insert(0, both)
    return tuple(fused)


def expert_names(architecture: Architecture, method: Method) -> tuple[str, ...]:
    """The targets of a method that mean the experts of this model."""
    if not method.uses_adapter or method.lora_target == ALL_LINEAR:
        return ()
    if not expert_matrices(architecture):
        return ()
    linears = [each.name for each in architecture.layer.linears if each.count == 1]
    return meaning_experts(tuple(method.lora_target), linears, architecture.model_type)


@lru_cache(maxsize=256)
def adapted_experts(architecture: Architecture, method: Method) -> tuple[Linear, ...]:
    """The fused parameters that take an adapter.

    Raises:
        ValueError: the targets name half of a parameter.
    """
    gate_up, down = names_experts(expert_names(architecture, method))
    wanted = {GATE_UP: gate_up, DOWN: down}
    return tuple(each for each in expert_matrices(architecture) if wanted[each.name])


def adapter_rows(linear: Linear, method: Method, rank: int) -> int:
    """Rows of A and columns of B of an adapter of a rank: of all experts, for fused ones."""
    if linear.count == 1:
        return rank
    factor = rank_factor(tuple(method.lora_target)) if linear.name == GATE_UP else 1
    return rank * factor * linear.count


def check_expert_adapters(architecture: Architecture, method: Method) -> None:
    """Refuse what PEFT has not for fused parameters.

    Raises:
        ValueError: names the setting.
    """
    if not adapted_experts(architecture, method):
        return
    if method.finetuning_type not in PLAIN_LORA:
        raise ValueError(
            f"finetuning_type {method.finetuning_type} does not reach the experts, which PEFT "
            "adapts by lora and rslora alone: take lora, or leave the experts out of lora_target"
        )
    if method.lora_dropout:
        raise ValueError(
            f"lora_dropout {method.lora_dropout:g} does not go with adapters on experts, whose "
            "rows PEFT cannot drop: set lora_dropout 0, or leave the experts out of lora_target"
        )
    if method.adapter_ranks:
        raise ValueError("adapter_ranks go with linears alone, not with adapters on experts")
