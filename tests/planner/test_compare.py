"""How candidates are compared, and why each of the others is not the plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.settings import (
    FinetuningType,
    LossKernel,
    Optimizer,
    Quantization,
    changed,
    from_flat,
)
from tests.support.toy_request import HOPPER, request
from tsplanner.planner.compare import (
    MOST_ALTERNATIVES,
    MOST_SHOWN,
    best_of,
    complexity_key,
    family_key,
    ranked,
)
from tsplanner.planner.evaluate import Evaluated, evaluate
from tsplanner.planner.explain.reasons import Explanation, MemoryKind, Reason
from tsplanner.planner.explain.sentences import describe
from tsplanner.planner.plan import Verdict
from tsplanner.planner.rank import choose
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.candidates import candidates
from tsplanner.planner.space.pareto import quality_risk


def test_states_are_not_rounded_for_a_speed_that_nobody_would_notice() -> None:
    """Full fine-tuning of 7B on two H200: AdamW in 8 bits is no more than 2 % faster."""
    plan = choose(request("qwen2.5-7b", HOPPER, HOPPER, finetuning_type=FinetuningType.FULL)).plan
    assert plan.hardware.kernels.optimizer is Optimizer.ADAMW_TORCH_FUSED


def test_the_plan_carries_what_it_was_chosen_from() -> None:
    """First the alternatives that are shown, then other families; the plan itself is not one."""
    choice = choose(request("qwen2.5-7b", HOPPER, HOPPER, finetuning_type=FinetuningType.FULL))
    carried = choice.plan.alternatives
    shown = [row.evaluated.hardware for row in choice.shown]
    assert [row.hardware for row in carried[: len(shown)]] == shown
    assert len(shown) < len(carried) <= MOST_ALTERNATIVES
    hardware = [row.hardware for row in carried]
    assert len(set(hardware)) == len(hardware)
    assert choice.plan.hardware not in hardware
    families = {row.evaluated.hardware for row in choice.alternatives}
    assert set(hardware) <= families | set(shown)


def test_an_alternative_is_the_candidate_in_few_words() -> None:
    """Its bytes, its speed and its reason are those that the choice was made by."""
    choice = choose(request("qwen2.5-7b", HOPPER))
    for row, carried in zip(choice.shown, choice.plan.alternatives, strict=False):
        assert carried.process_bytes == row.evaluated.memory.process_bytes
        assert carried.verdict is row.evaluated.verdict
        speed = row.evaluated.samples_per_second / choice.best.samples_per_second
        assert carried.relative_speed == pytest.approx(speed)
        assert carried.explanation == row.explanation
        assert carried.explanation.reason is not Reason.CHOSEN


def test_what_is_shown_is_on_the_front_and_differs_by_a_tenth_or_in_risk() -> None:
    """At most five rows, none of them the chosen plan, and no two that tell the same."""
    choice = choose(request("qwen2.5-7b", HOPPER, HOPPER, finetuning_type=FinetuningType.FULL))
    assert 0 < len(choice.shown) <= MOST_SHOWN
    rows = [choice.best, *(row.evaluated for row in choice.shown)]
    assert all(row in choice.front for row in choice.shown)
    for place, row in enumerate(rows):
        for other in rows[:place]:
            bounds = sorted(each.memory.process_bytes.upper for each in (row, other))
            risks = {quality_risk(each.hardware) for each in (row, other)}
            assert len(risks) == 2 or bounds[0] <= 0.9 * bounds[1]


@pytest.mark.parametrize("cards", [0, 1, 2])
def test_plans_of_one_family_are_those_with_the_same_words(cards: int) -> None:
    """The planner groups by settings; a person, who sees the words, must see the same groups."""
    found = [
        hardware
        for method in (FinetuningType.LORA, FinetuningType.FULL)
        for hardware in candidates(
            request("qwen2.5-0.5b", *[HOPPER] * cards, finetuning_type=method)
        )
    ]
    pairs = {(family_key(hardware), describe(hardware)) for hardware in found}
    assert len({key for key, _ in pairs}) == len({words for _, words in pairs}) == len(pairs)


ASKED = request("qwen2.5-0.5b", HOPPER)
ONE = evaluate(ASKED, from_flat(HardwareSettings, gradient_accumulation_steps=16))


def at(speed: float, verdict: Verdict = Verdict.FITS, **changes: object) -> Evaluated:
    """A candidate at a speed relative to that of ``ONE``."""
    still = replace(ONE.time, memory=0, launch=0, optimizer=0, communication=0, offload=0)
    return replace(
        ONE,
        hardware=changed(ONE.hardware, **changes),  # type: ignore[arg-type]
        verdict=verdict,
        explanation=None if verdict is Verdict.FITS else TIGHT,
        time=replace(still, matrix=ONE.hardware.effective_batch_size / speed),
    )


TIGHT = Explanation(reason=Reason.TIGHT, data={"memory": MemoryKind.GPU})
BEST = at(1.0, micro_batch_size=4, gradient_accumulation_steps=4)


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (at(1.5, Verdict.TIGHT), Reason.TIGHT),
        (at(0.97), Reason.SLOWER),
        # Within two hundredths speeds count as equal, and the next difference is named.
        (at(0.99, quantization=Quantization.NF4), Reason.QUANTIZED),
        (at(1.0, optimizer=Optimizer.ADAMW_BNB_8BIT), Reason.ROUNDED_STATES),
        (at(1.0), Reason.SMALLER_BATCHES),
        (at(1.0, world_size=2, micro_batch_size=2), Reason.MORE_COMPLEX),
        (at(1.0, quantization=Quantization.W8A8), Reason.ROUNDED_PRODUCTS),
        (
            at(
                1.0, micro_batch_size=4, gradient_accumulation_steps=4, loss_kernel=LossKernel.FUSED
            ),
            Reason.MORE_MEMORY,
        ),
        (BEST, Reason.CHOSEN),
    ],
)
def test_the_weightiest_difference_is_the_reason(other: Evaluated, reason: Reason) -> None:
    """Memory before speed, speed before rounding, rounding before complexity."""
    best = replace(BEST, hardware=changed(BEST.hardware, loss_kernel=LossKernel.PLAIN))
    if other is BEST:
        other = best
    assert ranked(other, best).explanation.reason is reason


def test_as_fast_with_more_memory_is_said_of_no_plan_that_takes_less() -> None:
    """One hundredth slower in less memory: the plan was chosen for its speed."""
    found = at(0.99, micro_batch_size=4, gradient_accumulation_steps=4)
    interval = BEST.memory.process_bytes
    less = replace(interval, expected=interval.expected // 2)
    found = replace(found, memory=replace(found.memory, process_bytes=less))
    other = changed(found.hardware, loss_kernel=LossKernel.FUSED)
    reason = ranked(replace(found, hardware=other), BEST).explanation.reason
    assert reason is Reason.SLOWER


def test_a_tight_plan_is_explained_by_its_speed_where_the_best_one_is_tight_too() -> None:
    """What both share is no reason."""
    best = replace(BEST, verdict=Verdict.TIGHT, explanation=TIGHT)
    found = ranked(at(0.5, Verdict.TIGHT), best)
    assert found.explanation.reason is Reason.SLOWER
    assert found.relative_speed == pytest.approx(0.5)


def test_what_fits_is_better_than_anything_tight_and_speed_decides_after_that() -> None:
    """Only where nothing fits is a tight plan the best."""
    sure, faster = at(1.0), at(2.0, Verdict.TIGHT)
    assert best_of([sure, faster]) is sure
    assert best_of([faster]) is faster
    assert best_of([sure, at(1.5)]).samples_per_second == pytest.approx(1.5)


def test_of_plans_as_fast_as_each_other_the_simpler_one_is_better() -> None:
    """Fewer accumulation steps mean fewer launches; 1 % of speed is no difference."""
    assert best_of([at(1.01), BEST]) is BEST
    assert complexity_key(BEST) < complexity_key(at(1.01))
    sharded = changed(BEST.hardware, zero_stage=2, world_size=2)
    assert complexity_key(BEST) < complexity_key(replace(BEST, hardware=sharded))


def test_of_layouts_as_fast_as_each_other_padded_rows_come_first_then_large_budgets() -> None:
    """A packed plan has to be faster to be chosen, and a slow host forgives few launches."""
    small, large = (
        replace(
            BEST,
            hardware=changed(
                BEST.hardware,
                micro_batch_size=1,
                gradient_accumulation_steps=16,
                token_budget=budget,
            ),
        )
        for budget in (2048, 8192)
    )
    assert best_of([small, large, BEST]) is BEST
    assert best_of([small, large]) is large
