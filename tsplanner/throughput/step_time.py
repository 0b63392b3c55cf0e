"""Seconds of one optimizer step: operations, bytes moved, kernels issued, traffic between devices.

A step takes about as long as the GPU works or as the host issues kernels, whichever is longer. Work
that does not overlap is added. The notation is that of memory_models.
"""

from __future__ import annotations

from enum import StrEnum

from memory_models.activations.layers import active_layers, passes, recomputed_layers
from memory_models.architecture import Architecture
from memory_models.frozen import frozen
from memory_models.memory_traffic import traffic
from memory_models.settings import Attention, TrainingSettings
from memory_models.states.adapters import targets, trainable_parameters
from memory_models.states.optimizer import gradient_bytes, optimizer_state_bytes, trained_tensors
from memory_models.states.weights import base_weight_bytes, embedding_parameters
from tsplanner.throughput.rates import Rates

TOGETHER = 8.0
"""Power p of (a^p + b^p)^(1/p), which joins the times of work and of issuing kernels. The longer
time dominates; where both are about equal, each waits for the other from time to time."""


class Bottleneck(StrEnum):
    """Parts of a step; the values are the names that a person reads."""

    MATRIX = "matrix products"
    MEMORY = "memory traffic"
    LAUNCH = "kernel launches of small batches"
    OPTIMIZER = "optimizer step"
    COMMUNICATION = "traffic between GPUs"
    OFFLOAD = "traffic to the host"


@frozen
class StepTime:
    """Seconds of one optimizer step, by kind of work."""

    matrix: float
    memory: float
    launch: float
    """Host time to issue kernels; a GPU's work hides this time unless it is longer."""
    overlaps: bool = True
    """Whether issuing overlaps with the work (on a GPU)."""
    optimizer: float
    communication: float
    offload: float

    @property
    def work(self) -> float:
        """Seconds of the GPU's work on the micro-batches."""
        return self.matrix + self.memory

    @property
    def bound_by_launch(self) -> bool:
        """Whether the GPU waits for the host to issue kernels."""
        return self.overlaps and self.launch > self.work

    @property
    def seconds(self) -> float:
        """Seconds of the whole step: work joined with issuing, plus what does not overlap."""
        # A CPU both issues and computes, so there the two times add up.
        power = TOGETHER if self.overlaps else 1.0
        both: float = (self.work**power + self.launch**power) ** (1 / power)
        return both + self.optimizer + self.communication + self.offload

    @property
    def bottleneck(self) -> Bottleneck:
        """The part that takes the longest."""
        parts = {
            Bottleneck.MATRIX: self.matrix,
            Bottleneck.MEMORY: self.memory,
            Bottleneck.LAUNCH: self.launch,
            Bottleneck.OPTIMIZER: self.optimizer,
            Bottleneck.COMMUNICATION: self.communication,
            Bottleneck.OFFLOAD: self.offload,
        }
        return max(parts, key=lambda name: parts[name])


def step_time(architecture: Architecture, settings: TrainingSettings, rates: Rates) -> StepTime:
    """Seconds of one optimizer step with all its micro-batches, per process."""
    micro = settings.batch.gradient_accumulation_steps
    made = traffic(architecture, settings)
    # The hooks run on the host between kernels, so they count as issuing and not as traffic.
    hooks = _hooked_modules(architecture, settings) * rates.host.gather_seconds
    return StepTime(
        matrix=micro * micro_batch_flops(architecture, settings) / rates.matrix_flops,
        memory=micro * made.bytes / rates.written_bytes,
        launch=micro * (made.tensors * rates.host.launch_seconds_per_tensor + hooks),
        overlaps=rates.issue_overlaps,
        optimizer=_optimizer_seconds(architecture, settings, rates),
        communication=_communication_seconds(architecture, settings, rates),
        offload=_offload_seconds(architecture, settings, rates),
    )


