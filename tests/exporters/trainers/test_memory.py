"""The memory of a plan under another trainer, and what differs there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.settings import (
    DecoderKernels,
    LossKernel,
    changed,
)
from memory_models.units import GIB
from tests.support.exports import written
from tests.support.golden import Case, case
from tests.support.sorts import H200
from tsplanner.errors import TsplannerError
from tsplanner.exporters.axolotl import running
from tsplanner.exporters.trainers import memory


def short_of_memory(gib: float) -> Case:
    """A micro-batch of 16 on a card with so much free."""
    found = case("qwen2.5-7b", micro_batch_size=16, gradient_checkpointing=True)
    device = replace(H200, free_bytes=int(gib * GIB))
    machine = replace(found.plan.machine, devices=(device,))
    return Case(replace(found.plan, machine=machine, free_bytes=device.free_bytes), found.options)


def test_what_no_longer_fits_is_refused_with_what_would() -> None:
    """With figures, the setting, and the way to insist."""
    with pytest.raises(TsplannerError) as caught:
        written(short_of_memory(26))
    sentence = str(caught.value)
    assert "26.0 GiB free" in sentence
    assert "plan again with --micro-batch-size" in sentence
    assert sentence.endswith("or give --force.")
    size = int(sentence.split("--micro-batch-size ")[1].split(",", maxsplit=1)[0])
    smaller = short_of_memory(26)
    hardware = changed(
        smaller.plan.hardware, micro_batch_size=size, gradient_accumulation_steps=32 // size
    )
    assert written(Case(replace(smaller.plan, hardware=hardware), smaller.options))


def test_force_exports_what_is_not_expected_to_fit() -> None:
    """And says so in the file."""
    short = short_of_memory(26)
    forced = Case(short.plan, replace(short.options, force=True))
    assert "It is not expected to fit" in written(forced)["train.yaml"]


def test_differences_are_those_kernels_and_switches_that_a_trainer_lacks() -> None:
    """A plan on reference kernels with all logits runs there as planned."""
    plain = case("qwen2.5-7b").plan
    under = running(plain, plain.architecture)
    assert memory.differences(plain, under) == []
    fused = case(
        "qwen2.5-7b",
        loss_kernel=LossKernel.FUSED,
        kernels=DecoderKernels.FUSED,
        gradient_checkpointing=True,
        checkpointed_layers=4,
    ).plan
    found = memory.differences(fused, replace(under, loss_kernel=LossKernel.PLAIN))
    assert len(found) == 3
    assert found[1] == "tsplanner's fused loss is its own: all logits are kept instead."
    assert found[2].endswith("all are checkpointed.")


def test_a_streamed_plan_says_that_a_trainer_keeps_the_base_on_the_gpu() -> None:
    """Its memory is sized so, and the plan's first line speaks of streamed layers."""
    streamed = case("qwen2.5-7b", streamed_layers=20, gradient_checkpointing=True).plan
    found = memory.differences(streamed, running(streamed, streamed.architecture))
    assert found == ["tsplanner's streamed layers are its own: the whole base is on the GPU."]


def test_a_streamed_plan_whose_base_another_trainer_has_no_room_for_is_told_how_to_plan() -> None:
    """15 GiB of weights on 10 GiB, whatever the micro-batch."""
    made = case("qwen2.5-7b", streamed_layers=28, gradient_checkpointing=True)
    device = replace(H200, free_bytes=10 * GIB)
    machine = replace(made.plan.machine, devices=(device,))
    with pytest.raises(TsplannerError, match="plan again with --streamed-layers 0, as only"):
        written(Case(replace(made.plan, machine=machine, free_bytes=10 * GIB), made.options))


def test_another_trainer_is_judged_by_the_smallest_card_of_unlike_ones() -> None:
    """The plan speaks of the larger card; there both would hold the whole base."""
    streamed = case("qwen2.5-7b", streamed_layers=20, gradient_checkpointing=True).plan
    devices = (H200, replace(H200, free_bytes=10 * GIB))
    hardware = changed(streamed.hardware, world_size=2, streamed_layers=(1, 20))
    unlike = replace(
        streamed,
        machine=replace(streamed.machine, devices=devices),
        hardware=hardware,
        free_bytes=H200.free_bytes,
    )
    room = memory.room_under(unlike, running(unlike, unlike.architecture))
    assert room.free_bytes == 10 * GIB
