"""A measured case, flat, as the calls of ``rivals_calls`` read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from benchmarks.rivals.calls.case import H200_GIB
from memory_models.architecture import Role
from memory_models.settings import (
    ALL_LINEAR,
    Dtype,
    FinetuningType,
    Quantization,
    TrainingSettings,
    flat,
)
from memory_models.states.weights import total_parameters
from tsplanner.models.defaults import DEFAULTS
from tsplanner.models.source import read_model
from tsplanner.planner.gather.cases import Case

GATED = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
SCOPES = {
    frozenset({"q_proj", "k_proj", "v_proj", "o_proj"}): "attention",
    frozenset({"q_proj", "v_proj"}): "query-value",
}
SHAPE = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "vocab_size",
    "tie_word_embeddings",
    "head_dim",
)


class Measured(Protocol):
    """A case that somebody measured."""

    @property
    def given(self) -> Mapping[str, object]:
        """Its keys and values."""

    @property
    def case(self) -> Case:
        """Its records."""


def kind_of(settings: TrainingSettings) -> str:
    """lora, qlora, int8, full, freeze, or the name of another adapter."""
    method = settings.method.finetuning_type
    if method is FinetuningType.RSLORA:
        method = FinetuningType.LORA  # the same tensors
    if settings.base.quantization is None:
        return str(method)
    if method is not FinetuningType.LORA:
        return f"{method} on a quantised base"
    return "int8" if settings.base.quantization is Quantization.INT8 else "qlora"


def precision_of(settings: TrainingSettings) -> str:
    """half: weights in bf16 or fp16; mixed: fp32 weights under autocast; fp32: neither."""
    if settings.base.model_dtype is not Dtype.FP32:
        return "half"
    return "fp32" if settings.base.autocast is None else "mixed"


def sharding_of(settings: TrainingSettings) -> str:
    """none, zero_1 to zero_3, offload, or replicas."""
    if settings.sharding.offload_optimizer or settings.sharding.offload_param:
        return "offload"
    if settings.sharding.zero_stage:
        return f"zero_{settings.sharding.zero_stage}"
    return "none" if settings.sharding.world_size == 1 else "replicas"


def targets_of(row: Measured) -> tuple[str, list[str]]:
    """The scope that rivals have names for, and the modules."""
    settings, architecture = row.case.settings, row.case.architecture
    if not settings.method.uses_adapter:
        return "", []
    if settings.method.lora_target == ALL_LINEAR:
        return ALL_LINEAR, list(architecture.target_names)
    names = list(settings.method.lora_target)
    return SCOPES.get(frozenset(names), "other"), names


def view(row: Measured, gpu: str = "H200", card_gib: float = H200_GIB) -> dict[str, object]:
    """A measured case as the rivals' calls read it, on a card of the catalogue."""
    settings, architecture = row.case.settings, row.case.architecture
    config = read_model(str(row.given["model"])).config
    known = {key: value for key, value in config.items() if value is not None}
    tied = {"tie_word_embeddings": architecture.vocabulary.tie_word_embeddings}
    kind, precision = kind_of(settings), precision_of(settings)
    scope, targets = targets_of(row)
    half = settings.base.autocast if precision == "mixed" else settings.base.model_dtype
    roles = {linear.role for linear in architecture.layer.linears}
    return {
        "gpu": gpu,
        "card_gib": card_gib,
        "name": architecture.name,
        "model_type": architecture.model_type,
        "config": {**DEFAULTS.get(architecture.model_type, {}), **known, **tied},
        "shape": {key: flat(architecture)[key] for key in SHAPE},
        "parameters": total_parameters(architecture),
        "positions": architecture.positions.max_position_embeddings,
        "gated": bool(roles & {Role.GATE, Role.GATE_UP}),
        "encoder": architecture.encoder is not None,
        "experts": architecture.mlp.num_experts_per_tok > 0,
        "kind": kind,
        "precision": precision,
        "recipe": f"{kind}/{precision}",
        "half": str(half),
        "double_quant": settings.base.quantization is Quantization.NF4_DQ,
        "rank": settings.method.lora_rank,
        "dropout": settings.method.lora_dropout,
        "scope": scope,
        "targets": targets,
        "gated_targets": set(targets) <= GATED,
        "frozen": settings.method.freeze_trainable_layers,
        "batch": settings.batch.micro_batch_size,
        "sequence": settings.sequence_length,
        "accumulation": settings.batch.gradient_accumulation_steps,
        "checkpointing": settings.batch.gradient_checkpointing,
        "attention": str(settings.kernels.attention),
        "loss_kernel": str(settings.kernels.loss_kernel),
        "optimizer": str(settings.kernels.optimizer),
        "sharding": sharding_of(settings),
        "ranks": settings.sharding.world_size,
    }
