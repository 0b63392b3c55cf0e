"""The cost of the full run on every machine of a price file, cheapest first. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum

from memory_models.frozen import frozen
from tsplanner.errors import NoPlanFits, TsplannerError
from tsplanner.planner.forecast import Cost, run_cost
from tsplanner.planner.plan import Plan
from tsplanner.planner.rank import choose
from tsplanner.planner.rent.prices import Offer
from tsplanner.planner.request import PlanRequest

SECONDS_PER_HOUR = 3600
LITTLE_MORE = 1.25
"""Times the cost of the cheapest machine that a faster one may cost to be named beside it."""


class Lateness(StrEnum):
    """Whether a run is over before a deadline."""

    IN_TIME = "in time"
    """So says the whole interval."""
    LIKELY = "likely in time"
    """So says the expected value."""
    LATE = "late"


@frozen
class Rented:
    """A machine with its plan and what the run costs there."""

    offer: Offer
    plan: Plan
    cost: Cost
    lateness: Lateness = Lateness.IN_TIME

    @property
    def hours(self) -> float:
        """Expected hours of the run."""
        return self.cost.expected / self.offer.price_per_hour

    @property
    def hours_lower(self) -> float:
        """The lower end of their 95 % interval."""
        return max(0.0, self.cost.lower / self.offer.price_per_hour)

    @property
    def hours_upper(self) -> float:
        """The upper end of their 95 % interval."""
        return self.cost.upper / self.offer.price_per_hour


@frozen
class Refused:
    """A machine that has no plan, and why."""

    offer: Offer
    why: str
    """A sentence."""
    for_memory: bool
    """Whether it is too small: nothing fits there, and another machine may do."""


@frozen
class Ranking:
    """Machines that the run fits on, and those that it does not."""

    fitting: tuple[Rented, ...]
    """In time first, then by expected cost."""
    refused: tuple[Refused, ...]
    """No plan fits there, or none can run."""

    @property
    def by_card(self) -> tuple[Rented, ...]:
        """Of every cloud's card the first number of them, in the order of the ranking."""
        first: dict[tuple[str, str], Rented] = {}
        for one in self.fitting:
            first.setdefault((one.offer.cloud, one.offer.machine.devices[0].name), one)
        return tuple(first.values())

    @property
    def best(self) -> Rented | None:
        """The cheapest machine that is at least likely in time; None: there is none."""
        first = next(iter(self.fitting), None)
        return None if first is None or first.lateness is Lateness.LATE else first

    @property
    def faster(self) -> Rented | None:
        """The fastest machine for little more than the cheapest; None: that is the cheapest."""
        best = self.best
        if best is None:
            return None
        most = LITTLE_MORE * best.cost.expected
        near = [
            one
            for one in self.fitting
            if one.lateness is best.lateness and one.cost.expected <= most
        ]
        fastest = min(near, key=lambda one: one.hours)
        return fastest if fastest.hours < best.hours else None


def ranking(
    request: PlanRequest,
    offers: Sequence[Offer],
    deadline_seconds: float | None = None,
    progress: Callable[[int, int], None] = lambda done, count: None,
) -> Ranking:
    """Plan the request on every machine and rank them; ``progress`` hears how many are done.

    The whole machine is paid for, whether or not the plan uses all of its GPUs. Ignores: the start
    of the machine, downloads, and loading of the model.
    """
    fitting, refused = [], []
    for done, offer in enumerate(offers):
        progress(done, len(offers))
        try:
            plan = choose(replace(request, machine=offer.machine)).plan
        except TsplannerError as error:
            small = isinstance(error, NoPlanFits)
            refused.append(Refused(offer=offer, why=str(error), for_memory=small))
            continue
        fitting.append(rented(offer, plan, deadline_seconds))
    order = list(Lateness)
    fitting.sort(key=lambda one: (order.index(one.lateness), one.cost.expected))
    return Ranking(fitting=tuple(fitting), refused=tuple(refused))


def rented(offer: Offer, plan: Plan, deadline_seconds: float | None) -> Rented:
    """The cost of a plan on its rented machine, before the deadline or not."""
    cost = run_cost(plan, offer.price_per_hour / plan.hardware.sharding.world_size)
    found = Rented(offer=offer, plan=plan, cost=cost)
    if deadline_seconds is None or found.hours_upper * SECONDS_PER_HOUR <= deadline_seconds:
        return found
    likely = found.hours * SECONDS_PER_HOUR <= deadline_seconds
    return replace(found, lateness=Lateness.LIKELY if likely else Lateness.LATE)
