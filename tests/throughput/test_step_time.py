"""Seconds of a step: enough to rank plans, and never absurd."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.memory_traffic import forward_traffic
from memory_models.settings import (
    DecoderKernels,
    FinetuningType,
    LossKernel,
    Quantization,
    TrainingSettings,
    changed,
    from_flat,
)
from tests.support.rig import HOPPER, TURING, machine
from tsplanner.models.source import read_model
from tsplanner.throughput.rates import MEASURED, rates_of
from tsplanner.throughput.step_parts import times_passes
from tsplanner.throughput.step_time import step_time

MODEL = read_model("qwen2.5-7b").architecture
PLAIN = from_flat(TrainingSettings, sequence_length=2048, gradient_checkpointing=False)


def test_compiled_kernels_take_no_part_behind_norms_in_fp32() -> None:
    """As PEFT casts them for an NF4 base: the step is that of the fused kernels' traffic."""
    rates = rates_of(machine(HOPPER))
    cast = changed(PLAIN, quantization=Quantization.NF4, decoder_kernels=DecoderKernels.COMPILED)
    assert cast.base.upcasts
    without = changed(cast, upcast_unquantized=False)
    slow, quick = (step_time(MODEL, each, rates) for each in (cast, without))
    assert quick.matrix == pytest.approx(rates.compiled.matrix * slow.matrix)
    assert quick.memory < 0.6 * slow.memory


def test_8_bit_products_take_the_time_of_the_half_precision_ones_over_their_rate() -> None:
    """Those of the decoder's linears, forward and back: head, adapters and attention stay."""
    rates = rates_of(machine(HOPPER))
    eight = changed(PLAIN, quantization=Quantization.FP8)
    plain, found = (step_time(MODEL, each, rates).matrix for each in (PLAIN, eight))
    layers = (
        2
        * sum(each.copies_in(MODEL) * each.weight_count for each in MODEL.layer.linears)
        * 2
        * 2048
    )
    saved = layers / rates.matrix_flops - layers / rates.eight_bit.fp8
    assert found == pytest.approx(plain - saved)
    assert rates.eight_bit.fp8 > rates.matrix_flops


def test_a_step_takes_the_longer_the_more_layers_are_checkpointed() -> None:
    """From none to all of 28."""
    again = changed(PLAIN, gradient_checkpointing=True)
    rates = rates_of(machine(TURING))
    seconds = [
        step_time(MODEL, changed(again, checkpointed_layers=number), rates).seconds
        for number in (1, 7, 14, None)
    ]
    assert seconds == sorted(seconds)
    assert step_time(MODEL, PLAIN, rates).seconds < seconds[0]


@pytest.mark.parametrize(
    "slower",
    [
        {"gradient_checkpointing": True},
        {"quantization": Quantization.NF4},
        {"micro_batch_size": 2},
        {"gradient_accumulation_steps": 2},
        {"sequence_length": 4096},
        {"finetuning_type": FinetuningType.FULL},
        {"zero_stage": 3, "offload_param": True},
    ],
)
def test_more_work_takes_longer(slower: dict[str, object]) -> None:
    """Recomputing, de-quantising, more tokens, more gradients, offload."""
    rates = rates_of(machine(TURING))
    before = step_time(MODEL, PLAIN, rates).seconds
    assert step_time(MODEL, changed(PLAIN, **slower), rates).seconds > before  # type: ignore[arg-type]


def test_one_rank_talks_to_nobody() -> None:
    """Two ranks exchange gradients, and under ZeRO-3 weights too."""
    rates = rates_of(machine(HOPPER, HOPPER))
    alone, pair = (
        step_time(MODEL, changed(PLAIN, world_size=ranks), rates).communication for ranks in (1, 2)
    )
    sharded = step_time(MODEL, changed(PLAIN, world_size=2, zero_stage=3), rates).communication
    assert alone == 0 < pair < sharded


def test_an_offloaded_step_is_shared_by_the_hosts_of_several_machines() -> None:
    """Two hosts update half of the states each; what crosses the links stays."""
    rates = rates_of(machine(HOPPER, HOPPER))
    one = changed(PLAIN, world_size=4, zero_stage=2, offload_optimizer=True)
    once, shared = (
        step_time(MODEL, each, rates).optimizer for each in (one, changed(one, nodes=2))
    )
    assert once / 2 < shared < once


