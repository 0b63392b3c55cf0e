"""A case of ``tsplanner estimate``: its keys, their types, and the records it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from memory_models.architecture import Architecture
from memory_models.device import Device
from memory_models.frozen import frozen
from memory_models.settings import (
    DecoderKernels,
    LossKernel,
    TrainingSettings,
    field_types,
    from_flat,
)
from memory_models.settings.flat import of_today
from tsplanner.errors import UsageError, did_you_mean, named, quoted
from tsplanner.models.quantized import stored_base
from tsplanner.models.source import ModelSource, read_model
from tsplanner.planner.gather.recipes import Recipe, recipe_of, with_habits
from tsplanner.planner.gather.typed import typed_values

INTERNAL = frozenset({"adapter_ranks", "lora_alpha", "alpha_pattern"})
"""Fields of the settings that a case cannot set."""


@cache
def case_keys() -> dict[str, Any]:
    """The keys of a case, which are the verb's flags as well, with the types of their values."""
    fields = {
        name: kind for name, kind in field_types(TrainingSettings).items() if name not in INTERNAL
    }
    # A case names the file of a DeepSpeed configuration, and the trainer whose habits it has.
    return {"model": str, **fields, "deepspeed": str, "device": str, "recipe": str}


@frozen
class Case:
    """One configuration with its records."""

    architecture: Architecture
    settings: TrainingSettings
    device: Device | None
    notes: tuple[str, ...] = ()
    """What the estimate assumes of the model's weights, as sentences."""
    recipe: Recipe | None = None
    """The trainer whose habits the settings have."""


def read_case(
    given: Mapping[str, object],
    models: dict[str, ModelSource],
    devices: dict[str, Device] | None = None,
) -> Case:
    """The case's records; ``models`` and ``devices`` cache what earlier cases have read.

    Raises:
        UsageError: a key, the model or the GPU is unknown, or a value has the wrong type.
        TsplannerError: the model cannot be read.
        ValueError: values exclude each other.
    """
    name = model_name(given)
    if name not in models:
        # One configuration is sized by a whole trace, which is closer than recorded layers.
        models[name] = read_model(name, describes=False)
    return Case(
        architecture=models[name].architecture,
        settings=case_settings(as_stored(on_all_gpus(given), models[name].config)),
        device=case_device(given, {} if devices is None else devices),
        notes=stored_notes(models[name].config),
        recipe=recipe_of(given),
    )


def as_stored(given: Mapping[str, object], config: Mapping[str, object]) -> Mapping[str, object]:
    """The case with the quantisation that its model is stored in.

    Raises:
        UsageError: the case has another one, or trains the stored weights themselves.
        TsplannerError: our worker cannot train on the stored form.
    """
    stored = stored_base(config)
    if stored is None:
        return given
    asked = case_settings(given)
    if "quantization" in given:
        stored.accept(asked.base.quantization)
    stored.accept_method(asked.method.finetuning_type)
    return {**given, "quantization": stored.quantization}


def stored_notes(config: Mapping[str, object]) -> tuple[str, ...]:
    """What an estimate assumes of weights that are stored quantised."""
    stored = stored_base(config)
    return () if stored is None else (stored.note,)


def model_name(given: Mapping[str, object]) -> str:
    """The name of the case's model, after a check of all keys.

    Raises:
        UsageError: a key is unknown, or there is no model.
    """
    known = case_keys()
    for key in given:
        if key not in known and of_today(key, None)[0] not in known:
            raise UsageError(f"unknown key {named(key)}.{did_you_mean(key[:80], known)}")
    name = given.get("model")
    if not isinstance(name, str) or not name:
        raise UsageError("model is missing: a folder, a config.json or a preset")
    return name


def case_settings(given: Mapping[str, object]) -> TrainingSettings:
    """The training settings of the case.

    Raises:
        UsageError: a value has the wrong type.
        ValueError: values exclude each other.
    """
    apart = ("model", "device", "deepspeed")
    values = {key: value for key, value in with_habits(given).items() if key not in apart}
    typed = typed_values(TrainingSettings, values)
    if (name := given.get("deepspeed")) is not None:
        typed = _with_deepspeed(typed, name)
    if typed.get("decoder_kernels") is DecoderKernels.LIGER:
        # Trainer's flag patches the loss as well.
        typed.setdefault("loss_kernel", LossKernel.LIGER)
    return from_flat(TrainingSettings, **typed)


def _with_deepspeed(typed: dict[str, Any], name: object) -> dict[str, Any]:
    """The settings with what a user's own DeepSpeed configuration fixes.

    Under DeepSpeed the model is cast to the dtype of autocast, so the file's precision is that.
    """
    from tsplanner.planner.gather.deepspeed_file import merged, read_deepspeed

    if not isinstance(name, str):
        raise UsageError(f"deepspeed must be the path of a ds_config.json, not {quoted(name)}")
    file = read_deepspeed(Path(name))
    found = merged(typed, file) | {"deepspeed": file.config}
    if (dtype := file.pins.get("model_dtype")) is not None:
        found.setdefault("autocast", dtype)
    return found


def case_device(given: Mapping[str, object], devices: dict[str, Device]) -> Device | None:
    """The GPU that the case names, or None; of several the one with the least memory.

    ``devices`` caches GPUs that were read before.

    Raises:
        UsageError: the GPU is unknown.
    """
    name = given.get("device")
    if name is None:
        return None
    if not isinstance(name, str):
        raise UsageError(f"device must be the name of a GPU, not {quoted(name)}")
    if name not in devices:
        found = _gpus(name)
        if not found:
            raise UsageError(f"device {named(name)} is no GPU: name one, or leave device out")
        devices[name] = min(found, key=lambda device: device.free_bytes)
    return devices[name]


def on_all_gpus(given: Mapping[str, object]) -> Mapping[str, object]:
    """The case with a process for each of the GPUs that it names, unless it says how many.

    Several machines have as many each.

    Raises:
        UsageError: a GPU is unknown.
    """
    name = given.get("device")
    if not isinstance(name, str) or "world_size" in given:
        return given
    nodes = given.get("nodes")
    count = len(_gpus(name)) * (nodes if isinstance(nodes, int) else 1)
    return {**given, "world_size": count} if count > 1 else given


@cache
def _gpus(name: str) -> tuple[Device, ...]:
    from tsplanner.hardware.describe import parse_gpus  # a case without a GPU needs no catalogue

    return parse_gpus(name)
