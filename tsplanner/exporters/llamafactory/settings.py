"""A plan's settings under LLaMA-Factory's keys, and the memory that LLaMA-Factory takes for them.

Source of every key: hparams/*.py and model/adapter.py of llamafactory 0.9.5 and of the fork, whose
own parsers read the golden files (tests/exporters/test_parsers.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memory_models.activations.liger.patches import PATCHES
from memory_models.architecture import Architecture
from memory_models.settings import (
    Attention,
    DecoderKernels,
    Dtype,
    FinetuningType,
    LossKernel,
    Quantization,
    changed,
)
from memory_models.states.chatts_remote_code import as_released
from tsplanner.datasets.records import LossOn
from tsplanner.exporters import cadence, mixtures
from tsplanner.exporters.launch import ExportOptions
from tsplanner.exporters.llamafactory import tables
from tsplanner.exporters.rows.form import RowsAs
from tsplanner.exporters.trainers import adapted, figures
from tsplanner.exporters.trainers.adapted import TRAINED_WHOLE
from tsplanner.exporters.trainers.memory import Running, attention_under
from tsplanner.planner.plan import Plan

NAME = "LLaMA-Factory"
DEEPSPEED = "ds_config.json"
TOKENIZED = "tokenized"
"""Folder of rows as token ids, which train.sh makes of the files in rows/."""
LOSS: Mapping[LossOn, dict[str, Any]] = {
    LossOn.ASSISTANT: {},
    LossOn.LAST: {"mask_history": True},
    LossOn.ALL: {"train_on_prompt": True},
}
METHODS: Mapping[FinetuningType, dict[str, Any]] = {
    FinetuningType.LORA: {"finetuning_type": "lora"},
    FinetuningType.RSLORA: {"finetuning_type": "lora", "use_rslora": True},
    FinetuningType.DORA: {"finetuning_type": "lora", "use_dora": True},
    FinetuningType.FULL: {"finetuning_type": "full"},
    FinetuningType.FREEZE: {"finetuning_type": "freeze"},
}
ATTENTION = {
    Attention.EAGER: "disabled",
    Attention.SDPA: "sdpa",
    Attention.FLASH_ATTENTION_2: "fa2",
}
QUANTIZATION: Mapping[Quantization, dict[str, Any]] = {
    Quantization.INT8: {"quantization_bit": 8},
    Quantization.NF4: {
        "quantization_bit": 4,
        "quantization_type": "nf4",
        "double_quantization": False,
    },
    Quantization.NF4_DQ: {
        "quantization_bit": 4,
        "quantization_type": "nf4",
        "double_quantization": True,
    },
}


def running(plan: Plan, architecture: Architecture) -> Running:
    """How LLaMA-Factory runs the plan: a base in half precision, trained parameters as cast."""
    hardware = plan.hardware
    whole = plan.learning.method.finetuning_type in TRAINED_WHOLE
    half = hardware.base.autocast or Dtype.BF16
    released = as_released(architecture) if architecture.encoder is not None else architecture
    if whole and hardware.base.model_dtype is Dtype.FP32:
        # LLaMA-Factory casts only parameters (model/adapter.py), so caches stay in half precision.
        released = changed(
            released, rotary_buffer_count=released.positions.rotary_buffer_count // 2
        )
    # Liger reads the head's weight itself, which was not tried where accelerate gathers it.
    fused = hardware.kernels.loss_kernel is LossKernel.FUSED and not hardware.sharding.shards_base
    liger = fused and architecture.encoder is None and architecture.model_type in tables.LIGER
    # Where the rest of Liger's patch is not sized, its loss is sized as ours.
    sized = liger and architecture.model_type in PATCHES
    loss = LossKernel.FUSED if liger else LossKernel.PLAIN
    loss = LossKernel.LIGER if sized else loss
    return Running(
        trainer=NAME,
        architecture=released,
        model_dtype=hardware.base.model_dtype if whole else half,
        autocast=None if pure_bf16(plan) else hardware.base.autocast,
        loss_kernel=loss,
        decoder_kernels=DecoderKernels.LIGER if sized else DecoderKernels.REFERENCE,
        upcast_unquantized=False,
        pads_to=8,
        # Source: its model/model_utils/quantization.py (configure_quantization).
        dequantizes=frozenset({"fp8", "mxfp4"}),
    )


def pure_bf16(plan: Plan) -> bool:
    """Whether trained weights stay in bf16, as our worker trains a bf16 model without an adapter.

    DeepSpeed has fp32 masters in both cases, and its JSON must agree with the key ``bf16``.
    """
    hardware = plan.hardware
    if hardware.sharding.zero_stage:
        return False
    whole = plan.learning.method.finetuning_type in TRAINED_WHOLE
    return hardware.base.model_dtype is Dtype.BF16 and (whole or hardware.base.autocast is None)


def sections(
    plan: Plan, options: ExportOptions, architecture: Architecture
) -> dict[str, dict[str, Any]]:
    """The content of the YAML by headings.

    Raises:
        TsplannerError: weights or dataset are not known.
    """
    figures.dataset_of(plan)
    return {
        "model": _model(plan, options, architecture),
        "method": _method(plan, architecture),
        "dataset": _dataset(plan, options, architecture),
        "output": _output(plan, options),
        "train": _train(plan),
        "precision": _precision(plan),
        "launch": _launch(plan, architecture),
        "eval": _evaluation(plan),
    }


def _model(plan: Plan, options: ExportOptions, architecture: Architecture) -> dict[str, Any]:
    hardware, there = plan.hardware, running(plan, architecture)
    found: dict[str, Any] = {
        "model_name_or_path": figures.weights_of(plan, options),
        "flash_attn": ATTENTION[attention_under(plan, architecture)],
        "disable_gradient_checkpointing": not hardware.batch.gradient_checkpointing,
        "use_reentrant_gc": False,
    }
    if architecture.encoder is not None:
        found["trust_remote_code"] = True
    if (rounded := figures.rounds_base_to(plan)) is not None:
        found |= {"quantization_method": "bnb"} | QUANTIZATION[rounded]
    if there.loss_kernel.in_chunks:
        found["enable_liger_kernel"] = True
    return found


def _method(plan: Plan, architecture: Architecture) -> dict[str, Any]:
    learning = plan.learning
    method = learning.method.finetuning_type
    saved = adapted.modules_to_save(plan)
    found = {"stage": "sft", "do_train": True} | METHODS[method]
    if method is FinetuningType.FREEZE:
        found["freeze_trainable_layers"] = learning.method.freeze_trainable_layers
    elif method is not FinetuningType.FULL:
        mixtures.require_module_names(architecture, adapted.adapter_method(plan), NAME)
        found |= {
            "lora_rank": learning.method.lora_rank,
            "lora_alpha": adapted.whole_alpha(plan, NAME),
            "lora_dropout": learning.method.lora_dropout,
            # With `all`, the numbers that name the encoder's linears would match decoder layers.
            "lora_target": ",".join(adapted.lora_targets(plan, architecture)),
            **({"additional_target": ",".join(saved)} if saved else {}),
        }
    if adapted.sees(architecture):
        # Its own defaults; with them names in lora_target mean the language model's linears alone.
        found |= {"freeze_vision_tower": True, "freeze_multi_modal_projector": True}
    if architecture.encoder is not None:
        # LLaMA-Factory freezes by names such as ".0.", which the encoder's linears have, too.
        found["train_timeseries_modules"] = method is not FinetuningType.FREEZE
        if learning.optimization.timeseries_lr is not None:
            found["timeseries_sft_lr"] = learning.optimization.timeseries_lr
    return found


def _dataset(plan: Plan, options: ExportOptions, architecture: Architecture) -> dict[str, Any]:
    held_out = figures.held_out_rows(plan)
    template = tables.template_of(architecture, options)
    found = {
        "dataset": tables.dataset_name(plan),
        **({"eval_dataset": tables.test_name(plan)} if held_out else {}),
        "dataset_dir": ".",
        **({"template": template} if template is not None else {}),
        "cutoff_len": plan.learning.data.cutoff_len,
        "packing": False,
        "neat_packing": False,
    }
    if options.rows is RowsAs.TOKENS:
        # It wants the names of datasets all the same, and never looks for them.
        return {**found, "tokenized_path": TOKENIZED}
    return found | LOSS[plan.learning.data.loss_on]


def _output(plan: Plan, options: ExportOptions) -> dict[str, Any]:
    return {
        "output_dir": options.output_dir,
        "logging_steps": 1,
        **cadence.keys(plan),
        "plot_loss": True,
        "report_to": "none",
    }


def _train(plan: Plan) -> dict[str, Any]:
    learning, hardware = plan.learning, plan.hardware
    return {
        "per_device_train_batch_size": hardware.batch.micro_batch_size,
        "gradient_accumulation_steps": hardware.batch.gradient_accumulation_steps,
        "learning_rate": learning.optimization.learning_rate,
        "num_train_epochs": float(learning.optimization.num_train_epochs),
        "lr_scheduler_type": learning.optimization.lr_scheduler_type,
        "warmup_steps": figures.warmup_steps(plan),
        "weight_decay": learning.optimization.weight_decay,
        "max_grad_norm": learning.optimization.max_grad_norm,
        "optim": str(hardware.kernels.optimizer),
        "seed": learning.seed,
        "data_seed": learning.seed,
    }


def _precision(plan: Plan) -> dict[str, Any]:
    if pure_bf16(plan):
        return {"pure_bf16": True}
    half = plan.hardware.base.autocast or Dtype.BF16
    return {"bf16": half is Dtype.BF16, "fp16": half is Dtype.FP16}


def _launch(plan: Plan, architecture: Architecture) -> dict[str, Any]:
    if plan.hardware.sharding.zero_stage:
        return {"deepspeed": DEEPSPEED}
    if plan.hardware.sharding.world_size == 1 or plan.hardware.sharding.shards_base:
        return {}
    # A batch without a series does not use the encoder, and DDP waits for gradients that never come
    # unless it looks for unused parameters.
    return {"ddp_find_unused_parameters": architecture.encoder is not None}


def _evaluation(plan: Plan) -> dict[str, Any]:
    if figures.held_out_rows(plan) == 0:
        return {}
    found = {**cadence.evaluation_keys(plan), "per_device_eval_batch_size": 1}
    patience = plan.learning.cadence.early_stopping_patience
    if patience is not None:
        # Its callback asks for the metric by which the best evaluation is known.
        found |= {
            "early_stopping_steps": patience,
            "metric_for_best_model": "eval_loss",
            "greater_is_better": False,
        }
    return found
