"""The real model on ``meta``: what is counted, what is trained, what is refused."""

from __future__ import annotations

import pytest
import torch

from memory_models.settings import Attention, FinetuningType, TrainingSettings, from_flat
from tests.support.shrunk import config_of
from tsplanner.errors import TsplannerError
from tsplanner.tracing.model import build, configuration, is_adapter, parameter_counts, plan_of
from tsplanner.tracing.records import Subject

LLAMA = Subject(config=config_of("llama"))
BASE = 160 * 64 * 2 + 64 + 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96 + 2 * 64)
"""Two layers, 64 wide, 2 of 4 heads for keys, 96 in the MLP, 160 words, an untied head."""


def test_an_adapter_is_counted_apart_from_the_base() -> None:
    """Rank 1 on q and v: (64 + 64 + 64 + 32) in each of two layers."""
    settings = from_flat(TrainingSettings, lora_rank=1, lora_target=("q_proj", "v_proj"))
    model = build(LLAMA, settings, 3)
    assert parameter_counts(model) == (BASE, 2 * (64 + 64 + 64 + 32))
    assert all(item.device == torch.device("meta") for item in model.parameters())
    assert model.training


def test_a_full_run_trains_every_element() -> None:
    """There is no adapter."""
    model = build(LLAMA, from_flat(TrainingSettings, finetuning_type=FinetuningType.FULL), 3)
    assert parameter_counts(model) == (BASE, BASE)
    assert not any(is_adapter(name) for name, _ in model.named_parameters())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("layers.0.q_proj.lora_A.default.weight", True),
        ("layers.0.q_proj.ranknum.default", True),
        ("layers.0.q_proj.base_layer.weight", False),
    ],
)
def test_an_adapter_is_known_by_its_name(name: str, expected: bool) -> None:
    """The names are PEFT's."""
    assert is_adapter(name) is expected


def test_an_unknown_model_type_says_what_to_do() -> None:
    """Its own code can run, if it brings some; otherwise transformers is too old."""
    with pytest.raises(TsplannerError, match='no model of type "nope": upgrade transformers'):
        configuration(Subject(config={"model_type": "nope"}))
    with pytest.raises(TsplannerError, match="add --trust-remote-code"):
        configuration(Subject(config={"model_type": "nope", "auto_map": {}}))


@pytest.mark.parametrize(
    ("attention", "name"),
    [
        (Attention.FLASH_ATTENTION_2, "traced_attention"),
        (Attention.FLEX_ATTENTION, "traced_blocks"),
    ],
)
def test_attention_that_needs_a_gpu_is_traced_without_one(attention: Attention, name: str) -> None:
    """A stand-in of another name is registered for it."""
    settings = from_flat(TrainingSettings, attention=attention)
    assert build(LLAMA, settings, 3).config._attn_implementation == name


def test_as_much_of_a_plan_as_a_model_needs_comes_from_the_settings() -> None:
    """Learning and hardware settings are split as the planner splits them."""
    settings = from_flat(TrainingSettings, lora_rank=4, sequence_length=96, micro_batch_size=2)
    plan = plan_of(settings)
    assert plan.learning.method.lora_rank == 4
    assert plan.hardware.batch.micro_batch_size == 2
    assert plan.sequence_length == 96
