"""What LLaMA-Factory is told of a plan, and what it is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml

from memory_models.settings import Attention, Dtype, FinetuningType, LossKernel, Optimizer, changed
from tests.support.golden import CASES, FREEZE, FULL, HALF, Case, case
from tests.support.sorts import cpu
from tsplanner.errors import TsplannerError
from tsplanner.exporters.launch import ExportOptions, spread
from tsplanner.exporters.llamafactory.settings import running
from tsplanner.exporters.llamafactory.tables import TEMPLATES, template_of
from tsplanner.exporters.registry import render
from tsplanner.exporters.trainers import architecture_of, memory_under
from tsplanner.models.source import preset_names, read_model
from tsplanner.planner.plan import Plan


def written(case: Case, exporter: str = "llamafactory") -> dict[str, str]:
    """Texts by file name."""
    return {file.name: file.text for file in render(exporter, case.plan, case.options)}


def said(case: Case) -> dict[str, Any]:
    """The YAML's content."""
    found = yaml.safe_load(written(case)["train.yaml"])
    assert isinstance(found, dict)
    return found


def golden(name: str) -> dict[str, Any]:
    """The YAML of a golden case."""
    return said(CASES["llamafactory"][name])


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


def test_adalora_is_refused_with_what_to_do() -> None:
    """It has none, whatever the package is called there."""
    with pytest.raises(TsplannerError, match=r"no adalora: plan again .* lora, dora or rslora"):
        written(case("qwen2.5-7b", learning={"finetuning_type": FinetuningType.ADALORA}))


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
        "val_size": 41.0,
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


def test_deepspeeds_file_says_what_the_yaml_says() -> None:
    """Else Trainer refuses both."""
    for name, each in CASES["llamafactory"].items():
        texts = written(each)
        if "ds_config.json" not in texts:
            continue
        found, config = golden(name), json.loads(texts["ds_config.json"])
        assert config["bf16"]["enabled"] is found["bf16"]
        assert config["fp16"]["enabled"] is found["fp16"]
        assert config["zero_optimization"]["reduce_bucket_size"] == "auto"


def test_chatts_gets_the_forks_form() -> None:
    """Its template, its two arguments, remote code that is said, its versions."""
    each = CASES["llamafactory"]["chatts_14b_lora_zero3"]
    texts, found = written(each), said(each)
    assert (found["template"], found["trust_remote_code"]) == ("chatts", True)
    assert (found["timeseries_sft_lr"], found["train_timeseries_modules"]) == (1e-5, True)
    head = texts["train.yaml"].split("\n\n", maxsplit=1)[0]
    assert "trust_remote_code is true" in head
    assert "transformers >=4.49,<=4.52.4" in head
    assert "deepspeed >=0.10,<=0.16.9" in head
    assert "deepspeed>=0.10.0,<=0.16.9\n" in texts["requirements.txt"]
    (entry,) = json.loads(texts["dataset_info.json"]).values()
    assert entry["columns"] == {"prompt": "input", "response": "output", "timeseries": "timeseries"}


def test_text_models_run_no_remote_code() -> None:
    """Nothing there needs it."""
    assert "trust_remote_code" not in golden("lora")
    assert written(CASES["llamafactory"]["lora"])["requirements.txt"] == "llamafactory==0.9.5\n"


def test_the_8b_needs_a_newer_transformers() -> None:
    """Its own code imports what 4.52 brought."""
    texts = written(CASES["llamafactory"]["chatts_8b_dora"])
    assert "transformers>=4.52.1,<=4.52.4\n" in texts["requirements.txt"]


def test_frozen_blocks_leave_the_encoder_alone() -> None:
    """Its linears are called 0, 2, 4: a frozen run would otherwise train what sounds like one."""
    assert golden("chatts_14b_freeze")["train_timeseries_modules"] is False


def test_the_fused_loss_is_ligers_where_it_knows_the_family() -> None:
    """Never ChatTS's, where it does nothing."""
    assert golden("fused_loss_of_liger")["enable_liger_kernel"] is True
    assert "enable_liger_kernel" not in golden("chatts_8b_lora_two_gpus")
    head = written(CASES["llamafactory"]["chatts_8b_lora_two_gpus"])["train.yaml"]
    assert "all logits are kept instead" in head