def test_a_fused_loss_moves_about_as_much_as_a_plain_one() -> None:
    """It saves memory and costs hardly any traffic."""
    rates = rates_of(machine(HOPPER))
    fused = step_time(MODEL, changed(PLAIN, loss_kernel=LossKernel.FUSED), rates)
    assert fused.memory == pytest.approx(step_time(MODEL, PLAIN, rates).memory, rel=0.05)


def test_attention_within_packed_rows_costs_the_host_half_a_millisecond_per_layer_and_pass() -> (
    None
):
    """28 layers, forward and backward: 28 ms; with recomputation half as much again."""
    rates = rates_of(machine(HOPPER))
    for checkpointing, extra in ((False, 0.028), (True, 0.042)):
        padded = changed(PLAIN, gradient_checkpointing=checkpointing)
        packed = changed(padded, token_budget=2048)
        more = step_time(MODEL, packed, rates).launch - step_time(MODEL, padded, rates).launch
        assert more == pytest.approx(extra)


def test_a_streamed_step_is_recorded_first_and_issued_more_slowly() -> None:
    """28 layers of 8 passes: 224 x 0.27 ms with an idle GPU, and 224 x 2.1 ms of issuing."""
    rates = rates_of(machine(HOPPER))
    resident = changed(PLAIN, gradient_checkpointing=True, gradient_accumulation_steps=8)
    streamed = changed(resident, streamed_layers=4)
    before, found = (step_time(MODEL, each, rates) for each in (resident, streamed))
    assert (before.recorded, found.recorded) == (0, pytest.approx(224 * 0.27e-3))
    assert found.launch - before.launch == pytest.approx(224 * 2.1e-3)
    assert found.seconds - replace(found, recorded=0).seconds == pytest.approx(found.recorded)
    assert times_passes(found, 3).recorded == pytest.approx(3 * found.recorded)
    slow = rates_of(machine(HOPPER), replace(MEASURED, launch_factor=2))
    assert step_time(MODEL, streamed, slow).recorded == pytest.approx(2 * found.recorded)


def test_all_that_streaming_adds_to_issuing_is_in_backward() -> None:
    """Forward issues its own tensors, 37 us each, of the whole."""
    settings = changed(PLAIN, gradient_checkpointing=True, streamed_layers=4)
    found = step_time(MODEL, settings, rates_of(machine(HOPPER)))
    own = forward_traffic(MODEL, settings).tensors * 37e-6
    assert found.launch * found.link.issued_share == pytest.approx(own)
    assert found.halves[1] > 3 * found.halves[0]


def test_a_cpu_issues_a_streamed_step_as_any_other() -> None:
    """Its rates are assumed, and nothing of it was measured."""
    settings = changed(PLAIN, gradient_checkpointing=True)
    rates = rates_of(machine(), on_cpu=True)
    both = [
        step_time(MODEL, each, rates) for each in (settings, changed(settings, streamed_layers=4))
    ]
    assert [each.recorded for each in both] == [0, 0]
    assert both[0].launch == both[1].launch


def test_gathers_take_from_the_work_beside_them_and_from_the_host() -> None:
    """Per pass every layer comes twice, at 16 crossings of 4.8 TB/s: 13.05 GB of layers 44 ms.

    Seven tenths of a millisecond per layer and pass are the host's: 28 layers, there and back.
    """
    rates = rates_of(machine(HOPPER, HOPPER))
    alone = changed(
        PLAIN, world_size=2, gradient_accumulation_steps=4, loss_kernel=LossKernel.FUSED
    )
    whole, shared = (step_time(MODEL, changed(alone, fsdp=fsdp), rates) for fsdp in (False, True))
    assert HOPPER.memory_bytes_per_second == 4.8e12
    layers = 28 * (2 * 3584 * 3584 + 2 * 512 * 3584 + 3 * 18944 * 3584 + 3584 + 2 * 512 + 2 * 3584)
    assert shared.memory - whole.memory == pytest.approx(4 * 2 * 2 * layers * 16 / 4.8e12, rel=1e-6)
    # The fused loss makes one tensor less of a head that is shared out.
    assert shared.launch - whole.launch == pytest.approx(4 * (2 * 28 * 0.0007 - 37e-6))
