"""The front: what no other plan beats in memory, speed and risk."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.result import Interval
from memory_models.settings import FinetuningType, Optimizer, Quantization, changed, from_flat
from tests.support.rig import TURING
from tests.support.toy_request import EVERY_PACKAGE, HOPPER, request
from tsplanner.planner.evaluate import Evaluated
from tsplanner.planner.plan import Verdict
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.pareto import pareto_front, quality_risk, spread
from tsplanner.planner.space.waves import evaluate_all

SAMPLE = evaluate_all(request("qwen2.5-0.5b", HOPPER, packages=()))[0][0]


def found(
    gib: float,
    speed: float,
    quantization: Quantization | None = None,
    verdict: Verdict = Verdict.FITS,
) -> Evaluated:
    """A plan with that memory bound and speed."""
    bound = Interval(expected=0, upper=int(gib * 2**30))
    still = replace(SAMPLE.time, memory=0, launch=0, optimizer=0, communication=0, offload=0)
    return replace(
        SAMPLE,
        hardware=changed(SAMPLE.hardware, quantization=quantization),
        memory=replace(SAMPLE.memory, process_bytes=bound),
        time=replace(still, matrix=SAMPLE.hardware.effective_batch_size / speed),
        verdict=verdict,
    )


def beats(one: Evaluated, other: Evaluated) -> bool:
    """At least as good in all three and better in one."""
    left, right = (
        (
            -row.memory.process_bytes.upper,
            row.samples_per_second,
            -quality_risk(row.hardware),
        )
        for row in (one, other)
    )
    return left != right and all(a >= b for a, b in zip(left, right, strict=True))


def test_a_plan_that_another_beats_is_not_on_the_front() -> None:
    """10 GiB at 2 a second beats 12 GiB at 1; 5 GiB at 1 is a choice."""
    fast, beaten, small = found(10, 2), found(12, 1), found(5, 1)
    assert pareto_front([beaten, small, fast]) == [fast, small]


def test_a_riskier_plan_is_on_the_front_only_if_it_gives_something_for_it() -> None:
    """NF4 at the same memory and speed gives nothing; at half the memory it does."""
    plain = found(10, 2)
    assert pareto_front([found(10, 2, Quantization.NF4), plain]) == [plain]
    lean = found(5, 1, Quantization.NF4)
    assert pareto_front([lean, plain]) == [plain, lean]
    safe_but_larger = found(8, 1)
    assert pareto_front([lean, safe_but_larger, plain]) == [plain, lean, safe_but_larger]


def test_a_plan_that_does_not_fit_is_no_choice() -> None:
    """However fast."""
    assert pareto_front([found(10, 2, verdict=Verdict.DOES_NOT_FIT)]) == []
    tight = found(10, 2, verdict=Verdict.TIGHT)
    assert pareto_front([tight]) == [tight]


def test_of_equal_plans_one_is_kept() -> None:
    """The first."""
    assert pareto_front([found(10, 2), found(10, 2)]) == [found(10, 2)]


@pytest.mark.parametrize("method", [FinetuningType.LORA, FinetuningType.FULL])
def test_the_front_of_a_real_space_is_unbeaten_and_beats_the_rest(method: FinetuningType) -> None:
    """For every plan that may run there is one on the front that is no worse."""
    asked = request("qwen2.5-1.5b", TURING, HOPPER, packages=EVERY_PACKAGE, finetuning_type=method)
    evaluated, _ = evaluate_all(asked)
    usable = [row for row in evaluated if row.verdict is not Verdict.DOES_NOT_FIT]
    best = pareto_front(usable)
    assert len(best) < len(usable)
    for row in best:
        assert not any(beats(other, row) for other in usable)
    for row in usable:
        assert row in best or any(
            beats(other, row)
            or (
                other.memory.process_bytes.upper == row.memory.process_bytes.upper
                and other.samples_per_second == row.samples_per_second
            )
            for other in best
        )


@pytest.mark.parametrize(
    ("settings", "risk"),
    [
        ({}, 0),
        ({"quantization": Quantization.INT8}, 1),
        ({"quantization": Quantization.NF4_DQ}, 2),
        ({"optimizer": Optimizer.ADAMW_BNB_8BIT}, 1),
        ({"optimizer": Optimizer.PAGED_ADAMW_32BIT}, 0),
        ({"optimizer": Optimizer.PAGED_ADAMW_8BIT, "quantization": Quantization.NF4}, 3),
    ],
)
def test_risk_is_what_rounds_weights_or_states(settings: dict[str, object], risk: int) -> None:
    """Paging and sharding round nothing."""
    assert quality_risk(from_flat(HardwareSettings, **settings)) == risk  # type: ignore[arg-type]


def test_a_reader_sees_rows_that_differ() -> None:
    """10.5 GiB tells nothing beside 10; another risk does; too many are taken at even steps."""
    chosen = found(10, 8)
    near, lean, risky = found(10.5, 7), found(5, 4), found(10, 3, Quantization.NF4)
    assert spread([near, lean, risky], [chosen], 5) == [lean, risky]
    rows = [found(8 / 2**step, 4) for step in range(7)]
    assert spread(rows, [chosen], 3) == [rows[0], rows[3], rows[6]]
