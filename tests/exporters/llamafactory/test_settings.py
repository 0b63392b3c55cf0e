"""A plan's settings as LLaMA-Factory names them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from memory_models.settings import (
    Attention,
    Dtype,
    FinetuningType,
    Optimizer,
    changed,
)
from tests.support.exports import golden, said
from tests.support.golden import CASES, FREEZE, FULL, HALF, MESSAGES, TOKENS, Case, case
from tsplanner.datasets.records import LossOn
from tsplanner.exporters.launch import spread
from tsplanner.exporters.llamafactory.settings import running
from tsplanner.exporters.trainers.figures import architecture_of
from tsplanner.exporters.trainers.memory import differences
from tsplanner.planner.plan import Plan


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lora", {"finetuning_type": "lora", "lora_rank": 4, "lora_alpha": 8}),
        ("dora_two_gpus", {"finetuning_type": "lora", "use_dora": True}),
        ("rslora_zero2_offload", {"use_rslora": True, "lora_alpha": 24, "lora_dropout": 0.05}),
        ("full_zero3", {"finetuning_type": "full", "deepspeed": "ds_config.json"}),
        ("freeze", {"finetuning_type": "freeze", "freeze_trainable_layers": 3}),
        ("qlora", {"quantization_bit": 4, "double_quantization": True}),
        ("nf4_two_targets", {"quantization_bit": 4, "double_quantization": False}),
        ("int8", {"quantization_bit": 8, "flash_attn": "disabled"}),
        ("paged_8bit_flash", {"optim": "paged_adamw_8bit", "flash_attn": "fa2"}),
    ],
)
def test_a_method_goes_by_its_name_there(name: str, expected: dict[str, Any]) -> None:
    """DoRA and rsLoRA are flags of lora, QLoRA is its quantisation."""
    found = golden(name)
    assert {key: found.get(key) for key in expected} == expected


def test_lora_targets_are_named_one_by_one() -> None:
    """``all`` would take ChatTS's encoder linears, whose names are numbers, for decoder blocks."""
    assert golden("chatts_8b_dora")["lora_target"] == (
        "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj"
    )
    assert golden("chatts_14b_lora_zero3")["lora_target"] == "q_proj,k_proj,v_proj"


def test_learning_settings_are_the_plans() -> None:
    """Rate, schedule, epochs, seed and lengths; 24 steps x 3 % of warm-up is one step."""
    found = golden("lora")
    assert {
        "learning_rate": 0.005,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 1,
        "num_train_epochs": 2.0,
        "seed": 42,
        "data_seed": 42,
        "cutoff_len": 2048,
        "max_grad_norm": 1.0,
        "eval_dataset": "alerts_test",
    }.items() <= found.items()


@pytest.mark.parametrize("name", CASES["llamafactory"])
def test_the_effective_batch_stays(name: str) -> None:
    """32 rows a step, on however many ranks."""
    each = CASES["llamafactory"][name]
    found = said(each)
    ranks = spread(each.plan, each.options.nodes).hardware.sharding.world_size
    assert ranks * found["per_device_train_batch_size"] * found["gradient_accumulation_steps"] == 32


def test_a_full_model_in_bf16_stays_in_bf16() -> None:
    """Without DeepSpeed its trained weights would be cast to fp32, which was not planned."""
    assert golden("full_pure_bf16")["pure_bf16"] is True
    assert "pure_bf16" not in golden("full_zero3")
    assert (golden("full_fp16")["fp16"], golden("full_fp16")["bf16"]) == (True, False)


def test_frozen_blocks_leave_the_encoder_alone() -> None:
    """Its linears are called 0, 2, 4: a frozen run would otherwise train what sounds like one."""
    assert golden("chatts_14b_freeze")["train_timeseries_modules"] is False


def test_half_precision_follows_the_plan() -> None:
    """A GPU without bf16 trains in fp16."""
    found = said(case("qwen2.5-7b", learning={"finetuning_type": FinetuningType.LORA}, **HALF))
    assert (found["bf16"], found["fp16"]) == (False, True)


def test_optimizer_and_attention_keep_their_names() -> None:
    """All of them are Trainer's own; attention has three words."""
    for optimizer in Optimizer:
        assert said(case("qwen2.5-7b", optimizer=optimizer))["optim"] == optimizer.value
    words = {said(case("qwen2.5-7b", attention=each))["flash_attn"] for each in Attention}
    assert words == {"disabled", "sdpa", "fa2"}


@pytest.mark.parametrize(
    ("model", "runs", "word"),
    [("gemma-2-9b", "eager", "disabled"), ("qwen2.5-7b", "sdpa", "sdpa")],
)
def test_flex_attention_gives_way_to_what_runs_there(model: str, runs: str, word: str) -> None:
    """Ours is none of theirs; Gemma 2's soft cap leaves eager alone."""
    each = case(model, attention=Attention.FLEX_ATTENTION)
    assert said(each)["flash_attn"] == word
    under = running(each.plan, architecture_of(each.plan))
    sentences = differences(each.plan, under)
    assert f"tsplanner's flex_attention is its own: {runs} attention instead." in sentences


def test_what_a_whole_run_trains_is_in_the_dtype_planned() -> None:
    """bf16 without an adapter is pure_bf16; fp32 masters are LLaMA-Factory's own way."""
    for method in (FULL, FREEZE):
        learning = {"finetuning_type": method}
        assert said(case("qwen2.5-0.5b", learning=learning))["pure_bf16"] is True
        wide = case("qwen2.5-0.5b", learning=learning, model_dtype=Dtype.FP32, autocast=Dtype.BF16)
        assert said(wide)["bf16"] is True
        assert "pure_bf16" not in said(wide)


def test_a_plan_of_one_row_holds_out_none() -> None:
    """And two hold out one: the held-out rows are a dataset of their own, never a share."""
    found = case("qwen2.5-7b")
    for rows, name in ((1, None), (2, "alerts_test")):
        plan: Plan = replace(found.plan, dataset=changed(found.plan.dataset, rows_kept=rows))
        assert said(Case(plan, found.options)).get("eval_dataset") == name


def test_loss_is_said_in_its_own_words() -> None:
    """For dialogues; token ids come with their labels."""
    found = case("qwen2.5-7b", rows=MESSAGES)
    for loss_on, words in (
        (LossOn.ASSISTANT, {}),
        (LossOn.LAST, {"mask_history": True}),
        (LossOn.ALL, {"train_on_prompt": True}),
    ):
        plan = replace(found.plan, learning=changed(found.plan.learning, loss_on=loss_on))
        for rows_as, wanted in ((MESSAGES, words), (TOKENS, {})):
            read = said(Case(plan, replace(found.options, rows=rows_as)))
            keys = ("mask_history", "train_on_prompt")
            assert {key: read[key] for key in keys if key in read} == wanted
