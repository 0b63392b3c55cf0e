"""Machines ranked by the cost of a run: whole machines are paid for, deadlines are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tsplanner.hardware.detect import machine_for
from tsplanner.planner.gather.requests import Subject, plan_request
from tsplanner.planner.rank import choose
from tsplanner.planner.rent.prices import Offer
from tsplanner.planner.rent.ranking import Lateness, ranking, rented
from tsplanner.planner.request import PlanRequest


def offer(gpus: str, price: float) -> Offer:
    """A machine at this price an hour."""
    machine = machine_for(gpus, None)
    return Offer(cloud="here", gpus=gpus, machine=machine, price_per_hour=price)


@pytest.fixture(scope="module")
def request_of_70b(tmp_path_factory: pytest.TempPathFactory) -> PlanRequest:
    """LoRA of Llama 3.1 70B without a dataset: 1,000 samples are priced."""
    saves: Path = tmp_path_factory.mktemp("saves")
    return plan_request(Subject(model="llama-3.1-70b", gpus="T4"), saves)


def test_the_cheapest_run_is_first_and_what_does_not_fit_is_apart(
    request_of_70b: PlanRequest,
) -> None:
    """A 4 GiB card beside 16 GiB of RAM holds no 70B; at equal speed the price decides."""
    offers = [
        offer("A100 SXM4 80GB", 0.4),
        offer("A100 SXM4 80GB", 0.2),
        offer("RTX 3050 Laptop 4GB", 0.1),
    ]
    heard: list[tuple[int, int]] = []
    found = ranking(request_of_70b, offers, progress=lambda *done: heard.append(done))
    assert [one.offer.price_per_hour for one in found.fitting] == [0.2, 0.4]
    assert [one.offer.gpus for one in found.refused] == ["RTX 3050 Laptop 4GB"]
    assert heard == [(0, 3), (1, 3), (2, 3)]
    assert found.best is found.fitting[0]
    assert found.fitting[1].cost.expected == pytest.approx(2 * found.fitting[0].cost.expected)
    assert len(found.by_card) == 1


def test_the_whole_machine_is_paid_for(request_of_70b: PlanRequest) -> None:
    """A plan that uses one of two cards costs what both cost: hours times the machine's price."""
    both = offer("2x A100 SXM4 80GB", 1.0)
    plan = choose(replace(request_of_70b, machine=both.machine)).plan
    found = rented(both, plan, None)
    steps = 1000 / plan.hardware.effective_batch_size
    assert found.hours == pytest.approx(steps * plan.time.step_seconds / 3600)
    assert found.cost.expected == pytest.approx(found.hours * 1.0)
    assert 0 <= found.hours_lower < found.hours < found.hours_upper


def test_a_deadline_goes_before_the_price(request_of_70b: PlanRequest) -> None:
    """In time by the whole interval, by the expected value, or not at all."""
    slow, fast = offer("A40", 0.01), offer("H200", 3.0)
    free = ranking(request_of_70b, [slow, fast])
    assert [one.offer.gpus for one in free.fitting] == ["A40", "H200"]
    seconds = 3600 * next(one for one in free.fitting if one.offer is fast).hours_upper
    bound = ranking(request_of_70b, [slow, fast], deadline_seconds=seconds + 1)
    assert [(one.offer.gpus, one.lateness) for one in bound.fitting] == [
        ("H200", Lateness.IN_TIME),
        ("A40", Lateness.LATE),
    ]
    plan = bound.fitting[0].plan
    assert rented(fast, plan, seconds - 1).lateness is Lateness.LIKELY
    assert ranking(request_of_70b, [slow], deadline_seconds=1).best is None


def test_a_faster_machine_for_little_more_is_named(request_of_70b: PlanRequest) -> None:
    """At a price that makes its run cost 1.2 times as much; at 1.3 times it is not little more."""
    slow, fast = offer("A100 SXM4 80GB", 1.0), offer("H200", 1.0)
    free = ranking(request_of_70b, [slow, fast])
    hours = {one.offer.gpus: one.hours for one in free.fitting}
    assert hours["H200"] < hours["A100 SXM4 80GB"]
    equal = hours["A100 SXM4 80GB"] / hours["H200"]
    for times, named in ((1.2, "H200"), (1.3, None)):
        dear = offer("H200", times * equal)
        found = ranking(request_of_70b, [slow, dear])
        assert found.best is not None
        assert found.best.offer is slow
        assert (None if found.faster is None else found.faster.offer.gpus) == named