def micro_batch_flops(architecture: Architecture, settings: TrainingSettings) -> float:
    """Matrix operations of one micro-batch, forward and backward.

    Per weight and token there are 2 operations forward, 2 for the gradient of the input, 2 for the
    gradient of the weight if the weight is trained, and 2 more if forward is recomputed. A frozen
    weight has no gradient, so LoRA takes 4N per token and not 6N. Attention takes 2 S HA forward
    (the causal half of 4) and twice that backward. Source: Kaplan et al. (arXiv 2001.08361),
    appendix; LoRA is counted as in NVIDIA's NeMo.
    """
    n, layers = settings.tokens, architecture.num_hidden_layers
    active = active_layers(architecture, settings.layer)
    layer_weights = sum(
        _active_weights(architecture, linear.weight_count, linear.count)
        for linear in architecture.layer.linears
    )
    trained = settings.method.trains_everything
    layers_trained = active if not settings.method.uses_adapter else 0
    recompute = recomputed_layers(architecture, settings)
    weights: float = layer_weights * (2 * layers + 2 * active + 2 * layers_trained + 2 * recompute)
    # A frozen lm_head still passes the gradient on. Checkpoints wrap decoder layers alone, so the
    # lm_head never runs again.
    head = embedding_parameters(architecture) * (6 if trained else 4)
    adapters = 0.0
    if settings.method.uses_adapter:
        # A token meets the adapter of its own trial, which is padded to the largest rank.
        share = max(settings.method.ranks) / sum(settings.method.ranks)
        adapters = 6 * trainable_parameters(architecture, settings.method) * share
    heads = architecture.attention.num_attention_heads * architecture.attention.head_dim
    pairs = 2.0 * settings.sequence_length * heads
    # Eager attention also multiplies the half of the scores that the causal mask hides.
    if settings.kernels.attention is Attention.EAGER:
        pairs *= 2
    attention = pairs * (layers + 2 * active + recompute)
    return float(n) * (weights + head + adapters + attention)


def _active_weights(architecture: Architecture, weights: int, copies: int) -> int:
    """Weights that one token meets; of a mixture only the experts that the router chooses."""
    if copies == 1:
        return weights
    return weights // copies * architecture.mlp.num_experts_per_tok


def _hooked_modules(architecture: Architecture, settings: TrainingSettings) -> float:
    """Number of modules around which ZeRO-3's hooks run in one micro-batch, once per pass.

    These are the linears, the norms and the two linears of each adapter. The hooks run even if
    there is nothing to gather. Source: DeepSpeed's parameter_offload.py.
    """
    if settings.sharding.zero_stage != 3:
        return 0
    layers = architecture.num_hidden_layers
    modules = layers * (len(architecture.layer.linears) + architecture.norms.norms_per_layer)
    modules += 2 * sum(copies for _, copies in targets(architecture, settings.method))
    return passes(architecture, settings) * modules


def _optimizer_seconds(
    architecture: Architecture, settings: TrainingSettings, rates: Rates
) -> float:
    """Seconds to read and write weights, gradients and states once, on the device or the host."""
    moved: float = 2 * optimizer_state_bytes(architecture, settings.states)
    moved += 3 * gradient_bytes(architecture, settings.states)
    # Under DDP every process steps all trained weights; only ZeRO shares them out.
    processes = settings.sharding.world_size if settings.sharding.zero_stage else 1
    if settings.method.adapter_ranks:
        # Every trial has an optimizer of its own, so the host's part of a step is paid per trial.
        own = len(settings.method.adapter_ranks) * rates.host.multi_lora_step_seconds
        return own + moved / rates.memory_bytes
    if not settings.sharding.offload_optimizer:
        return rates.host.step_seconds + moved / processes / rates.memory_bytes
    # All processes of a machine share the host's memory bandwidth, so ``moved`` is not divided.
    # Each process sends its gradients there and fetches its new weights.
    crossing = 2 * gradient_bytes(architecture, settings.states) / processes
    return rates.host.step_seconds + moved / rates.host_adam_bytes + crossing / rates.host_bytes


def _communication_seconds(
    architecture: Architecture, settings: TrainingSettings, rates: Rates
) -> float:
    """Seconds of a ring all-reduce of the gradients per step, and of gathers under ZeRO-3.

    ZeRO-3 gathers all weights once per pass. Under ZeRO-1 and ZeRO-2 each gradient passes through
    DeepSpeed's bucket in every micro-batch, and the copy waits for the GPU.
    """
    processes = settings.sharding.world_size
    if processes == 1:
        return 0.0
    share = (processes - 1) / processes
    moved: float = 2 * share * gradient_bytes(architecture, settings.states)
    if settings.sharding.zero_stage == 3:
        weights = base_weight_bytes(architecture, settings.states) * share
        moved += (
            passes(architecture, settings) * weights * settings.batch.gradient_accumulation_steps
        )
    waits = 0.0
    if settings.sharding.zero_stage in (1, 2):
        tensors = sum(tensor.copies for tensor in trained_tensors(architecture, settings.method))
        waits = settings.batch.gradient_accumulation_steps * tensors * rates.host.reduce_seconds
    return moved / rates.link_bytes + waits


def _offload_seconds(architecture: Architecture, settings: TrainingSettings, rates: Rates) -> float:
    """Seconds in which this process's shard of offloaded parameters crosses the host link."""
    if not settings.sharding.offload_param:
        return 0.0
    weights = base_weight_bytes(architecture, settings.states) / settings.sharding.world_size
    crossed = passes(architecture, settings) * weights * settings.batch.gradient_accumulation_steps
    return crossed / rates.host_bytes
