"""The whole estimate: refusals, structure, the CPU."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.estimate import estimate_memory
from memory_models.settings import (
    FinetuningType,
    Optimizer,
    Quantization,
    changed,
)
from memory_models.states.optimizer import paged_state_bytes
from tests.support.exact import EXACT, FITTING, FP16
from tests.support.rig import AMPERE, TURING
from tests.support.toy_decoder import EXPERTS, TOY, WIDE


def test_rotary_positions_have_no_end() -> None:
    """No library enforces one either; the estimate says that the model was made for fewer."""
    longer = estimate_memory(TOY, changed(FITTING, sequence_length=65))
    assert "65 positions are more than the 64 that the model was published for" in (
        longer.assumptions
    )
    extended = estimate_memory(
        changed(TOY, extended_positions=128), changed(FITTING, sequence_length=65)
    )
    assert not any("published" in words for words in extended.assumptions)


def test_fp16_runs_on_turing() -> None:
    """An estimate comes back, and says that this generation was not measured."""
    found = estimate_memory(TOY, FP16, TURING)
    assert any("not measured on RTX 2080 Ti" in note for note in found.assumptions)


def test_components_add_up_to_the_process_and_parameters_are_told() -> None:
    """The toy has 1704 parameters and, at r = 2, 512 trained ones."""
    found = estimate_memory(TOY, FITTING, calibration=EXACT)
    assert sum(part.bytes for part in found.components) == found.process_bytes.expected
    assert (found.parameters_total, found.parameters_trainable) == (1704, 512)


def test_known_parts_carry_their_hand_counted_bytes() -> None:
    """19 tensors of the base in blocks of 512 bytes, 512 fp32 adapter elements, their states."""
    found = estimate_memory(TOY, FITTING, calibration=EXACT)
    parts = {part.name: part.bytes for part in found.components}
    assert parts["base weights"] == 19 * 512
    assert parts["adapters"] == 2048
    assert parts["optimizer states"] == 28 * 1024
    assert parts["cuBLAS workspace"] == 100
    assert parts["context and libraries"] == 1000


def test_the_process_is_reserved_bytes_and_what_lies_outside() -> None:
    """Context 1000 of spread 10; two ranks add 500 of NCCL; the host holds 7000 a rank, 40 more
    under DDP. Three ranks' bound is wider by 70.
    """
    one = estimate_memory(TOY, FITTING, calibration=EXACT)
    assert one.process_bytes.expected == one.peak_reserved_bytes.expected + 1000
    assert one.process_bytes.upper == one.peak_reserved_bytes.upper + 1010
    assert (one.host_bytes.expected, one.host_bytes.upper) == (7000, 7100)
    two = estimate_memory(TOY, changed(FITTING, world_size=2), calibration=EXACT)
    assert two.process_bytes.expected == two.peak_reserved_bytes.expected + 1500
    assert (two.host_bytes.expected, two.host_bytes.upper) == (14_080, 14_280)
    three = estimate_memory(TOY, changed(FITTING, world_size=3), calibration=EXACT)
    assert three.process_bytes.upper == three.peak_reserved_bytes.upper + 1500 + 10 + 70


def test_an_unmeasured_generation_has_a_wider_bound() -> None:
    """The expected value stays; the bound grows by the calibration's widening."""
    hopper = replace(AMPERE, compute_capability=(9, 0))
    known = estimate_memory(WIDE, FITTING, hopper, changed(EXACT, unmeasured_widening=2.0))
    other = estimate_memory(WIDE, FITTING, AMPERE, changed(EXACT, unmeasured_widening=2.0))
    assert other.process_bytes.expected == known.process_bytes.expected
    assert other.process_bytes.upper == 2 * known.process_bytes.upper


def test_a_machines_own_probes_scale_the_process() -> None:
    """Probes a tenth over the estimate move the estimate by a tenth."""
    plain = estimate_memory(WIDE, FITTING, calibration=EXACT)
    probed = estimate_memory(WIDE, FITTING, calibration=replace(EXACT, device_factor=1.1))
    assert probed.process_bytes.expected == round(1.1 * plain.process_bytes.expected)
    assert sum(part.bytes for part in probed.components) == probed.process_bytes.expected


