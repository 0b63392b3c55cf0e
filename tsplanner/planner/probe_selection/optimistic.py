"""Which candidates to probe next, and which to choose in the end: optimistic search. Pure.

A probe is worth its time on every candidate that could be faster than the fastest measured one,
within the error that the probes so far have left.
"""

from __future__ import annotations

from collections.abc import Sequence

from memory_models.settings import LossKernel, changed
from tsplanner.errors import NoPlanFits
from tsplanner.planner.compare import best_of, complexity_key, least_rounded
from tsplanner.planner.evaluate import Evaluated
from tsplanner.planner.explain.reasons import NoPlan
from tsplanner.planner.explain.sentences import sentence
from tsplanner.planner.plan import Verdict
from tsplanner.planner.probe_selection.corrected_candidates import corrected
from tsplanner.planner.probe_selection.step_corrections import (
    Measured,
    Measurements,
    Outcome,
    corrections_of,
)
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings

__all__ = ["Measured", "Outcome", "best_after_probes", "next_round"]

WORTH_A_PROBE = 0.01
"""A candidate is probed only if it could be faster than the best measured plan by this share."""
MEASURED_TIE = 0.005
"""Measured speeds closer than this share count as equal: a few steps do not repeat more closely."""


def next_round(
    request: PlanRequest, evaluated: Sequence[Evaluated], measured: Measurements, size: int
) -> list[HardwareSettings]:
    """The candidates to probe next, the most promising first; empty when no other can win.

    Tight candidates are welcome: a probe is what proves memory. The first round begins with the
    plan that would be chosen without probes, so that even a short budget proves something.
    """
    corrections = corrections_of(request, evaluated, measured)
    pool = _allowed(request, corrected(request, evaluated, measured))
    best = max(
        (found.samples_per_second for found in pool if _ran(found, measured)),
        default=0.0,
    )
    promising = [
        found
        for found in pool
        if found.hardware not in measured
        and found.samples_per_second * (1 + corrections.margin(found.hardware, found.time))
        > (1 + WORTH_A_PROBE) * best
    ]
    promising.sort(key=lambda found: (-found.samples_per_second, complexity_key(found)))
    usable = [found for found in evaluated if found.verdict is not Verdict.DOES_NOT_FIT]
    if not measured and usable:
        first = best_of(usable, allow_rounding=request.allow_rounding).hardware
        # The sort is stable: only the plan moves to the front, the others stay in order of speed.
        promising.sort(key=lambda found: found.hardware != first)
    return _varied(promising)[:size]


def best_after_probes(
    request: PlanRequest, evaluated: Sequence[Evaluated], measured: Measurements
) -> Evaluated:
    """The fastest candidate that was seen to run within the free memory, as it was measured.

    What rounds less comes first, unless rounding is allowed. If no candidate ran, this is the best
    of those that no probe rules out, by the corrected predictions.

    Raises:
        NoPlanFits: the probes rule out every candidate.
    """
    now = corrected(request, evaluated, measured)
    proven = [found for found in now if _ran(found, measured) and found.verdict is Verdict.FITS]
    proven = [*least_rounded(proven, allow_rounding=request.allow_rounding)]
    if proven:
        fastest = max(found.samples_per_second for found in proven)
        level = [
            found for found in proven if found.samples_per_second >= (1 - MEASURED_TIE) * fastest
        ]
        return min(level, key=complexity_key)
    left = [found for found in now if found.verdict is not Verdict.DOES_NOT_FIT]
    if not left:
        raise NoPlanFits(sentence(NoPlan.ALL_PROBES_FAILED))
    return best_of(left, allow_rounding=request.allow_rounding)


def _ran(found: Evaluated, measured: Measurements) -> bool:
    seen = measured.get(found.hardware)
    return seen is not None and seen.outcome is Outcome.OK


def _allowed(request: PlanRequest, now: list[Evaluated]) -> Sequence[Evaluated]:
    """Candidates that may run; of those that round, only the least where rounding is refused."""
    usable = [found for found in now if found.verdict is not Verdict.DOES_NOT_FIT]
    return least_rounded(usable, allow_rounding=request.allow_rounding)


def _varied(promising: list[Evaluated]) -> list[HardwareSettings]:
    """The candidates in order, with near copies of a better one at the end.

    A near copy differs in the loss kernel alone. The two are fast and slow together, so another
    micro-batch or other checkpoints teach more.
    """
    first: dict[HardwareSettings, HardwareSettings] = {}
    rest = []
    for found in promising:
        key = changed(found.hardware, loss_kernel=LossKernel.PLAIN)
        if first.setdefault(key, found.hardware) != found.hardware:
            rest.append(found.hardware)
    return [*first.values(), *rest]
