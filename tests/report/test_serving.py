"""Code that asks trained weights, and which server takes them."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memory_models.settings import Dtype, FinetuningType, Method, Quantization
from tests.support import tiny
from tests.support.sorts import on_gpus
from tsplanner.models.source import read_model
from tsplanner.planner.plan import Plan
from tsplanner.report.serving import (
    Place,
    code,
    llama_cpp_refusal,
    loading,
    place_in,
    servers,
    shared_place,
    vllm_refusal,
)

RUN = Path("saves/tiny/lora/1")


def of_preset(name: str, **hardware: Any) -> Plan:
    """A plan of a preset on one GPU."""
    plan, source = on_gpus(1), read_model(name)
    model = replace(plan.model, name=name, path=f"/m/{name}", architecture=source.architecture)
    return tiny.with_hardware(replace(plan, model=model), **hardware)


def test_an_adapter_is_loaded_on_its_base(tmp_path: Path) -> None:
    """In the precision that it was trained in; the tokenizer lies beside it."""
    plan = of_preset("qwen2.5-7b", model_dtype=Dtype.BF16, autocast=Dtype.BF16)
    assert loading(plan, place_in(plan, RUN, "adapter")) == [
        "import torch",
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained("saves/tiny/lora/1/adapter")',
        'model = AutoModelForCausalLM.from_pretrained("/m/qwen2.5-7b", dtype=torch.bfloat16, '
        'device_map="auto")',
        'model = PeftModel.from_pretrained(model, "saves/tiny/lora/1/adapter")',
    ]


def test_what_others_read_names_no_folder_of_this_machine() -> None:
    """The card lies in the folder that it is about."""
    plan = of_preset("qwen2.5-7b")
    shared = shared_place(plan, place_in(plan, RUN, "adapter"))
    text = "\n".join([*code(plan, shared), *servers(plan, shared)])
    assert "saves" not in text
    assert "/m/" not in text
    assert 'PeftModel.from_pretrained(model, ".")' in text


@pytest.mark.parametrize(
    ("quantization", "says"),
    [
        (Quantization.NF4, "bnb_4bit_use_double_quant=False"),
        (Quantization.NF4_DQ, "bnb_4bit_use_double_quant=True"),
        (Quantization.INT8, "BitsAndBytesConfig(load_in_8bit=True)"),
        # Products in 8 bits are tsplanner's own, so the plain base is loaded.
        (Quantization.FP8, None),
        (None, None),
    ],
)
def test_a_base_in_4_bits_is_loaded_in_4_bits(
    quantization: Quantization | None, says: str | None
) -> None:
    """As it was trained on."""
    plan = of_preset("qwen2.5-7b", quantization=quantization)
    text = "\n".join(code(plan, place_in(plan, RUN, "adapter")))
    assert ("BitsAndBytesConfig" in text) == (says is not None)
    assert says is None or says in text


@pytest.mark.parametrize("preset", ["qwen2.5-7b", "gemma-3-4b-it", "chatts-8b"])
@pytest.mark.parametrize("merged", [False, True])
def test_the_code_is_python(preset: str, merged: bool) -> None:
    """Of text, of a model that also sees, and of one that reads series."""
    plan = of_preset(preset)
    place = Place(weights='a "folder"', base="base", merged=merged)
    text = "\n".join(code(plan, place))
    ast.parse(text)
    assert ("PeftModel" in text) != merged
    assert ("ImageTextToText" in text) == (preset == "gemma-3-4b-it")
    assert ("chatts.register()" in text) == (preset == "chatts-8b")


@pytest.mark.parametrize(
    ("method", "vllm", "llama"),
    [
        (Method(lora_rank=16), "", ""),
        (Method(finetuning_type=FinetuningType.RSLORA), "", "rslora"),
        (Method(finetuning_type=FinetuningType.DORA), "dora", "dora"),
        (Method(finetuning_type=FinetuningType.ADALORA), "adalora", "adalora"),
        (Method(lora_rank=600), "rank 600", ""),
        (
            Method(modules_to_save=("lm_head",)),
            "whole copies of lm_head",
            "whole copies of lm_head",
        ),
        (Method(lora_target=("q_proj", "lm_head")), "", "an adapter on the vocabulary"),
        (
            Method(rank_pattern=(("q_proj", 4),)),
            "ranks or alphas of single targets",
            "ranks or alphas of single targets",
        ),
    ],
)
def test_an_adapter_that_a_server_cannot_take_is_named(
    method: Method, vllm: str, llama: str
) -> None:
    """By what stands in the way."""
    assert vllm_refusal(method) == vllm
    assert llama_cpp_refusal(method) == llama


def test_servers_get_a_command_or_the_merge_that_comes_first() -> None:
    """And nobody claims that it was tried."""
    plan = tiny.with_learning(of_preset("qwen2.5-7b"), lora_rank=12)
    place = place_in(plan, RUN, "adapter")
    one, two = servers(plan, place)
    assert "vllm serve /m/qwen2.5-7b --enable-lora --max-lora-rank 16" in one
    assert "convert_lora_to_gguf.py --base /m/qwen2.5-7b saves/tiny/lora/1/adapter" in two
    assert one.endswith("(not tried here).")
    dora = tiny.with_learning(plan, finetuning_type=FinetuningType.DORA)
    assert all("`tsplanner merge saves/tiny/lora/1`" in each for each in servers(dora, place))
    whole = replace(place, merged=True)
    assert "`vllm serve saves/tiny/lora/1/adapter`" in servers(plan, whole)[0]
    assert "`convert_hf_to_gguf.py saves/tiny/lora/1/adapter`" in servers(plan, whole)[1]
    (series,) = servers(of_preset("chatts-8b"), place)
    assert "no series by themselves" in series


def test_a_model_that_was_trained_whole_needs_no_base() -> None:
    """Weights of the last step say that they are."""
    plan = tiny.with_learning(of_preset("qwen2.5-7b"), finetuning_type=FinetuningType.FULL)
    assert place_in(plan, RUN, "model").merged
    assert not place_in(plan, RUN, "model").last
    assert place_in(plan, RUN, "model-last").last
