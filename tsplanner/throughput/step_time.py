"""Seconds of one optimizer step: operations, bytes moved, kernels issued, traffic between devices.

A step takes about as long as the GPU works or as the host issues kernels, whichever is longer. Work
that does not overlap is added. Streamed layers come over their link meanwhile (`host_link`). The
notation is that of memory_models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from memory_models.activations.layers import active_layers, passes, recomputed_layers
from memory_models.architecture import Architecture
from memory_models.memory_traffic import forward_traffic, traffic
from memory_models.settings import DecoderKernels, Method, TrainingSettings
from memory_models.sharding.fully_sharded import gathered_bytes, wraps_all
from memory_models.sharding.states import constants_bytes
from memory_models.states.adapters import targets
from memory_models.states.compiled_groups import mlp_groups
from memory_models.states.optimizer import gradient_bytes, optimizer_state_bytes, trained_tensors
from memory_models.states.weights import base_weight_bytes
from tsplanner.throughput.flops import (
    eight_bit_flops_per_layer,
    micro_batch_flops,
    operands,
)
from tsplanner.throughput.host_link import link_time
from tsplanner.throughput.rates import CompiledShares, Rates
from tsplanner.throughput.step_parts import StepTime

UNCHANGED = CompiledShares(matrix=1.0, memory=1.0, launch=1.0)
"""What kernels leave that are not compiled."""


def step_time(architecture: Architecture, settings: TrainingSettings, rates: Rates) -> StepTime:
    """Seconds of one optimizer step with all its micro-batches, per process."""
    micro = settings.batch.gradient_accumulation_steps
    made, shares = traffic(architecture, settings), compiled_shares(architecture, settings, rates)
    # The hooks run on the host between kernels, so they count as issuing and not as traffic.
    hooks = hooked_modules(architecture, settings) * rates.host.gather_seconds
    hooks += row_attention_seconds(architecture, settings, rates)
    hooks += gathering_seconds(architecture, settings, rates)
    bytes_, tensors = made.shared(shares.memory, shares.launch)
    per_tensor = rates.host.launch_seconds_per_tensor
    streamed = streamed_layers_run(architecture, settings, rates)
    issued = tensors * per_tensor + hooks * passes(architecture, settings)
    issued += streamed * rates.host.streamed_layer_seconds
    link = link_time(architecture, settings, rates)
    if issued and (link.weights or link.inputs):
        forward = forward_traffic(architecture, settings).shared(shares.memory, shares.launch)[1]
        link = replace(link, issued_share=(forward * per_tensor + hooks) / issued)
        if settings.streaming.streams:
            link = replace(link, hides=_between_layers(architecture, settings))
    return StepTime(
        matrix=micro * _matrix_seconds(architecture, settings, rates),
        memory=micro
        * (bytes_ / rates.written_bytes + 2 * beside_gathers(architecture, settings, rates)),
        launch=micro * issued,
        overlaps=rates.issue_overlaps,
        optimizer=_optimizer_seconds(architecture, settings, rates),
        communication=_communication_seconds(architecture, settings, rates),
        offload=_weight_passes(architecture, settings)
        * fetch_seconds(architecture, settings, rates),
        link=link,
        recorded=micro * streamed * rates.host.recorded_layer_seconds,
    )


def streamed_layers_run(
    architecture: Architecture, settings: TrainingSettings, rates: Rates
) -> int:
    """Layers that a pass runs one by one, outside the model's own forward; on a GPU alone.

    All layers do where some are streamed.
    """
    runs = settings.streaming.streams and rates.issue_overlaps
    return architecture.num_hidden_layers if runs else 0


def mean_step_time(
    architecture: Architecture, widths: Sequence[TrainingSettings], rates: Rates
) -> StepTime:
    """Seconds of one optimizer step whose micro-batches have these widths equally often.

    Work and issuing are joined per micro-batch: the host cannot run far ahead of the GPU, since
    CUDA queues about a thousand kernels and a micro-batch has more.
    """
    steps = [step_time(architecture, settings, rates) for settings in widths]
    if len(steps) == 1:
        return steps[0]
    number = len(steps)
    mean = replace(
        steps[0],
        matrix=sum(step.matrix for step in steps) / number,
        memory=sum(step.memory for step in steps) / number,
        launch=sum(step.launch for step in steps) / number,
        link=replace(steps[0].link, inputs=sum(step.link.inputs for step in steps) / number),
    )
    return replace(mean, uneven=sum(step.joined for step in steps) / number - mean.joined)


def _matrix_seconds(architecture: Architecture, settings: TrainingSettings, rates: Rates) -> float:
    """Seconds of the matrix products of one micro-batch, forward and backward."""
    layers, active = architecture.num_hidden_layers, active_layers(architecture, settings.layer)
    passed = layers + active + recomputed_layers(architecture, settings)
    eight = settings.tokens * passed * eight_bit_flops_per_layer(architecture, settings)
    rest = micro_batch_flops(architecture, settings) - eight
    share = compiled_shares(architecture, settings, rates).matrix
    return share * (
        rest / rates.matrix_flops + eight / rates.eight_bit.of(settings.base.quantization)
    )


def _between_layers(architecture: Architecture, settings: TrainingSettings) -> float:
    """Share of a step's products that is not of the loss, nor of the first and the last layer."""
    head = 4 * operands(architecture, settings).head * settings.tokens
    layers = architecture.num_hidden_layers
    share: float = 1 - head / micro_batch_flops(architecture, settings)
    return max(0.0, share * (1 - 2 / layers))


def row_attention_seconds(
    architecture: Architecture, settings: TrainingSettings, rates: Rates
) -> float:
    """Seconds that issuing attention within packed rows takes more in one pass of all layers."""
    packed = settings.batch.is_packed and rates.issue_overlaps
    return architecture.num_hidden_layers * rates.host.row_attention_seconds if packed else 0.0


