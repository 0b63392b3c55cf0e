"""A case of ``estimate``: known keys, typed values, a model and a GPU that are read once."""

from __future__ import annotations

from typing import Any

import pytest

from memory_models.device import Device
from tsplanner.errors import UsageError
from tsplanner.models.source import ModelSource
from tsplanner.planner.gather.cases import (
    INTERNAL,
    case_device,
    case_keys,
    case_settings,
    model_name,
    on_all_gpus,
    read_case,
)


def test_a_case_has_every_setting_but_the_internal_ones() -> None:
    """Keys that only the planner sets are none of a person's business."""
    keys = case_keys()
    assert {"model", "device", "lora_rank", "micro_batch_size", "zero_stage"} <= set(keys)
    assert not INTERNAL & set(keys)


def test_model_and_gpu_are_read_once_for_many_cases() -> None:
    """A file of a thousand cases names a handful of models."""
    models: dict[str, ModelSource] = {}
    devices: dict[str, Device] = {}
    case = {"model": "qwen2.5-0.5b", "device": "H200", "lora_rank": 4}
    first = read_case(case, models, devices)
    second = read_case(case | {"lora_rank": 8}, models, devices)
    assert first.architecture is second.architecture is models["qwen2.5-0.5b"].architecture
    assert first.device is second.device is devices["H200"]
    assert (first.settings.method.lora_rank, second.settings.method.lora_rank) == (4, 8)


def test_what_a_case_leaves_out_has_its_default() -> None:
    """Model and device are no settings."""
    assert case_settings({"model": "x", "device": "y"}) == case_settings({})


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"modle": "x"}, 'unknown key "modle". Did you mean "model"?'),
        ({}, "model is missing"),
        ({"model": ""}, "model is missing"),
        ({"model": 7}, "model is missing"),
    ],
)
def test_a_case_without_a_model_or_with_a_strange_key_is_refused(
    given: dict[str, Any], says: str
) -> None:
    """The keys are looked at before anything is read."""
    with pytest.raises(UsageError) as caught:
        model_name(given)
    assert says in str(caught.value)


def test_a_gpu_is_named_or_left_out() -> None:
    """Without one the bytes are those of no card in particular."""
    assert case_device({}, {}) is None
    with pytest.raises(UsageError, match="device must be the name of a GPU, not 5"):
        case_device({"device": 5}, {})


def test_values_that_exclude_each_other_are_an_error() -> None:
    """Parameter offload belongs to ZeRO-3."""
    with pytest.raises(ValueError, match="offload_param needs zero_stage 3"):
        case_settings({"offload_param": True})


@pytest.mark.parametrize("name", ["cpu", "none"])
def test_a_case_for_the_cpu_is_refused_in_a_sentence(name: str) -> None:
    """The figures of a case are a GPU's."""
    with pytest.raises(UsageError, match=f'device "{name}" is no GPU'):
        case_device({"device": name}, {})


@pytest.mark.parametrize(
    ("given", "processes"),
    [
        ({"device": "RTX 3090"}, None),
        ({"device": "2x RTX 3090 + 1x RTX 4090"}, 3),
        ({"device": "8x H200", "nodes": 2}, 16),
        ({"device": "8x H200", "world_size": 4}, 4),
        ({}, None),
    ],
)
def test_every_gpu_that_is_named_has_a_process_unless_their_number_is_given(
    given: dict[str, Any], processes: int | None
) -> None:
    """Of several machines each has as many; one GPU is no number to set."""
    assert on_all_gpus(given).get("world_size") == processes


def test_of_several_gpus_the_smallest_counts() -> None:
    """Every process needs the same bytes."""
    found = case_device({"device": "RTX 4090 + RTX 3060 12GB"}, {})
    assert found is not None
    assert found.name == "RTX 3060"
