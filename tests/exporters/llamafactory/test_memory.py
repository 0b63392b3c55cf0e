"""What a plan takes under LLaMA-Factory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.settings import DecoderKernels, LossKernel, changed
from memory_models.units import GIB
from tests.support.golden import CASES
from tsplanner.exporters.llamafactory.settings import running
from tsplanner.exporters.trainers.figures import architecture_of
from tsplanner.exporters.trainers.memory import Running, memory_under
from tsplanner.planner.plan import Plan


def test_ligers_patch_is_sized_as_a_whole() -> None:
    """Its loss keeps no logits, and its kernels keep less than transformers' own."""
    plan = CASES["llamafactory"]["fused_loss_of_liger"].plan
    under = running(plan, architecture_of(plan))
    assert under.loss_kernel is LossKernel.LIGER
    assert under.decoder_kernels is DecoderKernels.LIGER
    loss_alone = replace(under, decoder_kernels=DecoderKernels.REFERENCE)
    nothing = replace(loss_alone, loss_kernel=LossKernel.PLAIN)
    found = [
        memory_under(plan, each, plan.hardware).peak_allocated_bytes.expected
        for each in (under, loss_alone, nothing)
    ]
    assert found == sorted(found)
    assert len(set(found)) == 3


def base_weights(plan: Plan, under: Running) -> int:
    """Bytes of the base model on a rank under that trainer."""
    found = memory_under(plan, under, plan.hardware)
    return next(part.bytes for part in found.components if part.name == "base weights")


def test_memory_is_that_of_the_released_code() -> None:
    """ZeRO-3 on two ranks: caches of 402,653,184 elements, 0.75 GiB on each, beside the shards."""
    plan = CASES["llamafactory"]["chatts_14b_lora_zero3"].plan
    under = running(plan, architecture_of(plan))
    ours = replace(under, architecture=changed(under.architecture, rotary_buffer_count=0))
    assert under.architecture.positions.rotary_buffer_count == 402_653_184
    assert base_weights(plan, under) - base_weights(plan, ours) == 0.75 * GIB


def test_a_quantised_base_is_not_upcast_there() -> None:
    """Embedding and head of Qwen2.5-14B stay in bf16: 2 x 2 x 152,064 x 5120 bytes fewer."""
    plan = CASES["llamafactory"]["qlora"].plan
    under = running(plan, architecture_of(plan))
    upcast = base_weights(plan, replace(under, upcast_unquantized=True))
    expected = 2 * 2 * 152_064 * 5120
    assert upcast - base_weights(plan, under) == pytest.approx(expected, rel=0.01)
