"""Which modules can carry an adapter."""

from __future__ import annotations

from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest

if find_spec("peft") is None:
    pytest.skip("needs the training libraries", allow_module_level=True)

import torch
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from benchmarks.collect.family_configs import tiny_config
from memory_models.settings import FinetuningType, TrainingSettings, from_flat
from tsplanner.tracing.model import build, parameter_counts
from tsplanner.tracing.records import Subject
from tsplanner.training import targets


def model_of(kind: str) -> Any:
    """The tiny model of a type on ``meta``."""
    from transformers import AutoConfig

    config = tiny_config(kind)
    model_type = config.pop("model_type")
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **config))


def test_a_linear_and_gpt2s_transposed_one_multiply() -> None:
    """An embedding has a matrix as well, and looks rows up."""
    assert targets.is_linear(nn.Linear(3, 5))
    assert targets.is_linear(Conv1D(5, 3))
    assert targets.is_transposed(Conv1D(5, 3))
    assert not targets.is_transposed(nn.Linear(3, 5))
    assert not targets.is_linear(nn.Embedding(3, 5))


@pytest.mark.parametrize(
    ("kind", "left_out", "kept"),
    [
        ("llama4_text", "router", "o_proj"),
        ("phimoe", "router", "o_proj"),
        ("deepseek_v4", "o_a_proj", "o_b_proj"),
        ("falcon", "word_embeddings", "query_key_value"),
    ],
)
def test_a_linear_of_another_kind_is_no_target(kind: str, left_out: str, kept: str) -> None:
    """Routers return a tuple, a grouped projection multiplies blocks; Falcon's own is plain."""
    last = {name.rsplit(".", 1)[-1] for name in targets.linear_names(model_of(kind))}
    assert left_out not in last
    assert kept in last


def test_linears_with_adapters_keep_their_names() -> None:
    """PEFT calls the linear itself ``base_layer``, and its own two parts ``lora_``."""
    wrapped = build(Subject(config=tiny_config("gpt2")), from_flat(TrainingSettings), 3)
    last = {name.rsplit(".", 1)[-1] for name in targets.linear_names(wrapped)}
    assert last == {"c_attn", "c_proj", "c_fc", "lm_head"}


def test_gpt2_is_adapted_in_all_its_linears() -> None:
    """Rank 2 on 64 -> 192, 64 -> 64, 64 -> 96 and 96 -> 64 in each of four layers."""
    settings = from_flat(TrainingSettings, lora_rank=2)
    trained = parameter_counts(build(Subject(config=tiny_config("gpt2")), settings, 3))[1]
    assert trained == 4 * 2 * ((64 + 192) + (64 + 64) + (64 + 96) + (96 + 64))


@pytest.mark.parametrize(
    ("model_type", "name", "refused"),
    [
        ("falcon_h1", "out_proj", True),
        ("falcon_h1", "in_proj", False),
        ("llama", "out_proj", False),
    ],
)
def test_peft_says_which_modules_of_mamba_it_leaves_out(
    model_type: str, name: str, refused: bool
) -> None:
    """By the model's type and the module's name."""
    model = SimpleNamespace(config=SimpleNamespace(model_type=model_type))
    assert bool(targets.refusal(model, name)) is refused


def test_all_linear_leaves_out_what_peft_refuses() -> None:
    """Falcon-H1's Mamba layers keep their input projection as a target."""
    settings = from_flat(TrainingSettings, finetuning_type=FinetuningType.LORA)
    model = build(Subject(config=tiny_config("falcon_h1")), settings, 3)
    adapted = {
        name.split(".lora_A")[0].rsplit(".", 1)[-1]
        for name, _ in model.named_parameters()
        if ".lora_A" in name
    }
    assert "in_proj" in adapted
    assert "out_proj" not in adapted


def test_numbered_linears_of_zamba_are_targets_and_the_lists_around_them_are_not() -> None:
    """Its shared block has lists of two linears in a row, named 0 and 1."""
    model = build(Subject(config=tiny_config("zamba2")), from_flat(TrainingSettings), 3)
    adapted = [name for name, _ in model.named_parameters() if ".lora_A" in name]
    assert any("adapter_list.0.1.lora_A" in name for name in adapted)
