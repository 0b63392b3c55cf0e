"""The space: every candidate keeps the effective batch and what was pinned."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memory_models.device import Device
from memory_models.settings import (
    Attention,
    DecoderKernels,
    Dtype,
    FinetuningType,
    LossKernel,
    Optimizer,
    Quantization,
    flat,
)
from tests.support.rig import TURING
from tests.support.toy_request import HOPPER, request
from tsplanner.hardware.nodes import machines_alike
from tsplanner.planner.request import Pins
from tsplanner.planner.space.candidates import candidates, world_sizes


@settings(max_examples=30, deadline=None)
@given(effective=st.integers(1, 200), cards=st.integers(0, 4))
def test_every_candidate_keeps_the_effective_batch_exactly(effective: int, cards: int) -> None:
    """Micro-batch x accumulation x ranks is what was asked for, never near it."""
    asked = request("qwen2.5-0.5b", *[HOPPER] * cards, effective_batch_size=effective)
    found = [hardware.effective_batch_size for hardware in candidates(asked)]
    assert found
    assert set(found) == {effective}


@pytest.mark.parametrize(
    "pins",
    [
        Pins(world_size=2),
        Pins(micro_batch_size=4),
        Pins(gradient_checkpointing=True),
        Pins(gradient_checkpointing=False),
        Pins(checkpointed_layers=3),
        Pins(checkpointed_layers=None),
        Pins(attention=Attention.EAGER),
        Pins(loss_kernel=LossKernel.PLAIN),
        Pins(optimizer=Optimizer.ADAFACTOR),
        Pins(model_dtype=Dtype.FP32),
        Pins(zero_stage=1),
        Pins(zero_stage=3),
        Pins(zero_stage=3, offload_optimizer=True, offload_param=False),
        Pins(offload_optimizer=True),
        Pins(offload_param=True),
        Pins(quantization=None),
        Pins(cpu_threads=3),
    ],
)
def test_a_pinned_setting_is_kept_by_every_candidate(pins: Pins) -> None:
    """The planner moves only what was left to it."""
    found = list(candidates(request("qwen2.5-0.5b", HOPPER, HOPPER, pins=pins)))
    assert found
    for name, wanted in pins.values.items():
        assert {flat(hardware)[name] for hardware in found} == {wanted}


@pytest.mark.parametrize(
    ("cards", "ranks", "dtype"),
    [
        ((HOPPER,), 1, Dtype.BF16),
        ((TURING,), 1, Dtype.FP16),
        # Together they do what both can; alone the newer one does what it can.
        ((HOPPER, TURING), 2, Dtype.FP16),
        ((HOPPER, TURING), 1, Dtype.BF16),
        ((TURING, HOPPER), 1, Dtype.BF16),
    ],
)
def test_bf16_is_used_where_it_is_native_and_fp16_below(
    cards: tuple[Device, ...], ranks: int, dtype: Dtype
) -> None:
    """Hopper computes in bf16, Turing in fp16."""
    asked = request("qwen2.5-0.5b", *cards, pins=Pins(world_size=ranks))
    found = list(candidates(asked))
    assert {hardware.base.autocast for hardware in found} == {dtype}
    assert {hardware.base.model_dtype for hardware in found} == {dtype}


@pytest.mark.parametrize("method", [FinetuningType.FULL, FinetuningType.FREEZE])
def test_trained_weights_load_in_fp32_under_fp16(method: FinetuningType) -> None:
    """The loss scaler cannot unscale fp16 gradients."""
    found = list(candidates(request("qwen2.5-0.5b", TURING, finetuning_type=method)))
    assert {(hardware.base.model_dtype, hardware.base.autocast) for hardware in found} == {
        (Dtype.FP32, Dtype.FP16)
    }


def test_an_8_bit_optimizer_is_offered_to_trained_bases_only() -> None:
    """It changes what is learned a little; an adapter's states are small anyway."""
    adapter = list(candidates(request("qwen2.5-0.5b", HOPPER)))
    full = list(candidates(request("qwen2.5-0.5b", HOPPER, finetuning_type=FinetuningType.FULL)))
    assert {hardware.kernels.optimizer for hardware in adapter} == {Optimizer.ADAMW_TORCH_FUSED}
    assert {hardware.kernels.optimizer for hardware in full} == {
        Optimizer.ADAMW_TORCH_FUSED,
        Optimizer.ADAMW_BNB_8BIT,
    }


