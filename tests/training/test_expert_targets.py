"""Names of experts become PEFT's arguments, and PEFT trains what the plan counts."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from memory_models.settings import FinetuningType, TrainingSettings, from_flat
from tsplanner.errors import TsplannerError
from tsplanner.tracing.model import plan_of
from tsplanner.training import adapters
from tsplanner.training.expert_targets import fused_experts

SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "max_position_embeddings": 128,
    "num_experts_per_tok": 2,
}
FAMILIES: dict[str, dict[str, object]] = {
    "mixtral": {"num_local_experts": 4},
    "qwen3_moe": {"num_experts": 4, "moe_intermediate_size": 32, "head_dim": 16},
    "qwen2_moe": {
        "num_experts": 4,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 48,
    },
    "gpt_oss": {"num_local_experts": 4, "head_dim": 16},
    "granitemoe": {"num_local_experts": 4},
    "olmoe": {"num_experts": 4},
    "glm4_moe": {
        "n_routed_experts": 4,
        "moe_intermediate_size": 32,
        "first_k_dense_replace": 1,
        "n_group": 1,
        "topk_group": 1,
        "head_dim": 16,
    },
}
EXPERTS = ("gate_proj", "up_proj", "down_proj")
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


def mixture(family: str, dtype: torch.dtype = torch.bfloat16, device: str = "meta") -> Any:
    """A tiny mixture of a family."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SHAPE, **FAMILIES[family])
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=dtype)


def adapted(model: Any, *targets: str, **changes: object) -> Any:
    """The model under LoRA of rank 4, as a worker wraps it."""
    given = {"lora_rank": 4, "lora_target": targets or "all-linear", **changes}
    return adapters.apply_method(plan_of(from_flat(TrainingSettings, **given)), model, 10)


@pytest.mark.parametrize("family", ["qwen3_moe", "qwen2_moe", "olmoe", "glm4_moe"])
def test_the_seven_usual_names_train_what_peft_alone_trains(family: str) -> None:
    """Also where they mean a shared expert (Qwen2-MoE) or leave dense layers out (GLM-4-MoE)."""
    from peft import LoraConfig, get_peft_model

    ours = adapters.trainable_count(adapted(mixture(family), *ATTENTION, *EXPERTS))
    with torch.device("meta"):
        theirs = get_peft_model(
            mixture(family), LoraConfig(r=4, target_modules=[*ATTENTION, *EXPERTS])
        )
    assert ours == adapters.trainable_count(theirs)


@pytest.mark.parametrize("family", ["mixtral", "gpt_oss", "granitemoe"])
def test_where_peft_knows_no_such_name_it_means_the_experts_too(family: str) -> None:
    """Two layers: gate and up 8 x 4 x (64 + 192), down 4 x 4 x (96 + 64)."""
    found = adapters.trainable_count(adapted(mixture(family), *EXPERTS))
    assert found == 2 * (8 * 4 * 256 + 4 * 4 * 160)


def test_all_linear_means_linears() -> None:
    """Neither the experts nor the router, which PEFT's own all-linear would take."""
    found = adapted(mixture("qwen3_moe"))
    names = {
        name.split(".lora_")[0].rsplit(".", 1)[1]
        for name, p in found.named_parameters()
        if p.requires_grad
    }
    assert names == set(ATTENTION)


def test_linears_that_peft_takes_for_experts_are_left_out_of_all_linear() -> None:
    """GLM-4-MoE's dense layer and shared experts carry the experts' names."""
    found = adapted(mixture("glm4_moe"))
    trained = [name for name, p in found.named_parameters() if p.requires_grad]
    assert trained
    assert not [name for name in trained if ".mlp." in name]


def test_a_wrapped_mixture_warns_of_nothing() -> None:
    """PEFT tells that the rank of gate and up was ignored, which is not so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*pattern keys did not match.*")
        found = adapted(mixture("qwen3_moe"), *EXPERTS)
    ranks = {p.shape[0] for name, p in found.named_parameters() if "lora_A" in name}
    assert ranks == {8 * 4, 4 * 4}


@pytest.mark.parametrize("method", [FinetuningType.DORA, FinetuningType.ADALORA])
def test_other_methods_do_not_reach_experts(method: FinetuningType) -> None:
    """PEFT would raise, or find no module."""
    with pytest.raises(TsplannerError, match="does not reach the experts: take lora"):
        adapted(mixture("qwen3_moe"), *EXPERTS, finetuning_type=method)


def test_half_of_a_parameter_is_refused() -> None:
    """Gate without up."""
    with pytest.raises(TsplannerError, match='"gate_proj" needs "up_proj" beside it'):
        adapted(mixture("qwen3_moe"), "gate_proj")


def test_a_router_is_never_adapted() -> None:
    """By whatever name the family calls it."""
    for family, name in (("qwen3_moe", "gate"), ("gpt_oss", "router")):
        with pytest.raises(TsplannerError, match=f'"{name}" is the router'):
            adapted(mixture(family), "q_proj", name)


def test_a_dense_model_has_no_fused_experts() -> None:
    """And keeps its pattern of names."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        dense = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **SHAPE))
    assert fused_experts(dense) == []
    assert isinstance(adapters.target_modules(dense, "all-linear"), str)


def test_a_saved_adapter_of_experts_is_one_that_peft_loads(tmp_path: Path) -> None:
    """The file that a worker saves gives the same loss on a fresh base."""
    from peft import PeftModel

    ids = torch.arange(24).reshape(2, 12)
    model = adapted(mixture("qwen3_moe", torch.float32, "cpu"), *ATTENTION, *EXPERTS)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.1)
    wanted = model(input_ids=ids, labels=ids).loss
    model.save_pretrained(tmp_path)
    base = mixture("qwen3_moe", torch.float32, "cpu")
    plain = base(input_ids=ids, labels=ids).loss
    loaded = PeftModel.from_pretrained(base, tmp_path)
    assert float(loaded(input_ids=ids, labels=ids).loss) == pytest.approx(float(wanted), rel=1e-6)
    assert float(plain) != pytest.approx(float(wanted), rel=1e-3)
