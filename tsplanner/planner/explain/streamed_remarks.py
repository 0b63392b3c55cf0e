"""What to know of a plan that streams layers: what crosses the link, and what hides it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memory_models.activations.frozen.layer_major import host_input_bytes
from memory_models.device import Device
from memory_models.states.streamed import crossing_bytes
from memory_models.units import GIB
from tsplanner.planner.devices import used_devices
from tsplanner.planner.evaluate import Evaluated, longest_step, processes, rates_for
from tsplanner.planner.explain.reasons import Data, LinkBasis, Remark, RemarkKind, StreamSource
from tsplanner.planner.request import PlanRequest
from tsplanner.planner.settings import HardwareSettings, training_settings

WORTH_SAYING = 0.02
"""Share of the work from which waiting for the link is said to cost time."""


def _basis(devices: Sequence[Device]) -> LinkBasis:
    """Where the rate of the link to the host comes from."""
    if all(device.host_copies for device in devices):
        return LinkBasis.MEASURED
    stated = all(device.host_link_bytes_per_second for device in devices)
    return LinkBasis.STATED if stated else LinkBasis.NOT_KNOWN


def streamed_remarks(request: PlanRequest, best: Evaluated) -> Iterator[Remark]:
    """The bytes per step and the seconds that they take beside those of the work."""
    hardware, time = best.hardware, best.time
    if not hardware.streaming.streams or request.on_cpu:
        return
    states = training_settings(request.learning, hardware, 1).states
    work = time.joined + time.uneven
    links, basis = (
        rates_for(request, hardware).links,
        _basis(used_devices(request.machine, hardware)),
    )
    rate, source = links.pinned, StreamSource.HOST
    if hardware.streaming.stream_from_files:
        source, disk = StreamSource.FILES, links.disk / hardware.sharding.world_size
        if disk < rate:
            measured = request.machine.host.disk_read_bytes_per_second is not None
            rate, basis = disk, LinkBasis.MEASURED if measured else LinkBasis.STATED
    data: Data = {
        "layers": hardware.streaming.shown,
        "total": request.architecture.num_hidden_layers,
        "moved": time.link.groups * crossing_bytes(request.architecture, states) / 1e9,
        "link": 2 * (time.link.groups * time.link.weights + time.link.inputs),
        "rate": rate / 1e9,
        "link_basis": basis,
        "source": source,
        "work": work,
    }
    if time.exposed <= WORTH_SAYING * work:
        yield Remark(kind=RemarkKind.STREAMED, data=data)
    else:
        yield Remark(kind=RemarkKind.STREAMED_WAITS, data=data | {"waits": time.exposed})
    if hardware.streaming.inputs_on_device:
        yield _kept_inputs(request, best)
    if hardware.streaming.differs:
        yield from _of_each_gpu(request, hardware)


def _kept_inputs(request: PlanRequest, best: Evaluated) -> Remark:
    """How many inputs wait on the GPU and how many on the host, where some wait on each."""
    settings = longest_step(request, best.hardware)
    data: Data = {
        "kept": best.hardware.streaming.kept_inputs(request.architecture.num_hidden_layers),
        "total": request.architecture.num_hidden_layers,
        "sent": host_input_bytes(request.architecture, settings) / 1e9,
    }
    return Remark(kind=RemarkKind.STREAMED_INPUTS, data=data)


def _of_each_gpu(request: PlanRequest, hardware: HardwareSettings) -> Iterator[Remark]:
    """What every GPU holds, where they stream unlike numbers of layers."""
    used = used_devices(request.machine, hardware)
    places = hardware.devices or range(len(used))
    for needs, device, place in zip(processes(request, hardware), used, places, strict=True):
        found = needs.memory.process_bytes
        data: Data = {
            "place": place,
            "name": device.name,
            "layers": hardware.streaming.numbers[needs.process],
            "needs": found.expected / GIB,
            "upper": found.upper / GIB,
            "free": needs.free_bytes / GIB,
        }
        yield Remark(kind=RemarkKind.STREAMED_GPU, data=data)
