"""The moments at which a step may peak; the peak is persistent bytes plus the largest of them."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from memory_models.activations.encoder import encoder_bytes
from memory_models.activations.layers import (
    LayerTotals,
    layer_totals,
    mask_bytes,
    recomputed_layers,
)
from memory_models.activations.lm_head import LmHeadMemory, lm_head_memory
from memory_models.activations.loss_chunks import fused_rows
from memory_models.architecture import Architecture
from memory_models.settings import (
    HeadSettings,
    LayerSettings,
    Method,
    StateSettings,
    TrainingSettings,
)
from memory_models.sharding.all_gather import GatheredPeaks, gathered_peaks
from memory_models.sharding.gradients import Gradients
from memory_models.sharding.held_gradients import gradients
from memory_models.states.adapters import trainable_parameters
from memory_models.states.layer_inputs import autocast_cache_bytes
from memory_models.states.weights import embedding_parameters, encoder_parameters


class PhasePeak(NamedTuple):
    """A moment of a step: what is alive then besides the persistent bytes, per rank."""

    name: str
    checkpoints: int = 0
    """What the blocks keep for backward."""
    plain: int = 0
    """Of it what blocks keep that are not checkpointed where others are."""
    block: int = 0
    """The one block at work."""
    loss: int = 0
    """Head and loss."""
    gradients: int = 0
    """With the buckets that reduce them."""
    step: int = 0
    gathered: int = 0
    """Whole parameters, of which a rank owns a part."""

    @property
    def bytes(self) -> int:
        """All of it."""
        alive = self.checkpoints + self.block + self.loss + self.gathered
        return alive + self.gradients + self.step


class _Fixed(NamedTuple):
    """What lengths and batches do not change, in bytes."""

    tail: LmHeadMemory
    gradients: Gradients
    gathered: GatheredPeaks
    cache: int
    """Casts of trained weights that autocast holds beside checkpoints until forward has ended."""


@lru_cache(maxsize=4096)
def _fixed(
    architecture: Architecture,
    states: StateSettings,
    head: HeadSettings,
    layer: LayerSettings | None,
) -> _Fixed:
    """``layer``: settings of the layers whose parameters are gathered; None: none are."""
    cache = 0
    if states.checkpointed:
        cache = autocast_cache_bytes(_trained_in_layers(architecture, states.method), states)
    return _Fixed(
        tail=lm_head_memory(architecture, head),
        gradients=gradients(architecture, states),
        gathered=GatheredPeaks() if layer is None else gathered_peaks(architecture, layer),
        cache=cache,
    )


def load(architecture: Architecture, states: StateSettings, later: int) -> PhasePeak:
    """The moment at which DeepSpeed's engine is built; ``later``: persistent bytes to come."""
    return PhasePeak(name="load", step=gradients(architecture, states).load - later)


def phase_peaks(architecture: Architecture, settings: TrainingSettings) -> tuple[PhasePeak, ...]:
    """Candidate moments of one optimizer step; ``settings``: those of ``effective_settings``."""
    layer = settings.layer if settings.sharding.gathers else None
    fixed = _fixed(architecture, settings.states, settings.head, layer)
    stack = layer_totals(architecture, settings)
    n, rows = settings.tokens, fused_rows(architecture, settings)
    masks, series = mask_bytes(architecture, settings), encoder_bytes(architecture, settings)
    held, whole, cache = fixed.gradients, fixed.gathered, fixed.cache
    selective = settings.batch.checkpointed_layers is not None
    if selective:
        cache = cache * recomputed_layers(architecture, settings) // architecture.num_hidden_layers
        whole = _gathered_by_both(architecture, settings, whole)
    passing = (
        _passing(architecture, n) if whole.forward and settings.batch.gradient_checkpointing else 0
    )
    loss = PhasePeak(
        name="loss",
        checkpoints=series + stack.all_kept,
        plain=stack.unrecomputed,
        block=masks,
        loss=fixed.tail.backward.bytes(n, rows),
        gradients=held.loss,
        gathered=whole.loss,
    )
    found: tuple[PhasePeak, ...] = (
        PhasePeak(
            name="forward",
            checkpoints=series + stack.all_kept - stack.last_kept,
            plain=max(0, stack.unrecomputed - stack.last_kept),
            block=max(stack.forward, passing) + masks + (cache if selective else 0),
            gradients=held.early,
            gathered=whole.forward,
        ),
        loss._replace(
            name="forward, loss",
            loss=cache + fixed.tail.forward.bytes(n, rows),
            gradients=held.early,
        ),
        loss,
        PhasePeak(
            name="backward, last block",
            checkpoints=series + stack.all_kept - stack.last_kept + stack.boundary,
            plain=max(0, stack.unrecomputed - stack.last_kept),
            block=stack.backward + masks,
            gradients=_at_last_block(held, stack, architecture.num_hidden_layers),
            gathered=whole.last,
        ),
        PhasePeak(
            name="backward, first block",
            checkpoints=series + stack.below_trained + stack.boundary,
            block=stack.first_backward + masks,
            gradients=held.first,
            gathered=whole.first,
        ),
        PhasePeak(name="backward, embedding", gradients=held.end, gathered=whole.end),
        PhasePeak(name="step", gradients=held.kept, step=held.step),
    )
    if selective:
        above = architecture.num_hidden_layers - recomputed_layers(architecture, settings)
        again = _last_checkpoint(stack, held, whole, masks, above)
        found = (*found, again._replace(checkpoints=series + again.checkpoints))
    if not held.head:
        return found
    return (*found, loss._replace(name="backward, head", loss=0, gradients=held.head))


def _at_last_block(held: Gradients, stack: LayerTotals, layers: int) -> int:
    """Gradients at the last block's backward, or later where a bucket of blocks is reduced."""
    if held.bucket is None:
        return held.last
    freed = held.bucket.layers * (stack.all_kept // layers)
    return max(held.last, held.bucket.bytes - freed)


def _gathered_by_both(
    architecture: Architecture, settings: TrainingSettings, whole: GatheredPeaks
) -> GatheredPeaks:
    """The most that blocks with and without a checkpoint have gathered."""
    if not whole.loss:
        return whole
    other = gathered_peaks(architecture, settings.layer.without_checkpoint)
    return GatheredPeaks(*map(max, whole, other))


def _last_checkpoint(
    stack: LayerTotals, held: Gradients, whole: GatheredPeaks, masks: int, last: int
) -> PhasePeak:
    """The last checkpointed block runs again; ``last``: blocks above it, which are done."""
    return PhasePeak(
        name="backward, last checkpoint",
        checkpoints=stack.below_unrecomputed,
        block=stack.again + masks,
        gradients=held.after(last),
        gathered=max(whole.last, whole.first),
    )


def _passing(architecture: Architecture, tokens: int) -> int:
    """What a block's last product has around it where the head is gathered in forward already.

    Its input, its result, the norm's and the stream in between, in half precision. Without
    gathered parameters forward is no peak under checkpointing.
    """
    return 2 * tokens * (architecture.mlp.intermediate_size + 3 * architecture.hidden_size)


def _trained_in_layers(architecture: Architecture, method: Method) -> int:
    """Trained elements inside the blocks."""
    outside = 0
    if method.trains_everything:
        heads = 1 if architecture.vocabulary.tie_word_embeddings else 2
        outside = heads * embedding_parameters(architecture) + encoder_parameters(architecture)
    return trainable_parameters(architecture, method) - outside
