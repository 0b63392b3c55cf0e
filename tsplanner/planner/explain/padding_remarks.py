"""What to know of a plan for rows of unequal length: what packing saves, or why it is not done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memory_models.settings import changed
from tsplanner.planner.compare import best_of
from tsplanner.planner.evaluate import Evaluated
from tsplanner.planner.explain.reasons import Data, Remark, RemarkKind
from tsplanner.planner.forecast import batch_widths
from tsplanner.planner.plan import DatasetRef
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.rules import refusal

WORTH_SAYING = 0.2
"""Share of padding from which a padded plan says why its rows are not packed."""
WORTH_A_WORD = 1.05
"""A packed plan says what padding would cost if it is at least so many times as fast."""
LAYOUT_PINS = ("token_budget", "micro_batch_size")


def padding_share(dataset: DatasetRef, hardware: HardwareSettings) -> float:
    """Share of the positions of padded micro-batches that are padding."""
    widths = batch_widths(dataset, hardware)
    return max(0.0, 1 - dataset.lengths.mean * len(widths) / sum(widths))


def padding_remarks(
    request: PlanRequest, best: Evaluated, usable: Sequence[Evaluated]
) -> Iterator[Remark]:
    """What packing saves, or why much padding remains; nothing where the layout was asked for."""
    if any(name in request.pins for name in LAYOUT_PINS):
        return
    if best.hardware.batch.is_packed:
        yield from _packed(request, best, usable)
    else:
        yield from _padded(request, best.hardware)


def _packed(request: PlanRequest, best: Evaluated, usable: Sequence[Evaluated]) -> Iterator[Remark]:
    padded = [found for found in usable if not found.hardware.batch.is_packed]
    if not padded:
        return
    other = best_of(padded, allow_rounding=request.allow_rounding)
    gain = best.samples_per_second / other.samples_per_second
    if gain < WORTH_A_WORD:
        return
    micro = other.hardware.batch.micro_batch_size
    data: Data = {"gain": gain, "micro": micro}
    if micro == 1:  # a row alone has no padding: what it lacks is company
        yield Remark(kind=RemarkKind.PACKED_TOGETHER, data=data, hardware=other.hardware)
        return
    padding = 100 * padding_share(request.dataset, other.hardware)
    yield Remark(kind=RemarkKind.PACKED, data={**data, "padding": padding}, hardware=other.hardware)


def _padded(request: PlanRequest, hardware: HardwareSettings) -> Iterator[Remark]:
    share = padding_share(request.dataset, hardware)
    if share < WORTH_SAYING or request.on_cpu:
        return
    batch = hardware.batch
    packed = changed(
        hardware,
        micro_batch_size=1,
        gradient_accumulation_steps=batch.micro_batch_size * batch.gradient_accumulation_steps,
        token_budget=request.dataset.lengths.longest,
    )
    why = refusal(request, packed)
    if why is not None:
        yield Remark(kind=RemarkKind.PADDED, data={"padding": 100 * share}, why=why)
