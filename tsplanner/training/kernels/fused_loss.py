"""Output head and cross-entropy in chunks of rows, so that the logits never exist whole.

Notation: N rows (positions with a label), D hidden size, V vocabulary, C rows per chunk.

The forward pass already computes the gradient of the hidden states, while the probabilities of a
chunk exist, as Liger Kernel's fused linear cross-entropy does (arXiv 2410.10989). Positions without
a label are dropped before the head, because they add nothing to the loss or to any gradient.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import CausalLMOutputWithPast

from tsplanner.errors import TsplannerError
from tsplanner.planner.multi_lora.refusal import STRANGE_HEADS
from tsplanner.training.kernels.compiled.pieces import cross_entropy
from tsplanner.training.language_model import head_owner, logit_config

IGNORED = -100
COMPILED_ROWS = 2
"""Chunks of the compiled loss are larger by it: a logit takes 2 bytes there instead of 10."""
COMPILED = "_loss_is_compiled"
"""Attribute of the module that owns the head."""
SHARED_LOSS = "_loss_of_all_processes"
"""Attribute of a head that processes share out: the losses of rows with a label, one by one."""


def chunk_rows(positions: int, hidden_size: int, vocab_size: int) -> int:
    """Rows per chunk, so that the logits of a chunk take about the memory of the hidden states.

    The number is positions / (V / D), rounded up to a power of two. This is the rule of Liger
    Kernel and of the memory model.
    """
    rows = max(1, math.ceil(positions / math.ceil(vocab_size / hidden_size)))
    return 1 << (rows - 1).bit_length()


class LogitChanges(NamedTuple):
    """What a model does to the logits that its head makes."""

    factor: float = 1.0
    """They are multiplied by it (Granite, Cohere)."""
    softcap: float | None = None
    """Bound of ``softcap * tanh(logits / softcap)``, after the factor; None: there is none."""


def logit_changes(config: Any) -> LogitChanges:
    """What the model of a configuration does to its logits.

    Source: transformers' modeling files; Granite divides by the number by which HyperCLOVA X, under
    the same key, multiplies.
    """
    factor = 1.0
    for key in ("logit_scale", "lm_head_multiplier"):
        factor *= getattr(config, key, None) or 1.0
    scaling = getattr(config, "logits_scaling", None) or 1.0
    multiplies = str(getattr(config, "model_type", "")).startswith("hyperclovax")
    factor *= scaling if multiplies else 1 / scaling
    return LogitChanges(factor=factor, softcap=getattr(config, "final_logit_softcapping", None))


class ChunkSettings(NamedTuple):
    """How the logits are computed, chunk by chunk."""

    rows: int
    """Rows whose logits exist at once."""
    changes: LogitChanges
    compute_dtype: torch.dtype
    """Dtype of the matrix products."""
    compiled: bool = False
    """One kernel turns the logits into their gradient, in the dtype of the products."""


UNCHANGED = LogitChanges()


class ChunkedCrossEntropy(torch.autograd.Function):
    """Sum of the cross-entropies of ``hidden @ weight.T + bias``; every row has a label."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        chunks: ChunkSettings,
    ) -> Tensor:
        """Return the fp32 sum [] and keep the gradients of hidden [N, D] and of a trained head."""
        head = weight.to(chunks.compute_dtype)
        need_hidden, need_weight, need_bias = ctx.needs_input_grad[:3]
        grad_hidden = torch.empty_like(hidden) if need_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if need_weight else None
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if need_bias else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for start in range(0, hidden.shape[0], chunks.rows):
            rows = slice(start, start + chunks.rows)
            states = hidden[rows].to(chunks.compute_dtype)
            make = _compiled_loss if chunks.compiled else _chunk_loss
            loss, grad = make(states, head, bias, labels[rows], chunks.changes)
            total += loss
            if not (need_hidden or need_weight or need_bias):
                continue
            if grad_bias is not None:
                grad_bias += grad.sum(0)
            narrow = grad.to(chunks.compute_dtype)
            if grad_hidden is not None:
                grad_hidden[rows] = narrow @ head
            if grad_weight is not None:
                grad_weight += narrow.t() @ states
        # These are neither inputs nor outputs, and backward scales them in place, so that
        # `save_for_backward` is not the place for them.
        ctx.gradients = (grad_hidden, grad_weight, grad_bias)
        ctx.dtypes = (hidden.dtype, weight.dtype, None if bias is None else bias.dtype)
        return total

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the gradients that forward kept.

        The scale is 1 / tokens, times the loss scaler's factor under fp16. Forward must not divide
        by the number of tokens, because the gradient would underflow in fp16.
        """
        (scale,) = outputs
        scaled = tuple(
            None if gradient is None else (gradient.mul_(scale)).to(dtype)
            for gradient, dtype in zip(ctx.gradients, ctx.dtypes, strict=True)
        )
        # The gradients were scaled in place, so a second backward must not find them.
        ctx.gradients = (None, None, None)
        return (*scaled, None, None)


def _chunk_loss(
    states: Tensor, head: Tensor, bias: Tensor | None, labels: Tensor, changes: LogitChanges
) -> tuple[Tensor, Tensor]:
    """Sum of the losses [] and gradient of the head's logits [C, V] in fp32, made in one buffer.

    A soft cap needs a second buffer. The largest logit is subtracted so that no exponential
    overflows.
    """
    logits = nn.functional.linear(states, head, None if bias is None else bias.to(head.dtype))
    logits = logits.float()
    factor, softcap = changes
    if factor != 1:
        logits.mul_(factor)
    capped = None
    if softcap is not None:
        capped = torch.tanh(logits / softcap)
        logits = capped * softcap
    index = labels.unsqueeze(1)
    # The label's logit is read before the exponentials overwrite the buffer.
    chosen = logits.gather(1, index)
    largest = logits.amax(dim=1, keepdim=True)
    exponentials = logits.sub_(largest).exp_()
    sums = exponentials.sum(dim=1, keepdim=True)
    loss = (sums.log() + largest - chosen).sum()
    gradient = exponentials.div_(sums)
    gradient.scatter_add_(1, index, torch.full_like(chosen, -1.0))
    if capped is not None:
        gradient.mul_(1 - capped * capped)
    if factor != 1:
        gradient.mul_(factor)
    return loss, gradient


def _compiled_loss(
    states: Tensor, head: Tensor, bias: Tensor | None, labels: Tensor, changes: LogitChanges
) -> tuple[Tensor, Tensor]:
    """As `_chunk_loss`; one kernel writes the gradient over the logits, in their own dtype."""
    logits = nn.functional.linear(states, head, None if bias is None else bias.to(head.dtype))
    losses = logits.new_empty(logits.shape[0], dtype=torch.float32)
    cross_entropy(logits, labels, losses, changes.factor, changes.softcap)
    return losses.sum(), logits


def use_compiled_loss(model: Any) -> None:
    """Let a model's fused loss, if it has one, run as a compiled kernel."""
    head_owner(model).__dict__[COMPILED] = True


