"""How many layers to stream: as few as fit; and how many layers' inputs to keep on the device.

Memory of the device falls with each streamed layer, while memory of the host and the time on the
link rise. So the best number is the smallest that the device has room for. Where the GPUs of a
machine are of several kinds, each kind has a number of its own.

A byte of the device spares the link as much whether it holds weights or inputs. Weights come in
both halves of a step, and inputs leave in forward beside them, the other way: so room goes to
weights until no more of them come in forward than inputs leave, and then to both alike. Bytes are
nearly a straight line over the number of inputs, on which two estimates find what fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from math import ceil

from memory_models.settings import BaseStorage, Sharding, Streaming, changed
from memory_models.states.streamed import BUFFERS
from memory_models.units import ceil_div
from tsplanner.models.quantized import stored_base
from tsplanner.planner.devices import of_one_kind
from tsplanner.planner.evaluate import VERDICTS, Evaluated, host_budget, lacks_host_memory
from tsplanner.planner.plan import Verdict
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.space.checkpointed_layers import Estimate, share_between
from tsplanner.planner.space.pareto import quality_risk

STREAMED_LAYERS, INPUTS = "streamed_layers", "inputs_on_device"
PASSES_TOGETHER, FROM_FILES = "passes_together", "stream_from_files"
GUESSES = 2
"""Guesses of the number of inputs along the line, which leave room for one more layer's at most."""


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
    places = [pins.get(INPUTS)] if INPUTS in pins else [None, 0]
    whole = base.quantization is None and stored_base(request.model.config) is None
    files = [pins.get(FROM_FILES)] if FROM_FILES in pins else [False, True][: 1 + whole]
    if STREAMED_LAYERS in pins and FROM_FILES not in pins:
        files = [False]
    for number, inputs, in_files in product(numbers, places, files):
        if number or not (inputs is not None or in_files):
            yield Streaming(
                streamed_layers=number,
                inputs_on_device=inputs,
                stream_from_files=in_files,
                passes_together=pins.get(PASSES_TOGETHER) if number else None,
            )


def with_fewest(
    request: PlanRequest, evaluated: Iterable[Evaluated], estimate: Estimate
) -> list[Evaluated]:
    """The candidates, with as few streamed layers as fit where the number matters to them.

    It does where the work waits for the link, or where the memory of the host is short. Of those
    that could still be the fastest, inputs are kept on the device as well.
    """
    found = [
        _relieved(request, each, estimate) if each.time.exposed or lacks_host_memory(each) else each
        for each in evaluated
    ]
    sure = [each for each in found if each.verdict is Verdict.FITS]
    return [
        _balanced(request, each, estimate)
        if each.time.exposed and not any(_is_ahead(other, each) for other in sure)
        else each
        for each in found
    ]


def _is_ahead(sure: Evaluated, other: Evaluated) -> bool:
    """Whether a candidate rounds no more than another one, and is faster than its work alone."""
    work = other.time.seconds - other.time.exposed
    faster = sure.samples_per_second * work > other.hardware.effective_batch_size
    return faster and quality_risk(sure.hardware) <= quality_risk(other.hardware)


def _relieved(request: PlanRequest, found: Evaluated, estimate: Estimate) -> Evaluated:
    """The candidate with as few layers and passes on the host as the device has room for."""
    if lacks_host_memory(found) and found.hardware.streaming.stream_from_files:
        # The host holds two of the layers, whatever their number, and all inputs that are sent.
        found = most_inputs(request, found, estimate)
    room = found.free_bytes - found.memory.process_bytes.upper
    lack = found.memory.host_bytes.upper - host_budget(request)
    if lack <= room * found.hardware.sharding.processes_per_node:
        best = fewest_alike(request, found, estimate)
        if not lacks_host_memory(best):
            return best
    return fewest_alike(request, most_together(request, found, estimate), estimate)


def _balanced(request: PlanRequest, fewest: Evaluated, estimate: Estimate) -> Evaluated:
    """The candidate with the fewest layers, or with a few more and room for inputs in their place.

    As many more as let weights come as long in forward as inputs leave.
    """
    hardware, link = fewest.hardware, fewest.time.link
    streamed = hardware.streaming.most
    weights = link.weights * link.groups
    if not hardware.streaming.sends_inputs or not _has_room(fewest):
        return fewest
    number, each = streamed, weights / max(1, streamed - BUFFERS)
    if STREAMED_LAYERS not in request.pins and link.inputs > weights and each:
        more = ceil((link.inputs - weights) / (2 * each))
        number = min(streamed + more, _layers(request))
    found = estimate(changed(hardware, streamed_layers=number))
    found = most_inputs(request, found, estimate)
    faster = found.samples_per_second > fewest.samples_per_second
    return found if faster and _is_as_sure(found, fewest) else fewest


def most_inputs(request: PlanRequest, chosen: Evaluated, estimate: Estimate) -> Evaluated:
    """The candidate with as many inputs on the device as it surely has room for, if it sends any.

    They are counted in layers, of which each has an input of every pass.
    """
    best, low = chosen, chosen.hardware.streaming.inputs_on_device
    if INPUTS in request.pins or low is None or not _has_room(chosen):
        return chosen
    over, high = estimate(changed(chosen.hardware, inputs_on_device=None)), _layers(request)
    if _has_room(over):
        return over
    for _ in range(GUESSES):
        number = high - max(1, ceil((high - low) * share_between(over, best)))
        if number <= low:
            break
        found = estimate(changed(chosen.hardware, inputs_on_device=number))
        if _has_room(found):
            best, low = found, number
        else:
            over, high = found, number
    return best


def _layers(request: PlanRequest) -> int:
    return request.architecture.num_hidden_layers


def _is_as_sure(found: Evaluated, other: Evaluated) -> bool:
    return VERDICTS.index(found.verdict) <= VERDICTS.index(other.verdict)


def most_together(request: PlanRequest, chosen: Evaluated, estimate: Estimate) -> Evaluated:
    """The candidate with as many passes together as the host has room for their inputs."""
    steps = chosen.hardware.batch.gradient_accumulation_steps
    if PASSES_TOGETHER in request.pins or not chosen.hardware.streaming.sends_inputs:
        return chosen
    while steps > 1 and lacks_host_memory(chosen):
        steps = ceil_div(steps, 2)
        chosen = estimate(changed(chosen.hardware, passes_together=steps))
    return chosen


def fewest_streamed(request: PlanRequest, chosen: Evaluated, estimate: Estimate) -> Evaluated:
    """The candidate with the fewest streamed layers on every GPU for which it surely has room.

    Where their number is an order, what room is left holds inputs.
    """
    if STREAMED_LAYERS in request.pins:
        return most_inputs(request, chosen, estimate)
    best = fewest_alike(request, chosen, estimate)
    kinds = of_one_kind(request.machine, best.hardware)
    if len(kinds) > 1 and best.hardware.streaming.streams:
        for kind in kinds:
            found = _fewest(request, best, estimate, kind)
            # Other layers stay on each kind, so that the host may hold more of them in all.
            if _is_as_sure(found, best):
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
