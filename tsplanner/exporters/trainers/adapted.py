"""What another project's trainer is told of the method: the modules that it adapts or copies."""

from __future__ import annotations

from memory_models.architecture import Architecture
from memory_models.settings import (
    EMBEDDING,
    HEAD,
    FinetuningType,
    Method,
)
from tsplanner.errors import TsplannerError
from tsplanner.exporters import mixtures
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import training_settings

TRAINED_WHOLE = frozenset({FinetuningType.FULL, FinetuningType.FREEZE})

OWN_NAMES = {"embed_tokens": EMBEDDING, "embed_in": EMBEDDING, "lm_head": HEAD, "embed_out": HEAD}
"""What settings call an embedding or a head, by its name in the model."""


def lora_targets(plan: Plan, architecture: Architecture) -> list[str]:
    """Names of the modules that get an adapter, in the order in which they run.

    Raises:
        TsplannerError: PEFT has no name for one of them.
    """
    method = adapter_method(plan)
    outside = [each for each in _outside(plan) if method.adapts(OWN_NAMES[each])]
    return mixtures.module_names(architecture, method) + outside


def adapter_method(plan: Plan) -> Method:
    """The method of a plan, as the memory model reads it."""
    return training_settings(plan.learning, plan.hardware, 1).method


def adapter_targets(plan: Plan, architecture: Architecture) -> dict[str, object]:
    """The targets in the keys of trainers that take names of modules and of parameters."""
    names: str | list[str] = lora_targets(plan, architecture)
    if sees(architecture):
        names = target_pattern(plan, architecture)
    found: dict[str, object] = {"lora_target_modules": names}
    if parameters := mixtures.parameter_names(architecture, adapter_method(plan)):
        found["lora_target_parameters"] = parameters
    return found


def modules_to_save(plan: Plan) -> list[str]:
    """Modules of which whole copies are trained, by their names in the model."""
    saved = plan.learning.method.modules_to_save
    return [name for name in _outside(plan) if OWN_NAMES[name] in saved]


def _outside(plan: Plan) -> tuple[str, str]:
    """Names of embedding and head in the model."""
    own = plan.model.model_type == "gpt_neox"
    return ("embed_in", "embed_out") if own else (EMBEDDING, HEAD)


def sees(architecture: Architecture) -> bool:
    """Whether a vision tower lies beside the language model."""
    return bool(architecture.outside.frozen_linears)


def target_pattern(plan: Plan, architecture: Architecture) -> str:
    """Regular expression for the adapted linears of the language model beside a vision tower.

    PEFT compares a name alone with the end of every module's name, and the tower has linears of
    the same names. It compares a string with whole names.
    """
    names = lora_targets(plan, architecture)
    head = rf"|(?:.*\.)?{HEAD}" if HEAD in names else ""
    return rf".*(?:language_model|text_model)\.(?:.*\.)?(?:{'|'.join(names)}){head}"


def whole_alpha(plan: Plan, trainer: str) -> int:
    """LoRA's alpha as a whole number.

    Raises:
        TsplannerError: alpha is not a whole number.
    """
    alpha = plan.learning.method.alpha
    if alpha != int(alpha):
        raise TsplannerError(
            f"{trainer} takes whole numbers for lora_alpha, not {alpha:g}: plan again with "
            "another --lora-alpha."
        )
    return int(alpha)
