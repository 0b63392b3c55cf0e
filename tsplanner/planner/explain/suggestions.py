"""Changes that would make a plan fit, each alone and with the bytes that it then needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from math import ceil

from memory_models.device import Machine
from memory_models.frozen import frozen
from memory_models.settings import FinetuningType, Quantization, changed
from memory_models.units import GIB
from tsplanner.hardware.describe import HOST_RESERVE_BYTES, assumed_host
from tsplanner.hardware.gpus.catalog import usable_bytes
from tsplanner.hardware.nodes import machines_alike
from tsplanner.planner.evaluate import HOST_RESERVE_FRACTION, Evaluated, evaluate, host_budget
from tsplanner.planner.explain.reasons import ChangeKind, Data
from tsplanner.planner.plan import DatasetRef
from tsplanner.planner.request import Pins, PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.candidates import candidates
from tsplanner.planner.space.rules import refusal

CARD_SIZES_GIB = (8, 11, 12, 16, 22, 24, 32, 40, 48, 80, 96, 141, 180, 288)
"""Memory of cards on the market."""
MACHINE_SIZES = (2, 4, 8)
"""GPUs of usual machines."""
MACHINE_COUNTS = (2, 4)
"""Machines that are tried together where one has all the GPUs that a machine can have."""
SHARES = (2, 4, 8)
"""Parts of the longest sequence that are tried."""
HOST_CHANGES = frozenset({ChangeKind.MORE_RAM, ChangeKind.MORE_HOST_RAM, ChangeKind.STATE_HOST_RAM})
"""Changes whose bytes are those of the host."""
SHORTEST_TOKENS = 128
"""Shorter sequences are not worth suggesting."""


@frozen
class FitSuggestion:
    """One change of the request, and what the smallest plan then needs."""

    change: ChangeKind
    number: int | None = None
    """Tokens, GPUs or GiB, as the kind of change says; None: the change has no number."""
    needs_bytes: int
    """Upper bound per GPU after the change; of the host where RAM is added."""

    @property
    def of_host(self) -> bool:
        """Whether the bytes are those of the host."""
        return self.change in HOST_CHANGES

    @property
    def data(self) -> Data:
        """The number as the sentence of the change names it."""
        return {} if self.number is None else {"number": self.number}


@frozen
class Change:
    """A request with one thing changed."""

    kind: ChangeKind
    number: int | None = None
    request: PlanRequest


def fit_suggestions(request: PlanRequest, smallest: Evaluated) -> tuple[FitSuggestion, ...]:
    """Single changes that make a plan fit, the least intrusive first."""
    found = (*_fitting(_changes(request)), *_more_memory(request, smallest))
    # A host that nobody described may have the RAM: nothing else has to change then.
    return tuple(sorted(found, key=lambda each: each.change is not ChangeKind.STATE_HOST_RAM))


def _changes(request: PlanRequest) -> Iterator[Change]:
    """Single changes of the request, the least intrusive first."""
    if request.pins.values:
        yield Change(kind=ChangeKind.NO_PINS, request=replace(request, pins=Pins()))
    for length in _shorter(request):
        yield Change(
            kind=ChangeKind.SHORTER_SEQUENCES,
            number=length,
            request=replace(request, dataset=_cut(request.dataset, length)),
        )
    if request.learning.method.trains_base:
        yield from _adapters(request)
    for count in _more_devices(request.machine):
        devices = request.machine.devices
        devices += (devices[-1],) * (count - len(devices))
        host = request.machine.host
        # The rule that assumed the host's RAM assumes more for more GPUs.
        host = assumed_host(devices) if host.assumed else host
        machine = replace(request.machine, devices=devices, host=host)
        yield Change(
            kind=ChangeKind.MORE_GPUS, number=count, request=replace(request, machine=machine)
        )
    if len(request.machine.devices) >= MACHINE_SIZES[-1]:
        for count in MACHINE_COUNTS:
            if count > request.machine.nodes:
                many = machines_alike(request.machine, count)
                pins = request.pins.with_(world_size=len(many.devices) * count)
                yield Change(
                    kind=ChangeKind.MORE_MACHINES,
                    number=count,
                    request=replace(request, machine=many, pins=pins),
                )


def _cut(dataset: DatasetRef, length: int) -> DatasetRef:
    """The dataset with its rows cut at ``length`` positions."""
    lengths = dataset.lengths
    return changed(
        dataset,
        longest=length,
        longest_batch=None,
        mean=min(lengths.mean, length),
        quantiles=tuple(min(quantile, length) for quantile in lengths.quantiles),
    )


def _adapters(request: PlanRequest) -> Iterator[Change]:
    """An adapter instead of trained weights: on the plain base, then on a quantised one."""
    lora = replace(request, learning=changed(request.learning, finetuning_type=FinetuningType.LORA))
    yield Change(kind=ChangeKind.LORA, request=lora)
    nf4 = replace(lora, pins=Pins(quantization=Quantization.NF4_DQ))
    yield Change(kind=ChangeKind.LORA_ON_NF4, request=nf4)


def _shorter(request: PlanRequest) -> list[int]:
    longest = request.dataset.lengths.longest
    return [longest // part for part in SHARES if longest // part >= SHORTEST_TOKENS]


def _more_devices(machine: Machine) -> list[int]:
    have = len(machine.devices)
    return [count for count in MACHINE_SIZES if 0 < have < count]


def _fitting(changes: Iterator[Change]) -> Iterator[FitSuggestion]:
    """Of every kind of change the first that makes a plan fit."""
    done: dict[ChangeKind, int] = {}
    for change in changes:
        if change.kind in done:
            continue
        needed = smallest_upper_bytes(change.request)
        if needed is not None and needed[0] <= needed[1]:
            # A quantised base is not sharded, so it can need more per GPU than a plain one: then
            # nobody gains by it.
            if change.kind is ChangeKind.LORA_ON_NF4 and needed[0] >= done.get(
                ChangeKind.LORA, needed[0] + 1
            ):
                continue
            done[change.kind] = needed[0]
            yield FitSuggestion(change=change.kind, number=change.number, needs_bytes=needed[0])


def smallest_upper_bytes(request: PlanRequest) -> tuple[int, int] | None:
    """Upper bound of the leanest plan that may run, and the bytes free for it; None: none may."""
    found = _leanest(request)
    return None if found is None else (found.memory.process_bytes.upper, found.free_bytes)


def _leanest(request: PlanRequest) -> Evaluated | None:
    """The plan with the least upper bound of those that the host can hold."""
    held = [found for found in _lean_plans(request) if _on_host(found) <= host_budget(request)]
    leanest = min(held, key=lambda found: found.memory.process_bytes.upper, default=None)
    return None if leanest is None else evaluate(request, leanest.hardware, replay=True)


def _lean_plans(request: PlanRequest) -> Iterator[Evaluated]:
    for hardware in candidates(request):
        if _lean(hardware) and refusal(request, hardware) is None:
            with suppress(ValueError):
                yield evaluate(request, hardware)


def _lean(hardware: HardwareSettings) -> bool:
    """Only micro-batch 1 with checkpointing can be the leanest."""
    return hardware.batch.micro_batch_size == 1 and hardware.batch.gradient_checkpointing


def _on_host(found: Evaluated) -> int:
    """Host bytes beside the device's; on a CPU the process is the device's."""
    return 0 if found.hardware.accelerator == "cpu" else found.memory.host_bytes.upper


def _more_memory(request: PlanRequest, smallest: Evaluated) -> Iterator[FitSuggestion]:
    """More RAM, or the smallest card on the market that holds the leanest plan's upper bound."""
    if request.on_cpu:
        yield _more_ram(request, ChangeKind.MORE_RAM, smallest.memory.process_bytes.upper)
        return
    hosts = [
        _on_host(found)
        for found in _lean_plans(request)
        if found.memory.process_bytes.upper <= found.free_bytes
    ]
    if hosts and min(hosts) > host_budget(request):
        if request.machine.host.assumed:
            yield FitSuggestion(
                change=ChangeKind.STATE_HOST_RAM,
                number=stated_gib(min(hosts)),
                needs_bytes=min(hosts),
            )
        yield _more_ram(request, ChangeKind.MORE_HOST_RAM, min(hosts))
    found = _leanest(request)
    if found is None:
        return
    upper = found.memory.process_bytes.upper
    alone = found.hardware.sharding.world_size == 1
    sizes = [size for size in CARD_SIZES_GIB if upper <= usable_bytes(size * GIB)]
    for size in sizes[:1]:
        kind = ChangeKind.LARGER_GPU if alone else ChangeKind.LARGER_GPUS
        yield FitSuggestion(change=kind, number=size, needs_bytes=upper)


def _more_ram(request: PlanRequest, kind: ChangeKind, needed: int) -> FitSuggestion:
    return FitSuggestion(change=kind, number=_missing_gib(request, needed), needs_bytes=needed)


def stated_gib(needs_bytes: int) -> int:
    """GiB of RAM to state for a plan that needs so many bytes of it, beside what others take."""
    return ceil((needs_bytes / (1 - HOST_RESERVE_FRACTION) + HOST_RESERVE_BYTES) / GIB)


def _missing_gib(request: PlanRequest, needed: int) -> int:
    """Whole GiB of RAM that would have to be added to what is free."""
    available = request.machine.host.available_bytes
    return ceil((needed / (1 - HOST_RESERVE_FRACTION) - available) / GIB)
