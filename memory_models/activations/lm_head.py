"""What follows the last block, as a program on the tape: last norm, output head, loss.

Notation: D hidden, V vocabulary. Widths are elements a token; the third unit of a size is one row
of the fused loss's chunk. Sources: transformers loss/loss_utils.py (``ForCausalLMLoss``) and torch
``cross_entropy`` for the plain loss; tsplanner/training/kernels/fused_loss.py for the fused one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from memory_models.activations.norms import norm
from memory_models.activations.ops import FP32, Ops
from memory_models.activations.peaks import Moments, moments
from memory_models.activations.tape import Value, Weight
from memory_models.architecture import Architecture
from memory_models.settings import Dtype, HeadSettings, LossKernel
from memory_models.states.weights import embedding_parameters


class TailMemory(NamedTuple):
    """Peaks above what the blocks hold; the last block's output is part of them."""

    forward: Moments
    backward: Moments


@lru_cache(maxsize=4096)
def tail_memory(architecture: Architecture, settings: HeadSettings) -> TailMemory:
    """Memory of head and loss; ``settings``: what it depends on."""
    tail = Tail(architecture, settings)
    loss = tail.run()
    forward = moments(tail.tape.levels)
    accumulates = settings.accumulates and not architecture.vocabulary.tie_word_embeddings
    backward = tail.tape.backward(loss, accumulates=accumulates, recomputed=False)
    return TailMemory(forward=forward, backward=moments(backward))


class Tail(Ops):
    """The program; the loss is a value without bytes."""

    def __init__(self, architecture: Architecture, settings: HeadSettings) -> None:
        super().__init__(architecture, settings.arithmetic, trained=settings.trained)
        self.settings = settings
        self.head_node: int | None = None
        """Index of the head's product among the tape's nodes; None in the fused loss."""
        self.head_bytes = FP32 if self._fp32_head() else 2
        """Bytes an element of the head's weight as stored."""

    def _fp32_head(self) -> bool:
        return self.upcast or self.arithmetic.base.model_dtype is Dtype.FP32

    def run(self) -> Value:
        """From the last block's output to the loss."""
        tape, shape = self.tape, self.shape
        stream = tape.new((shape.hidden_size, 0, 0), self.flow.residual)
        hidden = norm(self, stream) if shape.norms.final_norm else tape.view(stream)
        tape.drop(stream)
        fused = self.settings.loss_kernel is LossKernel.FUSED
        return self._fused(hidden) if fused else self._plain(hidden)

    def _plain(self, hidden: Value) -> Value:
        """All logits, in fp32 for the loss; the caller drops them before backward."""
        tape, shape, width = self.tape, self.shape, (self.shape.vocabulary.vocab_size, 0, 0)
        operand = self.flow.operand if self.autocast else self.head_bytes
        source = self.cast(hidden, operand)
        self.head_node = len(tape.nodes)
        logits = self.product(source, width, embedding_parameters(shape), self.head_bytes)
        tape.drop(source)
        if shape.vocabulary.final_logit_softcapping:
            ratio = tape.op((logits,), width, logits.bytes)
            tape.drop(logits)
            curved = tape.op((ratio,), width, logits.bytes, saves=(None,))
            tape.drop(ratio)
            logits = tape.op((curved,), width, logits.bytes)
            tape.drop(curved)
        wide = self.cast(logits, FP32)
        if shape.vocabulary.copies_logits:
            # The code binds its logits anew in fp32 and keeps them to the end beside the copy.
            tape.drop(logits)
            logits, wide = wide, tape.op((wide,), width, FP32)
        chances = tape.op((wide,), width, FP32, saves=(None,))
        tape.drop(wide)
        loss = tape.op((chances,), (0, 0, 0), FP32, saves=(chances,))
        tape.drop(chances, hidden)
        if self.autocast and logits.bytes < FP32:
            # Accelerate casts a model's outputs to fp32, and Trainer drops them.
            tape.drop(tape.new(width, FP32, needs=False))
        tape.drop(logits, *self.cached)
        return loss

    def _fused(self, hidden: Value) -> Value:
        """Chunks of rows; gradients of hidden states and head are made in forward."""
        tape, shape, flow = self.tape, self.shape, self.flow
        operand = flow.operand if self.autocast else self.head_bytes
        elements = embedding_parameters(shape)
        rows = tape.op((hidden,), hidden.elements, hidden.bytes)
        cast = []
        if self.head_bytes != operand:
            cast.append(tape.new((0, elements, 0), operand, needs=False))
        gradient = tape.new(hidden.elements, hidden.bytes, needs=False)
        head_gradient = tape.new((0, elements, 0), FP32, needs=False) if self.trained else None
        # The loop's variables hold one chunk's gradient while the next chunk's logits are made.
        earlier = self._gradients(operand)
        self._chunk(operand, elements)
        tape.drop(*earlier)
        # Its gradient is what forward made: backward only scales it, and casts the head's.
        loss = tape.outside(hidden.elements, hidden.bytes)
        weights: tuple[Weight, ...] = ()
        saves = []
        if head_gradient is not None:
            tape.drop(head_gradient)
            if self.head_bytes == FP32:
                tape.keep(head_gradient)
            else:
                saves.append(head_gradient)
                weights = (Weight(elements, self.head_bytes, self.head_bytes),)
        tape.record((loss,), ((rows, True),), saves=saves, weights=weights)
        tape.drop(rows, hidden, gradient, *cast)
        return loss

    def _gradients(self, operand: int) -> list[Value]:
        """What is left of a chunk: its rows, and its logits' gradient in fp32 and narrow."""
        width, hidden = (0, 0, self.shape.vocabulary.vocab_size), (0, 0, self.shape.hidden_size)
        left = [(hidden, operand), (width, FP32)]
        if operand < FP32:
            left.append((width, operand))
        return [self.tape.new(size, bytes, needs=False) for size, bytes in left]

    def _chunk(self, operand: int, elements: int) -> None:
        """One chunk's logits, their softmax in fp32, and the products with its gradient."""
        tape, shape = self.tape, self.shape
        width, hidden = (0, 0, shape.vocabulary.vocab_size), (0, 0, shape.hidden_size)
        states = tape.new(hidden, operand, needs=False)
        logits = tape.new(width, operand, needs=False)
        local = [states]
        if operand < FP32:
            wide = tape.new(width, FP32, needs=False)
            tape.drop(logits)
        else:
            wide = logits
        local.append(wide)
        if shape.vocabulary.final_logit_softcapping:
            # The ratio, its tanh and their product; the first goes, the last takes its place.
            curved, capped = tape.new(width, FP32, needs=False), tape.new(width, FP32, needs=False)
            tape.drop(wide)
            local[-1:] = [curved, capped]
            tape.work((0, 0, 2 * FP32 * shape.vocabulary.vocab_size))
        if operand < FP32:
            local.append(tape.new(width, operand, needs=False))
        tape.work((0, 0, operand * shape.hidden_size))
        if self.trained:
            tape.work((0, operand * elements, 0))
        tape.drop(*local)
