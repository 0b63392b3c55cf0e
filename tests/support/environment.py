"""Facts of a machine that the tests make up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from memory_models.device import Device, Host
from tsplanner.hardware.environment import Check, EnvironmentFacts
from tsplanner.hardware.environment_checks import run_checks
from tsplanner.hardware.nvml import NvmlReading

GIB = 1024**3


VERSIONS = {
    "torch": "2.13.0+cu130",
    "transformers": "5.23.0",
    "peft": "0.21.2",
    "accelerate": "1.15.0",
    "optuna": "5.0.0",
    "safetensors": "0.6.2",
}


CUDA_TORCH = {
    "version": "2.13.0+cu130",
    "cuda": "13.0",
    "architectures": ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"],
    "cuda_available": True,
    "claims_bf16": True,
}


CPU_TORCH = {**CUDA_TORCH, "version": "2.13.0+cpu", "cuda": None, "architectures": []}


HOST = Host(total_bytes=64 * GIB, available_bytes=60 * GIB, cpu_count=16, disk_free_bytes=500 * GIB)


def facts(*, devices: tuple[Device, ...] = (), **more: Any) -> EnvironmentFacts:
    """A machine on which everything required is in order."""
    reading = NvmlReading(
        devices=devices,
        driver_version="580.65.06" if devices else None,
        cuda_version="13.0" if devices else None,
        reason=None if devices else "no NVIDIA driver answers",
    )
    base = EnvironmentFacts(
        python=(3, 11, 7),
        reading=reading,
        host=HOST,
        versions=VERSIONS,
        libraries={"torch": CUDA_TORCH if devices else CPU_TORCH},
        shared_memory_bytes=8 * GIB,
    )
    return replace(base, **more)


def check(name: str, given: EnvironmentFacts) -> Check:
    """The check of that name."""
    return next(each for each in run_checks(given) if each.name == name)
