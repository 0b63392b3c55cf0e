"""How another project's trainer runs a plan, and the memory of the plan under it.

Such a trainer has neither our fused kernels nor our fused loss, so the memory of the plan is
estimated again with the trainer's settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from memory_models.activations.attention import plain_attention
from memory_models.architecture import Architecture
from memory_models.bounds.cpu import on_cpu
from memory_models.calibration import DEFAULT
from memory_models.estimate import estimate_memory
from memory_models.frozen import frozen
from memory_models.result import MemoryEstimate
from memory_models.settings import (
    HEAD,
    Attention,
    DecoderKernels,
    Dtype,
    LossKernel,
    changed,
)
from memory_models.units import divisors, round_up
from tsplanner.errors import TsplannerError
from tsplanner.exporters import deepspeed, mixtures
from tsplanner.exporters.accelerate import fsdp
from tsplanner.exporters.launch import ExportOptions, Room
from tsplanner.exporters.trainers.adapted import adapter_method
from tsplanner.models.quantized import stored_base
from tsplanner.planner.devices import used_devices
from tsplanner.planner.plan import Plan, Verdict, verdict_of
from tsplanner.planner.settings import HardwareSettings, training_settings

EXPANDABLE = "export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True\n"
"""Shell line for the allocator's expandable segments, which `memory_under` assumes."""


@frozen
class Running:
    """How a trainer runs a plan, as far as memory is concerned."""

    trainer: str
    """Name of the trainer, for messages."""
    architecture: Architecture
    model_dtype: Dtype
    autocast: Dtype | None
    loss_kernel: LossKernel = LossKernel.PLAIN
    decoder_kernels: DecoderKernels = DecoderKernels.REFERENCE
    upcast_unquantized: bool = True
    """Whether the trainer upcasts the unquantised weights of a quantised base, as PEFT does."""
    pads_to: int = 1
    """Batches are padded to a multiple of this number of tokens."""
    dequantizes: frozenset[str] = frozenset()
    """Stored forms of weights that the trainer dequantises while it loads them."""
    takes_tokenizer: bool = False
    """Whether the trainer takes a tokenizer from another folder than the weights."""


def attention_under(plan: Plan, architecture: Architecture) -> Attention:
    """The attention that another trainer runs: tsplanner's flex_attention is its own."""
    planned = plan.hardware.kernels.attention
    own = planned is Attention.FLEX_ATTENTION
    return plain_attention(architecture.attention) if own else planned


def memory_under(plan: Plan, running: Running, hardware: HardwareSettings) -> MemoryEstimate:
    """Memory of these hardware settings under another trainer."""
    under = changed(
        hardware,
        model_dtype=running.model_dtype,
        autocast=running.autocast,
        attention=attention_under(plan, running.architecture),
        loss_kernel=running.loss_kernel,
        kernels=running.decoder_kernels,
        # No other trainer can be told to checkpoint some layers: all of them are checkpointed.
        checkpointed_layers=None,
        # Nor does another trainer stream layers.
        streamed_layers=0,
        inputs_on_device=None,
        stream_from_files=False,
        passes_together=None,
        fsdp_whole_model=hardware.sharding.fsdp,
        expandable_segments=hardware.accelerator == "cuda",
    )
    length = plan.dataset.longest_of(hardware.batch)
    longest = running.architecture.positions.max_position_embeddings
    # Padding goes no further than the model's positions, unless the rows themselves do.
    padded = max(length, min(round_up(length, running.pads_to), longest))
    settings = changed(
        training_settings(plan.learning, under, padded),
        upcast_unquantized=running.upcast_unquantized,
    )
    # A probe that held less than was predicted says nothing of other kernels and their fragments.
    calibration = replace(DEFAULT, device_factor=max(1.0, plan.corrections.memory_factor))
    used = used_devices(plan.machine, plan.hardware)
    if not used:
        found = estimate_memory(running.architecture, settings, None, calibration)
        return on_cpu(found, calibration)
    # Every process holds as much as the others, so the card with the least free memory decides.
    device = min(used, key=lambda each: each.free_bytes)
    # Few settings are tried here, so each can have a replay, which takes some 20 ms.
    return estimate_memory(running.architecture, settings, device, calibration, replay=True)


def require_room(plan: Plan, running: Running, options: ExportOptions) -> list[str]:
    """Sentences about the memory of the plan under another trainer.

    Raises:
        TsplannerError: the plan needs more than is free, without force; the text has a plan that
            fits.
    """
    _refuse_stored(plan, running)
    _refuse_patterns(plan, running)
    fsdp.refuse(plan, running.architecture, running.trainer)
    room = room_under(plan, running)
    lines = [f"Predicted under {running.trainer}: {room.figures}."]
    if plan.hardware.base.quantization is not None:
        kept = "fp32" if running.upcast_unquantized else "half precision"
        lines.append(f"{running.trainer} keeps embeddings, head and norms of the base in {kept}.")
    lines += deepspeed.whole_base_notes(plan, running.trainer, force=options.force)
    if room.verdict is Verdict.FITS:
        return lines
    if room.verdict is Verdict.TIGHT:
        return [*lines, "Tight: the 95 % bound is over the free memory."]
    if options.force:
        return [*lines, "It is not expected to fit; exported all the same, by --force."]
    raise TsplannerError(
        f"{running.trainer} cannot run this plan in the memory there is ({room.figures}), having "
        f"none of tsplanner's own kernels: plan again {_remedy(plan, running)}, or give --force."
    )


