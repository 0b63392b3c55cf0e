"""Bytes of each phase of a step; the peak is the persistent bytes plus the largest phase."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import NamedTuple

from memory_models.activations.encoder import encoder_bytes
from memory_models.activations.frozen.layer_major import layer_major_totals, tables_bytes
from memory_models.activations.layers import (
    LayerTotals,
    layer_totals,
    mask_bytes,
    recomputed_layers,
)
from memory_models.activations.lm_head import LmHeadMemory, fused_rows, lm_head_memory
from memory_models.architecture import Architecture
from memory_models.recorded.totals import before_layers_bytes, recorded_totals
from memory_models.settings import (
    HeadSettings,
    LayerSettings,
    Method,
    StateSettings,
    TrainingSettings,
)
from memory_models.sharding.all_gather import GatheredPeaks, gathered_peaks
from memory_models.sharding.fully_sharded import gathered_layers
from memory_models.sharding.gradients import Gradients
from memory_models.sharding.held_gradients import gradients
from memory_models.states.adapters import (
    adapter_parameters_on,
    saved_parameters,
    targets,
    trainable_parameters,
)
from memory_models.states.layer_inputs import autocast_cache_bytes
from memory_models.states.storage import BYTES
from memory_models.states.weights import embedding_parameters, encoder_parameters
from memory_models.step_order import StepPhase, step_order

HALF_BYTES = 2
STREAM_TENSORS = 3
"""Tensors [n, D] that are alive at the last product of a layer: its result, the norm's result and
the residual stream between attention and MLP."""


class PhasePeak(NamedTuple):
    """Bytes that one process holds in a phase of a step, besides the persistent bytes."""

    phase: StepPhase
    checkpoints: int = 0
    """Tensors that the layers keep for backward."""
    unrecomputed: int = 0
    """Share of ``checkpoints`` of layers without a checkpoint, if other layers have one."""
    layer: int = 0
    """The one layer that runs."""
    loss: int = 0
    """Last norm, lm_head and loss."""
    gradients: int = 0
    """Gradients, and the buckets that reduce them."""
    step: int = 0
    """Temporaries of the optimizer's step."""
    gathered: int = 0
    """Whole parameters of which this process owns a part."""

    @property
    def bytes(self) -> int:
        """The sum of the phase's parts."""
        alive = self.checkpoints + self.layer + self.loss + self.gathered
        return alive + self.gradients + self.step


class _Static(NamedTuple):
    """Bytes that depend on neither lengths nor batches."""

    lm_head: LmHeadMemory
    held: Gradients
    gathered: GatheredPeaks
    casts: int
    """Casts of trained weights that autocast holds beside checkpoints until forward has ended."""


@lru_cache(maxsize=4096)
def _static(
    architecture: Architecture,
    states: StateSettings,
    head: HeadSettings,
    layer: LayerSettings | None,
) -> _Static:
    """``layer``: settings of the layers whose parameters ZeRO-3 gathers; None: not ZeRO-3."""
    config = states.sharding.deepspeed
    casts = 0
    if states.checkpointed:
        casts = autocast_cache_bytes(_trained_in_layers(architecture, states.method), states)
    return _Static(
        lm_head=lm_head_memory(architecture, head),
        held=gradients(architecture, states),
        gathered=gathered_layers(architecture, states)
        if layer is None
        else gathered_peaks(architecture, layer, config),
        casts=casts,
    )


class _Step(NamedTuple):
    """The parts that the phases of one step consist of, in bytes of one process."""

    totals: LayerTotals
    held: Gradients
    gathered: GatheredPeaks
    loss_forward: int
    loss_backward: int
    masks: int
    series: int
    """Tensors that the time-series encoder keeps."""
    casts: int
    """See ``_Static``; of checkpointed layers only."""
    passing: int
    """See ``_last_product``."""
    layers: int
    """Number of layers."""
    above: int
    """Number of layers without a checkpoint, if other layers have one."""
    mixed: bool
    """Only the first layers are checkpointed."""


def phase_peaks(architecture: Architecture, settings: TrainingSettings) -> tuple[PhasePeak, ...]:
    """Bytes of each phase of one step, in order; takes what ``effective_settings`` returns."""
    step = _parts(architecture, settings)
    return tuple([peak(step) for peak in _in_order(step.mixed, step.held.head > 0)])


