"""Parameters of the base model, counted exactly from the shapes, and their bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache

from memory_models.architecture import Architecture, Linear, Norm, Role, Tensors
from memory_models.rounding import BLOCK_BYTES, block_bytes
from memory_models.settings import Dtype, Quantization, StateSettings
from memory_models.states.storage import BYTES, nf4_bytes
from memory_models.units import ceil_div, round_up

EIGHT_BIT_SIDES = 16
"""The sides of a matrix in our own 8 bits are multiples of this."""


def linear_parameters(linear: Linear) -> int:
    """Elements of one linear of a layer, all copies and the bias included."""
    return linear.weight_count + linear.bias_count


def norm_parameters_per_layer(architecture: Architecture) -> int:
    """Elements of the norms of one layer; a LayerNorm has a scale and a bias."""
    per_width = 2 if architecture.norms.kind is Norm.LAYER else 1
    return per_width * architecture.norms.norm_width_per_layer


def decoder_parameters(architecture: Architecture) -> int:
    """Elements of all decoder layers."""
    layers = architecture.num_hidden_layers
    linears = sum(
        linear.copies_in(architecture) * linear_parameters(linear)
        for linear in architecture.layer.linears
    )
    others = sum(each.copies * each.elements for each in architecture.layer.tensors)
    return linears + others + layers * norm_parameters_per_layer(architecture)


def layer_parameters(architecture: Architecture) -> int:
    """Elements of one decoder layer, the mean of all layers where they differ."""
    return ceil_div(decoder_parameters(architecture), architecture.num_hidden_layers)


def embedding_parameters(architecture: Architecture) -> int:
    """Elements of the token embedding, [V, D]."""
    return architecture.vocabulary.vocab_size * architecture.hidden_size


def head_parameters(architecture: Architecture) -> int:
    """Elements of the lm_head beyond the embedding: none if the two are tied."""
    bias = architecture.vocabulary.vocab_size if architecture.vocabulary.head_bias else 0
    return bias + (
        0 if architecture.vocabulary.tie_word_embeddings else embedding_parameters(architecture)
    )


def encoder_parameters(architecture: Architecture) -> int:
    """Elements of the time-series encoder."""
    encoder = architecture.encoder
    if encoder is None:
        return 0
    linears = sum(linear_parameters(linear) for linear in encoder.linears)
    return linears + encoder.embedding_count + encoder.norm_count


def final_norm_parameters(architecture: Architecture) -> int:
    """Elements of the norm before the lm_head."""
    if not architecture.norms.final_norm:
        return 0
    return architecture.hidden_size * (2 if architecture.norms.kind is Norm.LAYER else 1)


def total_parameters(architecture: Architecture) -> int:
    """Elements of the whole model."""
    return (
        embedding_parameters(architecture)
        + architecture.positions.learned_position_count
        + decoder_parameters(architecture)
        + final_norm_parameters(architecture)
        + head_parameters(architecture)
        + encoder_parameters(architecture)
        + outside_parameters(architecture)
    )


def outside_parameters(architecture: Architecture) -> int:
    """Elements of what is neither layer, embedding, last norm, lm_head nor series encoder."""
    outside = architecture.outside
    return _elements(outside.linears, outside.tensors)


def frozen_parameters(architecture: Architecture) -> int:
    """Elements of a vision tower and its projector, which no method trains."""
    outside = architecture.outside
    return _elements(outside.frozen_linears, outside.frozen_tensors)


def _elements(linears: tuple[Linear, ...], tensors: tuple[Tensors, ...]) -> int:
    found = sum(linear_parameters(linear) for linear in linears)
    return found + sum(each.copies * each.elements for each in tensors)


def quantized_linears(architecture: Architecture) -> Iterator[tuple[Linear, int]]:
    """Linears that bitsandbytes replaces, each with its number of copies in the model.

    transformers quantises every ``nn.Linear`` but the lm_head and what a folder names as kept. The
    experts of a mixture are fused parameters, not ``nn.Linear``, and stay in the dtype that they
    were loaded in.
    """
    for linear in architecture.layer.linears:
        if linear.count == 1:
            yield linear, linear.copies_in(architecture) - kept_in(linear, architecture)
    for linear in architecture.outside.linears:
        kept = linear.count if linear.kept_copies is None else linear.kept_copies
        yield replace(linear, count=1), linear.count - kept
    if architecture.encoder is not None:
        for linear in architecture.encoder.linears:
            yield linear, 1


def stored_linears(
    architecture: Architecture, quantization: Quantization | None
) -> Iterator[tuple[Linear, int, Quantization | None]]:
    """The linears that may be quantised, their number of copies, and the form that they have.

    Our own 8 bits are those of the decoder layers; encoders and towers stay as they were loaded.
    """
    own = quantization is not None and quantization.multiplies
    inside = set(architecture.layer.linears)
    for linear, copies in quantized_linears(architecture):
        outside = own and linear not in inside
        yield linear, copies, None if outside else form_of(linear, quantization)


def form_of(linear: Linear, quantization: Quantization | None) -> Quantization | None:
    """The form of a decoder's linear under a quantisation of the base; None: as it was loaded.

    8-bit products ask for matrices whose sides are multiples of 16.
    Source: torch.nn.functional.scaled_mm; cuBLAS, cublasLtMatmul.
    """
    if quantization is None or not quantization.multiplies:
        return quantization
    sides = (linear.in_features, linear.out_features)
    whole = linear.role is Role.ENCODER or any(side % EIGHT_BIT_SIDES for side in sides)
    return None if whole else quantization


def kept_in(linear: Linear, architecture: Architecture) -> int:
    """Number of decoder layers in which a quantised base keeps a linear whole."""
    copies = linear.copies_in(architecture)
    return copies if linear.kept_copies is None else min(linear.kept_copies, copies)


def is_quantized(linear: Linear, quantization: Quantization | None) -> bool:
    """Whether this linear of a layer is replaced by a quantised one."""
    form = form_of(linear, quantization)
    return form is not None and linear.count == 1 and linear.kept_copies is not None


def packed_bytes(linear: Linear, quantization: Quantization | None) -> int:
    """Bytes of one quantised matrix without the matrix's constants."""
    four_bit = quantization in (Quantization.NF4, Quantization.NF4_DQ)
    return linear.weight_count if not four_bit else ceil_div(linear.weight_count, 2)


