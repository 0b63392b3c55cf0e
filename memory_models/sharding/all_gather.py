"""Parameters that ZeRO-3 has gathered, by the rules of DeepSpeed's own coordinator.

The modules of a step form a trace: forward, then backward with recomputed layers. Before a module
runs, the coordinator gathers the module's parameters, then prefetches those of the next modules
until ``max_live_parameters`` elements are available. After the module it releases the parameters,
unless a module within the reuse distance needs them again. Names here are DeepSpeed's own.
Source: deepspeed runtime/zero/partitioned_param_coordinator.py; partition_parameters.py
(``all_gather_coalesced`` gathers several parameters into one flat buffer and copies them out).
Ignores: the first micro-batch, in which DeepSpeed records the trace and gathers less.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from memory_models.architecture import Architecture
from memory_models.settings import DeepSpeedConfig, LayerSettings, TrainingSettings
from memory_models.sharding.deepspeed_config import Limits, limits
from memory_models.sharding.gather_trace import (
    Parameter,
    Visit,
    layer_tensors,
    trace_of,
    untraced_bytes,
)
from memory_models.states.storage import BYTES

ROUNDS = 2
"""Fetches per visited module: a module without parameters (an activation) prefetches too."""


class GatheredPeaks(NamedTuple):
    """Peak bytes of gathered parameters at each phase of a step, on one process."""

    forward: int = 0
    loss: int = 0
    """Forward and backward of the loss: the fused loss runs as the lm_head's own forward."""
    last: int = 0
    first: int = 0
    end: int = 0
    entering: int = 0
    """More than ``forward`` just before a layer works, when it has no tensors of its own yet."""
    head: int = 0
    """Around the product with an lm_head that is whole for it alone; ``loss`` holds beyond it.

    A step adds the logits to it."""
    starting: int = 0
    """When the first layer is gathered beside a root that has just been; nothing is kept yet."""


@lru_cache(maxsize=1024)
def gathered_peaks(
    architecture: Architecture, layer: LayerSettings, config: DeepSpeedConfig | None = None
) -> GatheredPeaks:
    """Peaks of gathered parameters in one step, for any length, batch and number of processes.

    ``config``: a user's own configuration; None: tsplanner's.
    """
    allowed = limits(architecture, config, layer.arithmetic.base.quantization)
    found = _Coordinator(allowed, tuple(trace_of(architecture, layer, allowed))).run()
    more = untraced_bytes(architecture, layer, allowed)
    return GatheredPeaks(
        **{phase: found[phase] + more for phase in GatheredPeaks._fields if phase in found}
    )


class _Coordinator:
    """DeepSpeed's ``PartitionedParameterCoordinator`` once its trace is complete."""

    def __init__(self, allowed: Limits, trace: tuple[Visit, ...]) -> None:
        self.trace, self.allowed = trace, allowed
        self.prefetch_position = 0
        """Step of the trace up to which parameters were requested."""
        self.available_elements = self.available_bytes = 0
        """Elements that are available or in flight, and their bytes."""
        self.available: set[int] = set()
        self.inflight: dict[int, tuple[Parameter, ...]] = {}
        self.last_requested_step: dict[int, int] = {}
        """Last step of the trace that each parameter was requested for."""
        self.active_parameter: int | None = None
        """A parameter in use during the recomputation of its layer."""
        self.peaks: dict[str, int] = {}

    def run(self) -> dict[str, int]:
        """Peak bytes by phase."""
        waiting: list[tuple[int, Visit]] = []
        for place, visit in enumerate(self.trace):
            self._fetch_module(place, visit)
            if visit.within:
                self.active_parameter = visit.parameter.number
                waiting.append((place + visit.within, visit))
                continue
            self._release_module(place + 1, visit.parameter)
            if waiting and waiting[-1][0] == place:
                self._finish(place + 1, waiting.pop()[1])
        return self.peaks

    def _finish(self, place: int, visit: Visit) -> None:
        """The module whose backward waited for the recomputation has ended."""
        self.active_parameter = None
        self._release_module(place, visit.parameter)
        for parameter in visit.frozen:
            self._release_parameter(parameter)

    def _record_peak(self, phase: str, extra: int = 0) -> None:
        self.peaks[phase] = max(self.peaks.get(phase, 0), self.available_bytes + extra)

    def _all_gather(self, group: tuple[Parameter, ...]) -> None:
        for parameter in group:
            # DeepSpeed counts a parameter as available as soon as its all-gather is launched.
            self.inflight[parameter.number] = group
            self.available_elements += parameter.elements
            self.available_bytes += parameter.bytes

    def _wait(self, number: int, phase: str) -> None:
        """Wait for a group; several parameters arrive in a flat buffer and are copied out."""
        group = self.inflight[number]
        copies = sum(parameter.bytes for parameter in group) if len(group) > 1 else 0
        self._record_peak(phase, copies)
        for parameter in group:
            del self.inflight[parameter.number]
            self.available.add(parameter.number)

    def _fetch_module(self, place: int, visit: Visit) -> None:
        number = visit.parameter.number
        if number not in self.available and number not in self.inflight:
            self._all_gather((visit.parameter,))
        if number in self.inflight:
            self._wait(number, visit.phase)
        # A parameter that was not prefetched moves the prefetch position behind its own module.
        if self.last_requested_step.get(number, -1) < place:
            self.prefetch_position = place + 1
            self.last_requested_step[number] = place
        for _ in range(ROUNDS):
            self._prefetch()
        self._record_peak(visit.phase)

    def _prefetch(self) -> None:
        """Request one bucket of parameters; the last parameter may exceed the bucket."""
        # The limit is checked before a parameter is added, so the last one may exceed it.
        live_room = self.allowed.live - self.available_elements
        room, total = min(live_room, self.allowed.prefetch), 0
        group: list[Parameter] = []
        while self.prefetch_position < len(self.trace) and total < room:
            parameter = self.trace[self.prefetch_position].parameter
            self.last_requested_step[parameter.number] = self.prefetch_position
            self.prefetch_position += 1
            known = parameter.number in self.available or parameter.number in self.inflight
            if not known and parameter not in group:
                group.append(parameter)
                total += parameter.elements
        if group:
            self._all_gather(tuple(group))

    def _release_module(self, place: int, parameter: Parameter) -> None:
        """Release a parameter, unless it is requested for a later step or reused soon."""
        number = parameter.number
        if self.last_requested_step.get(number, -1) >= place:
            return
        passed = 0
        for visit in self.trace[place:]:
            if passed >= self.allowed.reuse:
                break
            if visit.parameter.number == number:
                return
            passed += visit.parameter.elements
        self._release_parameter(parameter)

    def _release_parameter(self, parameter: Parameter) -> None:
        if parameter.number in self.available and parameter.number != self.active_parameter:
            self.available.discard(parameter.number)
            self.available_elements -= parameter.elements
            self.available_bytes -= parameter.bytes


def layer_parameter_bytes(architecture: Architecture, settings: TrainingSettings) -> Iterator[int]:
    """Bytes of the partitioned parameters of one layer, one after the other."""
    smallest = limits(architecture, settings.sharding.deepspeed).persistent
    element = BYTES[settings.base.model_dtype]
    for elements, size in layer_tensors(architecture, settings.layer, element):
        if elements > smallest:
            yield size


def more_gathered_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes that a user's own limits gather at the peak beyond what tsplanner's limits would."""
    config = settings.sharding.deepspeed
    if config is None:
        return 0
    own, usual = (
        max(gathered_peaks(architecture, settings.layer, each)) for each in (config, None)
    )
    return max(0, own - usual)
