"""Gradients, optimizer states, and the temporaries of the optimizer's step, in bytes."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from memory_models.architecture import Architecture, Linear, Norm, OutsideShape
from memory_models.rounding import block_bytes
from memory_models.settings import (
    EMBEDDING,
    Dtype,
    FinetuningType,
    Method,
    Optimizer,
    StateSettings,
)
from memory_models.states.adapters import (
    PARAMETER_BYTES,
    adapter_parameters,
    targets,
    vocabulary_matrices,
)
from memory_models.states.expert_adapters import adapter_rows
from memory_models.states.storage import BYTES
from memory_models.states.weights import embedding_parameters
from memory_models.units import ceil_div

BLOCK_8BIT = 256
"""Elements that share one fp32 scale in an 8-bit optimizer. Source: bitsandbytes blockwise."""
SMALLEST_8BIT = 4096
"""Tensors with fewer elements keep fp32 states. Source: bitsandbytes ``min_8bit_size``."""
SMALLEST_PAGED = 100_000
"""Tensors with fewer elements are not paged. Source: bitsandbytes ``get_state_buffer``."""

ADALORA_IMPORTANCE_BYTES = 12
"""Bytes per trained element: importance, its average and its spread in fp32."""


class Tensor(NamedTuple):
    """A trained tensor: its shape [rows, columns], and its number of copies in the model."""

    rows: int
    columns: int
    copies: int = 1
    embedding: bool = False
    """The tensor is an ``nn.Embedding``: 8-bit optimizers keep its states in fp32."""
    copied: bool = False
    """The tensor is a copy of a module of the base, in that module's dtype."""

    @property
    def elements(self) -> int:
        """Elements of one copy."""
        return self.rows * self.columns


@lru_cache(maxsize=4096)
def trained_tensors(architecture: Architecture, method: Method) -> tuple[Tensor, ...]:
    """Every trained tensor, grouped by shape; their elements sum to ``trainable_parameters``."""
    if method.uses_adapter:
        return tuple(_adapter_tensors(architecture, method))
    full = method.trains_everything
    layers = architecture.num_hidden_layers if full else method.freeze_trainable_layers
    found = []
    for linear in architecture.layer.linears:
        copies = _trained_copies(linear.copies_in(architecture), architecture, layers)
        # The experts' matrices are one fused tensor [E, out, in], which has E x out rows.
        found.append(
            Tensor(
                rows=linear.out_features * linear.count, columns=linear.in_features, copies=copies
            )
        )
        if linear.bias:
            found.append(Tensor(rows=1, columns=linear.out_features * linear.count, copies=copies))
    for each in architecture.layer.tensors:
        copies = _trained_copies(each.copies, architecture, layers)
        found.append(Tensor(rows=each.rows, columns=each.columns, copies=copies))
    scales = 2 if architecture.norms.kind is Norm.LAYER else 1
    if architecture.norms.norm_width_per_layer:
        width = architecture.norms.norm_width_per_layer * scales
        found.append(Tensor(rows=1, columns=width, copies=layers))
    if full:
        found += _outer_tensors(architecture)
    return tuple(found)


def _trained_copies(copies: int, architecture: Architecture, trained_layers: int) -> int:
    """Copies in the last ``trained_layers`` layers, if the copies are spread evenly."""
    return ceil_div(copies * trained_layers, architecture.num_hidden_layers)


def _adapter_tensors(architecture: Architecture, method: Method) -> list[Tensor]:
    found = []
    on = tuple(targets(architecture, method))
    # Trials on a shared base come one after the other, each with all of its adapters.
    pairs = [
        (adapter_rows(linear, method, method.ranks_of(linear.name)[trial]), linear, copies)
        for trial in range(len(method.ranks))
        for linear, copies in on
    ]
    for rank, linear, copies in pairs:
        found.append(Tensor(rows=rank, columns=linear.in_features, copies=copies))
        found.append(Tensor(rows=linear.out_features, columns=rank, copies=copies))
        if method.finetuning_type is FinetuningType.DORA:
            found.append(Tensor(rows=1, columns=linear.out_features, copies=copies))
        if method.is_adalora:
            found.append(Tensor(rows=1, columns=rank, copies=copies))
    for linear in vocabulary_matrices(architecture):
        if linear.name in method.modules_to_save:
            found += _copied(architecture, linear)
    return found


