"""The search space: all hardware settings that keep the effective batch exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, product

from memory_models.activations.attention import plain_attention
from memory_models.frozen import frozen
from memory_models.settings import (
    Attention,
    BaseStorage,
    DecoderKernels,
    Dtype,
    Kernels,
    LossKernel,
    Optimizer,
    Quantization,
    Sharding,
    changed,
)
from memory_models.units import divisors
from tsplanner.planner.devices import device_groups, positions_for
from tsplanner.planner.request import Pins, PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.choices import (
    asks_for_slices,
    checkpoint_choices,
    dtype_choices,
    kernel_choices,
    pinned_or,
    pointless,
    quantization_choices,
    sharding_choices,
    upcasts,
)
from tsplanner.planner.space.eight_bit import eight_bit_form, rounds_products
from tsplanner.planner.space.fsdp_rules import fsdp_setting
from tsplanner.planner.space.kernel_rules import has_compiler
from tsplanner.planner.space.layouts import packed_layouts, padded_layouts
from tsplanner.planner.space.streamed_layers import streamings

ONLY_PINNED = frozenset({"cpu_threads", "deepspeed"})
"""Settings that the space never chooses: candidates have the pinned value, or the default."""
MOST_WORLD_SIZES = 8
"""Numbers of GPUs that are tried, or a thousand GPUs would make tens of thousands of candidates."""


def candidates(request: PlanRequest) -> Iterator[HardwareSettings]:
    """All settings of the space that the pins allow, whether they can run or not.

    Raises:
        ValueError: pinned settings exclude each other.
    """
    # The comparison with the pins costs time per candidate, so it is left out where there are none.
    if not request.pins.values:
        yield from _all(request)
        return
    given = {name: value for name, value in request.pins.values.items() if name in ONLY_PINNED}
    for found in _all(request):
        settings = changed(found, **given) if given else found
        if request.pins.allow(settings):
            yield settings


def conflict(request: PlanRequest) -> tuple[str, ...]:
    """The fewest pins that leave no candidate together; empty: the pins leave some.

    Raises:
        ValueError: pinned settings exclude each other.
    """
    pins = request.pins.values
    for size in range(1, len(pins) + 1):
        for names in combinations(pins, size):
            some = replace(request, pins=Pins(**{name: pins[name] for name in names}))
            if next(candidates(some), None) is None:
                return names
    return ()


def _all(request: PlanRequest) -> Iterator[HardwareSettings]:
    if request.on_cpu:
        yield from _cpu(request)
        return
    for group in _groups(request):
        yield from _on_group(request, group)


@frozen
class Group:
    """GPUs that are used together."""

    world_size: int
    nodes: int
    """Machines that have the GPUs."""
    devices: tuple[int, ...]
    """Positions of the GPUs, as in `HardwareSettings.devices`."""
    bf16: bool
    """Whether every GPU of the group computes in bf16."""
    eight_bit: Quantization | None
    """The form of 8 bits that every GPU of the group multiplies."""


def _groups(request: PlanRequest) -> Iterator[Group]:
    """Groups of every size; a rule refuses a group that is too large for the machine."""
    machine = request.machine
    sizes = pinned_or(request.pins, "world_size", world_sizes(request))
    if asks_for_slices(request.pins) and max(sizes) > 1:
        # One GPU has nobody to share with, which nobody needs to read where there are more.
        sizes = [each for each in sizes if each > 1]
    layers = request.pins.get("streamed_layers")
    if isinstance(layers, tuple) and len(layers) * machine.nodes in sizes:
        # A number of layers for each GPU says how many GPUs are used.
        sizes = [len(layers) * machine.nodes]
    for world, nodes in product(sizes, sorted({1, machine.nodes})):
        each = world // nodes
        if request.learning.optimization.effective_batch_size % world or world % nodes:
            continue
        if nodes < machine.nodes and each > len(machine.devices):
            continue  # several machines have as many
        for positions in device_groups(machine, each) or [tuple(range(each))]:
            used = [machine.devices[place] for place in positions if place < len(machine.devices)]
            bf16 = all(device.has_bf16 for device in used)
            lowest = min((device.compute_capability for device in used), default=(0, 0))
            yield Group(
                world_size=world,
                nodes=nodes,
                devices=positions_for(positions),
                bf16=bf16,
                eight_bit=eight_bit_form(lowest, bf16=bf16),
            )


def world_sizes(request: PlanRequest) -> list[int]:
    """Numbers of GPUs that share the effective batch exactly: the smallest and the largest ones.

    On a machine of up to eight GPUs that is every number; on a larger one nobody leaves most idle.
    """
    whole = request.learning.optimization.effective_batch_size
    found = divisors(whole, len(request.machine.devices) * request.machine.nodes)
    return [*found[:1], *found[1:][-(MOST_WORLD_SIZES - 1) :]]


def _on_group(request: PlanRequest, group: Group) -> Iterator[HardwareSettings]:
    """All settings that are possible on these GPUs."""
    autocast = _autocast(request, group)
    options = product(
        _bases(request, group, autocast),
        kernel_choices(request),
        sharding_choices(request),
        checkpoint_choices(request),
    )
    padded = padded_layouts(request, group.world_size)
    packed = packed_layouts(request, group.world_size)
    for base, kernels, sharding, checkpoints in options:
        if pointless(request, base, sharding):
            continue
        if sharding.fsdp_per_host and not 1 < group.nodes < group.world_size:
            continue  # one machine has one copy, and a single GPU of it nobody to share with
        shared = replace(sharding, world_size=group.world_size, nodes=group.nodes)
        # Rows in fp32 are left alone by most compiled kernels; fused ones take fewer bytes there.
        compiles = group.bf16 and has_compiler(request.machine) and not base.upcasts
        # ZeRO-3 gathers the weights module by module, so fused kernels cannot read them.
        usable = kernels
        if "decoder_kernels" not in request.pins and compiles:
            usable = replace(kernels, decoder_kernels=DecoderKernels.COMPILED)
        if sharding.zero_stage == 3:
            usable = replace(kernels, decoder_kernels=DecoderKernels.REFERENCE)
        packs = _packs(request, kernels, sharding)
        ways = list(streamings(request, base, sharding, checkpoints=checkpoints))
        for layout, way in product((*padded, *packed) if packs else padded, ways):
            found = HardwareSettings(
                accelerator="cuda",
                devices=group.devices,
                batch=replace(layout, gradient_checkpointing=checkpoints),
                base=base,
                kernels=usable,
                sharding=shared,
                streaming=way,
            )
            # What was not asked for is left out; what was is refused in words.
            if asks_for_slices(request.pins) or fsdp_setting(request, found) is None:
                yield found


def _bases(request: PlanRequest, group: Group, autocast: Dtype) -> list[BaseStorage]:
    """The dtypes and quantisations that the base may have; 8-bit products where rounding may be."""
    rounds = request.allow_rounding and rounds_products(request) and group.eight_bit is not None
    quantizations = quantization_choices(
        request, [None, *([group.eight_bit] if rounds else []), Quantization.NF4_DQ]
    )
    return [
        BaseStorage(
            model_dtype=dtype,
            autocast=autocast,
            quantization=quantization,
            upcast_unquantized=upcasts(request.pins, quantization),
        )
        for dtype, quantization in product(dtype_choices(request, autocast), quantizations)
    ]


def _cpu(request: PlanRequest) -> Iterator[HardwareSettings]:
    """Settings of one process in fp32, where only the loss kernel is a choice."""
    pins = request.pins
    options = product(
        quantization_choices(request, [None]),
        checkpoint_choices(request),
        pinned_or(pins, "loss_kernel", [LossKernel.PLAIN, LossKernel.FUSED]),
        padded_layouts(request, 1) or packed_layouts(request, 1),
    )
    for quantization, checkpoints, loss, layout in options:
        base = BaseStorage(
            model_dtype=pins.get("model_dtype", Dtype.FP32),
            autocast=None,
            quantization=quantization,
            upcast_unquantized=upcasts(pins, quantization),
        )
        for way in streamings(request, base, Sharding(), checkpoints=checkpoints):
            yield HardwareSettings(
                accelerator="cpu",
                batch=replace(layout, gradient_checkpointing=checkpoints),
                base=base,
                kernels=Kernels(
                    attention=pins.get(
                        "attention", plain_attention(request.architecture.attention)
                    ),
                    loss_kernel=loss,
                    optimizer=pins.get("optimizer", Optimizer.ADAMW_TORCH_FUSED),
                ),
                streaming=way,
            )


def _packs(request: PlanRequest, kernels: Kernels, sharding: Sharding) -> bool:
    """Whether packed layouts are worth a candidate: no rule tells people of what nobody asked."""
    plain = kernels.attention is not Attention.FLASH_ATTENTION_2
    return "token_budget" in request.pins or (plain and not sharding.zero_stage)


def _autocast(request: PlanRequest, group: Group) -> Dtype:
    """bf16 where every GPU of the group has it natively, else fp16 with loss scaling."""
    pinned = request.pins.get("model_dtype")
    if pinned in (Dtype.BF16, Dtype.FP16):
        return Dtype(pinned)
    return Dtype.BF16 if group.bf16 else Dtype.FP16
