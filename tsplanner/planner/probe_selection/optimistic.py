"""Whom to probe next, and whom to believe: optimistic search over the candidates of a plan. Pure.

A probe is worth its time on whoever could be faster than the fastest measured candidate within the
error that the probes so far have left.
"""

from __future__ import annotations

from collections.abc import Sequence

from memory_models.settings import LossKernel, changed
from tsplanner.errors import NoPlanFits
from tsplanner.planner.evaluate import Evaluated
from tsplanner.planner.plan import Verdict
from tsplanner.planner.probe_selection.corrected_candidates import corrected
from tsplanner.planner.probe_selection.step_corrections import (
    Measured,
    Measurements,
    Outcome,
    corrections_of,
)
from tsplanner.planner.rank import best_of, moving_parts
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings

__all__ = ["Measured", "Outcome", "final", "next_round"]

WORTH_A_PROBE = 0.01
"""Nobody is probed who cannot be faster than the best measured plan by more than this."""
MEASURED_TIE = 0.005
"""Measured speeds closer than this are one: a few steps do not repeat more closely."""


def next_round(
    request: PlanRequest, evaluated: Sequence[Evaluated], measured: Measurements, size: int
) -> list[HardwareSettings]:
    """The candidates to probe next, the most promising first; empty when nobody can win any more.

    Tight ones are welcome: memory is what a probe proves. The first round begins with the plan
    that would be chosen without one, so that a short budget proves something.
    """
    corrections = corrections_of(request, evaluated, measured)
    pool = _pool(corrected(request, evaluated, measured))
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
    promising.sort(key=lambda found: (-found.samples_per_second, moving_parts(found)))
    usable = [found for found in evaluated if found.verdict is not Verdict.DOES_NOT_FIT]
    if not measured and usable:
        first = best_of(usable).hardware
        promising.sort(key=lambda found: found.hardware != first)
    return _varied(promising)[:size]


def final(
    request: PlanRequest, evaluated: Sequence[Evaluated], measured: Measurements
) -> Evaluated:
    """The fastest candidate that was seen to run within the free memory, with what was measured.

    A plain base comes before a quantised one. If nobody was, the best by the corrected model of
    those that no probe refutes.

    Raises:
        NoPlanFits: probes refute every candidate.
    """
    now = corrected(request, evaluated, measured)
    proven = [found for found in now if _ran(found, measured) and found.verdict is Verdict.FITS]
    proven = [found for found in proven if found.hardware.base.quantization is None] or proven
    if proven:
        fastest = max(found.samples_per_second for found in proven)
        level = [
            found for found in proven if found.samples_per_second >= (1 - MEASURED_TIE) * fastest
        ]
        return min(level, key=moving_parts)
    left = [found for found in now if found.verdict is not Verdict.DOES_NOT_FIT]
    if not left:
        raise NoPlanFits(
            "No plan ran: every candidate failed its probe, or is larger than one that ran out of "
            "memory; see what else uses the memory, or plan with a smaller --cutoff-len."
        )
    return best_of(left)


def _ran(found: Evaluated, measured: Measurements) -> bool:
    seen = measured.get(found.hardware)
    return seen is not None and seen.outcome is Outcome.OK


def _pool(now: list[Evaluated]) -> list[Evaluated]:
    """Who may run; quantised ones only where no plain base may."""
    usable = [found for found in now if found.verdict is not Verdict.DOES_NOT_FIT]
    return [found for found in usable if found.hardware.base.quantization is None] or usable


def _varied(promising: list[Evaluated]) -> list[HardwareSettings]:
    """In order, but who differs from a better one in the loss kernel alone comes after all others.

    Two such are fast and slow together: another micro-batch or other checkpoints teach more.
    """
    first: dict[HardwareSettings, HardwareSettings] = {}
    rest = []
    for found in promising:
        key = changed(found.hardware, loss_kernel=LossKernel.PLAIN)
        if first.setdefault(key, found.hardware) != found.hardware:
            rest.append(found.hardware)
    return [*first.values(), *rest]
