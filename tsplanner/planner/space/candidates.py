"""The search space: all hardware settings that keep the effective batch exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, product
from typing import Any

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
from tsplanner.models.quantized import stored_base
from tsplanner.planner.devices import device_groups, positions_for
from tsplanner.planner.request import Pins, PlanRequest
from tsplanner.planner.settings import HardwareSettings
from tsplanner.planner.space.eight_bit import eight_bit_form, rounds_products
from tsplanner.planner.space.fsdp_rules import fsdp_setting
from tsplanner.planner.space.kernel_rules import has_compiler
from tsplanner.planner.space.layouts import packed_layouts, padded_layouts
from tsplanner.planner.space.streamed_layers import streamings

SHARDINGS = (
    Sharding(),
    Sharding(zero_stage=2),
    Sharding(zero_stage=2, offload_optimizer=True),
    Sharding(zero_stage=3),
    Sharding(zero_stage=3, offload_param=True),
    Sharding(zero_stage=3, offload_param=True, offload_optimizer=True),
)
"""Ways in which GPUs may share the model; each group of GPUs fills in its ``world_size``."""
SLICES = (Sharding(fsdp=True), Sharding(fsdp=True, fsdp_per_host=True))
"""Ways in which FSDP2 shares a base out: over all GPUs, and over those of each machine."""
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
    sizes = _choices(request.pins, "world_size", world_sizes(request))
    if _asks_for_slices(request.pins) and max(sizes) > 1:
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
        _kernels(request),
        _shardings(request),
        _checkpoints(request),
    )
    padded = padded_layouts(request, group.world_size)
    packed = packed_layouts(request, group.world_size)
    for base, kernels, sharding, checkpoints in options:
        if _pointless(request, base, sharding):
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
            if _asks_for_slices(request.pins) or fsdp_setting(request, found) is None:
                yield found


def _bases(request: PlanRequest, group: Group, autocast: Dtype) -> list[BaseStorage]:
    """The dtypes and quantisations that the base may have; 8-bit products where rounding may be."""
    rounds = request.allow_rounding and rounds_products(request) and group.eight_bit is not None
    quantizations = _quantizations(
        request, [None, *([group.eight_bit] if rounds else []), Quantization.NF4_DQ]
    )
    return [
        BaseStorage(
            model_dtype=dtype,
            autocast=autocast,
            quantization=quantization,
            upcast_unquantized=_upcasts(request.pins, quantization),
        )
        for dtype, quantization in product(_dtypes(request, autocast), quantizations)
    ]


def _quantizations(
    request: PlanRequest, otherwise: list[Quantization | None]
) -> list[Quantization | None]:
    """The quantisations that the base may have: one alone if its weights are stored in it."""
    stored = stored_base(request.model.config)
    if stored is not None:
        return [stored.quantization]
    found: list[Quantization | None] = _choices(request.pins, "quantization", otherwise)
    return found


def _upcasts(pins: Pins, quantization: Quantization | None) -> bool:
    """Whether the unquantised parts are cast to fp32: only if asked for, as it takes memory.

    Without a quantised base the setting says nothing, so it keeps its default.
    """
    return bool(pins.get("upcast_unquantized", False)) if quantization else True


def _kernels(request: PlanRequest) -> list[Kernels]:
    """The kernels of attention, loss, optimizer and decoder layers that a GPU may use."""
    pins = request.pins
    options = product(
        _choices(pins, "attention", _attentions(request)),
        _choices(pins, "loss_kernel", [LossKernel.FUSED, LossKernel.PLAIN]),
        _choices(pins, "optimizer", _optimizers(request)),
    )
    return [
        Kernels(
            attention=attention,
            loss_kernel=loss,
            optimizer=optimizer,
            decoder_kernels=pins.get("decoder_kernels", DecoderKernels.FUSED),
            # The worker runs PyTorch's allocator this way, so memory is sized for it.
            expandable_segments=True,
        )
        for attention, loss, optimizer in options
    ]


def _attentions(request: PlanRequest) -> list[Attention]:
    """What transformers runs; beside eager attention flex_attention, which writes no scores.

    FlashAttention-2 was never run here, so that a plan has it only where a person asks for it.
    """
    plain = plain_attention(request.architecture.attention)
    return [plain, Attention.FLEX_ATTENTION] if plain is Attention.EAGER else [plain]


def _cpu(request: PlanRequest) -> Iterator[HardwareSettings]:
    """Settings of one process in fp32, where only the loss kernel is a choice."""
    pins = request.pins
    options = product(
        _quantizations(request, [None]),
        _checkpoints(request),
        _choices(pins, "loss_kernel", [LossKernel.PLAIN, LossKernel.FUSED]),
        padded_layouts(request, 1) or packed_layouts(request, 1),
    )
    for quantization, checkpoints, loss, layout in options:
        base = BaseStorage(
            model_dtype=pins.get("model_dtype", Dtype.FP32),
            autocast=None,
            quantization=quantization,
            upcast_unquantized=_upcasts(pins, quantization),
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


def _choices(pins: Pins, name: str, otherwise: Any) -> Any:
    """The pinned value alone, or all values of ``otherwise`` if none is pinned."""
    return [pins.get(name)] if name in pins else otherwise


def _checkpoints(request: PlanRequest) -> list[bool]:
    """Checkpointing off and on; ``checkpointed_layers.py`` searches for the number of layers."""
    pins = request.pins
    if "gradient_checkpointing" in pins:
        return [pins.get("gradient_checkpointing")]
    return [False, True] if pins.get("checkpointed_layers") is None else [True]


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


def _dtypes(request: PlanRequest, autocast: Dtype) -> list[Dtype]:
    """Dtypes of the base; weights trained under fp16 take fp32, as their gradients are unscaled."""
    if "model_dtype" in request.pins:
        return [request.pins.get("model_dtype")]
    trained = request.learning.method.trains_base
    return [Dtype.FP32 if trained and autocast is Dtype.FP16 else autocast]


def _optimizers(request: PlanRequest) -> list[Optimizer]:
    """Optimizers. One in 8 bits changes what is learned a little: only a trained base gets it."""
    if request.learning.method.trains_base and not _asks_for_slices(request.pins):
        return [Optimizer.ADAMW_TORCH_FUSED, Optimizer.ADAMW_BNB_8BIT]
    return [Optimizer.ADAMW_TORCH_FUSED]


def _shardings(request: PlanRequest) -> list[Sharding]:
    """Ways to shard. ZeRO-1 saves less than ZeRO-2 at equal traffic, so it has to be pinned.

    So has ZeRO-3 with the optimizer alone in RAM: slices of the weights take less than its states.
    """
    stage = request.pins.get("zero_stage")
    if _asks_for_slices(request.pins):
        trains = request.learning.method.trains_base and "fsdp_per_host" not in request.pins
        return list(SLICES[:1] if trains else SLICES)
    if stage == 1:
        return [Sharding(zero_stage=1), Sharding(zero_stage=1, offload_optimizer=True)]
    plain = [found for found in SHARDINGS if stage is None or found.zero_stage == stage]
    if stage == 3 and request.pins.get("offload_optimizer"):
        plain.append(Sharding(zero_stage=3, offload_optimizer=True))
    unasked = not any(name in request.pins for name in ("zero_stage", "fsdp", "fsdp_per_host"))
    # No GPU has trained slices of the base itself, so that this has to be pinned.
    slices = unasked and request.learning.method.uses_adapter
    return [*plain, *(SLICES if slices else ())]


def _asks_for_slices(pins: Pins) -> bool:
    """Whether a person wants the base shared out by FSDP2."""
    return bool(pins.get("fsdp") or pins.get("fsdp_per_host"))


def _pointless(request: PlanRequest, base: BaseStorage, sharding: Sharding) -> bool:
    """Whether sharding serves nothing here, so that only users who pin it get it.

    FSDP2 shares a 4-bit base out for more methods and kernels than ZeRO-3, whose bytes no GPU has
    confirmed there: only a user who asks for both gets it. A rule
    refuses int8 there and 8-bit products under any ZeRO, which only a user who asks for ZeRO has to
    read. With an adapter on a plain base ZeRO-2 shards a few MiB. With an adapter on a quantised
    base DeepSpeed also casts the weights that would stay in fp32 (embedding, head, norms), which
    can free the GiB that are missing.
    """
    if "zero_stage" in request.pins:
        asked = "quantization" in request.pins or stored_base(request.model.config) is not None
        return base.has_4bit and sharding.zero_stage == 3 and not asked
    if base.multiplies_8bit:
        return sharding.zero_stage > 0
    adapter = request.learning.method.uses_adapter
    return sharding.zero_stage == 3 if base.quantization else adapter and sharding.zero_stage == 2
