"""How many layers to stream: as few as fit.

Memory of the device falls with each streamed layer, while memory of the host and the time on the
link rise. So the best number is the smallest that the device has room for. Where the GPUs of a
machine are of several kinds, each kind has a number of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

from memory_models.settings import BaseStorage, Sharding, Streaming, changed
from memory_models.units import ceil_div
from tsplanner.models.quantized import stored_base
from tsplanner.planner.devices import of_one_kind
from tsplanner.planner.evaluate import VERDICTS, Evaluated, lacks_host_memory
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.space.checkpointed_layers import Estimate

STREAMED_LAYERS, HOST_CHECKPOINTS = "streamed_layers", "host_checkpoints"
PASSES_TOGETHER, FROM_FILES = "passes_together", "stream_from_files"


def streamings(
    request: PlanRequest, base: BaseStorage, sharding: Sharding, *, checkpoints: bool
) -> Iterator[Streaming]:
    """Ways to stream that are worth a candidate: none, and all layers, unless they are pinned.

    What only a person who asks for it gets to read is left to the rules.
    """
    pins = request.pins
    against = {
        "zero_stage": sharding.zero_stage > 0,
        "fsdp": sharding.fsdp,
        "upcast_unquantized": base.upcasts,
        "gradient_checkpointing": not checkpoints,
        "checkpointed_layers": pins.get("checkpointed_layers") is not None,
    }
    numbers = [0, request.architecture.num_hidden_layers]
    if STREAMED_LAYERS in pins:
        numbers = [pins.get(STREAMED_LAYERS)]
        # What was not asked for is left out; what was is refused in words.
        if numbers != [0] and any(holds and name not in pins for name, holds in against.items()):
            return
    elif request.on_cpu or not request.learning.method.uses_adapter or any(against.values()):
        numbers = [0]
    places = [pins.get(HOST_CHECKPOINTS)] if HOST_CHECKPOINTS in pins else [False, True]
    whole = base.quantization is None and stored_base(request.model.config) is None
    files = [pins.get(FROM_FILES)] if FROM_FILES in pins else [False, True][: 1 + whole]
    if STREAMED_LAYERS in pins and FROM_FILES not in pins:
        files = [False]
    for number, on_host, in_files in product(numbers, places, files):
        if number or not (on_host or in_files):
            yield Streaming(
                streamed_layers=number,
                host_checkpoints=on_host,
                stream_from_files=in_files,
                passes_together=pins.get(PASSES_TOGETHER) if number else None,
            )


def with_fewest(
    request: PlanRequest, evaluated: Iterable[Evaluated], estimate: Estimate
) -> list[Evaluated]:
    """The candidates, with as few streamed layers as fit where the number matters to them.

    It does where the work waits for the link, or where the memory of the host is short.
    """
    return [
        fewest_alike(request, most_together(request, found, estimate), estimate)
        if found.time.exposed or lacks_host_memory(found)
        else found
        for found in evaluated
    ]


def most_together(request: PlanRequest, chosen: Evaluated, estimate: Estimate) -> Evaluated:
    """The candidate with as many passes together as the host has room for their inputs."""
    steps = chosen.hardware.batch.gradient_accumulation_steps
    if PASSES_TOGETHER in request.pins or not chosen.hardware.streaming.host_checkpoints:
        return chosen
    while steps > 1 and lacks_host_memory(chosen):
        steps = ceil_div(steps, 2)
        chosen = estimate(changed(chosen.hardware, passes_together=steps))
    return chosen


def fewest_streamed(request: PlanRequest, chosen: Evaluated, estimate: Estimate) -> Evaluated:
    """The candidate with the fewest streamed layers on every GPU for which it surely has room."""
    best = fewest_alike(request, chosen, estimate)
    kinds = of_one_kind(request.machine, best.hardware)
    if len(kinds) > 1 and best.hardware.streaming.streams:
        for kind in kinds:
            found = _fewest(request, best, estimate, kind)
            # Other layers stay on each kind, so that the host may hold more of them in all.
            if VERDICTS.index(found.verdict) <= VERDICTS.index(best.verdict):
                best = found
    return best


def fewest_alike(request: PlanRequest, chosen: Evaluated, estimate: Estimate) -> Evaluated:
    """The candidate with the fewest streamed layers, as many on every GPU.

    The GPU with the least room decides on the step as well, so that this number is enough to
    compare candidates.
    """
    every = range(chosen.hardware.sharding.processes_per_node)
    return _fewest(request, chosen, estimate, every)


def _fewest(
    request: PlanRequest, chosen: Evaluated, estimate: Estimate, processes: Iterable[int]
) -> Evaluated:
    """The candidate with the fewest streamed layers in these processes of a machine."""
    hardware, best = chosen.hardware, chosen
    numbers = dict(enumerate(hardware.streaming.numbers_of(hardware.sharding.processes_per_node)))
    low, high = 0, max(numbers[process] for process in processes)
    if not high or STREAMED_LAYERS in request.pins or not _has_room(chosen):
        return chosen
    while high - low > 1:
        number = (low + high) // 2
        tried = numbers | dict.fromkeys(processes, number)
        found = estimate(changed(hardware, streamed_layers=tuple(tried.values())))
        if _has_room(found):
            best, high = found, number
        else:
            low = number
    return best


def _has_room(found: Evaluated) -> bool:
    """Whether the device surely has room, whatever the host has."""
    return found.memory.process_bytes.upper <= found.free_bytes
