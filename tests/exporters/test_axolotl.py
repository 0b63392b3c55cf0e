"""What axolotl is told of a plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_models.settings import (
    DecoderKernels,
    Quantization,
)
from tests.support.exports import said, written
from tests.support.golden import MESSAGES, case
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
    """Axolotl's own default for a file is another one than the run's; token ids need none."""
    rows = said(case("qwen2.5-7b", rows=MESSAGES), "axolotl")
    assert rows["datasets"][0]["chat_template"] == rows["chat_template"]
    rows = said(case("qwen2.5-7b"), "axolotl")
    assert "chat_template" not in rows
    assert rows["datasets"] == [{"path": "rows/train.jsonl", "ds_type": "json", "split": "train"}]


def test_what_is_turned_off_is_said_with_the_way_to_turn_it_on() -> None:
    """Packing as planned; LoRA kernels only where the plan has the reference kernels."""
    head = written(case("qwen2.5-7b"), "axolotl")["axolotl.yaml"]
    assert "sample_packing: true with flash attention lays short rows end to end" in head
    assert ("lora_mlp_kernel: false" in head) is ("leave out the three lora_*_kernel keys" in head)
    fused = case("qwen2.5-7b", kernels=DecoderKernels.FUSED)
    assert "lora_*_kernel" not in written(fused, "axolotl")["axolotl.yaml"]


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
