"""Settings as points of the belief, and back."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from memory_models.settings import changed
from tsplanner.errors import TsplannerError
from tsplanner.planner.advice import Affordable, with_rank
from tsplanner.planner.settings import LearningSettings
from tsplanner.tune.search.acquisition import Grid
from tsplanner.tune.search.space import Space
from tsplanner.tune.search.surrogate import Point


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The affordable part of a space, around the settings that the search must beat."""

    default: LearningSettings
    """The prior: the plan's rate, the largest rank that memory affords, the most epochs."""
    space: Space
    centre_rate: float
    """The rate that the evidence is about."""

    @property
    def grid(self) -> Grid:
        """What may be proposed."""
        low, high = (self._decades(rate) for rate in self.space.learning_rate)
        ranks = self.space.lora_ranks or (self.default.method.lora_rank,)
        halvings = tuple(self._halvings(r) for r in ranks if r <= self.default.method.lora_rank)
        return Grid(default=self.point(self.default), decades=(low, high), halvings=halvings)

    def point(self, learning: LearningSettings) -> Point:
        """Where settings lie; epochs are no axis of the belief."""
        return Point(
            decades=self._decades(learning.optimization.learning_rate),
            halvings=self._halvings(learning.method.lora_rank),
        )

    def settings(self, point: Point) -> LearningSettings:
        """The settings of a point; the default's own where it is the default's."""
        grid = self.grid
        if point == grid.default:
            return self.default
        low, high = self.space.learning_rate
        # Six digits: a rate that a person can copy, and the same one on every machine.
        rate = min(high, max(low, float(f"{self.centre_rate * 10**point.decades:.6g}")))
        learning = changed(self.default, learning_rate=rate)
        if not self.space.lora_ranks:
            return learning
        ranks = self.space.lora_ranks
        rank = min(ranks, key=lambda rank: abs(self._halvings(rank) - point.halvings))
        return with_rank(learning, rank)

    def _decades(self, rate: float) -> float:
        return round(math.log10(rate / self.centre_rate), 6)

    def _halvings(self, rank: int) -> float:
        return round(math.log2(self.default.method.lora_rank / rank), 6) + 0.0


def places(
    planned: LearningSettings, space: Space, centre_rate: float, affordable: Affordable
) -> Places:
    """The prior inside ``space``: the plan's rate at the largest rank that memory affords.

    Raises TsplannerError if memory affords none of the ranks.
    """
    default = changed(space.clamp(planned), num_train_epochs=max(space.epochs))
    if not space.lora_ranks:
        return Places(default=default, space=space, centre_rate=centre_rate)
    fitting = _fitting(default, space.lora_ranks, affordable)
    if not fitting:
        ranks = ", ".join(map(str, space.lora_ranks))
        raise TsplannerError(
            f"Of the ranks to search ({ranks}) none fits this model and the memory that is free: "
            "give --lora-rank smaller ones."
        )
    return Places(
        default=with_rank(default, max(fitting)),
        space=replace(space, lora_ranks=tuple(sorted(fitting))),
        centre_rate=centre_rate,
    )


def _fitting(learning: LearningSettings, ranks: Iterable[int], affordable: Affordable) -> list[int]:
    return [rank for rank in ranks if affordable(with_rank(learning, rank))]