@cache
def _in_order(mixed: bool, reduces_head: bool) -> tuple[Callable[[_Step], PhasePeak], ...]:
    """The functions of the phases; thousands of estimates per second share these few orders."""
    order = step_order(mixed=mixed, reduces_head=reduces_head)
    return tuple(BY_PHASE[phase] for phase in order)


def load(architecture: Architecture, states: StateSettings, later: int) -> PhasePeak:
    """Bytes while DeepSpeed builds its engine; ``later``: persistent bytes allocated afterwards."""
    return PhasePeak(StepPhase.LOAD, step=gradients(architecture, states).load - later)


def _parts(architecture: Architecture, settings: TrainingSettings) -> _Step:
    layer = settings.layer if settings.sharding.gathers else None
    static = _static(architecture, settings.states, settings.head, layer)
    n, rows = settings.tokens, fused_rows(architecture, settings)
    casts, gathered, layers = static.casts, static.gathered, architecture.num_hidden_layers
    mixed = settings.batch.checkpointed_layers is not None
    above = 0
    if mixed:
        recomputed = recomputed_layers(architecture, settings)
        above, casts = layers - recomputed, casts * recomputed // layers
        if layer is not None:
            gathered = _gathered_by_both(architecture, settings, gathered)
    if gathered.head:
        gathered = gathered._replace(head=gathered.head + _logits(architecture, settings))
    checkpointing = settings.batch.gradient_checkpointing
    if architecture.layer.recorded:
        totals = recorded_totals(architecture, settings)
        masks = before_layers_bytes(architecture, settings)
    else:
        totals = layer_totals(architecture, settings)
        masks = mask_bytes(architecture, settings)
    series = encoder_bytes(architecture, settings)
    if settings.streaming.streams:
        totals = layer_major_totals(architecture, settings, totals)
        passes = settings.passes_together
        series, masks = series * passes, (masks + tables_bytes(architecture, settings)) * passes
        # A layer is called outside the model's forward, and autocast forgets its casts at once.
        casts = 0
    return _Step(
        totals=totals,
        held=static.held,
        gathered=gathered,
        loss_forward=static.lm_head.forward.bytes(n, rows),
        loss_backward=static.lm_head.backward.bytes(n, rows),
        masks=masks,
        series=series,
        casts=casts,
        passing=_last_product(architecture, n) if gathered.forward and checkpointing else 0,
        layers=layers,
        above=above,
        mixed=mixed,
    )


def _forward(step: _Step) -> PhasePeak:
    totals = step.totals
    usual = PhasePeak(
        StepPhase.FORWARD,
        checkpoints=step.series + totals.all_kept - totals.last_kept,
        unrecomputed=max(0, totals.unrecomputed - totals.last_kept),
        layer=max(totals.forward, step.passing, step.gathered.entering + totals.boundary)
        + step.masks
        + (step.casts if step.mixed else 0),
        gradients=step.held.early,
        gathered=step.gathered.forward,
    )
    if not step.gathered.starting:
        return usual
    start = PhasePeak(
        StepPhase.FORWARD,
        checkpoints=step.series + totals.boundary,
        layer=step.masks,
        gradients=step.held.early,
        gathered=step.gathered.starting,
    )
    return max(usual, start, key=lambda each: each.bytes)


def _forward_loss(step: _Step) -> PhasePeak:
    loss, gathered = _around_head(step, step.casts + step.loss_forward)
    return PhasePeak(
        StepPhase.FORWARD_LOSS,
        checkpoints=step.series + step.totals.all_kept,
        unrecomputed=step.totals.unrecomputed,
        layer=step.masks,
        loss=loss,
        gradients=step.held.early,
        gathered=gathered,
    )


def _loss(step: _Step) -> PhasePeak:
    loss, gathered = _around_head(step, step.loss_backward)
    return PhasePeak(
        StepPhase.LOSS,
        checkpoints=step.series + step.totals.all_kept,
        unrecomputed=step.totals.unrecomputed,
        layer=step.masks,
        loss=loss,
        gradients=step.held.loss,
        gathered=gathered,
    )


def _around_head(step: _Step, loss: int) -> tuple[int, int]:
    """Bytes of the loss and of gathered weights beside it, or around the head's product if more."""
    return max((loss, step.gathered.loss), (0, step.gathered.head), key=sum)


