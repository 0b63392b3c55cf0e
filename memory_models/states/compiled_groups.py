"""The linears that our worker's compiled kernels run together, and the copies of their adapters.

This models ``tsplanner/training/kernels/compiled``: linears of one input form a group, which reads
copies of its adapters in the dtype of the products. The copies stay from step to step.
"""

from __future__ import annotations

from functools import lru_cache

from memory_models.architecture import Activation, Architecture, Linear, Role
from memory_models.rounding import block_bytes
from memory_models.settings import BaseStorage, DecoderKernels, Dtype, FinetuningType, Method
from memory_models.states.adapters import is_targeted

SIBLINGS = ("q_proj", "k_proj", "v_proj")
"""Linears of one input in an attention, by the names that the worker looks for."""
ATTENTION_OUTPUT = "o_proj"
HALF = 2
"""Bytes per element of a copy."""


def _plain(method: Method) -> bool:
    """Whether every adapter is one that a group takes: LoRA alone on its linear."""
    lora = method.finetuning_type in (FinetuningType.LORA, FinetuningType.RSLORA)
    return lora and not method.lora_dropout and not method.adapter_ranks


def _named(architecture: Architecture, names: tuple[str, ...]) -> tuple[Linear, ...]:
    found = {linear.name: linear for linear in architecture.layer.linears if linear.count == 1}
    return tuple(found[name] for name in names) if all(name in found for name in names) else ()


def attention_group(architecture: Architecture, method: Method) -> tuple[Linear, ...]:
    """Query, key and value if they run together; else nothing."""
    return _named(architecture, SIBLINGS) if _plain(method) else ()


def output_group(architecture: Architecture, method: Method) -> tuple[Linear, ...]:
    """The attention's last linear if it runs as a group of its own; else nothing."""
    together = attention_group(architecture, method)
    return _named(architecture, (ATTENTION_OUTPUT,)) if together else ()


@lru_cache(maxsize=256)
def mlp_groups(architecture: Architecture, method: Method) -> tuple[tuple[Linear, ...], ...]:
    """Gate and up, then down, if the whole MLP runs as one function; else nothing."""
    mlp = {
        linear.role: linear
        for linear in architecture.layer.linears
        if linear.role in (Role.GATE, Role.UP, Role.DOWN) and linear.count == 1
    }
    whole = len(mlp) == 3 and not any(linear.bias for linear in mlp.values())
    silu = architecture.mlp.activation is Activation.SILU
    if not (whole and silu and _plain(method)):
        return ()
    return (mlp[Role.GATE], mlp[Role.UP]), (mlp[Role.DOWN],)


def rank_in(architecture: Architecture, linear: Linear, method: Method) -> int:
    """LoRA rank of the adapter on a linear; 0: there is none."""
    return method.rank_of(linear.name) if is_targeted(architecture, linear, method) else 0


def copy_bytes(
    architecture: Architecture, method: Method, base: BaseStorage, kernels: DecoderKernels
) -> int:
    """Bytes of the copies of all adapters that groups read: all A of a group together, and each B.

    Ignores: a base in fp32, which has no groups.
    """
    whole = base.quantization is None or base.multiplies_8bit
    half = base.has_4bit or (whole and base.model_dtype is not Dtype.FP32)
    if kernels is not DecoderKernels.COMPILED or not half:
        return 0
    groups = (
        attention_group(architecture, method),
        output_group(architecture, method),
        *mlp_groups(architecture, method),
    )
    return sum(_group_bytes(architecture, group, method) for group in groups if group)


def _group_bytes(architecture: Architecture, group: tuple[Linear, ...], method: Method) -> int:
    ranks = [rank_in(architecture, linear, method) for linear in group]
    joined = block_bytes(HALF * sum(ranks) * group[0].in_features)
    sides = sum(
        block_bytes(HALF * rank * linear.out_features)
        for linear, rank in zip(group, ranks, strict=True)
    )
    return group[0].copies_in(architecture) * (joined + sides)
