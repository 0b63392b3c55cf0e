"""Last norm, lm_head and loss as a program on the tape.

Notation: D hidden, V vocabulary. Widths are elements per token; the third unit of a size is one row
of the fused loss's chunk. Sources: transformers loss/loss_utils.py (``ForCausalLMLoss``) and torch
``cross_entropy`` for the plain loss; tsplanner/training/kernels/fused_loss.py for the fused one,
and tsplanner/training/fully_sharded/vocabulary.py where processes share the lm_head out.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from memory_models.activations.liger.kernels import liger_loss
from memory_models.activations.linears import adapter_product
from memory_models.activations.norms import norm
from memory_models.activations.ops import FP32, Ops
from memory_models.activations.peaks import Peaks, pareto_peaks
from memory_models.architecture import Architecture
from memory_models.settings import DecoderKernels, Dtype, HeadSettings, LossKernel, TrainingSettings
from memory_models.states.weights import embedding_parameters
from memory_models.symbolic import ZERO, Size, Value, Weight
from memory_models.units import ceil_div

COMPILED_ROWS = 2
"""Chunks of the compiled loss are larger by it: a logit takes 2 bytes there instead of 10."""


class LmHeadMemory(NamedTuple):
    """Peaks above the bytes that the layers hold; the output of the last layer is included."""

    forward: Peaks
    backward: Peaks


@lru_cache(maxsize=4096)
def lm_head_memory(architecture: Architecture, settings: HeadSettings) -> LmHeadMemory:
    """Bytes of last norm, lm_head and loss."""
    head = LmHead(architecture, settings)
    tape = head.tape
    stream = tape.new(Size(per_token=architecture.hidden_size), head.flow.residual)
    loss = head.run(stream)
    forward = pareto_peaks(tape.levels)
    # A tied lm_head's gradient waits for the embedding's, so backward adds nothing to it here.
    tied = architecture.vocabulary.tie_word_embeddings and not settings.copied
    accumulates = settings.accumulates and not tied
    tape.backward(loss, accumulates=accumulates, recomputed=False)
    return LmHeadMemory(forward=forward, backward=pareto_peaks(tape.levels))


class LmHead(Ops):
    """The program from the last layer's output to the loss, which is a value without bytes."""

    def __init__(self, architecture: Architecture, settings: HeadSettings) -> None:
        super().__init__(architecture, settings.arithmetic, trained=settings.trained)
        self.settings = settings
        self.head_node: int | None = None
        """Index of the lm_head's product among the tape's nodes; None in the fused loss."""
        self.head_bytes = FP32 if self._fp32_head() else 2
        """Bytes per element of the lm_head's weight as stored."""

    def _fp32_head(self) -> bool:
        return self.upcast or self.arithmetic.base.model_dtype is Dtype.FP32

    def run(self, stream: Value) -> Value:
        """From the output of the last layer to the loss."""
        tape, shape = self.tape, self.shape
        hidden = norm(self, stream) if shape.norms.final_norm else tape.view(stream)
        tape.drop(stream)
        # The norm before a copied lm_head stays frozen.
        self.trained = self.trained or self.settings.copied
        if self.settings.loss_kernel is LossKernel.LIGER:
            return liger_loss(self, hidden, embedding_parameters(shape), self.head_bytes)
        if self.settings.loss_kernel is not LossKernel.FUSED:
            return self._plain(hidden)
        return self._shared(hidden) if shares_head(shape, self.settings) else self._fused(hidden)

    def _plain(self, hidden: Value) -> Value:
        """All logits, in fp32 for the loss; the Trainer drops them before backward."""
        tape, shape, width = self.tape, self.shape, Size(per_token=self.shape.vocabulary.vocab_size)
        operand = self.flow.operand if self.autocast else self.head_bytes
        source = self.cast(hidden, operand)
        self.head_node = len(tape.nodes)
        logits = self.product(source, width, embedding_parameters(shape), self.head_bytes)
        tape.drop(source)
        if self.settings.rank:
            logits = self._adapted(hidden, logits)
        if shape.vocabulary.scales_logits:
            logits = self.copy(logits)
        if shape.vocabulary.final_logit_softcapping:
            ratio = tape.op((logits,), width, logits.bytes)
            tape.drop(logits)
            curved = tape.op((ratio,), width, logits.bytes, saves=(None,))
            tape.drop(ratio)
            logits = tape.op((curved,), width, logits.bytes)
            tape.drop(curved)
        wide = self.cast(logits, FP32)
        if shape.vocabulary.copies_logits:
            # The authors' code rebinds its logits in fp32 and holds them beside the copy.
            tape.drop(logits)
            logits, wide = wide, tape.op((wide,), width, FP32)
        # log_softmax keeps its result, and nll_loss keeps its input, which is that result.
        probabilities = tape.op((wide,), width, FP32, saves=(None,))
        tape.drop(wide)
        loss = tape.op((probabilities,), ZERO, FP32, saves=(probabilities,))
        tape.drop(probabilities, hidden)
        if self.autocast and logits.bytes < FP32:
            # Accelerate casts a model's outputs to fp32, and Trainer drops them.
            tape.drop(tape.new(width, FP32, needs=False))
        tape.drop(logits, *self.cached)
        return loss

    def _adapted(self, hidden: Value, logits: Value) -> Value:
        """The logits plus those of an adapter. Source: peft/tuners/lora/layer.py (Linear)."""
        tape, shape, rank = self.tape, self.shape, self.settings.rank
        source = self.cast(hidden, self.adapter)
        low = adapter_product(self, source, shape.hidden_size, rank)
        high = adapter_product(self, low, rank, shape.vocabulary.vocab_size)
        tape.drop(low)
        scaled = self.copy(high)
        total = self.add(logits, scaled)
        back = self.cast(total, logits.bytes)
        tape.drop(logits, total, scaled, source)
        return back

    def _fused(self, hidden: Value) -> Value:
        """Chunks of rows; forward computes the gradients of hidden states and lm_head."""
        tape, shape, flow = self.tape, self.shape, self.flow
        # Without autocast the fused loss multiplies in the dtype of the lm_head's weight.
        operand = flow.operand if self.autocast else self.head_bytes
        elements = embedding_parameters(shape)
        rows = tape.op((hidden,), hidden.elements, hidden.bytes)
        cast = []
        if self.head_bytes != operand:
            cast.append(tape.new(Size(constant=elements), operand, needs=False))
        gradient = tape.new(hidden.elements, hidden.bytes, needs=False)
        head_gradient = (
            tape.new(Size(constant=elements), FP32, needs=False) if self.trained else None
        )
        # The loop's variables hold one chunk's gradients while the next chunk's logits are made.
        earlier = self._gradients(operand)
        self._chunk(operand, elements)
        tape.drop(*earlier)
        # Forward has made the gradient: backward only scales it, and casts the lm_head's gradient.
        loss = tape.uncounted(hidden.elements, hidden.bytes)
        weights: tuple[Weight, ...] = ()
        saves = []
        if head_gradient is not None:
            tape.drop(head_gradient)
            # Forward accumulates the lm_head's gradient in fp32. For an fp32 weight that tensor is
            # the gradient itself and stays; a half-precision weight gets a cast in backward.
            if self.head_bytes == FP32:
                tape.keep(head_gradient)
            else:
                saves.append(head_gradient)
                weights = (Weight(elements, self.head_bytes, self.head_bytes),)
        tape.record((loss,), ((rows, True),), saves=saves, weights=weights)
        tape.drop(rows, hidden, gradient, *cast)
        return loss

    def _shared(self, hidden: Value) -> Value:
        """Chunks of rows of all processes, each with the own rows of the lm_head.

        P processes, C rows per chunk and process. A chunk is a function of its own, so nothing of
        it is left when the next begins.
        """
        tape, shape = self.tape, self.shape
        operand = self.flow.operand if self.autocast else self.head_bytes
        processes = self.settings.processes
        own = ceil_div(shape.vocabulary.vocab_size, processes)
        everybody = Size(per_unit=processes * shape.hidden_size)
        width = Size(per_unit=processes * own)
        rows = tape.op((hidden,), hidden.elements, hidden.bytes)
        cast = []
        if self.head_bytes != operand:
            elements = own * shape.hidden_size
            cast.append(tape.new(Size(constant=elements), operand, needs=False))
        gradient = tape.new(hidden.elements, hidden.bytes, needs=False)
        mine = tape.new(Size(per_unit=shape.hidden_size), operand, needs=False)
        states = tape.new(everybody, operand, needs=False)
        tape.drop(mine)
        logits = tape.new(width, operand, needs=False)
        wide = logits
        if operand < FP32:
            wide = tape.new(width, FP32, needs=False)
            tape.drop(logits)
        tape.drop(states)
        kept = [wide]
        if shape.vocabulary.final_logit_softcapping:
            kept.append(tape.new(width, FP32, needs=False))
            tape.work(Size(per_unit=2 * FP32 * processes * own))
        if operand < FP32:
            kept.append(tape.new(width, operand, needs=False))
        back = tape.new(everybody, operand, needs=False)
        tape.work(Size(per_unit=operand * shape.hidden_size))
        tape.drop(back, *kept)
        loss = tape.uncounted(hidden.elements, hidden.bytes)
        tape.record((loss,), ((rows, True),), saves=[], weights=())
        tape.drop(rows, hidden, gradient, *cast)
        return loss

    def _gradients(self, operand: int) -> list[Value]:
        """Tensors of the previous chunk: rows, and the gradient of the logits in both dtypes."""
        width = Size(per_unit=self.shape.vocabulary.vocab_size)
        hidden = Size(per_unit=self.shape.hidden_size)
        if self._one_kernel(operand):
            left = [(hidden, operand), (width, operand)]
            return [self.tape.new(size, bytes, needs=False) for size, bytes in left]
        left = [(hidden, operand), (width, FP32)]
        if operand < FP32:
            left.append((width, operand))
        return [self.tape.new(size, bytes, needs=False) for size, bytes in left]

    def _one_kernel(self, operand: int) -> bool:
        """Whether one kernel writes the gradient over the logits, in their own dtype."""
        return self.compiled and operand < FP32

    def _chunk(self, operand: int, elements: int) -> None:
        """The logits of one chunk, their softmax in fp32, and the products with their gradient."""
        tape, shape = self.tape, self.shape
        width, hidden = Size(per_unit=shape.vocabulary.vocab_size), Size(per_unit=shape.hidden_size)
        states = tape.new(hidden, operand, needs=False)
        logits = tape.new(width, operand, needs=False)
        local = [states]
        if self._one_kernel(operand):
            wide = logits
        elif operand < FP32:
            wide = tape.new(width, FP32, needs=False)
            tape.drop(logits)
        else:
            wide = logits
        local.append(wide)
        if shape.vocabulary.final_logit_softcapping and not self._one_kernel(operand):
            # Soft-capping makes the ratio, its tanh and the scaled tanh. The logits go, and the
            # scaled tanh takes their place.
            curved, capped = tape.new(width, FP32, needs=False), tape.new(width, FP32, needs=False)
            tape.drop(wide)
            local[-1:] = [curved, capped]
            tape.work(Size(per_unit=2 * FP32 * shape.vocabulary.vocab_size))
        if operand < FP32 and not self._one_kernel(operand):
            local.append(tape.new(width, operand, needs=False))
        tape.work(Size(per_unit=operand * shape.hidden_size))
        if self.trained:
            tape.work(Size(constant=operand * elements))
        tape.drop(*local)


