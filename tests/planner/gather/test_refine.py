"""Earlier probes correct later plans of their kind, and no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from memory_models.calibration import DEFAULT
from memory_models.settings import (
    DecoderKernels,
    Dtype,
    FinetuningType,
    LossKernel,
    Optimizer,
    Quantization,
    changed,
    from_flat,
)
from tests.support import tiny
from tests.support.toy_request import HOPPER, request
from tsplanner.planner.evaluate import evaluate
from tsplanner.planner.finished import finish
from tsplanner.planner.gather.probe_points import ProbePoint
from tsplanner.planner.gather.refine import Refined, points_of, refined, refined_for
from tsplanner.planner.plan import Plan
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.probe.calibration import probe_point
from tsplanner.throughput.rates import MEASURED
from tsplanner.training.job import JobKind, Status
from tsplanner.training.record import Record

RECORD = from_flat(
    Record,
    status=Status.OK,
    kind=JobKind.PROBE,
    process_bytes=500,
    step_seconds=(9.0, 8.0, 1.0, 3.0, 2.0),
    warmup_steps=2,
)
PLAIN = Refined(calibration=DEFAULT, efficiency=MEASURED)
PROBED = changed(
    HardwareSettings(),
    micro_batch_size=4,
    gradient_accumulation_steps=4,
    loss_kernel=LossKernel.FUSED,
    kernels=DecoderKernels.FUSED,
)


def planned(asked: PlanRequest, hardware: HardwareSettings = PROBED) -> Plan:
    """The plan of these settings."""
    return finish(asked, evaluate(asked, hardware))


def probed(asked: PlanRequest, memory: float = 0.91, seconds: float = 1.5) -> ProbePoint:
    """A probe of PROBED that measured so many times what was predicted."""
    point = probe_point(planned(asked), RECORD)
    sizes, times = point.predicted.process_bytes, point.predicted.step_seconds
    assert sizes is not None
    assert times is not None
    measured = replace(
        point.measured, process_bytes=round(memory * sizes), step_seconds=seconds * times
    )
    return replace(point, measured=measured)


def test_steps_that_wait_for_the_host_do_not_correct_those_that_wait_for_the_gpu(
    tmp_path: Path,
) -> None:
    """Each kind of step has a factor of its own: 2.0 / 1.0 and 2.0 / 0.5; one tells nothing of the
    other, whose interval stays as wide as it was.
    """
    base = probe_point(tiny.plan(tmp_path), RECORD)
    work = replace(base, predicted=replace(base.predicted, step_seconds=1.0), bound_by_launch=False)
    launch = replace(
        base, predicted=replace(base.predicted, step_seconds=0.5), bound_by_launch=True
    )
    both = refined([work, launch], base.kind, base.batch, base.sequence_length, PLAIN)
    assert (both.efficiency.work_factor, both.efficiency.launch_factor) == (2.0, 4.0)
    one = refined([launch], base.kind, base.batch, base.sequence_length, PLAIN)
    assert (one.efficiency.work_factor, one.efficiency.launch_factor) == (1.0, 4.0)
    assert one.relative_error(bound_by_launch=True, otherwise=0.35) == 0.15
    assert one.relative_error(bound_by_launch=False, otherwise=0.35) == 0.35
    assert both.relative_error(bound_by_launch=False, otherwise=0.35) == 0.15


def test_a_plan_of_the_probed_kind_is_corrected() -> None:
    """Bytes and bound by 0.91, work by 1.5, and the interval is that of a probe."""
    asked = request("qwen2.5-0.5b", HOPPER, length=4096)
    plain = planned(asked)
    plan = planned(replace(asked, probes=(probed(asked),)))
    assert plan.corrections.memory_factor == pytest.approx(0.91)
    assert plan.memory.process_bytes.upper == pytest.approx(0.91 * plain.memory.process_bytes.upper)
    assert plan.corrections.work_factor == pytest.approx(1.5)
    assert plan.time.relative_error == 0.15
    assert "bytes x 0.91: corrected by 1 probe on this machine" in plan.assumptions
    assert "speed: corrected by 1 probe on this machine" in plan.assumptions


OTHERS: dict[str, Callable[[HardwareSettings], HardwareSettings]] = {
    "reference kernels": lambda found: changed(found, kernels=DecoderKernels.REFERENCE),
    "another optimizer": lambda found: changed(found, optimizer=Optimizer.ADAMW_TORCH),
    "another dtype": lambda found: changed(found, model_dtype=Dtype.FP16),
    "a quantised base": lambda found: changed(found, quantization=Quantization.NF4),
    "ZeRO": lambda found: changed(found, zero_stage=2),
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=list(OTHERS))
def test_a_plan_of_another_kind_keeps_its_own_bytes_seconds_and_bounds(
    change: Callable[[HardwareSettings], HardwareSettings],
) -> None:
    """What was measured with fused kernels does not tighten a bound of the reference ones."""
    asked = request("qwen2.5-0.5b", HOPPER, length=4096)
    other = change(PROBED)
    plain, plan = planned(asked, other), planned(replace(asked, probes=(probed(asked),)), other)
    assert plan == plain


def test_another_loss_kernel_or_other_checkpoints_keep_their_bytes_and_take_the_seconds() -> None:
    """The candidates of one request are compared by times corrected alike."""
    asked = request("qwen2.5-0.5b", HOPPER, length=4096)
    taught = replace(asked, probes=(probed(asked),))
    for other in (
        changed(PROBED, loss_kernel=LossKernel.PLAIN),
        changed(PROBED, gradient_checkpointing=False),
        changed(PROBED, checkpointed_layers=12),
        changed(PROBED, micro_batch_size=1, gradient_accumulation_steps=16),
    ):
        found = planned(taught, other)
        assert found.corrections.memory_factor == 1.0
        assert found.memory == planned(asked, other).memory
        assert found.corrections.work_factor == pytest.approx(1.5)


@pytest.mark.parametrize(("length", "counts"), [(2048, True), (8192, True), (2047, False)])
def test_a_probe_counts_from_half_to_twice_its_length(length: int, counts: bool) -> None:
    """4,096 positions were measured."""
    point = probed(request("qwen2.5-0.5b", HOPPER, length=4096))
    asked = replace(request("qwen2.5-0.5b", HOPPER, length=length), probes=(point,))
    found = refined_for(asked, PROBED)
    assert (found.calibration.device_factor != 1.0) is counts
    assert (found.efficiency.work_factor != 1.0) is counts


def test_another_card_or_another_method_is_another_kind() -> None:
    """An H200's factor says nothing of an H100's."""
    asked = request("qwen2.5-0.5b", HOPPER, length=4096)
    point = probed(asked)
    elsewhere = replace(asked, machine=replace(asked.machine, devices=(replace(HOPPER, name="B"),)))
    assert refined_for(replace(elsewhere, probes=(point,)), PROBED).kinds == frozenset()
    dora = request("qwen2.5-0.5b", HOPPER, length=4096, finetuning_type=FinetuningType.DORA)
    assert points_of(dora, [point]) == ()
    assert points_of(asked, [point]) == (point,)


def test_a_model_is_known_by_its_shapes_and_not_by_its_name() -> None:
    """A copy in a folder called checkpoint-500 is the same model; another size is another."""
    asked = request("qwen2.5-0.5b", HOPPER, length=4096)
    point = probed(asked)
    renamed = replace(asked, architecture=replace(asked.architecture, name="checkpoint-500"))
    assert points_of(renamed, [point]) == (point,)
    assert points_of(request("qwen2.5-1.5b", HOPPER, length=4096), [point]) == ()


def test_a_packed_probe_corrects_packed_plans_alone() -> None:
    """At half to twice the budget; padded plans keep their own predictions, and the other way."""
    asked = request("qwen2.5-7b", HOPPER)
    packed = changed(PROBED, micro_batch_size=1, gradient_accumulation_steps=16, token_budget=4096)
    point = probe_point(planned(asked, packed), RECORD)
    assert point.predicted.step_seconds is not None
    seconds = 1.5 * point.predicted.step_seconds
    point = replace(point, measured=replace(point.measured, step_seconds=seconds))
    later = replace(asked, probes=(point,))

    def factor(hardware: HardwareSettings) -> float:
        found = refined_for(later, hardware).efficiency
        return max(found.work_factor, found.launch_factor)

    assert factor(packed) == pytest.approx(1.5)
    assert factor(changed(packed, token_budget=8192)) == pytest.approx(1.5)
    assert factor(changed(packed, token_budget=1024)) == 1.0
    assert factor(PROBED) == 1.0
    assert refined_for(replace(asked, probes=(probed(asked),)), packed).kinds == frozenset()


def test_kernels_are_compiled_once_per_machine_base_and_kind_of_kernels() -> None:
    """A probe at 4,096 tokens has compiled for every length, and only on the machine it ran on."""
    compiled = changed(PROBED, kernels=DecoderKernels.COMPILED)
    asked = request("qwen2.5-7b", HOPPER)
    point = probe_point(planned(asked, compiled), RECORD)
    later = replace(asked, probes=(point,))
    assert refined_for(later, changed(compiled, micro_batch_size=1)).compiled
    assert not refined_for(asked, compiled).compiled
    assert not refined_for(later, PROBED).compiled
    assert not refined_for(later, changed(compiled, quantization=Quantization.FP8)).compiled
    elsewhere = replace(asked, probes=(replace(point, host_name="another machine"),))
    assert not refined_for(elsewhere, compiled).compiled
