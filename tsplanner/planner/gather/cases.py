"""A case of ``tsplanner estimate``: its keys, their types, and the records it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from memory_models.architecture import Architecture
from memory_models.device import Device
from memory_models.settings import (
    ALL_LINEAR,
    Attention,
    Dtype,
    FinetuningType,
    Kernels,
    LossKernel,
    Optimizer,
    Quantization,
    TrainingSettings,
)
from tsplanner.errors import UsageError, did_you_mean
from tsplanner.models.source import read_model

CASE_KEYS: dict[str, type] = {
    "model": str,
    "finetuning_type": FinetuningType,
    "lora_rank": int,
    "adalora_init_rank": int,
    "lora_target": tuple,
    "lora_dropout": float,
    "freeze_trainable_layers": int,
    "model_dtype": Dtype,
    "autocast": Dtype,
    "quantization": Quantization,
    "sequence_length": int,
    "series_patches": int,
    "micro_batch_size": int,
    "gradient_accumulation_steps": int,
    "gradient_checkpointing": bool,
    "checkpointed_layers": int,
    "attention": Attention,
    "loss_kernel": LossKernel,
    "optimizer": Optimizer,
    "kernels": Kernels,
    "expandable_segments": bool,
    "world_size": int,
    "zero_stage": int,
    "offload_optimizer": bool,
    "offload_param": bool,
    "device": str,
}
"""Keys of a case, and of the verb's flags, with the type of their values."""

_LARGEST = 10**12
"""Above every number a run can have; keeps products finite."""

NULLABLE = frozenset(
    {"autocast", "quantization", "adalora_init_rank", "checkpointed_layers", "device"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One configuration, read."""

    architecture: Architecture
    settings: TrainingSettings
    device: Device | None


def read_case(
    given: Mapping[str, object],
    models: dict[str, Architecture],
    devices: dict[str, Device] | None = None,
) -> Case:
    """Check a case's keys and values; ``models`` and ``devices`` cache what was read already.

    Raises:
        UsageError: an unknown key, a value of the wrong type, an unknown model or GPU.
        TsplannerError: a broken model.
        ValueError: values that exclude each other.
    """
    name = model_name(given)
    if name not in models:
        models[name] = read_model(name).architecture
    return Case(
        architecture=models[name],
        settings=case_settings(given),
        device=case_device(given, {} if devices is None else devices),
    )


def model_name(given: Mapping[str, object]) -> str:
    """The case's model, once all its keys are known ones.

    Raises:
        UsageError: an unknown key, or no model.
    """
    for key in given:
        if key not in CASE_KEYS:
            raise UsageError(f'unknown key "{key}".{did_you_mean(key, CASE_KEYS)}')
    name = given.get("model")
    if not isinstance(name, str) or not name:
        raise UsageError("model is missing: a folder, a config.json or a preset")
    return name


def case_settings(given: Mapping[str, object]) -> TrainingSettings:
    """How the case trains.

    Raises:
        UsageError: a value of the wrong type.
        ValueError: values that exclude each other.
    """
    values = {
        key: _value(key, value) for key, value in given.items() if key not in ("model", "device")
    }
    return TrainingSettings(**values)  # type: ignore[arg-type]


def _value(key: str, value: object) -> object:
    """A value in the type of its key."""
    kind = CASE_KEYS[key]
    if value is None:
        if key in NULLABLE:
            return None
        raise UsageError(f"{key} must not be null; leave it out for the default")
    if key == "lora_target":
        return _targets(value)
    if issubclass(kind, StrEnum):
        return _choice(key, kind, value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UsageError(f"{key} must be {_article(kind)}, not {value!r:.80}")
    if kind is int and isinstance(value, int) and abs(value) > _LARGEST:
        raise UsageError(f"{key} must be at most {_LARGEST}")
    return value


def _article(kind: type) -> str:
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "a string")


def _choice(key: str, kind: type[StrEnum], value: object) -> StrEnum:
    known = [str(member) for member in kind]
    if value not in known:
        hint = did_you_mean(str(value), known)
        raise UsageError(f"{key} must be one of {', '.join(known)}, not {value!r}.{hint}")
    return kind(str(value))


def _targets(value: object) -> tuple[str, ...] | str:
    if isinstance(value, str):
        return value if value == ALL_LINEAR else (value,)
    if isinstance(value, list) and value and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise UsageError(f"lora_target must be a list of module names or {ALL_LINEAR}, not {value!r}")


def case_device(given: Mapping[str, object], devices: dict[str, Device]) -> Device | None:
    """The GPU that the case names; ``devices`` caches what was read already.

    Raises:
        UsageError: an unknown GPU.
    """
    name = given.get("device")
    if name is None:
        return None
    if not isinstance(name, str):
        raise UsageError(f"device must be the name of a GPU, not {name!r}")
    if name not in devices:
        from tsplanner.hardware.describe import parse_gpus

        devices[name] = parse_gpus(name)[0]
    return devices[name]