def gathering_seconds(
    architecture: Architecture, settings: TrainingSettings, rates: Rates
) -> float:
    """Host seconds of FSDP2's hooks in one pass of all layers; on a GPU alone."""
    gathers = settings.sharding.shards_base and rates.issue_overlaps
    return architecture.num_hidden_layers * rates.host.gathered_layer_seconds if gathers else 0.0


def beside_gathers(architecture: Architecture, settings: TrainingSettings, rates: Rates) -> float:
    """Seconds that the work takes longer in one pass, forward or backward, that gathers layers."""
    if not settings.sharding.shards_base:
        return 0.0
    return gathered_bytes(architecture, settings.states) / rates.links.gathered


def compiled_shares(
    architecture: Architecture, settings: TrainingSettings, rates: Rates
) -> CompiledShares:
    """What compiled kernels leave of the seconds, where they take the linears of a layer.

    Behind norms in fp32, as PEFT casts them, the rows are in fp32, which most of them leave alone.
    """
    compiled = settings.kernels.decoder_kernels is DecoderKernels.COMPILED
    compiled = compiled and not settings.base.upcasts
    whole = compiled and mlp_groups(architecture, settings.method)
    return rates.compiled if whole else UNCHANGED


def hooked_modules(architecture: Architecture, settings: TrainingSettings) -> float:
    """Number of modules around which ZeRO-3's hooks run in every pass of a micro-batch.

    These are the linears, the norms and the two linears of each adapter. The hooks run even if
    there is nothing to gather. Source: DeepSpeed's parameter_offload.py.
    """
    if settings.sharding.zero_stage != 3:
        return 0
    return _modules(architecture, settings.method)


@lru_cache(maxsize=256)
def _modules(architecture: Architecture, method: Method) -> int:
    layers = architecture.num_hidden_layers
    modules = layers * (len(architecture.layer.linears) + architecture.norms.norms_per_layer)
    modules += 2 * sum(copies for _, copies in targets(architecture, method))
    return modules


def _optimizer_seconds(
    architecture: Architecture, settings: TrainingSettings, rates: Rates
) -> float:
    """Seconds to read and write weights, gradients and states once, on the device or the host."""
    moved: float = 2 * optimizer_state_bytes(architecture, settings.states)
    moved += 3 * gradient_bytes(architecture, settings.states)
    # Under DDP every process steps all trained weights; ZeRO and FSDP2 share them out.
    shares = settings.sharding.zero_stage or wraps_all(settings.states)
    processes = settings.sharding.world_size if shares else 1
    if settings.method.adapter_ranks:
        # Every trial has an optimizer of its own, so the host's part of a step is paid per trial.
        own = len(settings.method.adapter_ranks) * rates.host.multi_lora_step_seconds
        return own + moved / rates.memory_bytes
    if not settings.sharding.offload_optimizer:
        return rates.host.step_seconds + moved / processes / rates.memory_bytes
    # All processes of a machine share its memory bandwidth, so ``moved`` is divided by machines
    # alone. Each process sends its gradients there and fetches its new weights.
    crossing = 2 * gradient_bytes(architecture, settings.states) / processes
    stepped = moved / settings.sharding.nodes / rates.host_adam_bytes
    return rates.host.step_seconds + stepped + crossing / rates.links.host


def _communication_seconds(
    architecture: Architecture, settings: TrainingSettings, rates: Rates
) -> float:
    """Seconds of a ring all-reduce of the gradients per step, and of gathers under ZeRO-3.

    Under ZeRO-1 and ZeRO-2 each gradient passes through DeepSpeed's bucket in every micro-batch,
    and the copy waits for the GPU.
    """
    processes = settings.sharding.world_size
    if processes == 1:
        return 0.0
    share = (processes - 1) / processes
    moved: float = 2 * share * gradient_bytes(architecture, settings.states)
    if wraps_all(settings.states):
        # FSDP2 scatters the gradients of every pass, and gathers weights instead of gradients.
        moved *= settings.batch.gradient_accumulation_steps / 2
    gathers = _weight_passes(architecture, settings) * gather_seconds(architecture, settings, rates)
    waits = 0.0
    if settings.sharding.zero_stage in (1, 2):
        tensors = _trained_number(architecture, settings.method)
        waits = settings.batch.gradient_accumulation_steps * tensors * rates.host.reduce_seconds
    return moved / rates.links.between_gpus + gathers + waits


@lru_cache(maxsize=256)
def _trained_number(architecture: Architecture, method: Method) -> int:
    return sum(tensor.copies for tensor in trained_tensors(architecture, method))


def _weight_passes(architecture: Architecture, settings: TrainingSettings) -> float:
    """How often one step passes through the weights."""
    return passes(architecture, settings) * settings.batch.gradient_accumulation_steps


def gather_seconds(architecture: Architecture, settings: TrainingSettings, rates: Rates) -> float:
    """Seconds in which ZeRO-3 gathers all weights once; zero without it."""
    processes = settings.sharding.world_size
    if settings.sharding.zero_stage != 3 or processes == 1:
        return 0.0
    share = (processes - 1) / processes
    # The constants of 4-bit matrices are whole on every process.
    moved = base_weight_bytes(architecture, settings.states) - constants_bytes(
        architecture, settings.states
    )
    return moved * share / rates.links.between_gpus


def fetch_seconds(architecture: Architecture, settings: TrainingSettings, rates: Rates) -> float:
    """Seconds in which this process's shard of offloaded parameters crosses the host link once."""
    if not settings.sharding.offload_param:
        return 0.0
    weights = base_weight_bytes(architecture, settings.states) / settings.sharding.world_size
    return weights / rates.links.host
