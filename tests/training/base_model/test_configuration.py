"""What transformers is told of a model: its own values, its dtypes and its attention."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from memory_models.settings import Dtype, Quantization
from tests.support import tiny
from tsplanner.planner.settings import HardwareSettings
from tsplanner.training.base_model.configuration import (
    attention_of,
    compute_dtype,
    configuration_values,
    model_config,
    quantization_config,
    runs_eager,
    use_stored_form,
)


def test_a_text_models_config_is_its_own(tmp_path: Path) -> None:
    """Without a ``ts`` section qwen2 stays qwen2."""
    plan = tiny.plan(tmp_path)
    assert model_config(plan.model).model_type == "qwen2"


@pytest.mark.parametrize(
    ("quantization", "expected"),
    [
        (None, None),
        (Quantization.INT8, (True, False, False)),
        (Quantization.NF4, (False, True, False)),
        (Quantization.NF4_DQ, (False, True, True)),
    ],
)
def test_bitsandbytes_is_told_bits_and_double_quantisation(
    tmp_path: Path, quantization: Quantization | None, expected: tuple[bool, bool, bool] | None
) -> None:
    """Products run in the dtype of autocast, or of the weights without it."""
    plan = tiny.with_hardware(tiny.plan(tmp_path), quantization=quantization)
    found = quantization_config(plan.hardware)
    if expected is None:
        assert found is None
    else:
        double = found.load_in_4bit and found.bnb_4bit_use_double_quant
        assert (found.load_in_8bit, found.load_in_4bit, double) == expected
    assert compute_dtype(plan.hardware) is torch.float32
    half = tiny.with_hardware(plan, autocast=Dtype.BF16)
    assert compute_dtype(half.hardware) is torch.bfloat16


@pytest.mark.parametrize(
    ("model_type", "wanted", "runs"),
    [
        ("bloom", "sdpa", "eager"),
        ("gpt_oss", "sdpa", "eager"),
        ("mamba2", "sdpa", "eager"),
        ("llama", "sdpa", "sdpa"),
        ("llama", "eager", "eager"),
        ("bloom", "flash_attention_2", "flash_attention_2"),
        ("llama", "flex_attention", "sdpa"),
        ("gpt_oss", "flex_attention", "eager"),
    ],
)
def test_a_model_without_sdpa_runs_eager_by_itself(model_type: str, wanted: str, runs: str) -> None:
    """What was asked for by name is not replaced, and transformers then refuses it; flex_attention
    comes later, in the place of either.
    """
    from transformers import AutoConfig

    assert attention_of(AutoConfig.for_model(model_type), wanted) == runs


def test_a_built_model_says_which_attention_it_runs() -> None:
    """By its config."""
    for name, eager in (("eager", True), ("sdpa", False)):
        built = SimpleNamespace(config=SimpleNamespace(_attn_implementation=name))
        assert runs_eager(built) is eager


def test_infinity_is_read_as_transformers_writes_it() -> None:
    """Mamba's steps have no upper limit."""
    config = {"model_type": "mamba2", "limit": [0.0, {"__float__": "Infinity"}], "rope": {"a": 1}}
    assert configuration_values(config) == {"limit": [0.0, float("inf")], "rope": {"a": 1}}


def test_a_config_alone_of_a_stored_model_builds_plain_weights() -> None:
    """gpt-oss is published in MXFP4; without the files there is nothing to dequantise."""
    stored = {"quant_method": "mxfp4", "modules_to_not_convert": []}
    from transformers import AutoConfig

    config = AutoConfig.for_model("gpt_oss", num_hidden_layers=1, quantization_config=stored)
    model = SimpleNamespace(config={"quantization_config": stored}, has_weights=False)
    plan = SimpleNamespace(model=model, hardware=HardwareSettings())
    use_stored_form(config, plan)
    assert not hasattr(config, "quantization_config")
