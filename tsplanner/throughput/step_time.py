"""Seconds of one optimizer step: operations, bytes moved, kernels issued, traffic between places.

A step takes about as long as the GPU works or as the host issues its work, whichever is longer;
what does not overlap comes on top. Notation as in memory_models.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from memory_models.activations.layers import active_layers, passes, recomputed_layers
from memory_models.architecture import Architecture
from memory_models.memory_traffic import traffic
from memory_models.settings import Attention, TrainingSettings
from memory_models.states.adapters import targets, trainable_parameters
from memory_models.states.optimizer import gradient_bytes, optimizer_state_bytes, trained_tensors
from memory_models.states.weights import base_weight_bytes, embedding_parameters
from tsplanner.throughput.rates import Rates

TOGETHER = 8.0
"""Work and issuing join as (a^p + b^p)^(1/p): the longer counts, and where both are as long each
waits for the other now and then."""


class Bottleneck(StrEnum):
    """Parts of a step, by the words for them."""

    MATRIX = "matrix products"
    MEMORY = "memory traffic"
    LAUNCH = "kernel launches of small batches"
    OPTIMIZER = "optimizer step"
    COMMUNICATION = "traffic between GPUs"
    OFFLOAD = "traffic to the host"


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
    def work(self) -> float:
        """What the GPU does of the micro-batches."""
        return self.matrix + self.memory

    @property
    def bound_by_launch(self) -> bool:
        """The GPU waits for the host."""
        return self.overlaps and self.launch > self.work

    @property
    def seconds(self) -> float:
        """The whole step: the GPU's work and its issuing, then what does not overlap."""
        power = TOGETHER if self.overlaps else 1.0
        both: float = (self.work**power + self.launch**power) ** (1 / power)
        return both + self.optimizer + self.communication + self.offload

    @property
    def bottleneck(self) -> Bottleneck:
        """What takes the longest."""
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
    """Seconds of one optimizer step of all its micro-batches, per rank."""
    micro = settings.batch.gradient_accumulation_steps
    made = traffic(architecture, settings)
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

    2 a weight and token forward, 2 for the input's gradient, 2 for the weight's where it is
    trained, 2 more where forward is recomputed. Frozen weights have no weight gradient: 4N a
    token for LoRA, not 6N. Attention: 2 S HA forward (causal half of 4), twice that backward.
    Source: Kaplan et al. (arXiv 2001.08361), appendix; LoRA counted as by NVIDIA's NeMo.
    """
    n, layers = settings.tokens, architecture.num_hidden_layers
    active = active_layers(architecture, settings.layer)
    block = sum(
        _active_weights(architecture, linear.weight_count, linear.count)
        for linear in architecture.layer.linears
    )
    trained = settings.method.trains_everything
    blocks_trained = active if not settings.method.uses_adapter else 0
    recompute = recomputed_layers(architecture, settings)
    weights: float = block * (2 * layers + 2 * active + 2 * blocks_trained + 2 * recompute)
    head = embedding_parameters(architecture) * (6 if trained else 4)
    adapters = 0.0
    if (
        settings.method.uses_adapter
    ):  # a token meets its own trial's adapter, filled up to the largest
        share = max(settings.method.ranks) / sum(settings.method.ranks)
        adapters = 6 * trainable_parameters(architecture, settings.method) * share
    heads = architecture.attention.num_attention_heads * architecture.attention.head_dim
    pairs = 2.0 * settings.sequence_length * heads
    if settings.kernels.attention is Attention.EAGER:
        pairs *= 2
    attention = pairs * (layers + 2 * active + recompute)
    return float(n) * (weights + head + adapters + attention)


def _active_weights(architecture: Architecture, weights: int, copies: int) -> int:
    """Weights one token meets: of a mixture only the experts it is sent to."""
    if copies == 1:
        return weights
    return weights // copies * architecture.mlp.num_experts_per_tok


def _hooked_modules(architecture: Architecture, settings: TrainingSettings) -> float:
    """Modules around which ZeRO-3's hooks run in one micro-batch, once a pass.

    Linears, norms, and an adapter's two linears each; the hooks run whether or not there is
    anything to gather. Source: DeepSpeed's parameter_offload.py.
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
    """Reading and writing weights, gradients and states once; offloaded ones on the host."""
    moved: float = 2 * optimizer_state_bytes(architecture, settings.states)
    moved += 3 * gradient_bytes(architecture, settings.states)
    ranks = settings.sharding.world_size if settings.sharding.zero_stage else 1
    if settings.method.adapter_ranks:
        own = len(settings.method.adapter_ranks) * rates.host.packed_step_seconds
        return own + moved / rates.memory_bytes
    if not settings.sharding.offload_optimizer:
        return rates.host.step_seconds + moved / ranks / rates.memory_bytes
    # All ranks of a machine share its memory; gradients go there, new weights come back.
    crossing = 2 * gradient_bytes(architecture, settings.states) / ranks
    return rates.host.step_seconds + moved / rates.host_adam_bytes + crossing / rates.host_bytes


def _communication_seconds(
    architecture: Architecture, settings: TrainingSettings, rates: Rates
) -> float:
    """Ring all-reduce of gradients a step; under ZeRO-3 also gathers of all weights a pass.

    Under ZeRO-1 and 2 each gradient passes through DeepSpeed's bucket in every micro-batch, which
    waits for the GPU.
    """
    ranks = settings.sharding.world_size
    if ranks == 1:
        return 0.0
    share = (ranks - 1) / ranks
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
    """Offloaded parameters cross the host link in every pass; only this rank's shard of them."""
    if not settings.sharding.offload_param:
        return 0.0
    weights = base_weight_bytes(architecture, settings.states) / settings.sharding.world_size
    crossed = passes(architecture, settings) * weights * settings.batch.gradient_accumulation_steps
    return crossed / rates.host_bytes
