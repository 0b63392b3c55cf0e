"""Matrix operations of a micro-batch, by which the time of a step is foretold."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from memory_models.activations.layers import active_layers, passes, recomputed_layers
from memory_models.architecture import Architecture
from memory_models.recorded.totals import forward_flops_of
from memory_models.settings import HEAD, Attention, Method, TrainingSettings
from memory_models.states.adapters import adapter_parameters_on, targets
from memory_models.states.expert_adapters import adapted_experts, adapter_rows
from memory_models.states.weights import embedding_parameters, is_quantized

FLEX, FLEX_CAPPED = 1.54, 4.55
"""Times that flex_attention takes over scaled dot-product attention of as many operations; the
second with a soft cap and heads of 256. One layer of 4,096 tokens on an H200 took 1.78 and 5.23 ms
beside 1.15 (`kernel_times_h200_2026-11-30.json`)."""
FLEX_COMPILE_SECONDS, FLEX_FORWARD_COMPILE_SECONDS = 15.0, 6.0
"""Until flex_attention is compiled, forward and backward, and the forward of evaluations: 11 to
16 s in nine first steps on an H200 that nobody had compiled for, 6 s in evaluations of three runs
(flex, flex_runs and flex_families of 2026-12-01 in benchmarks/data/measurements)."""


def eight_bit_flops_per_layer(architecture: Architecture, settings: TrainingSettings) -> float:
    """Operations of 8-bit products per token, in one pass of one layer: the mean of all layers."""
    if not settings.base.multiplies_8bit:
        return 0.0
    weights = sum(
        linear.copies_in(architecture) * linear.weight_count
        for linear in architecture.layer.linears
        if is_quantized(linear, settings.base.quantization)
    )
    return 2 * weights / architecture.num_hidden_layers


def micro_batch_flops(architecture: Architecture, settings: TrainingSettings) -> float:
    """Matrix operations of one micro-batch, forward and backward.

    Per weight and token there are 2 operations forward, 2 for the gradient of the input, 2 for the
    gradient of the weight if the weight is trained, and 2 more if forward is recomputed. A frozen
    weight has no gradient, so LoRA takes 4N per token and not 6N. Attention takes 2 S HA forward
    (the causal half of 4) and twice that backward. Source: Kaplan et al. (arXiv 2001.08361),
    appendix; LoRA is counted as in NVIDIA's NeMo.
    """
    layers, active = architecture.num_hidden_layers, active_layers(architecture, settings.layer)
    found = operands(architecture, settings)
    if architecture.layer.recorded:
        return _recorded_flops(architecture, settings, found)
    trained = _trains_head(settings)
    layers_trained = active if not settings.method.uses_adapter else 0
    recompute = recomputed_layers(architecture, settings)
    weights: float = found.layer * (2 * layers + 2 * active + 2 * layers_trained + 2 * recompute)
    # A frozen lm_head still passes the gradient on. Checkpoints wrap decoder layers alone, so the
    # lm_head never runs again.
    head = found.head * (6 if trained else 4)
    attention = found.pairs * (layers + 2 * active + recompute)
    per_token = weights + head + 6 * found.adapters + attention
    return settings.tokens * per_token + whole_expert_flops(architecture, settings)


def whole_expert_flops(architecture: Architecture, settings: TrainingSettings) -> float:
    """Matrix operations by which PEFT adapts whole experts, where our kernels do not run.

    Forward adds s B A to every matrix, and torch once more to check its shape; backward makes the
    gradient of every matrix, and from it those of A and B.
    """
    if settings.kernels.decoder_kernels.is_ours:
        return 0.0
    found = 0.0
    forwards = passes(architecture, settings) - 1
    for matrix in adapted_experts(architecture, settings.method):
        rank = adapter_rows(matrix, settings.method, settings.method.adapter_rank) // matrix.count
        sums = 2 * rank * matrix.weight_count * (2 * forwards + 2)
        active = _active_weights(architecture, matrix.weight_count, matrix.count)
        gradient = 2 * settings.tokens * active
        found += matrix.copies_in(architecture) * (sums + gradient)
    return found


def _trains_head(settings: TrainingSettings) -> bool:
    """Whether the whole lm_head, or a copy of it, gets a gradient."""
    return settings.method.trains_everything or HEAD in settings.method.modules_to_save


def _recorded_flops(
    architecture: Architecture, settings: TrainingSettings, found: Operands
) -> float:
    """As `micro_batch_flops`, with the products that the recorded layers really made.

    Forward counts the adapters' products, whose weights alone have a gradient under LoRA.
    """
    forward = forward_flops_of(architecture, settings)
    recomputed = recomputed_layers(architecture, settings) / architecture.num_hidden_layers
    adapters = 2 * found.adapters * settings.tokens
    of_weights = adapters if settings.method.uses_adapter else forward
    head = found.head * (6 if _trains_head(settings) else 4) * settings.tokens
    attention = (3 + recomputed) * _unrecorded_attention(architecture, settings, found)
    return forward * (2 + recomputed) + of_weights + head + attention


def _unrecorded_attention(
    architecture: Architecture, settings: TrainingSettings, found: Operands
) -> float:
    """Operations of flex_attention in forward: it runs no product that a recording sees."""
    if settings.kernels.attention is not Attention.FLEX_ATTENTION:
        return 0.0
    return settings.tokens * found.pairs * architecture.num_hidden_layers


def forward_flops(architecture: Architecture, settings: TrainingSettings) -> float:
    """Matrix operations of the forward of one micro-batch; see `micro_batch_flops`."""
    layers, found = architecture.num_hidden_layers, operands(architecture, settings)
    if architecture.layer.recorded:
        head = 2 * found.head * settings.tokens
        attention = _unrecorded_attention(architecture, settings, found)
        return forward_flops_of(architecture, settings) + head + attention
    weights = 2 * (found.layer * layers + found.head + found.adapters)
    return settings.tokens * (weights + found.pairs * layers)


class Weights(NamedTuple):
    """Weights that one token is multiplied with."""

    layer: float
    """Of one decoder layer."""
    head: float
    """Of the lm_head."""
    adapters: float
    """Of all adapters; of a mixture's experts, of those that the router chooses."""