def use_own_loss(model: Any) -> None:
    """Undo ``use_compiled_loss``."""
    head_owner(model).__dict__.pop(COMPILED, None)


def has_compiled_loss(model: Any) -> bool:
    """Whether a model's fused loss runs as a compiled kernel."""
    return COMPILED in head_owner(model).__dict__


def fused_cross_entropy(
    hidden: Tensor,
    head: nn.Linear,
    labels: Tensor,
    *,
    num_items_in_batch: Tensor | int | None = None,
    changes: LogitChanges = UNCHANGED,
    compiled: bool = False,
) -> Tensor:
    """Mean cross-entropy of the next token: hidden [B, S, D], labels [B, S] as Trainer gives them.

    The sum is divided by ``num_items_in_batch`` or, without it, by the number of labels of this
    batch, as in transformers' ForCausalLMLoss. ``compiled``: the loss is one kernel, in half
    precision.
    """
    kept = labels[:, 1:] != IGNORED
    rows = hidden[:, :-1][kept]
    targets = labels[:, 1:][kept]
    device = hidden.device.type
    dtype = product_dtype(hidden)
    if is_shared(head):
        total = shared_losses(head, rows, targets, labels.numel(), changes).sum()
        return _over_items(total, targets, num_items_in_batch)

    def summed(states: Tensor) -> Tensor:
        chunk = chunk_rows(labels.numel(), states.shape[-1], head.weight.shape[0])
        one_kernel = compiled and dtype in (torch.bfloat16, torch.float16)
        if one_kernel:
            chunk *= COMPILED_ROWS
        chunks = ChunkSettings(chunk, changes, compute_dtype=dtype, compiled=one_kernel)
        total: Tensor = ChunkedCrossEntropy.apply(states, head.weight, head.bias, targets, chunks)
        return total

    with torch.autocast(device, enabled=False):
        total = _as_forward(head, summed, rows)
    return _over_items(total, targets, num_items_in_batch)