def _copied(architecture: Architecture, linear: Linear) -> list[Tensor]:
    """The tensors of a whole copy of embedding or lm_head, both [V, D]."""
    rows, columns = architecture.vocabulary.vocab_size, architecture.hidden_size
    found = [Tensor(rows=rows, columns=columns, embedding=linear.name == EMBEDDING, copied=True)]
    if linear.bias:
        found.append(Tensor(rows=1, columns=rows, copied=True))
    return found


def _outer_tensors(architecture: Architecture) -> list[Tensor]:
    """Embedding, head, final norm, learned positions and encoder."""
    vocabulary, hidden = architecture.vocabulary.vocab_size, architecture.hidden_size
    found = [Tensor(rows=vocabulary, columns=hidden, embedding=True)]
    if not architecture.vocabulary.tie_word_embeddings:
        found.append(Tensor(rows=vocabulary, columns=hidden))
    if architecture.norms.final_norm:
        scales = 2 if architecture.norms.kind is Norm.LAYER else 1
        found.append(Tensor(rows=1, columns=hidden * scales))
    if architecture.positions.learned_position_count:
        found.append(
            Tensor(rows=architecture.positions.learned_position_count // hidden, columns=hidden)
        )
    found += _outside_tensors(architecture.outside)
    encoder = architecture.encoder
    if encoder is not None:
        for linear in encoder.linears:
            found.append(Tensor(rows=linear.out_features, columns=linear.in_features))
            found.append(Tensor(rows=1, columns=linear.out_features))
        if encoder.embedding_count:
            width = encoder.embedding_dim
            found.append(Tensor(rows=encoder.embedding_count // width, columns=width))
        if encoder.norm_count:
            found.append(Tensor(rows=1, columns=encoder.norm_count))
    return found


def _outside_tensors(outside: OutsideShape) -> list[Tensor]:
    found = [
        Tensor(rows=t.rows, columns=t.columns, copies=t.copies) for t in outside.outside_tensors
    ]
    for linear in outside.outside_linears:
        rows, columns, copies = linear.out_features, linear.in_features, linear.count
        found.append(Tensor(rows=rows, columns=columns, copies=copies))
        if linear.bias:
            found.append(Tensor(rows=1, columns=rows, copies=copies))
    return found


def trained_element_bytes(settings: StateSettings) -> int:
    """Bytes of one trained element and of its gradient: fp32 for adapters, else as loaded."""
    if settings.method.uses_adapter and not settings.sharding.one_dtype:
        return PARAMETER_BYTES
    return BYTES[settings.base.model_dtype]


def element_bytes(tensor: Tensor, settings: StateSettings) -> int:
    """Bytes of one element of a trained tensor and of its gradient."""
    if tensor.copied:
        return BYTES[Dtype.FP32 if settings.upcasts_base else settings.base.model_dtype]
    return trained_element_bytes(settings)


def trained_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes of all adapters, and of the copies that are trained beside them."""
    return sum(
        tensor.copies * tensor.elements * element_bytes(tensor, settings)
        for tensor in trained_tensors(architecture, settings.method)
    )


@lru_cache(maxsize=4096)
def gradient_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes of all gradients, each in its parameter's dtype, on one unsharded process."""
    return sum(
        tensor.copies * block_bytes(tensor.elements * element_bytes(tensor, settings))
        for tensor in trained_tensors(architecture, settings.method)
    )


def _eight_bit(tensor: Tensor, element_bytes: int, *, paged: bool) -> int:
    """Device bytes of one tensor's two 8-bit moments; small tensors and embeddings have fp32.

    Source: transformers' Trainer registers every nn.Embedding for 32-bit states.
    """
    if tensor.embedding:
        return _paged_32bit(tensor, element_bytes, paged=True) if paged else 8 * tensor.elements
    # Quantised states are not worth their error on small tensors, so bitsandbytes keeps fp32.
    if tensor.elements < SMALLEST_8BIT:
        return 2 * 4 * tensor.elements
    scales = 2 * 4 * (-(-tensor.elements // BLOCK_8BIT))
    if paged and tensor.elements >= SMALLEST_PAGED:
        return scales
    return 2 * tensor.elements + scales


def _paged_32bit(tensor: Tensor, element_bytes: int, *, paged: bool) -> int:
    """Device bytes of one tensor's two fp32 moments; large ones live in managed memory."""
    return 0 if tensor.elements >= SMALLEST_PAGED else 2 * 4 * tensor.elements


def _adam(tensor: Tensor, element_bytes: int, *, paged: bool) -> int:
    """Bytes of two moments in the parameter's dtype. Source: torch/optim/adam.py (zeros_like)."""
    return 2 * block_bytes(element_bytes * tensor.elements)


def _factored(tensor: Tensor, element_bytes: int, *, paged: bool) -> int:
    """Bytes of Adafactor's fp32 row and column sums of a matrix, or second moment of a vector."""
    if tensor.rows == 1:
        return 4 * tensor.elements
    return 4 * (tensor.rows + tensor.columns)


def _none(tensor: Tensor, element_bytes: int, *, paged: bool) -> int:
    """Plain SGD has no states."""
    return 0


STATE_BYTES = {
    Optimizer.ADAMW_TORCH: _adam,
    Optimizer.ADAMW_TORCH_FUSED: _adam,
    Optimizer.ADAMW_BNB_8BIT: _eight_bit,
    Optimizer.PAGED_ADAMW_8BIT: _eight_bit,
    Optimizer.PAGED_ADAMW_32BIT: _paged_32bit,
    Optimizer.ADAFACTOR: _factored,
    Optimizer.SGD: _none,
}

PAGED = frozenset({Optimizer.PAGED_ADAMW_8BIT, Optimizer.PAGED_ADAMW_32BIT})


@lru_cache(maxsize=4096)
def optimizer_state_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Device bytes of the optimizer's states on one unsharded process, after the first step.

    AdaLoRA also keeps an importance, its average and its spread for every trained element.
    Source: peft/tuners/adalora/model.py (RankAllocator.update_ipt).
    """
    state_bytes = STATE_BYTES[settings.optimizer]
    importance = 0
    if settings.method.is_adalora:
        importance = ADALORA_IMPORTANCE_BYTES * adapter_parameters(architecture, settings.method)
    paged = settings.optimizer in PAGED
    return importance + sum(
        tensor.copies * state_bytes(tensor, element_bytes(tensor, settings), paged=paged)
        for tensor in trained_tensors(architecture, settings.method)
    )


def paged_state_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes of states in managed memory: outside the allocator, and free to leave the device."""
    if settings.optimizer not in PAGED:
        return 0
    eight_bit = settings.optimizer is Optimizer.PAGED_ADAMW_8BIT
    return sum(
        tensor.copies * (2 if eight_bit and not tensor.embedding else 8) * tensor.elements
        for tensor in trained_tensors(architecture, settings.method)
        if tensor.elements >= SMALLEST_PAGED
    )


def step_transient_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes that the optimizer's step allocates beyond weights, gradients and states.

    ``adamw_torch`` runs foreach on a GPU: it makes the square roots of all second moments at once,
    in the parameter's dtype. Fused, 8-bit and SGD steps allocate next to nothing. Adafactor steps
    one tensor at a time in fp32: the update, its factored approximation, and copies of gradient
    and parameter if these are in half precision.
    Source: torch/optim/adam.py (_multi_tensor_adam); transformers/optimization.py (Adafactor).
    """
    if settings.optimizer is Optimizer.ADAMW_TORCH:
        return trained_bytes(architecture, settings)
    if settings.optimizer is Optimizer.ADAFACTOR:
        tensors = trained_tensors(architecture, settings.method)
        largest = max(tensors, key=lambda tensor: tensor.elements)
        copies = 2 if element_bytes(largest, settings) == 4 else 4
        return 4 * largest.elements * copies
    return 0


def tied_gradient_bytes(architecture: Architecture, settings: StateSettings) -> int:
    """Bytes of one gradient [V, D] of a tied embedding; 0 for an untied or frozen one.

    In backward the lm_head's gradient waits for the embedding's, and their sum is a third tensor.
    With accumulation, the sum of earlier micro-batches exists as well.
    Source: torch/csrc/autograd/input_buffer.cpp.
    """
    if not settings.method.trains_everything:
        return 0
    if not architecture.vocabulary.tie_word_embeddings:
        return 0
    return embedding_parameters(architecture) * trained_element_bytes(settings)


def tied_sum_in_place(settings: StateSettings) -> bool:
    """Whether autograd adds the embedding's gradient to a tied lm_head's gradient in place.

    Autograd adds in place to a fresh tensor (a cast by autocast, or a gradient of the fused loss).
    The gradient of a plain product is a view, so the sum is a third tensor.
    Source: torch/csrc/autograd/input_buffer.cpp.
    """
    cast = settings.base.autocast is not None and settings.base.model_dtype is Dtype.FP32
    return cast or settings.loss_kernel.in_chunks
