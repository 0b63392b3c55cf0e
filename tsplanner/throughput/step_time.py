"""Seconds of one optimizer step, from operations, bytes moved and kernels issued.

A first model: it ranks plans; a probe measures. Notation as in memory_models.
"""

from __future__ import annotations

from dataclasses import dataclass

from memory_models.activations import tokens
from memory_models.adapters import is_targeted, trainable_parameters
from memory_models.architecture import Architecture
from memory_models.model_states import gradient_bytes, optimizer_state_bytes
from memory_models.settings import (
    Attention,
    FinetuningType,
    LossKernel,
    Quantization,
    TrainingSettings,
)
from memory_models.stack import active_layers, kept_bytes
from memory_models.weights import base_weight_bytes, embedding_parameters
from tsplanner.throughput.rates import Rates

LOGIT_TRAFFIC_BYTES = 40
"""Bytes read and written a logit by head and plain loss, forward and backward, assumed."""
ACTIVATION_PASSES = 6
"""Times that a block's kept bytes cross memory in forward and backward, assumed."""
DEQUANTIZE_BYTES = {Quantization.INT8: 3.0, Quantization.NF4: 2.6, Quantization.NF4_DQ: 2.6}
"""Bytes read and written to de-quantise one weight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """Seconds of one optimizer step, by what they go to."""

    matrix: float
    memory: float
    launch: float
    """Host time to issue kernels; hides behind a GPU's work unless it is longer."""
    overlaps: bool = True
    """Whether issuing hides behind the work (on a GPU)."""
    optimizer: float
    communication: float
    offload: float

    @property
    def seconds(self) -> float:
        """The whole step: the GPU's work or its issuing, then what does not overlap."""
        work = self.matrix + self.memory
        work = max(work, self.launch) if self.overlaps else work + self.launch
        return work + self.optimizer + self.communication + self.offload

    @property
    def bottleneck(self) -> str:
        """What takes the longest, in words."""
        parts = {
            "matrix products": self.matrix,
            "memory traffic": self.memory,
            "kernel launches of small batches": self.launch,
            "optimizer step": self.optimizer,
            "traffic between GPUs": self.communication,
            "traffic to the host": self.offload,
        }
        return max(parts, key=lambda name: parts[name])


def step_time(architecture: Architecture, settings: TrainingSettings, rates: Rates) -> StepTime:
    """Seconds of one optimizer step of all its micro-batches, per rank."""
    micro = settings.gradient_accumulation_steps
    return StepTime(
        matrix=micro * micro_batch_flops(architecture, settings) / rates.matrix_flops,
        memory=micro * micro_batch_traffic_bytes(architecture, settings) / rates.memory_bytes,
        launch=micro * _launch_seconds(architecture, settings, rates),
        overlaps=rates.issue_overlaps,
        optimizer=_optimizer_seconds(architecture, settings, rates),
        communication=_communication_seconds(architecture, settings, rates),
        offload=_offload_seconds(architecture, settings, rates),
    )


def micro_batch_flops(architecture: Architecture, settings: TrainingSettings) -> float:
    """Matrix operations of one micro-batch, forward and backward.

    2 a weight and token forward, 2 for the input's gradient, 2 for the weight's where it is
    trained, 2 more where forward is recomputed. Frozen weights have no weight gradient: 4N a
    token for LoRA, not 6N. Attention: 2 S HA forward (causal half of 4), twice that backward.
    Source: Kaplan et al. (arXiv 2001.08361), appendix; LoRA counted as by NVIDIA's NeMo.
    """
    n, layers = tokens(settings), architecture.num_hidden_layers
    active = active_layers(architecture, settings)
    block = sum(
        _active_weights(architecture, linear.weight_count, linear.count)
        for linear in architecture.block
    )
    trained = settings.finetuning_type is FinetuningType.FULL
    blocks_trained = active if not settings.uses_adapter else 0
    recompute = active if settings.gradient_checkpointing else 0
    weights: float = block * (2 * layers + 2 * active + 2 * blocks_trained + 2 * recompute)
    head = embedding_parameters(architecture) * (6 if trained else 4)
    adapters = 6 * trainable_parameters(architecture, settings) if settings.uses_adapter else 0
    heads = architecture.num_attention_heads * architecture.head_dim
    pairs = 2.0 * settings.sequence_length * heads
    if settings.attention is Attention.EAGER:
        pairs *= 2
    attention = pairs * (layers + 2 * active + recompute)
    return float(n) * (weights + head + adapters + attention)