def test_a_machine_without_a_gpu_trains_on_its_cpu_in_fp32() -> None:
    """One process, no autocast, nothing sharded."""
    found = list(candidates(request("qwen2.5-0.5b")))
    assert {
        (
            h.accelerator,
            h.sharding.world_size,
            h.base.model_dtype,
            h.base.autocast,
            h.sharding.zero_stage,
        )
        for h in found
    } == {("cpu", 1, Dtype.FP32, None, 0)}


def test_candidates_differ() -> None:
    """Nothing is estimated twice."""
    found = list(candidates(request("qwen2.5-0.5b", HOPPER, HOPPER)))
    assert len(found) == len(set(found))


def test_stages_that_serve_nothing_are_left_to_who_pins_them() -> None:
    """ZeRO-2 shards MiB of an adapter, but frees GiB of a 4-bit base; ZeRO-3 takes no 4 bits."""
    found = list(candidates(request("qwen2.5-0.5b", HOPPER, HOPPER)))
    stages = {(h.base.quantization is not None, h.sharding.zero_stage) for h in found}
    assert stages == {(False, 0), (False, 3), (True, 0), (True, 2)}
    pinned = candidates(request("qwen2.5-0.5b", HOPPER, HOPPER, pins=Pins(zero_stage=2)))
    assert {h.sharding.zero_stage for h in pinned} == {2}
    full = request("qwen2.5-0.5b", HOPPER, HOPPER, finetuning_type=FinetuningType.FULL)
    assert {h.sharding.zero_stage for h in candidates(full) if h.base.quantization is None} == {
        0,
        2,
        3,
    }


def test_compiled_kernels_are_the_default_on_gpus_except_under_zero_3() -> None:
    """ZeRO-3 gathers weights module by module, which they do not wait for."""
    found = list(candidates(request("qwen2.5-0.5b", HOPPER, HOPPER)))
    assert {(h.kernels.decoder_kernels, h.sharding.zero_stage == 3) for h in found} == {
        (DecoderKernels.COMPILED, False),
        (DecoderKernels.REFERENCE, True),
    }
    plain = candidates(
        request("qwen2.5-0.5b", HOPPER, pins=Pins(decoder_kernels=DecoderKernels.REFERENCE))
    )
    assert {h.kernels.decoder_kernels for h in plain} == {DecoderKernels.REFERENCE}


def test_fused_kernels_stay_where_rows_are_cast_to_fp32() -> None:
    """Norms in fp32, as PEFT casts them for a quantised base, hand on rows in fp32."""
    pins = Pins(quantization=Quantization.NF4_DQ, upcast_unquantized=True)
    found = candidates(request("qwen2.5-0.5b", HOPPER, pins=pins))
    kernels = {h.kernels.decoder_kernels for h in found if h.sharding.zero_stage != 3}
    assert kernels == {DecoderKernels.FUSED}


def test_parallel_sizes_tried_are_bounded_on_a_thousand_gpus() -> None:
    """Of the 16 divisors of 1,000 the smallest and the seven largest; up to eight GPUs all."""
    rack = request("qwen2.5-0.5b", *[HOPPER] * 1000, effective_batch_size=1000)
    assert world_sizes(rack) == [
        1,
        50, 100, 125, 200, 250, 500, 1000
    ]  # fmt: skip
    box = request("qwen2.5-0.5b", *[HOPPER] * 8, effective_batch_size=840)
    assert world_sizes(box) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_several_machines_have_as_many_processes_each() -> None:
    """Two machines of two cards: one machine alone, or both with one or two cards each."""
    asked = request("qwen2.5-0.5b", HOPPER, HOPPER)
    asked = replace(asked, machine=machines_alike(asked.machine, 2))
    found = {
        (hardware.sharding.nodes, hardware.sharding.world_size) for hardware in candidates(asked)
    }
    assert found == {(1, 1), (1, 2), (2, 2), (2, 4)}
