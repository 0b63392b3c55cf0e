"""The plan that pins exactly one measured case, for the worker that all runs go through."""

from __future__ import annotations

from typing import Any

from memory_models.weights import total_parameters
from tsplanner.commands.cases import Case
from tsplanner.models.source import read_model
from tsplanner.planner.evaluate import evaluate, finish
from tsplanner.planner.plan import DatasetRef, HardwareSettings, LearningSettings, ModelRef
from tsplanner.planner.request import PlanRequest


def plan_of(case: Case, given: dict[str, Any], machine: Any) -> Any:
    """The plan that pins exactly this case."""
    settings = case.settings
    source = read_model(given["model"])
    learning = LearningSettings(
        finetuning_type=settings.finetuning_type,
        lora_rank=settings.lora_rank,
        adalora_init_rank=settings.adalora_init_rank,
        lora_target=settings.lora_target,
        lora_dropout=settings.lora_dropout,
        freeze_trainable_layers=settings.freeze_trainable_layers,
        effective_batch_size=settings.micro_batch_size * settings.gradient_accumulation_steps,
        cutoff_len=settings.sequence_length,
    )
    hardware = HardwareSettings(
        accelerator="cuda" if machine.devices else "cpu",
        micro_batch_size=settings.micro_batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        gradient_checkpointing=settings.gradient_checkpointing,
        attention=settings.attention,
        loss_kernel=settings.loss_kernel,
        optimizer=settings.optimizer,
        model_dtype=settings.model_dtype,
        autocast=settings.autocast,
        quantization=settings.quantization,
        zero_stage=settings.zero_stage,
        offload_optimizer=settings.offload_optimizer,
        offload_param=settings.offload_param,
    )
    length = settings.sequence_length
    request = PlanRequest(
        architecture=case.architecture,
        model=ModelRef(
            name=given["model"],
            path=None,
            model_type=case.architecture.model_type,
            parameters_total=total_parameters(case.architecture),
            parameters_trainable=0,
            config=source.config,
        ),
        dataset=DatasetRef(
            name="(none)",
            path=None,
            rows_total=0,
            rows_kept=0,
            longest_sequence=length,
            mean_sequence=float(length),
            counted_by="cutoff_len",
        ),
        machine=machine,
        learning=learning,
    )
    return finish(request, evaluate(request, hardware), "benchmark")
