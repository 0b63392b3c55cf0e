"""Adapters come to a frozen base and go; the base stays as it was loaded."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from memory_models.settings import Attention, changed
from tests.support import tiny
from tests.support.multi_lora import tensors_in
from tsplanner.training.kernels.row_attention import FLEX
from tsplanner.training.multi_lora.base import SharedBase, adapter_parameters


def shared(tmp_path: Path) -> SharedBase:
    """A tiny base without adapters."""
    torch.manual_seed(0)
    keys = {key: value for key, value in tiny.CONFIG.items() if key != "model_type"}
    base = AutoModelForCausalLM.from_config(AutoConfig.for_model("qwen2", **keys))
    return SharedBase(base, tiny.plan(tmp_path))


def test_an_adapter_draws_the_weights_that_it_draws_alone(tmp_path: Path) -> None:
    """Whichever adapters are there before it: the seed is its own."""
    one, two = shared(tmp_path), shared(tmp_path)
    first = changed(one.plan, lora_rank=2, seed=1)
    second = changed(one.plan, lora_rank=3, seed=2)
    one.add("a", first, 5)
    beside = [parameter.detach().clone() for parameter in one.add("b", second, 5)]
    alone = two.add("b", second, 5)
    assert len(alone) == len(beside) > 0
    assert all(torch.equal(x, y) for x, y in zip(beside, alone, strict=True))
    assert {min(parameter.shape) for parameter in beside} == {3}


def test_all_adapters_learn_and_the_base_does_not(tmp_path: Path) -> None:
    """Also after one has left."""
    one = shared(tmp_path)
    for name in ("a", "b", "c"):
        one.add(name, one.plan, 5)
    one.remove("a")
    learns = {name for name, each in one.base.named_parameters() if each.requires_grad}
    assert one.names == ["b", "c"]
    assert learns == {
        name
        for name, _ in one.base.named_parameters()
        if "lora_" in name and ({"b", "c"} & set(name.split(".")))
    }
    assert adapter_parameters(one.base, "a") == []


def test_a_saved_adapter_stands_where_an_only_one_would(tmp_path: Path) -> None:
    """In the folder itself, and the other adapter goes on learning."""
    one = shared(tmp_path)
    for name in ("a", "b"):
        one.add(name, one.plan, 5)
    one.save("b", tmp_path / "adapter")
    assert {path.name for path in (tmp_path / "adapter").iterdir()} >= {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert len(tensors_in(tmp_path / "adapter")) == len(adapter_parameters(one.base, "b"))
    assert all(parameter.requires_grad for parameter in adapter_parameters(one.base, "a"))


def test_a_shared_base_runs_flex_attention_where_the_plan_does(tmp_path: Path) -> None:
    """Padded as well."""
    plan = tiny.with_hardware(tiny.plan(tmp_path), attention=Attention.FLEX_ATTENTION)
    base = SharedBase(shared(tmp_path).base, plan).base
    assert base.config._attn_implementation == FLEX
