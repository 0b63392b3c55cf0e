"""What a plan takes under LLaMA-Factory, and what is refused for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.settings import changed
from memory_models.units import GIB
from tests.exporters.test_llamafactory import written
from tests.support.golden import CASES, Case, case
from tests.support.sorts import H200
from tsplanner.errors import TsplannerError
from tsplanner.exporters.llamafactory.settings import running
from tsplanner.exporters.trainers import Running, architecture_of, memory_under
from tsplanner.planner.plan import Plan


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
