"""A base that accelerate's FSDP2 shares out: its keys, who cannot take them, and what differs.

Source of the keys: utils/dataclasses.py (``FullyShardedDataParallelPlugin``), utils/fsdp_utils.py
(``fsdp2_prepare_model``) and parallelism_config.py of accelerate 1.15, whose own loader and plugin
read them in tests/exporters/accelerate/test_fsdp.py.
"""

from __future__ import annotations

from typing import Any

from memory_models.architecture import Architecture
from memory_models.settings import (
    EMBEDDING,
    HEAD,
    Dtype,
    FinetuningType,
    changed,
    effective_settings,
)
from memory_models.sharding.fully_sharded import root_bytes
from memory_models.units import GIB
from tsplanner.errors import TsplannerError
from tsplanner.planner.plan import Plan
from tsplanner.planner.settings import training_settings
from tsplanner.planner.space.fsdp_rules import STEPS_SLICES

FULL_FILES = "FULL_STATE_DICT"
"""One process writes the whole adapter; with SHARDED_STATE_DICT Trainer writes none at its end."""
STORED_AS = {Dtype.BF16: "bfloat16", Dtype.FP16: "float16", Dtype.FP32: "float32"}


def config(plan: Plan) -> dict[str, Any]:
    """The section ``fsdp_config`` of accelerate's file.

    No classes are named: accelerate then takes the model's own ``_no_split_modules``.
    """
    return {f"fsdp_{key}": value for key, value in keys(plan).items()} | {
        "fsdp_version": 2,
        "fsdp_activation_checkpointing": False,
    }


def keys(plan: Plan) -> dict[str, Any]:
    """What accelerate and axolotl call alike. Checkpoints are the trainer's own, as planned."""
    return {
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "reshard_after_forward": True,
        "offload_params": False,
        "state_dict_type": FULL_FILES,
        # A packed base is read by every process, and nobody sends it to the others.
        "cpu_ram_efficient_loading": not plan.hardware.base.has_4bit,
    }


def storage(plan: Plan) -> str | None:
    """The dtype that packed 4-bit weights must be called, as FSDP2 cuts no integers; None: no such.

    It is that of the arithmetic, to which accelerate's mixed precision casts what it gathers.
    """
    base = plan.hardware.base
    if not (base.has_4bit and plan.hardware.sharding.shards_base):
        return None
    return STORED_AS[base.autocast or base.model_dtype]


def mesh(plan: Plan) -> dict[str, int]:
    """Copies of the base and slices of each copy; empty where all processes share one copy."""
    sharding = plan.hardware.sharding
    if not (sharding.fsdp_per_host and sharding.nodes > 1):
        return {}
    return {"dp_replicate_size": sharding.nodes, "dp_shard_size": sharding.slices}


def refuse(plan: Plan, architecture: Architecture, trainer: str) -> None:
    """Refuse what no one has looked at under accelerate's FSDP2.

    Raises:
        TsplannerError: names it, and what trains it instead.
    """
    if not plan.hardware.sharding.shards_base:
        return
    method, optimizer = plan.learning.method, plan.hardware.kernels.optimizer
    tables = method.modules_to_save or method.adapts(EMBEDDING) or method.adapts(HEAD)
    against = {
        "full fine-tuning": method.trains_base,
        "a model of time series": architecture.encoder is not None,
        "a vision tower": bool(architecture.outside.frozen_linears),
        f"a trained {EMBEDDING} or {HEAD}": bool(tables),
        f"the optimizer {optimizer}": optimizer not in STEPS_SLICES,
        "DoRA on a 4-bit base": plan.hardware.base.has_4bit
        and method.finetuning_type is FinetuningType.DORA,
    }
    found = next((what for what, holds in against.items() if holds), None)
    if found is not None:
        raise TsplannerError(
            f"{found[0].upper()}{found[1:]} was not tried under FSDP2 in {trainer}: train with "
            "tsplanner, or plan again with --fsdp off."
        )


def notes(plan: Plan, architecture: Architecture, trainer: str) -> list[str]:
    """Where memory differs from tsplanner's own FSDP2; empty for other plans."""
    sharding = plan.hardware.sharding
    if not sharding.shards_base:
        return []
    wrapped = changed(plan.hardware, fsdp_whole_model=True)
    settings = effective_settings(training_settings(plan.learning, wrapped, 1))
    tables = root_bytes(architecture, settings.states) / GIB
    found = [
        f"FSDP2 in {trainer} is accelerate's: it upcasts what is trained to fp32 and cuts it into "
        f"slices as well, and gathers embedding and lm_head ({tables:.1f} GiB) for the whole step, "
        "which tsplanner never does. accelerate 1.15 gathers them in turn and holds less.",
        "accelerate's own loader reads these settings, and processes on CPUs learned by them what "
        "one learns, without a trainer. No GPU has run them: the bytes are by formula.",
    ]
    if (kind := storage(plan)) is not None:
        found.append(
            f"4-bit weights are stored as {kind} (bnb_4bit_quant_storage): FSDP2 would leave "
            "integers whole on every GPU."
        )
    if mesh(plan):
        found.append(
            f"Each of the {sharding.nodes} machines has a whole copy of the base in "
            f"{sharding.slices} slices (hybrid sharding)."
        )
    return found
