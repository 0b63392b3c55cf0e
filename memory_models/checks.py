"""Settings that cannot run, refused in words."""

from __future__ import annotations

from memory_models.activations.liger.patches import PATCHES
from memory_models.architecture import Architecture
from memory_models.device import Device
from memory_models.settings import (
    Attention,
    DecoderKernels,
    Dtype,
    FinetuningType,
    TrainingSettings,
)


def check_settings(architecture: Architecture, settings: TrainingSettings) -> None:
    """Refuse settings that cannot run on any device.

    Raises:
        ValueError: names the field, its value and the limit.
    """
    positions = architecture.positions
    # Rotary positions go on for ever; a learned table has no row for what lies beyond its end.
    # Positions of packed rows begin anew with every row.
    ends = positions.learned_position_count and not settings.batch.is_packed
    if ends and settings.sequence_length > positions.max_position_embeddings:
        raise ValueError(
            f"sequence_length {settings.sequence_length} is above the model's "
            f"max_position_embeddings {positions.max_position_embeddings}, and it learned no more"
        )
    _check_checkpointed_layers(architecture, settings)
    streamed, layers = settings.streaming.most, architecture.num_hidden_layers
    if streamed > layers:
        raise ValueError(
            f"streamed_layers {streamed} is above the model's num_hidden_layers {layers}"
        )
    inputs = settings.streaming.inputs_on_device or 0
    if inputs > layers:
        raise ValueError(
            f"inputs_on_device {inputs} is above the model's num_hidden_layers {layers}: "
            "leave it out for all of them"
        )
    _check_recorded(architecture, settings)
    _check_liger(architecture, settings)
    _check_dtypes(settings)


def _check_checkpointed_layers(architecture: Architecture, settings: TrainingSettings) -> None:
    layers, most = settings.batch.checkpointed_layers, architecture.num_hidden_layers
    if layers is not None and layers >= most:
        raise ValueError(
            f"checkpointed_layers {layers} is not below the model's num_hidden_layers {most}: "
            "leave it out for all of them"
        )


def _check_recorded(architecture: Architecture, settings: TrainingSettings) -> None:
    if not architecture.layer.recorded:
        return
    if settings.method.finetuning_type is FinetuningType.FREEZE:
        raise ValueError(
            f"freeze needs layers with a formula, which {architecture.model_type} has not: "
            "take lora or full"
        )
    if settings.method.adapter_ranks:
        raise ValueError(
            f"adapter_ranks needs layers with a formula, which {architecture.model_type} has not"
        )


def _check_liger(architecture: Architecture, settings: TrainingSettings) -> None:
    if settings.kernels.decoder_kernels is not DecoderKernels.LIGER:
        return
    if architecture.model_type not in PATCHES:
        raise ValueError(
            f"kernels liger is not sized for {architecture.model_type}: its patch is for "
            f"{', '.join(sorted(PATCHES))}"
        )


def _check_dtypes(settings: TrainingSettings) -> None:
    if (
        settings.kernels.attention is Attention.FLASH_ATTENTION_2
        and _compute_dtype(settings) is Dtype.FP32
    ):
        raise ValueError("flash_attention_2 needs fp16 or bf16: set autocast or model_dtype")
    if settings.base.autocast is Dtype.FP32:
        raise ValueError("autocast must be bf16, fp16 or null, not fp32")


def _compute_dtype(settings: TrainingSettings) -> Dtype:
    return settings.base.autocast or settings.base.model_dtype


def check_device(settings: TrainingSettings, device: Device) -> None:
    """Refuse settings that this device cannot run.

    Raises:
        ValueError: names the setting, the device and what it would take.
    """
    major, minor = device.compute_capability
    if Dtype.BF16 in (settings.base.autocast, settings.base.model_dtype) and not device.has_bf16:
        raise ValueError(
            f"bf16 needs compute capability 8.0; {device.name} has {major}.{minor}: use fp16"
        )
    attention = settings.kernels.attention
    newer = attention in (Attention.FLASH_ATTENTION_2, Attention.FLEX_ATTENTION)
    if newer and device.compute_capability < (8, 0):
        raise ValueError(
            f"{attention} needs compute capability 8.0; {device.name} has {major}.{minor}: use "
            "sdpa, or eager"
        )