def shares_head(architecture: Architecture, settings: HeadSettings) -> bool:
    """Whether each process multiplies with its own rows of the lm_head."""
    frozen = not (settings.trained or settings.copied or settings.rank)
    fused = settings.loss_kernel is LossKernel.FUSED
    tied = architecture.vocabulary.tie_word_embeddings
    return settings.processes > 1 and fused and frozen and not tied


def fused_rows(architecture: Architecture, settings: TrainingSettings) -> int:
    """Rows of one chunk: tokens over (V / D), rounded up to a power of two.

    The logits of a chunk [rows, V] then take about as many bytes as the hidden states [n, D]. Each
    trial of a multi-LoRA run has its own loss, and so its own chunks. The compiled loss takes twice
    as many rows, unless processes share the head out.
    Source: Liger kernel (arXiv 2410.10989), section 3.2.
    """
    chunks = ceil_div(architecture.vocabulary.vocab_size, architecture.hidden_size)
    own = settings.tokens // len(settings.method.ranks)
    rows = ceil_div(own, chunks)
    rows = 1 << (rows - 1).bit_length()
    compiled = settings.kernels.decoder_kernels is DecoderKernels.COMPILED
    if compiled and not shares_head(architecture, settings.head):
        rows *= COMPILED_ROWS
    return min(own, rows)