class Operands(NamedTuple):
    """What one token is multiplied with."""

    layer: float
    """See `Weights`."""
    head: float
    """See `Weights`."""
    adapters: float
    """See `Weights`."""
    pairs: float
    """Operations of one layer's attention in forward, or as many as sdpa does meanwhile."""


def operands(architecture: Architecture, settings: TrainingSettings) -> Operands:
    """What a token meets on its way through a model, from which all operations follow."""
    heads = architecture.attention.num_attention_heads * architecture.attention.head_dim
    pairs = 2.0 * settings.scores / settings.tokens * heads
    # Eager attention also multiplies the half of the scores that the causal mask hides.
    if settings.kernels.attention is Attention.EAGER:
        pairs *= 2
    elif settings.kernels.attention is Attention.FLEX_ATTENTION:
        pairs *= FLEX_CAPPED if architecture.attention.attn_logit_softcapping else FLEX
    return Operands(*_weights(architecture, settings.method), pairs)


@lru_cache(maxsize=256)
def _weights(architecture: Architecture, method: Method) -> Weights:
    adapters = 0.0
    if method.uses_adapter:
        # A token meets the adapter of its own trial, which is padded to the largest rank.
        share = max(method.ranks) / sum(method.ranks)
        adapters = share * sum(
            copies
            * _active_weights(architecture, adapter_parameters_on(linear, method), linear.count)
            for linear, copies in targets(architecture, method)
        )
    return Weights(
        layer=sum(
            linear.copies_in(architecture)
            * _active_weights(architecture, linear.weight_count, linear.count)
            for linear in architecture.layer.linears
        )
        / architecture.num_hidden_layers,
        head=embedding_parameters(architecture),
        adapters=adapters,
    )


def _active_weights(architecture: Architecture, weights: int, copies: int) -> int:
    """Weights that one token meets; of a mixture only the experts that the router chooses."""
    if copies == 1:
        return weights
    return weights // copies * architecture.mlp.num_experts_per_tok
