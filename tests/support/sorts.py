"""Plans of every sort, from the tiny plan of tests/training."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from memory_models.device import Device, LinkType
from memory_models.settings import Attention, Dtype, Optimizer, Quantization, changed
from tests.support import tiny
from tsplanner.planner.plan import Plan

H200 = Device(
    name="NVIDIA H200",
    total_bytes=141 * 2**30,
    free_bytes=139 * 2**30,
    compute_capability=(9, 0),
)
VOODOO = replace(H200, name="Voodoo 3")
HOSTILE = "x\"; touch owned; '$(touch owned)'\n`touch owned` #"


@cache
def cpu() -> Plan:
    """The tiny plan for a CPU: effective batch 4."""
    with tempfile.TemporaryDirectory() as folder:
        return tiny.plan(Path(folder))


def on_gpus(count: int, **hardware: Any) -> Plan:
    """A plan for ``count`` H200, effective batch 32, micro-batch 2 unless said otherwise."""
    micro = hardware.pop("micro_batch_size", 2)
    base = cpu()
    settings = changed(
        base.hardware,
        accelerator="cuda",
        world_size=count,
        micro_batch_size=micro,
        gradient_accumulation_steps=32 // (count * micro),
        model_dtype=Dtype.BF16,
        autocast=Dtype.BF16,
        **hardware,
    )
    link = LinkType.NVLINK if count > 1 else None
    return replace(
        base,
        hardware=settings,
        learning=changed(base.learning, effective_batch_size=32),
        machine=replace(base.machine, devices=(H200,) * count, link=link),
    )


def named(plan: Plan, name: str) -> Plan:
    """The plan for a model of another name."""
    return replace(plan, model=replace(plan.model, name=name))


def mixed() -> Plan:
    """Two ranks on cards of two kinds, unknown to any cloud."""
    plan = on_gpus(2)
    return replace(plan, machine=replace(plan.machine, devices=(H200, VOODOO)))


def second_card() -> Plan:
    """One rank on the second of two cards; the first is of another kind."""
    plan = on_gpus(1, devices=(1,))
    return replace(plan, machine=replace(plan.machine, devices=(VOODOO, H200)))


def without_dataset() -> Plan:
    """A plan that was made for lengths alone."""
    plan = on_gpus(1)
    return replace(plan, dataset=changed(plan.dataset, path=None, counted_by="cutoff_len"))


SORTS = {
    "cpu": cpu(),
    "one GPU": on_gpus(1),
    "two GPUs": on_gpus(2),
    "eight GPUs": on_gpus(8),
    "ZeRO-2 with optimizer offload": on_gpus(4, zero_stage=2, offload_optimizer=True),
    "ZeRO-3": on_gpus(2, zero_stage=3),
    "ZeRO-3 with parameter offload": on_gpus(1, zero_stage=3, offload_param=True),
    "quantised": on_gpus(1, quantization=Quantization.NF4_DQ),
    "8-bit optimizer": on_gpus(2, optimizer=Optimizer.ADAMW_BNB_8BIT),
    "flash": on_gpus(1, attention=Attention.FLASH_ATTENTION_2),
    "fp16": replace(on_gpus(1), hardware=changed(on_gpus(1).hardware, autocast=Dtype.FP16)),
    "two kinds of cards": mixed(),
    "the second card": second_card(),
    "no dataset": without_dataset(),
    "a hostile name": named(on_gpus(2), HOSTILE),
}