def _refuse_stored(plan: Plan, running: Running) -> None:
    """Refuse weights that our worker dequantises while it loads them, and the trainer does not.

    Raises:
        TsplannerError: the weights are stored in such a form.
    """
    stored = stored_base(plan.model.config)
    if stored is None or stored.quantization is not None:
        return
    if stored.method not in running.dequantizes:
        raise TsplannerError(
            f"{running.trainer} would load the weights in {stored.label} as they are stored, which "
            "are not trained on: run the plan with tsplanner train, or plan the model's "
            "unquantised repository."
        )


def _refuse_patterns(plan: Plan, running: Running) -> None:
    """Refuse what the trainer's settings have no words for, or what is not sized under it."""
    method = plan.learning.method
    if method.rank_pattern or method.alpha_pattern:
        raise TsplannerError(
            f"{running.trainer} takes one rank and one alpha for all targets: plan again without "
            "--rank-pattern and --alpha-pattern, or run the plan with tsplanner train."
        )
    if method.adapts(HEAD) and running.loss_kernel.in_chunks:
        raise TsplannerError(
            f"An adapter on {HEAD} is not sized under {running.trainer}'s loss in chunks: name it "
            "in --modules-to-save instead, or run the plan with tsplanner train."
        )


def room_under(plan: Plan, running: Running) -> Room:
    """The verdict on the plan's memory under another trainer."""
    needed, free = memory_under(plan, running, plan.hardware).process_bytes, _least_free(plan)
    return Room(
        trainer=running.trainer,
        verdict=verdict_of(needed, free),
        process_bytes=needed,
        free_bytes=free,
    )


def _least_free(plan: Plan) -> int:
    """Bytes that are free on the fullest GPU: there every process holds as much as the others."""
    used = used_devices(plan.machine, plan.hardware)
    return min([plan.free_bytes, *(device.free_bytes for device in used)])


def _remedy(plan: Plan, running: Running) -> str:
    """Flags of the smallest change that fits under another trainer."""
    for words, hardware in _smaller(plan.hardware):
        if memory_under(plan, running, hardware).process_bytes.expected <= _least_free(plan):
            return f"with {words}"
    if plan.hardware.streaming.streams:
        return "with --streamed-layers 0, as only tsplanner train streams layers"
    return "for more memory, or with a shorter --cutoff-len"


def _smaller(hardware: HardwareSettings) -> Iterator[tuple[str, HardwareSettings]]:
    """Settings of the same effective batch that need less memory, the smallest change first."""
    share = hardware.batch.micro_batch_size * hardware.batch.gradient_accumulation_steps
    sizes = sorted(divisors(share, hardware.batch.micro_batch_size), reverse=True)
    for checkpointing, size in product((hardware.batch.gradient_checkpointing, True), sizes):
        words = []
        if checkpointing and not hardware.batch.gradient_checkpointing:
            words.append("--gradient-checkpointing on")
        if size < hardware.batch.micro_batch_size:
            words.append(f"--micro-batch-size {size}")
        if words:
            yield (
                " ".join(words),
                changed(
                    hardware,
                    gradient_checkpointing=checkpointing,
                    micro_batch_size=size,
                    gradient_accumulation_steps=share // size,
                ),
            )


def differences(plan: Plan, running: Running) -> list[str]:
    """Differences between the trainer's run and the plan that do not change what is learned."""
    hardware = plan.hardware
    found = mixtures.notes(running.architecture, adapter_method(plan))
    if hardware.kernels.decoder_kernels.is_ours:
        others = {DecoderKernels.LIGER: "Liger's kernels run"}.get(
            running.decoder_kernels, "the reference kernels run"
        )
        found.append(
            f"tsplanner's {hardware.kernels.decoder_kernels} kernels are its own: {others} instead."
        )
    if hardware.kernels.loss_kernel is LossKernel.FUSED and running.loss_kernel is LossKernel.PLAIN:
        found.append("tsplanner's fused loss is its own: all logits are kept instead.")
    if hardware.kernels.attention is Attention.FLEX_ATTENTION:
        attention = attention_under(plan, running.architecture)
        found.append(f"tsplanner's flex_attention is its own: {attention} attention instead.")
    if hardware.batch.checkpointed_layers is not None:
        found.append("Checkpointing of some layers cannot be said there: all are checkpointed.")
    if hardware.streaming.streams:
        found.append("tsplanner's streamed layers are its own: the whole base is on the GPU.")
    found += fsdp.notes(plan, running.architecture, running.trainer)
    if plan.model.tokenizer is not None and not running.takes_tokenizer:
        found.append(f"Copy the tokenizer of {plan.model.tokenizer} beside the weights first.")
    return found
