"""How far predicted seconds may be off: half-widths of 95 % intervals, by what a step waits for."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from memory_models.settings import TrainingSettings
from tsplanner.throughput.rates import Rates
from tsplanner.throughput.step_parts import StepTime

NEARLY = 0.8
"""From this share of issuing in the work a host that is a little slower makes the GPU wait."""


class WaitsFor(StrEnum):
    """What decides how well the seconds of a step are known."""

    WORK = "work"
    """The GPU works all the time."""
    HOST = "host"
    """The GPU waits for the host, whose speed depends on its cores and on what else they do."""
    PROCESSES = "processes"
    """Several processes exchange gradients or weights."""
    OFFLOAD = "offload"
    """Weights or optimizer states cross the link to the host."""
    PACKED = "packed"
    """Rows are laid end to end."""
    ELSEWHERE = "elsewhere"
    """A GPU of a generation that was not measured: its rates come from its datasheet."""
    CPU = "cpu"
    """A CPU whose rates are assumed."""


HALF_WIDTHS: Mapping[WaitsFor, float] = MappingProxyType(
    {
        WaitsFor.WORK: 0.25,
        WaitsFor.HOST: 0.55,
        WaitsFor.PROCESSES: 0.45,
        WaitsFor.OFFLOAD: 0.5,
        WaitsFor.PACKED: 0.4,
        WaitsFor.ELSEWHERE: 0.55,
        WaitsFor.CPU: 0.7,
    }
)
"""Shares of the predicted seconds that 95 % of the measured ones stay within.

Source: ``benchmarks/accuracy/step_intervals.py --fit``, rounded up: 252 steps of one H200 and of
two, six records of other people's cards. Offload rests on three runs (0.18 at most) and is widened;
packed rows rest on 17 whole runs (0.36 at most, 0.10 in all others); CPUs are assumed.
"""


def waits_for(step: StepTime, settings: TrainingSettings, rates: Rates) -> WaitsFor:
    """What decides how well the seconds of this step are known: of all that applies the widest."""
    if not rates.issue_overlaps:
        return WaitsFor.CPU
    sharding = settings.sharding
    applies = {
        WaitsFor.WORK: True,
        WaitsFor.HOST: step.launch > NEARLY * step.work,
        WaitsFor.PROCESSES: sharding.world_size > 1,
        WaitsFor.OFFLOAD: sharding.offload_param
        or sharding.offload_optimizer
        or settings.streaming.streams,
        WaitsFor.PACKED: settings.batch.is_packed,
        WaitsFor.ELSEWHERE: not rates.measured,
    }
    return max((kind for kind, true in applies.items() if true), key=lambda kind: HALF_WIDTHS[kind])


def relative_error(step: StepTime, settings: TrainingSettings, rates: Rates) -> float:
    """Half-width of the 95 % interval of a step's seconds, as a share."""
    return HALF_WIDTHS[waits_for(step, settings, rates)]
