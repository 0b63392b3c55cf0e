"""The moments at which a step may peak; the peak is persistent bytes plus the largest of them."""

from __future__ import annotations

from dataclasses import dataclass

from memory_models.activations import (
    autocast_cache_bytes,
    block_kept_bytes,
    block_transient_bytes,
    boundary_bytes,
    dequantized_bytes,
    dora_transient_bytes,
    int8_input_bytes,
)
from memory_models.adapters import trainable_parameters
from memory_models.architecture import Architecture
from memory_models.loss import (
    final_norm_bytes,
    fused_head_gradient_bytes,
    fused_loss_bytes,
    head_cast_bytes,
    loss_backward_bytes,
    loss_forward_bytes,
)
from memory_models.model_states import (
    step_transient_bytes,
    tied_gradient_bytes,
    trained_element_bytes,
)
from memory_models.settings import FinetuningType, LossKernel, TrainingSettings
from memory_models.weights import embedding_parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """A moment of a step: what is alive then besides the persistent bytes, per rank."""

    name: str
    checkpoints: int = 0
    """What the blocks keep for backward."""
    block: int = 0
    """The one block at work."""
    loss: int = 0
    """Head and loss."""
    gradients: int = 0
    step: int = 0

    @property
    def bytes(self) -> int:
        """All of it."""
        return self.checkpoints + self.block + self.loss + self.gradients + self.step


def instants(
    architecture: Architecture, settings: TrainingSettings, gradients: int
) -> tuple[Instant, ...]:
    """Candidate moments of one optimizer step; ``gradients``: bytes of all gradients of a rank.

    With accumulation, gradients of earlier micro-batches are there from the start.
    """
    trained = not settings.uses_adapter
    layers = active_layers(architecture, settings)
    kept = _kept(architecture, settings, trained=trained)
    all_kept = layers * kept
    early = gradients if settings.gradient_accumulation_steps > 1 else 0
    head = _head_gradient_bytes(architecture, settings)
    norm = final_norm_bytes(architecture, settings)
    cast = head_cast_bytes(architecture, settings)
    cache = autocast_cache_bytes(trainable_parameters(architecture, settings), settings)
    work = _block_work(architecture, settings, trained=trained)
    fused = settings.loss_kernel is LossKernel.FUSED
    summed = 3 if settings.gradient_accumulation_steps > 1 else 2
    hidden_gradient = loss_backward_bytes(architecture, settings) if fused else 0
    tied = tied_gradient_bytes(architecture, settings)
    return (
        Instant(
            name="forward",
            checkpoints=all_kept,
            loss=norm + cast + cache + loss_forward_bytes(architecture, settings),
            gradients=early,
        ),
        Instant(
            name="loss",
            checkpoints=all_kept,
            loss=norm + cast + _loss_work(architecture, settings),
            gradients=early,
        ),
        Instant(
            name="backward, last block",
            checkpoints=all_kept,
            block=work,
            loss=hidden_gradient,
            gradients=max(early, head),
        ),
        Instant(
            name="backward, first block",
            checkpoints=kept,
            block=work,
            gradients=gradients + (tied if settings.gradient_accumulation_steps > 1 else 0),
        ),
        Instant(
            name="backward, embedding",
            gradients=gradients + summed * tied,
        ),
        Instant(
            name="step", gradients=gradients, step=step_transient_bytes(architecture, settings)
        ),
    )


def _loss_work(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes of head and loss where backward begins."""
    backward = loss_backward_bytes(architecture, settings)
    if settings.loss_kernel is not LossKernel.FUSED:
        return backward
    backward += fused_head_gradient_bytes(architecture, settings)
    return max(fused_loss_bytes(architecture, settings), backward)


def active_layers(architecture: Architecture, settings: TrainingSettings) -> int:
    """Blocks that keep anything for backward: those at and above the first trained one.

    Checkpointing makes the embedding's output require a gradient, and so every block.
    Source: transformers ``gradient_checkpointing_enable`` (``enable_input_require_grads``).
    """
    if settings.finetuning_type is FinetuningType.FREEZE and not settings.gradient_checkpointing:
        return min(settings.freeze_trainable_layers, architecture.num_hidden_layers)
    return architecture.num_hidden_layers


def _kept(architecture: Architecture, settings: TrainingSettings, *, trained: bool) -> int:
    if settings.gradient_checkpointing:
        return boundary_bytes(architecture, settings) + int8_input_bytes(architecture, settings)
    return block_kept_bytes(architecture, settings, trained=trained)


def _block_work(architecture: Architecture, settings: TrainingSettings, *, trained: bool) -> int:
    """Bytes of the block that backward is in: recomputed if checkpointed, plus transients."""
    recomputed = 0
    if settings.gradient_checkpointing:
        recomputed = block_kept_bytes(architecture, settings, trained=trained)
    moment = max(
        block_transient_bytes(architecture, settings, trained=trained),
        dora_transient_bytes(architecture, settings),
    )
    return recomputed + moment + dequantized_bytes(architecture, settings)


def _head_gradient_bytes(architecture: Architecture, settings: TrainingSettings) -> int:
    """Bytes of the head's gradient, the first of all to be there (full fine-tuning only)."""
    if settings.finetuning_type is not FinetuningType.FULL:
        return 0
    return embedding_parameters(architecture) * trained_element_bytes(settings)
