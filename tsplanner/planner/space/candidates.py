"""The space: every hardware setting that keeps the effective batch exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from memory_models.settings import (
    Attention,
    BaseStorage,
    BatchLayout,
    DecoderKernels,
    Dtype,
    Kernels,
    LossKernel,
    Optimizer,
    Quantization,
    Sharding,
)
from tsplanner.planner.devices import device_groups, positions_for
from tsplanner.planner.request import Pins, PlanRequest
from tsplanner.planner.settings import HardwareSettings

SHARDINGS = (
    Sharding(),
    Sharding(zero_stage=2),
    Sharding(zero_stage=2, offload_optimizer=True),
    Sharding(zero_stage=3),
    Sharding(zero_stage=3, offload_param=True),
    Sharding(zero_stage=3, offload_param=True, offload_optimizer=True),
)
"""How several GPUs may share the model; ``world_size`` is filled in for each group of GPUs."""
LARGEST_MICRO_BATCH = 64


def candidates(request: PlanRequest) -> Iterator[HardwareSettings]:
    """All settings of the space that the pins allow, feasible or not."""
    if not request.pins.values:
        yield from _all(request)
        return
    for found in _all(request):
        if request.pins.allow(found):
            yield found


def _all(request: PlanRequest) -> Iterator[HardwareSettings]:
    if request.on_cpu:
        yield from _cpu(request)
        return
    for group in _groups(request):
        yield from _on_group(request, group)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """GPUs that are used together."""

    world_size: int
    devices: tuple[int, ...]
    """As `HardwareSettings.devices`."""
    bf16: bool
    """Every one of them computes in bf16."""


def _groups(request: PlanRequest) -> Iterator[Group]:
    """Sets of GPUs by their number; one too large for the machine is left to the rules."""
    machine = request.machine
    for world in _choices(request.pins, "world_size", range(1, len(machine.devices) + 1)):
        if request.learning.optimization.effective_batch_size % world:
            continue
        for positions in device_groups(machine, world) or [tuple(range(world))]:
            used = [machine.devices[place] for place in positions if place < len(machine.devices)]
            yield Group(
                world_size=world,
                devices=positions_for(positions),
                bf16=all(device.has_bf16 for device in used),
            )


def _on_group(request: PlanRequest, group: Group) -> Iterator[HardwareSettings]:
    """Everything that can be set on these GPUs."""
    autocast = _autocast(request, group)
    options = product(
        _bases(request, autocast), _kernels(request), _shardings(request), _checkpoints(request)
    )
    sizes = micro_batch_sizes(request.learning.optimization.effective_batch_size, group.world_size)
    for base, kernels, sharding, checkpoints in options:
        if _pointless(request, base.quantization, sharding):
            continue
        shared = replace(sharding, world_size=group.world_size)
        # ZeRO-3 gathers the weights module by module, so fused kernels cannot read them.
        usable = kernels
        if sharding.zero_stage == 3:
            usable = replace(kernels, decoder_kernels=DecoderKernels.REFERENCE)
        for micro in sizes:
            yield HardwareSettings(
                accelerator="cuda",
                devices=group.devices,
                batch=_batch(request, group.world_size, micro, checkpoints=checkpoints),
                base=base,
                kernels=usable,
                sharding=shared,
            )


def _bases(request: PlanRequest, autocast: Dtype) -> list[BaseStorage]:
    """Dtypes and quantisations of the base."""
    quantizations = _choices(request.pins, "quantization", [None, Quantization.NF4_DQ])
    return [
        BaseStorage(model_dtype=dtype, autocast=autocast, quantization=quantization)
        for dtype, quantization in product(_dtypes(request, autocast), quantizations)
    ]


def _kernels(request: PlanRequest) -> list[Kernels]:
    """Kernels of attention, loss, optimizer and decoder layers on a GPU."""
    pins = request.pins
    attentions = [Attention.FLASH_ATTENTION_2, _plain_attention(request)]
    options = product(
        _choices(pins, "attention", attentions),
        _choices(pins, "loss_kernel", [LossKernel.FUSED, LossKernel.PLAIN]),
        _choices(pins, "optimizer", _optimizers(request)),
    )
    return [
        Kernels(
            attention=attention,
            loss_kernel=loss,
            optimizer=optimizer,
            decoder_kernels=pins.get("decoder_kernels", DecoderKernels.FUSED),
            expandable_segments=True,
        )
        for attention, loss, optimizer in options
    ]


def _cpu(request: PlanRequest) -> Iterator[HardwareSettings]:
    """One process, fp32, no kernels to choose from."""
    pins = request.pins
    options = product(
        _choices(pins, "quantization", [None]),
        _checkpoints(request),
        _choices(pins, "loss_kernel", [LossKernel.PLAIN, LossKernel.FUSED]),
        micro_batch_sizes(request.learning.optimization.effective_batch_size, 1),
    )
    for quantization, checkpoints, loss, micro in options:
        yield HardwareSettings(
            accelerator="cpu",
            batch=_batch(request, 1, micro, checkpoints=checkpoints),
            base=BaseStorage(
                model_dtype=pins.get("model_dtype", Dtype.FP32),
                autocast=None,
                quantization=quantization,
            ),
            kernels=Kernels(
                attention=pins.get("attention", _plain_attention(request)),
                loss_kernel=loss,
                optimizer=pins.get("optimizer", Optimizer.ADAMW_TORCH_FUSED),
            ),
        )


def _choices(pins: Pins, name: str, otherwise: Any) -> Any:
    """The value that is pinned alone, or all of ``otherwise``."""
    return [pins.get(name)] if name in pins else otherwise


def _batch(request: PlanRequest, world_size: int, micro: int, *, checkpoints: bool) -> BatchLayout:
    whole = request.learning.optimization.effective_batch_size
    return BatchLayout(
        micro_batch_size=micro,
        gradient_accumulation_steps=whole // (world_size * micro),
        gradient_checkpointing=checkpoints,
        checkpointed_layers=request.pins.get("checkpointed_layers"),
    )


def _checkpoints(request: PlanRequest) -> list[bool]:
    """Off or on; ``checkpointed_layers.py`` searches the number of layers unless it is pinned."""
    pins = request.pins
    if "gradient_checkpointing" in pins:
        return [pins.get("gradient_checkpointing")]
    return [False, True] if pins.get("checkpointed_layers") is None else [True]


def _plain_attention(request: PlanRequest) -> Attention:
    """The kernel that needs no package: sdpa, which knows no soft cap (Gemma 2)."""
    capped = request.architecture.attention.attn_logit_softcapping
    return Attention.EAGER if capped else Attention.SDPA


def micro_batch_sizes(effective_batch: int, world_size: int) -> list[int]:
    """Micro-batches that divide a rank's share of the effective batch exactly."""
    if effective_batch % world_size:
        return []
    share = effective_batch // world_size
    largest = min(share, LARGEST_MICRO_BATCH)
    return [size for size in range(1, largest + 1) if share % size == 0]


