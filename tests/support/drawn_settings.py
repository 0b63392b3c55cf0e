"""Training settings that hypothesis draws, and the quantities of an estimate by name."""

from __future__ import annotations

from dataclasses import fields

from hypothesis import strategies as st

from memory_models.result import Interval, MemoryEstimate
from memory_models.settings import (
    Attention,
    Dtype,
    FinetuningType,
    LossKernel,
    Optimizer,
    Quantization,
    TrainingSettings,
    from_flat,
)


@st.composite
def any_settings(draw: st.DrawFn) -> TrainingSettings:
    """Settings that can be built; not all of them can run on every model."""
    method = draw(st.sampled_from(FinetuningType))
    adapter = method.uses_adapter
    quantization = draw(st.sampled_from([None, *Quantization])) if adapter else None
    products = quantization is not None and quantization.multiplies
    stage = 0 if products else draw(st.sampled_from([0, 0, 1, 2, 3]))
    return from_flat(
        TrainingSettings,
        finetuning_type=method,
        lora_rank=draw(st.integers(1, 4)),
        lora_target=draw(st.sampled_from(["all-linear", ("q_proj", "k_proj", "v_proj")])),
        lora_dropout=draw(st.sampled_from([0.0, 0.1])),
        freeze_trainable_layers=draw(st.integers(1, 2)),
        model_dtype=draw(st.sampled_from(Dtype)),
        autocast=draw(st.sampled_from([None, Dtype.BF16, Dtype.FP16])),
        quantization=quantization,
        sequence_length=draw(st.integers(1, 64)),
        micro_batch_size=draw(st.integers(1, 64)),
        gradient_accumulation_steps=draw(st.integers(1, 4)),
        gradient_checkpointing=draw(st.booleans()),
        attention=draw(st.sampled_from(Attention)),
        loss_kernel=draw(st.sampled_from(LossKernel)),
        optimizer=draw(st.sampled_from(Optimizer)),
        world_size=draw(st.integers(1, 8)),
        zero_stage=stage,
        offload_optimizer=stage > 0 and draw(st.booleans()),
        offload_param=stage == 3 and draw(st.booleans()),
    )


def intervals(estimate: MemoryEstimate) -> dict[str, Interval]:
    """The four quantities by name."""
    return {
        field.name: getattr(estimate, field.name)
        for field in fields(MemoryEstimate)
        if field.name.endswith("_bytes")
    }
