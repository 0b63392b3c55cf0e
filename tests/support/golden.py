"""Golden exports: what each trainer's exporter writes for some plans; make golden renews them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from memory_models.settings import (
    Attention,
    DecoderKernels,
    Dtype,
    FinetuningType,
    LossKernel,
    Optimizer,
    Quantization,
    changed,
)
from tests.support.sorts import H200, cpu, on_gpus
from tsplanner.exporters.launch import ExportFile, ExportOptions
from tsplanner.exporters.registry import render
from tsplanner.exporters.rows.form import RowsAs
from tsplanner.models.source import read_model
from tsplanner.planner.plan import Plan

FOLDER = Path(__file__).parents[1] / "exporters" / "golden"
TOKENS, MESSAGES = RowsAs.TOKENS, RowsAs.MESSAGES
LORA, DORA, RSLORA = FinetuningType.LORA, FinetuningType.DORA, FinetuningType.RSLORA
FULL, FREEZE = FinetuningType.FULL, FinetuningType.FREEZE
HALF = {"model_dtype": Dtype.FP16, "autocast": Dtype.FP16}

PER_HOST: dict[str, Any] = {"fsdp": True, "fsdp_per_host": True}

KNOBS = {
    "max_steps": 21,
    "eval_steps": 4,
    "save_steps": 6,
    "early_stopping_patience": 2,
    "neftune_noise_alpha": 5.0,
    "warmup_steps": 3,
    "weight_decay": 0.01,
    "max_grad_norm": 0.3,
    "lr_scheduler_type": "linear",
}
"""Every setting of the length and the pace of a run, away from its default."""


class Case(NamedTuple):
    """A plan and what it is exported with."""

    plan: Plan
    options: ExportOptions


def case(
    preset: str,
    gpus: int = 1,
    *,
    learning: dict[str, Any] | None = None,
    rows: RowsAs = TOKENS,
    nodes: int = 1,
    **hardware: Any,
) -> Case:
    """A plan for a preset on ``gpus`` H200 (0: the CPU), 414 rows, effective batch 32."""
    dtypes = {name: hardware.pop(name) for name in ("model_dtype", "autocast") if name in hardware}
    base = on_gpus(gpus, **hardware) if gpus else cpu()
    source = read_model(preset)
    plan = replace(
        base,
        hardware=changed(base.hardware, **dtypes),
        model=replace(
            base.model,
            name=preset,
            path=f"/models/{preset}",
            model_type=source.architecture.model_type,
            config=source.config,
            has_weights=True,
            architecture=source.architecture,
        ),
        dataset=changed(
            base.dataset,
            name="alerts",
            path="/data/alerts.jsonl",
            rows_total=421,
            rows_kept=414,
            longest=1500,
            mean=900.0,
        ),
        learning=changed(base.learning, **{"cutoff_len": 2048, **(learning or {})}),
        time=replace(base.time, steps_per_epoch=12, total_steps=24),
        free_bytes=H200.free_bytes if gpus else base.machine.host.available_bytes,
    )
    return Case(plan, ExportOptions(rows=rows, nodes=nodes))


CASES: dict[str, dict[str, Case]] = {
    "llamafactory": {
        "lora": case("qwen2.5-7b"),
        "lora_beside_a_tower": case("qwen2.5-vl-7b"),
        "dora_two_gpus": case("llama-3.1-8b", 2, learning={"finetuning_type": DORA}),
        "rslora_zero2_offload": case(
            "mistral-7b",
            4,
            learning={"finetuning_type": RSLORA, "lora_dropout": 0.05, "lora_alpha": 24.0},
            zero_stage=2,
            offload_optimizer=True,
        ),
        "qlora": case("qwen2.5-14b", quantization=Quantization.NF4_DQ, rows=MESSAGES),
        "nf4_two_targets": case(
            "qwen3-8b",
            2,
            learning={"lora_target": ("q_proj", "v_proj")},
            quantization=Quantization.NF4,
            rows=MESSAGES,
        ),
        "every_knob": case("qwen2.5-7b", learning=KNOBS),
        "int8": case("gemma-2-9b", quantization=Quantization.INT8, attention=Attention.EAGER),
        "full_zero3": case(
            "qwen2.5-7b", 8, learning={"finetuning_type": FULL}, zero_stage=3, micro_batch_size=1
        ),
        "full_pure_bf16": case("qwen2.5-0.5b", learning={"finetuning_type": FULL}),
        "full_fp16": case(
            "qwen2.5-0.5b",
            learning={"finetuning_type": FULL},
            model_dtype=Dtype.FP32,
            autocast=Dtype.FP16,
        ),
        "freeze": case(
            "gemma-3-1b",
            learning={"finetuning_type": FREEZE, "freeze_trainable_layers": 3},
            optimizer=Optimizer.ADAFACTOR,
        ),
        "paged_8bit_flash": case(
            "phi-4",
            gradient_checkpointing=True,
            checkpointed_layers=10,
            optimizer=Optimizer.PAGED_ADAMW_8BIT,
            attention=Attention.FLASH_ATTENTION_2,
        ),
        "fused_loss_of_liger": case(
            "qwen3-8b", loss_kernel=LossKernel.FUSED, kernels=DecoderKernels.FUSED
        ),
        "two_machines": case("llama-3.2-1b", 2, nodes=2),
        "lora_fsdp2": case("qwen2.5-7b", 2, fsdp=True),
        "qlora_fsdp2_two_machines": case(
            "llama-3.1-8b", 2, nodes=2, quantization=Quantization.NF4_DQ, **PER_HOST
        ),
        "chatts_14b_lora_zero3": case(
            "chatts-14b",
            2,
            learning={"timeseries_lr": 1e-5, "lora_target": ("q_proj", "k_proj", "v_proj")},
            rows=MESSAGES,
            zero_stage=3,
            **HALF,
        ),
        "chatts_14b_qlora": case(
            "chatts-14b",
            quantization=Quantization.NF4_DQ,
            rows=MESSAGES,
            gradient_checkpointing=True,
            **HALF,
        ),
        "chatts_14b_freeze": case(
            "chatts-14b",
            learning={"finetuning_type": FREEZE},
            rows=MESSAGES,
            gradient_checkpointing=True,
        ),
        "chatts_8b_lora_two_gpus": case(
            "chatts-8b",
            2,
            rows=MESSAGES,
            loss_kernel=LossKernel.FUSED,
            kernels=DecoderKernels.FUSED,
        ),
        "chatts_8b_dora": case(
            "chatts-8b", learning={"finetuning_type": DORA}, rows=MESSAGES, **HALF
        ),
        "chatts_8b_full_offload": case(
            "chatts-8b",
            8,
            learning={"finetuning_type": FULL, "timeseries_lr": 2e-5},
            rows=MESSAGES,
            zero_stage=3,
            offload_param=True,
            offload_optimizer=True,
            micro_batch_size=1,
        ),
    },
    "axolotl": {
        "lora": case("qwen2.5-7b"),
        "dora_two_gpus": case("llama-3.1-8b", 2, learning={"finetuning_type": DORA}),
        "rslora_zero2": case("mistral-7b", 4, learning={"finetuning_type": RSLORA}, zero_stage=2),
        "qlora": case("qwen2.5-14b", quantization=Quantization.NF4_DQ, rows=MESSAGES),
        "every_knob": case("qwen2.5-7b", learning=KNOBS),
        "int8": case("qwen2.5-7b", quantization=Quantization.INT8),
        "full_zero3": case(
            "qwen2.5-7b", 8, learning={"finetuning_type": FULL}, zero_stage=3, micro_batch_size=1
        ),
        "freeze_fp16": case("llama-3.2-1b", learning={"finetuning_type": FREEZE}, **HALF),
        "lora_beside_a_tower": case("qwen2.5-vl-7b"),
        "full_beside_a_tower": case("gemma-3-4b-it", learning={"finetuning_type": FULL}),
        "paged_8bit_flash": case(
            "qwen3-4b",
            optimizer=Optimizer.PAGED_ADAMW_8BIT,
            attention=Attention.FLASH_ATTENTION_2,
        ),
        "two_machines": case("llama-3.2-1b", 2, nodes=2, rows=MESSAGES),
        "lora_fsdp2": case("qwen2.5-7b", 2, fsdp=True),
        "qlora_fsdp2_two_machines": case(
            "llama-3.1-8b", 2, nodes=2, quantization=Quantization.NF4_DQ, **PER_HOST
        ),
    },
    "trl": {
        "cpu": case("smollm2-135m", 0),
        "lora": case("qwen2.5-7b"),
        "lora_beside_a_tower": case("qwen2.5-vl-7b"),
        "dora_two_gpus": case("llama-3.1-8b", 2, learning={"finetuning_type": DORA}),
        "rslora_zero2": case("mistral-7b", 4, learning={"finetuning_type": RSLORA}, zero_stage=2),
        "qlora": case("qwen2.5-14b", quantization=Quantization.NF4_DQ, rows=MESSAGES),
        "every_knob": case("qwen2.5-7b", learning=KNOBS),
        "int8": case("qwen2.5-7b", quantization=Quantization.INT8),
        "full_zero3": case(
            "qwen2.5-7b", 8, learning={"finetuning_type": FULL}, zero_stage=3, micro_batch_size=1
        ),
        "fp16_one_target": case("qwen2.5-1.5b", learning={"lora_target": ("q_proj",)}, **HALF),
        "two_machines": case("llama-3.2-1b", 2, nodes=2, rows=MESSAGES),
        "lora_fsdp2": case("qwen2.5-7b", 2, fsdp=True),
        "qlora_fsdp2_two_machines": case(
            "llama-3.1-8b", 2, nodes=2, quantization=Quantization.NF4_DQ, **PER_HOST
        ),
    },
}


def rendered(exporter: str, name: str) -> list[ExportFile]:
    """What the exporter writes today."""
    found = CASES[exporter][name]
    return render(exporter, found.plan, found.options)


def renew() -> None:
    """Write all of them anew."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    for exporter, cases in CASES.items():
        for name in cases:
            folder = FOLDER / exporter / name
            folder.mkdir(parents=True)
            for file in rendered(exporter, name):
                (folder / file.name).write_text(file.text, encoding="utf-8")


if __name__ == "__main__":
    renew()
