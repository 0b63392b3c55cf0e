"""Whom to probe next and whom to believe, against tables of made-up truths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from memory_models.settings import LossKernel, changed
from tests.support.rig import TURING
from tests.support.toy_request import HOPPER, request, with_free
from tsplanner.errors import NoPlanFits
from tsplanner.planner.evaluate import Evaluated
from tsplanner.planner.plan import Verdict
from tsplanner.planner.probe_selection.optimistic import (
    Measured,
    Outcome,
    best_after_probes,
    next_round,
)
from tsplanner.planner.probe_selection.step_corrections import probed_time
from tsplanner.planner.rank import choose
from tsplanner.planner.request import Pins, PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.waves import evaluate_all

Truth = Callable[[Evaluated], Measured]


def as_predicted(
    asked: PlanRequest, *, work: float = 1.0, launch: float = 1.0, process: float = 1.0
) -> Truth:
    """A machine on which every prediction is off by these factors and nothing else."""

    def measure(found: Evaluated) -> Measured:
        time = probed_time(asked, found.hardware)
        true = replace(
            time, matrix=time.matrix * work, memory=time.memory * work, launch=time.launch * launch
        )
        needed = round(found.memory.process_bytes.expected * process)
        if needed > found.free_bytes:
            return Measured(outcome=Outcome.OOM)
        return Measured(
            outcome=Outcome.OK, step_seconds=true.seconds, process_bytes=needed, host_bytes=2**30
        )

    return measure


def searched(
    asked: PlanRequest, truth: Truth, rounds: int = 20
) -> tuple[list[Evaluated], dict[HardwareSettings, Measured]]:
    """Everything that the search measures before it has enough."""
    evaluated, _ = evaluate_all(asked)
    by_hardware = {found.hardware: found for found in evaluated}
    measured: dict[HardwareSettings, Measured] = {}
    for _ in range(rounds):
        chosen = next_round(asked, evaluated, measured, 3)
        assert not set(chosen) & set(measured)
        if not chosen:
            return evaluated, measured
        measured |= {hardware: truth(by_hardware[hardware]) for hardware in chosen}
    raise AssertionError("the search does not end")


def true_speed(asked: PlanRequest, found: Evaluated, truth: Truth) -> float:
    """Samples per second; 0 for a candidate that does not run."""
    seconds = truth(found).step_seconds
    return 0.0 if seconds is None else asked.learning.optimization.effective_batch_size / seconds


@pytest.mark.parametrize("work", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("launch", [0.4, 1.0, 3.0])
def test_the_fastest_plan_is_found_though_the_rates_are_off(work: float, launch: float) -> None:
    """A GPU or a host two or three times as slow as assumed costs probes, not speed."""
    asked = request("qwen2.5-0.5b", TURING)
    truth = as_predicted(asked, work=work, launch=launch)
    evaluated, measured = searched(asked, truth)
    fastest = max(true_speed(asked, found, truth) for found in evaluated)
    chosen = best_after_probes(asked, evaluated, measured)
    assert true_speed(asked, chosen, truth) >= 0.99 * fastest
    assert len(measured) < len(evaluated)
    assert chosen.samples_per_second == pytest.approx(true_speed(asked, chosen, truth))


def test_plans_that_run_out_of_memory_are_survived_and_refute_larger_ones() -> None:
    """Where everything takes a third more than predicted, the best of what runs is found."""
    asked = request("qwen2.5-0.5b", with_free(TURING, 6))
    truth = as_predicted(asked, process=1.33)
    evaluated, measured = searched(asked, truth)
    chosen = best_after_probes(asked, evaluated, measured)
    runs = [found for found in evaluated if truth(found).outcome is Outcome.OK]
    best = max(true_speed(asked, found, truth) for found in runs)
    assert chosen.samples_per_second >= 0.97 * best
    assert chosen.memory.process_bytes.upper <= 6 * 2**30
    assert chosen.verdict is Verdict.FITS


def test_a_plan_that_was_not_sure_but_runs_is_chosen() -> None:
    """Where everything takes a tenth less than predicted, a probe proves what a bound cannot."""
    unsure = 0
    for tenths in range(25, 50, 5):
        asked = request("qwen2.5-0.5b", with_free(HOPPER, tenths / 10), packages=())
        evaluated, measured = searched(asked, as_predicted(asked, process=0.9))
        before = {found.hardware: found.verdict for found in evaluated}
        chosen = best_after_probes(asked, evaluated, measured)
        assert chosen.verdict is Verdict.FITS
        unsure += before[chosen.hardware] is not Verdict.FITS
    assert unsure


def test_if_everything_runs_out_of_memory_no_plan_is_left() -> None:
    """Somebody else has filled the GPU: said in a sentence, not planned around."""
    asked = request("qwen2.5-0.5b", TURING)
    evaluated, measured = searched(asked, lambda found: Measured(outcome=Outcome.OOM), rounds=99)
    with pytest.raises(NoPlanFits, match=r"^No plan ran: every candidate failed its probe"):
        best_after_probes(asked, evaluated, measured)


def test_if_nothing_ran_yet_a_smaller_plan_than_those_that_did_not_is_named() -> None:
    """After a round of three that ran out of memory the model chooses among the rest."""
    asked = request("qwen2.5-0.5b", TURING)
    evaluated, _ = evaluate_all(asked)
    chosen = next_round(asked, evaluated, {}, 3)
    measured = dict.fromkeys(chosen, Measured(outcome=Outcome.OOM))
    left = best_after_probes(asked, evaluated, measured)
    assert left.hardware not in measured
    assert left.verdict is Verdict.FITS


def test_a_crash_is_passed_over_and_a_recipe_that_crashes_twice_is_left() -> None:
    """A kernel that does not work here costs two probes, not the budget."""
    asked = request("qwen2.5-0.5b", TURING)
    good = as_predicted(asked)

    def truth(found: Evaluated) -> Measured:
        if found.hardware.kernels.loss_kernel is LossKernel.FUSED:
            return Measured(outcome=Outcome.FAILED)
        return good(found)

    evaluated, measured = searched(asked, truth)
    failed = [hardware for hardware, seen in measured.items() if seen.outcome is Outcome.FAILED]
    assert 1 <= len(failed) <= 4
    assert (
        best_after_probes(asked, evaluated, measured).hardware.kernels.loss_kernel
        is LossKernel.PLAIN
    )


def test_the_first_round_begins_with_the_plan_chosen_without_probes() -> None:
    """A budget of one probe proves what would have been run."""
    asked = request("qwen2.5-7b", HOPPER)
    evaluated, _ = evaluate_all(asked)
    first, *others = next_round(asked, evaluated, {}, 3)
    assert first == choose(asked).plan.hardware
    plain = [changed(each, loss_kernel=LossKernel.PLAIN) for each in (first, *others)]
    assert len(set(plain)) == 3


def test_a_quantised_plan_is_not_probed_while_a_plain_one_may_run() -> None:
    """Quantisation changes what is learned; measured speed is no reason for it."""
    pins = Pins(streamed_layers=0)
    asked = request("qwen2.5-14b", TURING, packages=("bitsandbytes",), pins=pins)
    evaluated, measured = searched(asked, as_predicted(asked))
    chosen = best_after_probes(asked, evaluated, measured)
    assert chosen.hardware.base.quantization is not None
    assert all(hardware.base.quantization for hardware in measured)