def _logits(architecture: Architecture, settings: TrainingSettings) -> int:
    """Logits [n, V] as the product makes them."""
    width = BYTES[settings.base.autocast or settings.base.model_dtype]
    return settings.tokens * architecture.vocabulary.vocab_size * width


def _head(step: _Step) -> PhasePeak:
    return _loss(step)._replace(phase=StepPhase.HEAD, loss=0, gradients=step.held.head)


def _last_layer(step: _Step) -> PhasePeak:
    totals = step.totals
    return PhasePeak(
        StepPhase.LAST_LAYER,
        checkpoints=step.series + totals.all_kept - totals.last_kept + totals.boundary,
        unrecomputed=max(0, totals.unrecomputed - totals.last_kept),
        layer=totals.backward + step.masks,
        gradients=_at_last_layer(step),
        gathered=step.gathered.last,
    )


def _at_last_layer(step: _Step) -> int:
    """Gradients at the last layer's backward, or later, when a bucket of several layers is full.

    Backward has then freed what the layers above kept, so their bytes are taken off.
    """
    held = step.held
    if held.bucket is None:
        return held.last
    freed = held.bucket.layers * (step.totals.all_kept // step.layers)
    return max(held.last, held.bucket.bytes - freed)


def _last_checkpoint(step: _Step) -> PhasePeak:
    return PhasePeak(
        StepPhase.LAST_CHECKPOINT,
        checkpoints=step.series + step.totals.below_unrecomputed,
        layer=step.totals.again + step.masks,
        gradients=step.held.after(step.above),
        gathered=max(step.gathered.last, step.gathered.first),
    )


def _first_layer(step: _Step) -> PhasePeak:
    return PhasePeak(
        StepPhase.FIRST_LAYER,
        checkpoints=step.series + step.totals.below_trained + step.totals.boundary,
        layer=step.totals.first_backward + step.masks,
        gradients=step.held.first,
        gathered=step.gathered.first,
    )


def _embedding(step: _Step) -> PhasePeak:
    return PhasePeak(StepPhase.EMBEDDING, gradients=step.held.end, gathered=step.gathered.end)


def _optimizer(step: _Step) -> PhasePeak:
    return PhasePeak(StepPhase.STEP, gradients=step.held.kept, step=step.held.step)


BY_PHASE: Mapping[StepPhase, Callable[[_Step], PhasePeak]] = {
    StepPhase.FORWARD: _forward,
    StepPhase.FORWARD_LOSS: _forward_loss,
    StepPhase.LOSS: _loss,
    StepPhase.HEAD: _head,
    StepPhase.LAST_LAYER: _last_layer,
    StepPhase.LAST_CHECKPOINT: _last_checkpoint,
    StepPhase.FIRST_LAYER: _first_layer,
    StepPhase.EMBEDDING: _embedding,
    StepPhase.STEP: _optimizer,
}


def _gathered_by_both(
    architecture: Architecture, settings: TrainingSettings, gathered: GatheredPeaks
) -> GatheredPeaks:
    """The larger peak, at each phase, of layers with and of layers without a checkpoint."""
    if not gathered.loss:
        return gathered
    layer, config = settings.layer.without_checkpoint, settings.sharding.deepspeed
    other = gathered_peaks(architecture, layer, config)
    return GatheredPeaks(*map(max, gathered, other))


def _last_product(architecture: Architecture, tokens: int) -> int:
    """Bytes of the activations at the last MLP product, while ZeRO-3 gathers the lm_head already.

    The product's input [n, F] and ``STREAM_TENSORS`` tensors [n, D] are alive, in half precision.
    Without gathered parameters, forward under checkpointing is never the peak.
    """
    widths = architecture.mlp.intermediate_size + STREAM_TENSORS * architecture.hidden_size
    return HALF_BYTES * tokens * widths


def _trained_in_layers(architecture: Architecture, method: Method) -> int:
    """Trained elements inside the decoder layers."""
    outside = 0
    if method.trains_everything:
        heads = 1 if architecture.vocabulary.tie_word_embeddings else 2
        outside = heads * embedding_parameters(architecture) + encoder_parameters(architecture)
    for linear, copies in targets(architecture, method):
        outside += copies * adapter_parameters_on(linear, method) * method.adapts(linear.name)
    outside += saved_parameters(architecture, method)
    return trainable_parameters(architecture, method) - outside