def test_selective_checkpointing_becomes_full_and_is_said() -> None:
    """LLaMA-Factory has one switch for all layers."""
    head = written(CASES["llamafactory"]["paged_8bit_flash"])["train.yaml"]
    assert "all are checkpointed" in head


def test_one_gpu_starts_without_torchrun() -> None:
    """DDP around one rank would hold every gradient twice; DeepSpeed cannot do without."""
    assert "FORCE_TORCHRUN" not in written(CASES["llamafactory"]["lora"])["train.sh"]
    sharded = case("qwen2.5-7b", zero_stage=3, offload_param=True)
    assert "FORCE_TORCHRUN=1" in written(sharded)["train.sh"]


def test_several_machines_are_numbered_by_hand() -> None:
    """Each is told its number and where the first one is."""
    text = written(CASES["llamafactory"]["two_machines"])["train.sh"]
    assert "export NNODES=2\n" in text
    assert "export NPROC_PER_NODE=2\n" in text
    assert "${NODE_RANK:?" in text
    assert "${MASTER_ADDR:?" in text


@pytest.mark.parametrize(
    ("short", "says"),
    [
        (Case(cpu(), ExportOptions(weights="x")), "chooses its precision by the GPU"),
        (
            case("qwen2.5-7b", learning={"lora_alpha": 4.5}),
            "whole numbers for lora_alpha, not 4.5: plan again",
        ),
        (case("qwen2.5-7b", model_dtype=Dtype.FP32, autocast=None), "--model-dtype bf16"),
    ],
    ids=["CPU", "alpha", "fp32"],
)
def test_what_it_cannot_do_is_refused(short: Case, says: str) -> None:
    """In one sentence that ends with what to do."""
    with pytest.raises(TsplannerError, match=says):
        written(short)


def test_a_model_without_weights_asks_for_them() -> None:
    """A preset is a config.json; its trainer needs more."""
    found = case("qwen2.5-7b")
    bare = replace(found.plan, model=replace(found.plan.model, has_weights=False))
    with pytest.raises(TsplannerError, match="give --weights FOLDER"):
        written(Case(bare, found.options))
    named = replace(found.options, weights="Qwen/Qwen2.5-7B-Instruct")
    assert said(Case(bare, named))["model_name_or_path"] == "Qwen/Qwen2.5-7B-Instruct"


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_has_a_template(preset: str) -> None:
    """By its family and vocabulary; unknown ones are asked for."""
    assert template_of(read_model(preset).architecture, None)


def test_an_unknown_family_asks_for_a_template() -> None:
    """Guessing would train on the wrong words."""
    odd = changed(read_model("llama-2-7b").architecture, vocab_size=77_777)
    with pytest.raises(TsplannerError, match="give --template NAME"):
        template_of(odd, None)
    assert template_of(odd, "vicuna") == "vicuna"
    assert len(set(TEMPLATES.values())) > 10


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


def test_what_a_whole_run_trains_is_in_the_dtype_planned() -> None:
    """bf16 without an adapter is pure_bf16; fp32 masters are LLaMA-Factory's own way."""
    for method in (FULL, FREEZE):
        learning = {"finetuning_type": method}
        assert said(case("qwen2.5-0.5b", learning=learning))["pure_bf16"] is True
        wide = case("qwen2.5-0.5b", learning=learning, model_dtype=Dtype.FP32, autocast=Dtype.BF16)
        assert said(wide)["bf16"] is True
        assert "pure_bf16" not in said(wide)


def test_a_plan_of_one_row_holds_out_none() -> None:
    """And two hold out one, said as a share: 1 would be read as all."""
    found = case("qwen2.5-7b")
    for rows, size in ((1, None), (2, 0.25), (40, 4.0)):
        plan: Plan = replace(found.plan, dataset=changed(found.plan.dataset, rows_kept=rows))
        assert said(Case(plan, found.options)).get("val_size") == size


def test_liger_counts_as_the_fused_loss() -> None:
    """Its estimate is below that of all logits."""
    plan = CASES["llamafactory"]["fused_loss_of_liger"].plan
    under = running(plan, architecture_of(plan))
    assert under.loss_kernel is LossKernel.FUSED
    plain = memory_under(plan, replace(under, loss_kernel=LossKernel.PLAIN), plan.hardware)
    fused = memory_under(plan, under, plan.hardware)
    assert fused.peak_allocated_bytes.expected < plain.peak_allocated_bytes.expected
