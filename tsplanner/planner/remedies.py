"""What would make a plan fit, each change alone and with its number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from memory_models.device import Machine
from memory_models.settings import FinetuningType, Quantization
from tsplanner.planner.evaluate import Evaluated, evaluate
from tsplanner.planner.plan import HardwareSettings
from tsplanner.planner.request import Pins, PlanRequest
from tsplanner.planner.rules import refusal
from tsplanner.planner.space import candidates

CARD_SIZES_GIB = (8, 11, 12, 16, 22, 24, 32, 40, 48, 80, 96, 141, 180, 288)
LARGEST_MACHINE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """One change and what the smallest plan then needs."""

    change: str
    needs_bytes: int
    """Upper bound per GPU after the change."""


def remedies(request: PlanRequest, smallest: Evaluated) -> tuple[Remedy, ...]:
    """Changes that make a plan fit, smallest first; those that would not are left out."""
    found = [
        *_fitting(request, _changes(request)),
        *_more_memory(request, smallest),
    ]
    return tuple(found)


def _changes(request: PlanRequest) -> Iterator[tuple[str, PlanRequest]]:
    """Single changes of the request, least intrusive first."""
    if request.pins != Pins():
        yield "no pinned hardware settings", replace(request, pins=Pins())
    for length in _shorter(request):
        dataset = replace(
            request.dataset,
            longest_sequence=length,
            longest_batch=None,
            mean_sequence=min(request.dataset.mean_sequence, length),
        )
        yield f"sequences of at most {length} tokens", replace(request, dataset=dataset)
    learning = request.learning
    if learning.finetuning_type in (FinetuningType.FULL, FinetuningType.FREEZE):
        lora = replace(learning, finetuning_type=FinetuningType.LORA)
        yield "method lora", replace(request, learning=lora)
        nf4 = replace(Pins(), quantization=Quantization.NF4_DQ, pinned_quantization=True)
        yield "method lora on an nf4 base", replace(request, learning=lora, pins=nf4)
    for count in _more_devices(request.machine):
        devices = request.machine.devices + (request.machine.devices[-1],) * (
            count - len(request.machine.devices)
        )
        machine = replace(request.machine, devices=devices)
        yield f"{count} such GPUs", replace(request, machine=machine)


def _shorter(request: PlanRequest) -> list[int]:
    longest = request.dataset.longest_sequence
    return [longest // 2, longest // 4] if longest >= 512 else []


def _more_devices(machine: Machine) -> list[int]:
    have = len(machine.devices)
    return [count for count in (2, 4, 8) if have and have < count <= LARGEST_MACHINE]


def _fitting(request: PlanRequest, changes: Iterator[tuple[str, PlanRequest]]) -> Iterator[Remedy]:
    done: set[str] = set()
    for change, changed in changes:
        kind = change.rsplit(" ", 3)[0] if "GPUs" not in change else "GPUs"
        if kind in done:
            continue
        needed = smallest_upper_bytes(changed)
        if needed is not None and needed[0] <= needed[1]:
            done.add(kind)
            yield Remedy(change=change, needs_bytes=needed[0])


def smallest_upper_bytes(request: PlanRequest) -> tuple[int, int] | None:
    """Upper bound of the leanest plan that may run, and the bytes free for it; None: none may."""
    leanest: tuple[int, int] | None = None
    for hardware in candidates(request):
        if not _lean(hardware) or refusal(request, hardware) is not None:
            continue
        try:
            found = evaluate(request, hardware)
        except ValueError:
            continue
        if found.reason.startswith("over the host"):
            continue
        upper = found.memory.process_bytes.upper
        if leanest is None or upper < leanest[0]:
            leanest = (upper, found.free_bytes)
    return leanest


def _lean(hardware: HardwareSettings) -> bool:
    """Only micro-batch 1 with checkpointing can be the leanest."""
    return hardware.micro_batch_size == 1 and hardware.gradient_checkpointing


def _more_memory(request: PlanRequest, smallest: Evaluated) -> Iterator[Remedy]:
    """The smallest card on the market that holds the smallest plan's upper bound."""
    upper = smallest.memory.process_bytes.upper
    if request.on_cpu:
        have = request.machine.host.total_bytes / 2**30
        yield Remedy(change=f"{upper / 2**30 - have + 1:.0f} GiB more RAM", needs_bytes=upper)
        return
    for size in CARD_SIZES_GIB:
        if upper <= 0.97 * size * 2**30:
            word = "a GPU" if smallest.hardware.world_size == 1 else "GPUs"
            yield Remedy(change=f"{word} of {size} GiB", needs_bytes=upper)
            return
