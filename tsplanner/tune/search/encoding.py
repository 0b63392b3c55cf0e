"""Learning settings as points of the surrogate, and points as settings."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from memory_models.frozen import frozen
from memory_models.settings import changed
from tsplanner.errors import TsplannerError
from tsplanner.planner.advice import Affordable, with_rank
from tsplanner.planner.settings import LearningSettings
from tsplanner.tune.search.acquisition import Grid
from tsplanner.tune.search.points import Point
from tsplanner.tune.search.space import Space


@frozen
class SearchSpaceEncoding:
    """The affordable part of a search space, around the baseline that the search must beat."""

    baseline: LearningSettings
    """The plan's rate, the largest rank that memory affords, and the most epochs of the space."""
    space: Space
    centre_rate: float
    """The suggested learning rate, which the prior of the surrogate is about."""

    @property
    def grid(self) -> Grid:
        """The points that may be suggested."""
        low, high = (self._log10_lr_offset(rate) for rate in self.space.learning_rate)
        ranks = self.space.lora_ranks or (self.baseline.method.lora_rank,)
        # The surrogate counts halvings from the largest rank, so it knows none above it.
        offsets = tuple(
            self._log2_rank_offset(r) for r in ranks if r <= self.baseline.method.lora_rank
        )
        return Grid(
            baseline=self.point(self.baseline),
            log10_lr_range=(low, high),
            log2_rank_offsets=offsets,
        )

    def point(self, learning: LearningSettings) -> Point:
        """The point of some settings; epochs are no axis of the surrogate."""
        return Point(
            log10_lr_offset=self._log10_lr_offset(learning.optimization.learning_rate),
            log2_rank_offset=self._log2_rank_offset(learning.method.lora_rank),
        )

    def settings(self, point: Point) -> LearningSettings:
        """The settings of a point; the point of the baseline gives the baseline itself."""
        grid = self.grid
        # A rate that goes through a point is rounded, and later code compares settings
        # with the baseline for equality.
        if point == grid.baseline:
            return self.baseline
        low, high = self.space.learning_rate
        # Six digits give a rate that a person can copy, and the same one on every machine.
        rate = min(high, max(low, float(f"{self.centre_rate * 10**point.log10_lr_offset:.6g}")))
        learning = changed(self.baseline, learning_rate=rate)
        if not self.space.lora_ranks:
            return learning
        wanted = point.log2_rank_offset
        rank = min(
            self.space.lora_ranks, key=lambda rank: abs(self._log2_rank_offset(rank) - wanted)
        )
        return with_rank(learning, rank)

    def _log10_lr_offset(self, rate: float) -> float:
        return round(math.log10(rate / self.centre_rate), 6)

    def _log2_rank_offset(self, rank: int) -> float:
        return round(math.log2(rank / self.baseline.method.lora_rank), 6) + 0.0


def encode_space(
    planned: LearningSettings, space: Space, centre_rate: float, affordable: Affordable
) -> SearchSpaceEncoding:
    """The baseline inside ``space``: the plan's rate at the largest rank that memory affords.

    Raises TsplannerError if memory affords none of the ranks.
    """
    baseline = changed(space.clamp(planned), num_train_epochs=max(space.epochs))
    if not space.lora_ranks:
        return SearchSpaceEncoding(baseline=baseline, space=space, centre_rate=centre_rate)
    fitting = _fitting(baseline, space.lora_ranks, affordable)
    if not fitting:
        ranks = ", ".join(map(str, space.lora_ranks))
        raise TsplannerError(
            f"Of the ranks to search ({ranks}) none fits this model and the memory that is free: "
            "give --lora-rank smaller ones."
        )
    return SearchSpaceEncoding(
        baseline=with_rank(baseline, max(fitting)),
        space=replace(space, lora_ranks=tuple(sorted(fitting))),
        centre_rate=centre_rate,
    )


def _fitting(learning: LearningSettings, ranks: Iterable[int], affordable: Affordable) -> list[int]:
    return [rank for rank in ranks if affordable(with_rank(learning, rank))]
