"""The space: every hardware setting that keeps the effective batch exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from memory_models.settings import (
    ADAPTER_METHODS,
    Attention,
    Dtype,
    Kernels,
    LossKernel,
    Optimizer,
    Quantization,
)
from tsplanner.planner.devices import device_groups, positions_for
from tsplanner.planner.plan import HardwareSettings
from tsplanner.planner.request import Pins, PlanRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharding:
    """How ranks share the model."""

    zero_stage: int = 0
    offload_optimizer: bool = False
    offload_param: bool = False


SHARDINGS = (
    Sharding(),
    Sharding(zero_stage=2),
    Sharding(zero_stage=2, offload_optimizer=True),
    Sharding(zero_stage=3),
    Sharding(zero_stage=3, offload_param=True),
    Sharding(zero_stage=3, offload_param=True, offload_optimizer=True),
)


def candidates(request: PlanRequest) -> Iterator[HardwareSettings]:
    """All settings of the space that the pins allow, feasible or not."""
    if request.pins == Pins():
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
    machine, pinned = request.machine, request.pins.world_size
    for world in [pinned] if pinned is not None else range(1, len(machine.devices) + 1):
        if request.learning.effective_batch_size % world:
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
    pins, autocast = request.pins, _autocast(request, group)
    options = product(
        _dtypes(request, autocast),
        _quantizations(request),
        [pins.attention] if pins.attention else [Attention.FLASH_ATTENTION_2, _plain(request)],
        [pins.loss_kernel] if pins.loss_kernel else [LossKernel.FUSED, LossKernel.PLAIN],
        [pins.optimizer] if pins.optimizer else _optimizers(request),
        _shardings(request),
        _checkpoints(pins),
    )
    sizes = micro_batch_sizes(request.learning.effective_batch_size, group.world_size)
    for dtype, quantization, attention, loss, optimizer, sharding, checkpoints in options:
        if _pointless(request, quantization, sharding):
            continue
        for micro in sizes:
            yield HardwareSettings(
                accelerator="cuda",
                world_size=group.world_size,
                micro_batch_size=micro,
                gradient_accumulation_steps=_accumulation(request, group.world_size, micro),
                gradient_checkpointing=checkpoints,
                checkpointed_layers=pins.checkpointed_layers,
                attention=attention,
                loss_kernel=loss,
                optimizer=optimizer,
                kernels=_kernels(request, sharding),
                expandable_segments=True,
                model_dtype=dtype,
                autocast=autocast,
                quantization=quantization,
                zero_stage=sharding.zero_stage,
                offload_optimizer=sharding.offload_optimizer,
                offload_param=sharding.offload_param,
                devices=group.devices,
            )


def _kernels(request: PlanRequest, sharding: Sharding) -> Kernels:
    """Lean ones, except where ZeRO-3 gathers the weights module by module."""
    return Kernels.REFERENCE if sharding.zero_stage == 3 else request.pins.kernels or Kernels.LEAN


def _cpu(request: PlanRequest) -> Iterator[HardwareSettings]:
    """One process, fp32, no kernels to choose from."""
    pins = request.pins
    quantizations = [pins.quantization] if pins.pinned_quantization else [None]
    options = product(
        quantizations,
        _checkpoints(pins),
        [pins.loss_kernel] if pins.loss_kernel else [LossKernel.PLAIN, LossKernel.FUSED],
        micro_batch_sizes(request.learning.effective_batch_size, 1),
    )
    for quantization, checkpoints, loss, micro in options:
        yield HardwareSettings(
            accelerator="cpu",
            world_size=1,
            micro_batch_size=micro,
            gradient_accumulation_steps=_accumulation(request, 1, micro),
            gradient_checkpointing=checkpoints,
            checkpointed_layers=pins.checkpointed_layers,
            attention=pins.attention or _plain(request),
            loss_kernel=loss,
            optimizer=pins.optimizer or Optimizer.ADAMW_TORCH_FUSED,
            model_dtype=pins.model_dtype or Dtype.FP32,
            autocast=None,
            quantization=quantization,
        )


def _checkpoints(pins: Pins) -> list[bool]:
    """Off or on; how many layers is searched for later (``checkpoints.py``) unless it is pinned."""
    if pins.gradient_checkpointing is not None:
        return [pins.gradient_checkpointing]
    return [False, True] if pins.checkpointed_layers is None else [True]


def _plain(request: PlanRequest) -> Attention:
    """The kernel that needs no package: sdpa, which knows no soft cap (Gemma 2)."""
    capped = request.architecture.attn_logit_softcapping
    return Attention.EAGER if capped else Attention.SDPA


def micro_batch_sizes(effective_batch: int, world_size: int) -> list[int]:
    """Micro-batches that divide a rank's share of the effective batch exactly."""
    if effective_batch % world_size:
        return []
    share = effective_batch // world_size
    return [size for size in range(1, min(share, 64) + 1) if share % size == 0]


def _accumulation(request: PlanRequest, world_size: int, micro: int) -> int:
    return request.learning.effective_batch_size // (world_size * micro)


def _autocast(request: PlanRequest, group: Group) -> Dtype:
    """bf16 where every GPU used has it natively, else fp16 with loss scaling."""
    if request.pins.model_dtype in (Dtype.BF16, Dtype.FP16):
        return request.pins.model_dtype
    return Dtype.BF16 if group.bf16 else Dtype.FP16


def _dtypes(request: PlanRequest, autocast: Dtype) -> list[Dtype]:
    """Trained base weights in fp16 cannot be unscaled by the loss scaler, so they load in fp32."""
    if request.pins.model_dtype is not None:
        return [request.pins.model_dtype]
    trained = request.learning.finetuning_type.value in ("full", "freeze")
    return [Dtype.FP32 if trained and autocast is Dtype.FP16 else autocast]


def _quantizations(request: PlanRequest) -> list[Quantization | None]:
    if request.pins.pinned_quantization:
        return [request.pins.quantization]
    return [None, Quantization.NF4_DQ]


def _optimizers(request: PlanRequest) -> list[Optimizer]:
    """An 8-bit optimizer changes what is learned a little: offered for trained bases only."""
    if request.learning.finetuning_type.value in ("full", "freeze"):
        return [Optimizer.ADAMW_TORCH_FUSED, Optimizer.ADAMW_BNB_8BIT]
    return [Optimizer.ADAMW_TORCH_FUSED]


def _shardings(request: PlanRequest) -> list[Sharding]:
    """ZeRO-1 saves less than ZeRO-2 at the same traffic: only where it is pinned."""
    stage = request.pins.zero_stage
    if stage == 1:
        return [Sharding(zero_stage=1), Sharding(zero_stage=1, offload_optimizer=True)]
    return [found for found in SHARDINGS if stage is None or found.zero_stage == stage]


def _pointless(request: PlanRequest, quantization: Quantization | None, sharding: Sharding) -> bool:
    """Sharding that is left to who pins it.

    A rule refuses a quantised base under ZeRO-3, and has to say so only to who asks for it. Of an
    adapter on a plain base ZeRO-2 shards some MiB; on a quantised one DeepSpeed also casts what
    would be left in fp32 (embedding, head, norms), which can be the GiB that is missing.
    """
    if request.pins.zero_stage is not None:
        return False
    adapter = request.learning.finetuning_type in ADAPTER_METHODS
    return sharding.zero_stage == 3 if quantization else adapter and sharding.zero_stage == 2
