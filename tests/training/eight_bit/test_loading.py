"""The base in 8 bits is rounded matrix by matrix, from a folder or from random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from memory_models.settings import Quantization
from tests.support import tiny
from tsplanner.training.eight_bit.linear import EightBitLinear
from tsplanner.training.eight_bit.loading import (
    eight_bit_linears,
    quantization_config,
    replace_rounded,
    rounded,
)

EIGHT = pytest.mark.parametrize("form", [Quantization.FP8, Quantization.W8A8])


def small(**changes: Any) -> Any:
    """A Qwen2 of two layers whose sides are multiples of 16, unless a change says otherwise."""
    keys = {key: value for key, value in tiny.CONFIG.items() if key != "model_type"}
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    sizes |= {"num_key_value_heads": 1, "num_hidden_layers": 2}
    torch.manual_seed(0)
    config = AutoConfig.for_model("qwen2", **{**keys, **sizes, **changes})
    return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)


def test_the_linears_of_the_decoder_layers_are_meant() -> None:
    """Two layers of seven; neither embedding nor head."""
    names = [name for name, _ in eight_bit_linears(small())]
    assert len(names) == 14
    assert all(name.startswith("model.layers.") for name in names)


def test_a_matrix_with_another_side_is_left_alone() -> None:
    """Gate, up and down have a side of 40."""
    names = [name for name, _ in eight_bit_linears(small(intermediate_size=40))]
    assert len(names) == 8
    assert not any("mlp" in name for name in names)


@EIGHT
def test_a_folder_is_rounded_while_it_is_read(tmp_path: Path, form: Quantization) -> None:
    """Every matrix is what rounding the full one gives; everything else is as it was."""
    whole = small()
    whole.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.bfloat16, quantization_config=quantization_config(form)
    )
    replace_rounded(loaded, torch.bfloat16)
    found, count = loaded.state_dict(), 0
    for name, module in whole.named_modules():
        if ".layers." not in name or type(module) is not nn.Linear:
            continue
        replaced = loaded.get_submodule(name)
        assert type(replaced) is EightBitLinear
        wanted = rounded(module, form)
        assert torch.equal(replaced.packed, wanted.packed)
        assert torch.equal(replaced.scale, wanted.scale)
        count += 1
    assert count == 14
    assert torch.equal(found["model.embed_tokens.weight"], whole.model.embed_tokens.weight)


def test_nobody_is_told_of_the_quantiser(tmp_path: Path) -> None:
    """Trainer refuses a quantised model, and a saved config would name the quantiser."""
    small().save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.bfloat16, quantization_config=quantization_config(Quantization.FP8)
    )
    replace_rounded(loaded, torch.bfloat16)
    assert not getattr(loaded, "is_quantized", False)
    assert getattr(loaded, "hf_quantizer", None) is None
    assert "quantization_config" not in loaded.config.to_dict()
