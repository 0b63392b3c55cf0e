"""The plans that no other plan beats in memory, speed and risk at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from memory_models.settings import Optimizer, Quantization
from tsplanner.planner.evaluate import Evaluated
from tsplanner.planner.plan import Verdict
from tsplanner.planner.settings import HardwareSettings

BASE_RISK: dict[Quantization | None, int] = {
    None: 0,
    Quantization.INT8: 1,
    Quantization.FP8: 1,
    Quantization.W8A8: 1,
    Quantization.NF4: 2,
    Quantization.NF4_DQ: 2,
}
"""How far the frozen base is from the weights that were trained: only the order counts."""
OPTIMIZER_RISK: dict[Optimizer, int] = {
    Optimizer.ADAMW_BNB_8BIT: 1,
    Optimizer.PAGED_ADAMW_8BIT: 1,
}
"""Optimizers that round their states to 8 bits; every other optimizer keeps them whole."""

WORTH_SAVING = 0.9
"""Two plans differ to a reader if the smaller bound is at most this share of the larger one."""


def quality_risk(hardware: HardwareSettings) -> int:
    """0 for settings that learn as they were asked to, more for what rounds weights or states."""
    return BASE_RISK[hardware.base.quantization] + OPTIMIZER_RISK.get(hardware.kernels.optimizer, 0)


def pareto_front(evaluated: Iterable[Evaluated]) -> list[Evaluated]:
    """The plans that may run and that no other plan beats, fastest first.

    One plan beats another if it has no larger memory bound, no lower speed and no more risk; of
    two plans that are equal in all three the first stays.
    """
    usable = [found for found in evaluated if found.verdict is not Verdict.DOES_NOT_FIT]
    usable.sort(
        key=lambda found: (
            found.memory.process_bytes.upper,
            -found.samples_per_second,
            quality_risk(found.hardware),
        )
    )
    # In ascending order of bytes only earlier plans take less: speed and risk are left to compare.
    fastest: dict[int, float] = {}
    kept = []
    for found in usable:
        risk, speed = quality_risk(found.hardware), found.samples_per_second
        if speed > max((fastest[other] for other in fastest if other <= risk), default=0.0):
            fastest[risk] = speed
            kept.append(found)
    return sorted(kept, key=lambda found: -found.samples_per_second)


def spread(rows: Sequence[Evaluated], known: Sequence[Evaluated], most: int) -> list[Evaluated]:
    """At most ``most`` of the rows, chosen so that each tells a reader something beside ``known``.

    A row does so if its memory bound differs by a tenth from that of every row kept before it, or
    if its risk differs. Where too many rows do, rows at even steps are taken, with the first and
    the last among them.
    """
    kept = list(known)
    for row in rows:
        if all(_differs(row, other) for other in kept):
            kept.append(row)
    found = kept[len(known) :]
    if len(found) <= most:
        return found
    if most == 1:
        return found[:1]
    return [found[round(step * (len(found) - 1) / (most - 1))] for step in range(most)]


def _differs(row: Evaluated, other: Evaluated) -> bool:
    bounds = (row.memory.process_bytes.upper, other.memory.process_bytes.upper)
    risks = quality_risk(row.hardware) != quality_risk(other.hardware)
    return risks or min(bounds) <= WORTH_SAVING * max(bounds)