def _autocast(request: PlanRequest, group: Group) -> Dtype:
    """bf16 where every GPU used has it natively, else fp16 with loss scaling."""
    pinned = request.pins.get("model_dtype")
    if pinned in (Dtype.BF16, Dtype.FP16):
        return Dtype(pinned)
    return Dtype.BF16 if group.bf16 else Dtype.FP16


def _dtypes(request: PlanRequest, autocast: Dtype) -> list[Dtype]:
    """Trained base weights in fp16 cannot be unscaled by the loss scaler, so they load in fp32."""
    if "model_dtype" in request.pins:
        return [request.pins.get("model_dtype")]
    trained = request.learning.method.trains_base
    return [Dtype.FP32 if trained and autocast is Dtype.FP16 else autocast]


def _optimizers(request: PlanRequest) -> list[Optimizer]:
    """An 8-bit optimizer changes what is learned a little: offered for trained bases only."""
    if request.learning.method.trains_base:
        return [Optimizer.ADAMW_TORCH_FUSED, Optimizer.ADAMW_BNB_8BIT]
    return [Optimizer.ADAMW_TORCH_FUSED]


def _shardings(request: PlanRequest) -> list[Sharding]:
    """ZeRO-1 saves less than ZeRO-2 at the same traffic: only where it is pinned."""
    stage = request.pins.get("zero_stage")
    if stage == 1:
        return [Sharding(zero_stage=1), Sharding(zero_stage=1, offload_optimizer=True)]
    return [found for found in SHARDINGS if stage is None or found.zero_stage == stage]


def _pointless(request: PlanRequest, quantization: Quantization | None, sharding: Sharding) -> bool:
    """Sharding that is left to who pins it.

    A rule refuses a quantised base under ZeRO-3, and has to say so only to who asks for it. Of an
    adapter on a plain base ZeRO-2 shards some MiB; on a quantised one DeepSpeed also casts what
    would be left in fp32 (embedding, head, norms), which can be the GiB that is missing.
    """
    if "zero_stage" in request.pins:
        return False
    adapter = request.learning.method.uses_adapter
    return sharding.zero_stage == 3 if quantization else adapter and sharding.zero_stage == 2
