"""What would make a plan fit, each change alone and with its number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil

from memory_models.device import Machine
from memory_models.settings import FinetuningType, Quantization, changed
from memory_models.units import GIB
from tsplanner.hardware.catalog import usable_bytes
from tsplanner.planner.evaluate import HOST_RESERVE_FRACTION, Evaluated, evaluate, host_budget
from tsplanner.planner.request import Pins, PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.candidates import candidates
from tsplanner.planner.space.rules import refusal

CARD_SIZES_GIB = (8, 11, 12, 16, 22, 24, 32, 40, 48, 80, 96, 141, 180, 288)
LARGEST_MACHINE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """One change and what the smallest plan then needs."""

    change: str
    needs_bytes: int
    """Upper bound per GPU after the change; for more RAM: of the host."""


def remedies(request: PlanRequest, smallest: Evaluated) -> tuple[Remedy, ...]:
    """Changes that make a plan fit, smallest first; those that would not are left out."""
    found = [
        *_fitting(request, _changes(request)),
        *_more_memory(request, smallest),
    ]
    return tuple(found)


def _changes(request: PlanRequest) -> Iterator[tuple[str, PlanRequest]]:
    """Single changes of the request, least intrusive first."""
    if request.pins.values:
        yield "no pinned hardware settings", replace(request, pins=Pins())
    for length in _shorter(request):
        dataset = changed(
            request.dataset,
            longest=length,
            longest_batch=None,
            mean=min(request.dataset.lengths.mean, length),
            quantiles=tuple(min(q, length) for q in request.dataset.lengths.quantiles),
        )
        yield f"sequences of at most {length} tokens", replace(request, dataset=dataset)
    learning = request.learning
    if learning.method.finetuning_type in (FinetuningType.FULL, FinetuningType.FREEZE):
        lora = changed(learning, finetuning_type=FinetuningType.LORA)
        yield "method lora", replace(request, learning=lora)
        nf4 = Pins(quantization=Quantization.NF4_DQ)
        yield "method lora on an nf4 base", replace(request, learning=lora, pins=nf4)
    for count in _more_devices(request.machine):
        devices = request.machine.devices + (request.machine.devices[-1],) * (
            count - len(request.machine.devices)
        )
        machine = replace(request.machine, devices=devices)
        yield f"{count} such GPUs", replace(request, machine=machine)


def _shorter(request: PlanRequest) -> list[int]:
    longest = request.dataset.lengths.longest
    return [longest // part for part in (2, 4, 8) if longest // part >= 128]


def _more_devices(machine: Machine) -> list[int]:
    have = len(machine.devices)
    return [count for count in (2, 4, 8) if have and have < count <= LARGEST_MACHINE]


def _fitting(request: PlanRequest, changes: Iterator[tuple[str, PlanRequest]]) -> Iterator[Remedy]:
    done: set[str] = set()
    for change, other in changes:
        kind = change.rsplit(" ", 3)[0] if "GPUs" not in change else "GPUs"
        if kind in done:
            continue
        needed = smallest_upper_bytes(other)
        if needed is not None and needed[0] <= needed[1]:
            done.add(kind)
            yield Remedy(change=change, needs_bytes=needed[0])


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


def _more_memory(request: PlanRequest, smallest: Evaluated) -> Iterator[Remedy]:
    """More RAM, or the smallest card on the market that holds the leanest plan's upper bound."""
    if request.on_cpu:
        upper = smallest.memory.process_bytes.upper
        yield Remedy(change=f"{_missing_gib(request, upper)} GiB more RAM", needs_bytes=upper)
        return
    hosts = [
        _on_host(found)
        for found in _lean_plans(request)
        if found.memory.process_bytes.upper <= found.free_bytes
    ]
    if hosts and min(hosts) > host_budget(request):
        change = f"{_missing_gib(request, min(hosts))} GiB more host RAM"
        yield Remedy(change=change, needs_bytes=min(hosts))
    found = _leanest(request)
    if found is None:
        return
    upper = found.memory.process_bytes.upper
    for size in CARD_SIZES_GIB:
        if upper <= usable_bytes(size * GIB):
            word = "a GPU" if found.hardware.sharding.world_size == 1 else "GPUs"
            yield Remedy(change=f"{word} of {size} GiB", needs_bytes=upper)
            return


def _missing_gib(request: PlanRequest, needed: int) -> int:
    """Whole GiB of RAM that would have to be added to what is free."""
    available = request.machine.host.available_bytes
    return ceil((needed / (1 - HOST_RESERVE_FRACTION) - available) / GIB)