def _active_weights(architecture: Architecture, weights: int, copies: int) -> int:
    """Weights one token meets: of a mixture only the experts it is sent to."""
    if copies == 1:
        return weights
    return weights // copies * architecture.num_experts_per_tok


def micro_batch_traffic_bytes(architecture: Architecture, settings: TrainingSettings) -> float:
    """Bytes that element-wise work moves in one micro-batch, de-quantisation and loss included."""
    trained = not settings.uses_adapter
    kept = kept_bytes(architecture, settings, trained=trained)
    passes = ACTIVATION_PASSES * (1.4 if settings.gradient_checkpointing else 1.0)
    blocks = passes * kept * architecture.num_hidden_layers
    logits: float = tokens(settings) * architecture.vocab_size * LOGIT_TRAFFIC_BYTES
    if settings.loss_kernel is LossKernel.FUSED:
        logits *= 0.8
    return blocks + logits + _dequantize_bytes(architecture, settings)


def _dequantize_bytes(architecture: Architecture, settings: TrainingSettings) -> float:
    if settings.quantization is None:
        return 0.0
    passes = 3 if settings.gradient_checkpointing else 2
    weights = sum(linear.weight_count for linear in architecture.block)
    each = DEQUANTIZE_BYTES[settings.quantization]
    return each * passes * weights * architecture.num_hidden_layers


def _launch_seconds(architecture: Architecture, settings: TrainingSettings, rates: Rates) -> float:
    """Host seconds to issue one micro-batch: by linear, more with adapters and recomputation."""
    linears = sum(2 if is_targeted(linear, settings) else 1 for linear in architecture.block)
    passes = 1.4 if settings.gradient_checkpointing else 1.0
    return rates.launch_seconds_per_linear * linears * architecture.num_hidden_layers * passes


def _optimizer_seconds(
    architecture: Architecture, settings: TrainingSettings, rates: Rates
) -> float:
    """Reading and writing weights, gradients and states once."""
    moved: float = 2 * optimizer_state_bytes(architecture, settings)
    moved += 3 * gradient_bytes(architecture, settings)
    if settings.zero_stage:
        moved /= settings.world_size
    bandwidth = rates.host_bytes if settings.offload_optimizer else rates.memory_bytes
    return moved / bandwidth


def _communication_seconds(
    architecture: Architecture, settings: TrainingSettings, rates: Rates
) -> float:
    """Ring all-reduce of gradients a step; under ZeRO-3 also gathers of all weights a pass."""
    ranks = settings.world_size
    if ranks == 1:
        return 0.0
    share = (ranks - 1) / ranks
    moved: float = 2 * share * gradient_bytes(architecture, settings)
    if settings.zero_stage == 3:
        passes = 3 if settings.gradient_checkpointing else 2
        weights = base_weight_bytes(architecture, settings) * share
        moved += passes * weights * settings.gradient_accumulation_steps
    return moved / rates.link_bytes


def _offload_seconds(architecture: Architecture, settings: TrainingSettings, rates: Rates) -> float:
    """Offloaded parameters cross the host link in every pass; only this rank's shard of them."""
    if not settings.offload_param:
        return 0.0
    passes = 3 if settings.gradient_checkpointing else 2
    weights = base_weight_bytes(architecture, settings) / settings.world_size
    return passes * weights * settings.gradient_accumulation_steps / rates.host_bytes
