"""Requests to plan for: a small model, described cards, no detection."""

from __future__ import annotations

from dataclasses import replace

from memory_models.device import Device, Host, LinkType, Machine
from memory_models.settings import changed, from_flat
from memory_models.states.adapters import trainable_parameters
from memory_models.states.weights import total_parameters
from tsplanner.models.source import read_model
from tsplanner.planner.plan import DatasetRef, ModelRef
from tsplanner.planner.request import Pins, PlanRequest
from tsplanner.planner.settings import HardwareSettings, LearningSettings, training_settings

GIB = 1024**3
EVERY_PACKAGE = ("bitsandbytes", "deepspeed", "flash_attn", "triton")

HOPPER = Device(
    name="H200",
    total_bytes=141 * GIB,
    free_bytes=139 * GIB,
    compute_capability=(9, 0),
    matrix_flops_per_second=989e12,
    memory_bytes_per_second=4.8e12,
    host_link_bytes_per_second=50e9,
)
ROOMY_HOST = Host(total_bytes=2048 * GIB, available_bytes=2000 * GIB, cpu_count=32)


def machine(
    *devices: Device,
    host: Host = ROOMY_HOST,
    packages: tuple[str, ...] = ("bitsandbytes", "deepspeed"),
) -> Machine:
    """A rig of these cards."""
    return Machine(
        name="rig",
        devices=devices,
        host=host,
        link=LinkType.PCIE if len(devices) > 1 else None,
        packages=packages,
        detected=False,
    )


def request(
    model: str = "qwen2.5-0.5b",
    *devices: Device,
    length: int = 1024,
    host: Host = ROOMY_HOST,
    packages: tuple[str, ...] = ("bitsandbytes", "deepspeed"),
    pins: Pins | None = None,
    **learning: object,
) -> PlanRequest:
    """A plan for a preset on these cards; 300 rows of one length."""
    source = read_model(model)
    chosen = changed(LearningSettings(), **learning)  # type: ignore[arg-type]
    settings = training_settings(chosen, HardwareSettings(), 16)
    return PlanRequest(
        architecture=source.architecture,
        model=ModelRef(
            name=model,
            path=None,
            model_type=source.architecture.model_type,
            parameters_total=total_parameters(source.architecture),
            parameters_trainable=trainable_parameters(source.architecture, settings.method),
            config=source.config,
            architecture=source.architecture,
        ),
        dataset=from_flat(
            DatasetRef,
            name="rows",
            path="rows.jsonl",
            rows_total=300,
            rows_kept=300,
            longest=length,
            mean=float(length),
            counted_by="tokenizer",
        ),
        machine=machine(*devices, host=host, packages=packages),
        learning=chosen,
        pins=pins or Pins(),
    )


def with_free(device: Device, free_gib: float) -> Device:
    """The same card with that much free."""
    return replace(device, free_bytes=int(free_gib * GIB))


def by_host(*cards: Device, host_gib: int = 512, **changes: object) -> PlanRequest:
    """14B in fp16 on cards of 22 GiB: sharded or offloaded, or whole in 4 bits."""
    host = replace(ROOMY_HOST, available_bytes=host_gib * GIB)
    made = request("qwen2.5-14b", *cards, host=host)
    return replace(made, **changes)  # type: ignore[arg-type]