def _over_items(total: Tensor, targets: Tensor, given: Tensor | int | None) -> Tensor:
    items = targets.numel() if given is None else given
    return total / (items.to(total.device) if isinstance(items, Tensor) else items)


def product_dtype(hidden: Tensor) -> torch.dtype:
    """Dtype of the product with the head."""
    device = hidden.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype


def is_shared(head: nn.Module) -> bool:
    """Whether the processes of the run share the head out."""
    return SHARED_LOSS in head.__dict__


def shared_losses(
    head: nn.Linear, rows: Tensor, targets: Tensor, positions: int, changes: LogitChanges
) -> Tensor:
    """Losses [N] of rows [N, D] under a head that processes share out."""
    dtype = product_dtype(rows)
    with torch.autocast(rows.device.type, enabled=False):
        losses: Tensor = head.__dict__[SHARED_LOSS](rows, targets, positions, dtype, changes)
    return losses


def _as_forward(head: nn.Linear, work: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Run ``work`` as the head's own forward, around which ZeRO-3's hooks gather the weight."""
    own = head.__dict__.get("forward")
    head.forward = work
    try:
        result: Tensor = head(rows)
    finally:
        del head.forward
        if own is not None:
            head.forward = own
    return result


def use_fused_loss(model: Any) -> None:
    """Replace the forward of one model object by a version with the fused loss.

    A call without labels still goes to the model's own forward. Raises TsplannerError for a model
    that changes its logits after the head in a way that the kernel does not have.
    """
    refuse_strange_heads(model)
    owner = head_owner(model)
    owner.forward = types.MethodType(_forward(type(owner).forward), owner)


def refuse_strange_heads(model: Any) -> None:
    """Raise TsplannerError for a model that changes its logits in a way the kernel cannot."""
    config = logit_config(model)
    strange = [key for key in STRANGE_HEADS if getattr(config, key, None) not in (None, 1, 1.0)]
    if strange:
        raise TsplannerError(
            f"The fused loss does not know {strange[0]} of {config.model_type}: "
            "use loss_kernel plain."
        )


def _forward(original: Any) -> Any:
    def forward(
        self: Any,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **inputs: Any,
    ) -> Any:
        if labels is None:
            return original(self, input_ids=input_ids, attention_mask=attention_mask, **inputs)
        # PEFT (peft_model.py, PeftModelForCausalLM.forward) passes all of its arguments, most of
        # them as None.
        inputs = {key: value for key, value in inputs.items() if value is not None}
        hidden, merged_labels = hidden_states(
            self, input_ids=input_ids, attention_mask=attention_mask, labels=labels, **inputs
        )
        loss = fused_cross_entropy(
            hidden,
            self.get_output_embeddings(),
            merged_labels,
            num_items_in_batch=num_items_in_batch,
            changes=logit_changes(logit_config(self)),
            compiled=has_compiled_loss(self),
        )
        return CausalLMOutputWithPast(loss=loss)

    return forward


def hidden_states(model: Any, *, labels: Tensor, **inputs: Any) -> tuple[Tensor, Tensor]:
    """Last hidden states and matching labels; a model that reads series merges the series first."""
    if hasattr(model, "merged_hidden_states"):
        return model.merged_hidden_states(labels=labels, **inputs)
    owner = head_owner(model)
    # Llama 4's language model has the prefix of its wrapper.
    body = getattr(owner, owner.base_model_prefix, None) or owner.model
    return body(**inputs, use_cache=False)[0], labels
