"""The shapes of a real model."""

from __future__ import annotations

import pytest

pytest.importorskip("peft")

from memory_models.architecture import Norm, Role
from memory_models.settings import TrainingSettings
from tests.support.strangers import config_of
from tsplanner.tracing.model import base_model
from tsplanner.tracing.recording.describe import describe
from tsplanner.tracing.records import Subject


def described(model_type: str) -> object:
    """The architecture of a small model."""
    model = base_model(Subject(config=config_of(model_type)), TrainingSettings())
    return describe(model, "small", "key")


def test_a_transposed_linear_has_its_sides_in_order() -> None:
    """GPT-2's Conv1D holds [in, out]: c_attn makes queries, keys and values of 64 each."""
    found = described("gpt2")
    linears = {(each.name, each.in_features, each.out_features) for each in found.layer.linears}
    assert ("c_attn", 64, 192) in linears
    assert found.positions.learned_position_count == 2048 * 64
    assert found.norms.kind is Norm.LAYER


def test_experts_are_one_parameter_of_many_matrices() -> None:
    """Four experts of 32, gate and up together, in three of four layers."""
    found = described("deepseek_v2")
    experts = next(each for each in found.layer.linears if each.name == "gate_up_proj")
    assert (experts.count, experts.out_features, experts.in_features) == (4, 64, 64)
    assert experts.layers == 3
    assert found.mlp.num_experts_per_tok == 2


def test_the_key_of_the_recordings_is_in_the_layer() -> None:
    """All linears that take adapters have the role of a recorded layer's linear."""
    found = described("falcon")
    assert found.layer.recorded == "key"
    assert {each.role for each in found.layer.linears} == {Role.OTHER}