def test_offloaded_states_show_on_the_host() -> None:
    """Two ranks at r = 2: 512 adapter elements, 256 of them on each.

    Masters and gradients 1024 bytes each and bf16 copies 512, all pinned; a buffer of the largest
    matrix, 2 x 16 elements of two bytes; Adam's two states of 1024.
    """
    settings = changed(FITTING, world_size=2, zero_stage=2, offload_optimizer=True)
    found = estimate_memory(TOY, settings, calibration=EXACT)
    assert found.host_bytes.expected == 2 * (7050 + 2 * 1024 + 512 + 64 + 2 * 1024)
    # On two machines each host has one of the processes, and the GPUs have what they had.
    apart = estimate_memory(TOY, changed(settings, nodes=2), calibration=EXACT)
    assert apart.host_bytes.expected == 7050 + 2 * 1024 + 512 + 64 + 2 * 1024
    assert apart.process_bytes == found.process_bytes
    assert "2 machines: never run" in apart.assumptions


def test_paged_states_are_in_the_bound_and_are_told() -> None:
    """The driver charges managed memory to nobody, but it may lie on the device."""
    settings = changed(
        FITTING, finetuning_type=FinetuningType.FULL, optimizer=Optimizer.PAGED_ADAMW_8BIT
    )
    found = estimate_memory(WIDE, settings, calibration=EXACT)
    plain = changed(settings, optimizer=Optimizer.ADAMW_BNB_8BIT)
    resident = estimate_memory(WIDE, plain, calibration=EXACT)
    paged = paged_state_bytes(WIDE, settings.states)
    assert paged > 1_000_000
    assert found.process_bytes.expected < resident.process_bytes.expected
    assert found.process_bytes.upper - found.peak_reserved_bytes.upper >= paged
    assert any("paged optimizer states" in note for note in found.assumptions)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"world_size": 3}, "3 processes"),
        ({"quantization": Quantization.INT8}, "int8"),
        ({}, "full length"),
    ],
)
def test_what_rests_on_an_assumption_says_so(values: dict[str, object], word: str) -> None:
    """The estimate tells what it leaves out."""
    found = estimate_memory(TOY, changed(FITTING, **values))  # type: ignore[arg-type]
    assert any(word in note for note in found.assumptions)


def test_a_mixtures_even_spread_is_an_assumption() -> None:
    """Tokens may crowd one expert; the estimate says that it takes them as spread."""
    found = estimate_memory(EXPERTS, FITTING)
    assert any("mixture of experts" in note for note in found.assumptions)


def test_an_estimate_over_a_pebibyte_is_refused() -> None:
    """16 million rows of 2,048 tokens are no micro-batch of a decoder."""
    huge = changed(FITTING, micro_batch_size=2**24, gradient_checkpointing=False)
    with pytest.raises(ValueError, match="over 1 PiB"):
        estimate_memory(replace(WIDE, num_hidden_layers=2000), huge)


def test_processes_with_unlike_numbers_of_layers_are_sized_one_by_one() -> None:
    """On the device each is as one of a run in which all stream its number. The host holds what
    the one with the most layers streams, once.
    """
    unlike = changed(FITTING, streamed_layers=(1, 2), world_size=2, gradient_checkpointing=True)
    both = [estimate_memory(TOY, unlike, of_process=process) for process in range(2)]
    alike = [estimate_memory(TOY, changed(unlike, streamed_layers=number)) for number in (1, 2)]
    assert [each.process_bytes for each in both] == [each.process_bytes for each in alike]
    assert [each.components for each in both] == [each.components for each in alike]
    assert both[0].host_bytes == both[1].host_bytes == alike[1].host_bytes
    assert both[0].peak_allocated_bytes.expected > both[1].peak_allocated_bytes.expected
    assert estimate_memory(TOY, unlike) == both[0]
    said = "stream 1/2 layers: these bytes are of one that streams 1; run on CPUs alone"
    assert said in " ".join(both[0].assumptions)
