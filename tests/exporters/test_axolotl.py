"""What axolotl is told of a plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.settings import (
    DecoderKernels,
    Quantization,
)
from tests.support.exports import said
from tests.support.golden import case
from tests.support.sorts import cpu
from tsplanner.errors import TsplannerError
from tsplanner.exporters.launch import ExportOptions
from tsplanner.exporters.registry import render


def test_fused_kernels_let_axolotl_take_its_own() -> None:
    """A plan on reference kernels turns them off."""
    assert said(case("qwen2.5-7b"), "axolotl")["lora_mlp_kernel"] is False
    assert "lora_mlp_kernel" not in said(
        case("qwen2.5-7b", kernels=DecoderKernels.FUSED), "axolotl"
    )


def test_each_file_of_rows_has_the_template() -> None:
    """Axolotl's own default for a file is another one than the run's."""
    rows = said(case("qwen2.5-7b"), "axolotl")
    assert rows["datasets"][0]["chat_template"] == rows["chat_template"]


@pytest.mark.parametrize(
    ("quantization", "words"),
    [
        (None, {"adapter": "lora"}),
        (Quantization.INT8, {"adapter": "lora", "load_in_8bit": True}),
        (Quantization.NF4, {"adapter": "qlora", "load_in_4bit": True}),
        (Quantization.NF4_DQ, {"adapter": "qlora", "load_in_4bit": True}),
    ],
)
def test_a_quantised_base_has_an_adapter_of_its_own_name(
    quantization: Quantization | None, words: dict[str, object]
) -> None:
    """Double quantisation is a setting of bitsandbytes."""
    found = said(case("qwen2.5-7b", quantization=quantization), "axolotl")
    assert words.items() <= found.items()
    double = found.get("bnb_config_kwargs", {}).get("bnb_4bit_use_double_quant", False)
    assert double is (quantization is Quantization.NF4_DQ)


def test_axolotl_refuses_a_plan_for_the_cpu() -> None:
    """It trains on GPUs."""
    plan = replace(case("qwen2.5-7b").plan, hardware=cpu().hardware)
    with pytest.raises(TsplannerError, match="axolotl trains on GPUs: plan again with --gpus"):
        render("axolotl", plan, ExportOptions(weights="x"))
