"""Adapters: the linears that they sit on, and the number of trained parameters."""

from __future__ import annotations

from collections.abc import Iterator

from memory_models.architecture import Architecture, Linear, Role
from memory_models.settings import ALL_LINEAR, EMBEDDING, HEAD, FinetuningType, Method
from memory_models.states.expert_adapters import (
    CLAIMED,
    CLAIMING_TYPES,
    ROUTER_NAMES,
    adapted_experts,
    adapter_rows,
    check_expert_adapters,
    expert_names,
)
from memory_models.states.weights import (
    frozen_parameters,
    layer_parameters,
    total_parameters,
)

UNTARGETED = frozenset({Role.ROUTER, Role.BARE})
"""Roles of linears that carry no adapter."""
PARAMETER_BYTES = 4
"""Bytes per element: PEFT keeps adapters of a half-precision base in fp32
(``autocast_adapter_dtype``)."""


def is_targeted(architecture: Architecture, linear: Linear, method: Method) -> bool:
    """Whether an adapter sits on this ``nn.Linear``; linears of the encoder always have one.

    Fused experts are no linears (see ``adapted_experts``), and a router is never adapted.
    """
    if not method.uses_adapter or linear.count > 1 or linear.role in UNTARGETED:
        return False
    if linear.role is Role.ENCODER:
        return True
    if architecture.model_type in CLAIMING_TYPES and linear.name in CLAIMED | ROUTER_NAMES:
        return False
    return method.lora_target == ALL_LINEAR or linear.name in method.lora_target


def check_targets(architecture: Architecture, method: Method) -> None:
    """Refuse target names that the model does not have, and LoRA ranks above a target's matrix.

    Raises:
        ValueError: names the target or the rank.
    """
    if not method.uses_adapter:
        return
    names = architecture.target_names
    if method.lora_target != ALL_LINEAR:
        routers = [each.name for each in architecture.layer.linears if each.role is Role.ROUTER]
        experts = expert_names(architecture, method)
        for name in method.lora_target:
            if name in routers:
                raise ValueError(
                    f'lora_target "{name}" is the router, which is never adapted: leave it out'
                )
            if name not in (*names, *experts, EMBEDDING, HEAD):
                raise ValueError(
                    f'lora_target "{name:.60}" is no linear of {architecture.model_type}; '
                    f"it has {', '.join(names)}"
                )
    check_expert_adapters(architecture, method)
    adapted = [linear for linear, _ in targets(architecture, method)]
    if not adapted:
        raise ValueError(
            f"lora_target {method.lora_target} matches no linear that takes an adapter"
        )
    for name, _ in (*method.rank_pattern, *method.alpha_pattern):
        if name not in {linear.name for linear in adapted if linear.count == 1}:
            raise ValueError(f'the pattern of "{name:.60}" names no target of lora_target')
    ranks = [(max(method.ranks_of(linear.name)), linear) for linear in adapted]
    wide = [pair for pair in ranks if pair[0] > min(pair[1].in_features, pair[1].out_features)]
    # PEFT sets no limit, and families without a formula have gates with a single output.
    if wide and (len(wide) == len(ranks) or not architecture.layer.recorded):
        sides = [min(linear.in_features, linear.out_features) for _, linear in ranks]
        raise ValueError(
            f"lora_rank {max(rank for rank, _ in wide)} is above the smallest side, {min(sides)}, "
            "of the matrices it adapts"
        )


def targets(architecture: Architecture, method: Method) -> Iterator[tuple[Linear, int]]:
    """Adapted linears, each with its number of copies; the encoder's MLP is always adapted.

    The fused experts of a layer are one linear each, whose ``count`` is the number of experts.
    Source for the encoder: the ChatTS trainer adds every linear of ``ts_encoder.mlp``.
    """
    for linear in architecture.layer.linears:
        if is_targeted(architecture, linear, method):
            yield linear, linear.copies_in(architecture)
    for linear in adapted_experts(architecture, method):
        yield linear, linear.copies_in(architecture)
    if architecture.encoder is not None and method.uses_adapter:
        for linear in architecture.encoder.linears:
            yield linear, 1
    for linear in vocabulary_matrices(architecture):
        if method.adapts(linear.name):
            yield linear, 1


def vocabulary_matrices(architecture: Architecture) -> tuple[Linear, Linear]:
    """Embedding and lm_head as linears between the vocabulary [V] and the stream [D]."""
    words, hidden = architecture.vocabulary.vocab_size, architecture.hidden_size
    return (
        Linear(name=EMBEDDING, role=Role.OTHER, in_features=words, out_features=hidden),
        Linear(
            name=HEAD,
            role=Role.OTHER,
            in_features=hidden,
            out_features=words,
            bias=architecture.vocabulary.head_bias,
        ),
    )


def saved_parameters(architecture: Architecture, method: Method) -> int:
    """Trained elements of whole copies of embedding and lm_head; a tied model has two of them.

    Source: peft/utils/other.py (ModulesToSaveWrapper).
    """
    return sum(
        linear.weight_count + linear.bias_count
        for linear in vocabulary_matrices(architecture)
        if linear.name in method.modules_to_save
    )


def adapter_parameters_on(linear: Linear, method: Method) -> int:
    """Trained elements of the adapter on one linear.

    LoRA has A [R, in] and B [out, R]; fused experts have R rows and columns per expert. DoRA adds a
    magnitude [out], AdaLoRA singular values [R].
    """
    ranks = method.ranks_of(linear.name)
    rank = sum(adapter_rows(linear, method, rank) for rank in ranks)
    count = rank * (linear.in_features + linear.out_features)
    if method.finetuning_type is FinetuningType.DORA:
        count += linear.out_features
    if method.is_adalora:
        count += rank
    return count


def adapter_parameters(architecture: Architecture, method: Method) -> int:
    """Trained elements of all adapters."""
    return sum(
        copies * adapter_parameters_on(linear, method)
        for linear, copies in targets(architecture, method)
    )


def trainable_parameters(architecture: Architecture, method: Method) -> int:
    """Elements that get a gradient, by method.

    Raises:
        ValueError: the settings train more layers than the model has.
    """
    if method.uses_adapter:
        return adapter_parameters(architecture, method) + saved_parameters(architecture, method)
    if method.finetuning_type is FinetuningType.FULL:
        return total_parameters(architecture) - frozen_parameters(architecture)
    layers = method.freeze_trainable_layers
    if layers > architecture.num_hidden_layers:
        raise ValueError(
            f"freeze_trainable_layers {layers} is above the model's "
            f"{architecture.num_hidden_layers} layers"
        )
    return layers * layer_parameters(architecture)