def quantized_weight_bytes(linear: Linear, quantization: Quantization) -> int:
    """Bytes of one matrix in quantised storage, constants included.

    8 bits take one byte per element and an fp32 scale per row. NF4: see ``nf4_bytes``.
    Source: bitsandbytes, nn/modules.py (Linear8bitLt, Linear4bit); tsplanner/training/eight_bit.
    """
    if quantization is Quantization.INT8 or quantization.multiplies:
        return linear.weight_count + round_up(BYTES[Dtype.FP32] * linear.out_features, BLOCK_BYTES)
    return nf4_bytes(linear.weight_count, double=quantization is Quantization.NF4_DQ)


def layer_tensors(
    architecture: Architecture,
    settings: StateSettings,
    packed: Callable[[Linear, Quantization], Iterable[int]],
) -> Iterator[tuple[int, int]]:
    """Bytes of every frozen tensor of the decoder layers, and how many layers have it.

    ``packed``: bytes of the tensors that one quantised matrix counts as.
    """
    element, quantization = BYTES[settings.base.model_dtype], settings.base.quantization
    for linear in architecture.layer.linears:
        copies = whole = linear.copies_in(architecture)
        if quantization is not None and is_quantized(linear, quantization):
            whole = kept_in(linear, architecture)
            for size in packed(linear, quantization):
                yield size, copies - whole
        yield linear.weight_count * element, whole
        yield linear.bias_count * element, copies
    for each in architecture.layer.tensors:
        yield each.elements * element, each.copies
    yield norm_parameters_per_layer(architecture) * element, architecture.num_hidden_layers


def base_tensors(architecture: Architecture) -> Iterator[tuple[int, int]]:
    """Elements and copies of every tensor that bitsandbytes does not quantise."""
    layers = architecture.num_hidden_layers
    for linear in architecture.layer.linears:
        copies = linear.copies_in(architecture)
        yield linear.bias_count, copies
        yield linear.weight_count, copies if linear.count > 1 else kept_in(linear, architecture)
    for each in (*architecture.layer.tensors, *architecture.outside.tensors):
        yield each.elements, each.copies
    yield norm_parameters_per_layer(architecture), layers
    yield (
        embedding_parameters(architecture),
        1 if architecture.vocabulary.tie_word_embeddings else 2,
    )
    yield architecture.vocabulary.vocab_size if architecture.vocabulary.head_bias else 0, 1
    yield architecture.positions.learned_position_count, 1
    yield final_norm_parameters(architecture), 1
    encoder = architecture.encoder
    if encoder is not None:
        yield sum(linear.bias_count for linear in encoder.linears), 1
        yield encoder.embedding_count + encoder.norm_count, 1
    for linear in architecture.outside.linears:
        yield linear.out_features if linear.bias else 0, linear.count
        kept = linear.count if linear.kept_copies is None else linear.kept_copies
        yield linear.in_features * linear.out_features, kept


@lru_cache(maxsize=1024)
def weight_bytes(
    architecture: Architecture,
    dtype: Dtype,
    quantization: Quantization | None,
    *,
    upcast: bool = True,
) -> int:
    """Bytes of the base model's parameters as the allocator rounds them; ``dtype`` as loaded.

    ``upcast``: the unquantised parts of a base that bitsandbytes quantises are in fp32.
    """
    cast = upcast and quantization is not None and not quantization.multiplies
    element = BYTES[Dtype.FP32 if cast else dtype]
    total = sum(
        copies * block_bytes(elements * element) for elements, copies in base_tensors(architecture)
    )
    for linear, copies, form in stored_linears(architecture, quantization):
        if form is None:
            total += copies * block_bytes(linear.weight_count * element)
        else:
            total += copies * quantized_weight_bytes(linear, form)
    return total


def base_weight_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes of the base model's parameters and buffers on one unsharded process.

    ``prepare_model_for_kbit_training`` casts every half-precision parameter that is not 4-bit to
    fp32: embedding, head, norms and biases. Source: peft/utils/other.py. DeepSpeed casts them back.
    """
    rotary = architecture.positions.rotary_buffer_count * BYTES[settings.base.model_dtype]
    dtype, quantization = settings.base.model_dtype, settings.base.quantization
    return weight_bytes(architecture, dtype, quantization, upcast=settings.upcasts_base) + rotary


def largest_quantized_weight(architecture: Architecture) -> int:
    """Elements of the largest quantised matrix, and so of the largest de-quantised copy."""
    return max((linear.weight_count for linear, _ in quantized_linears(architecture)), default=0)
