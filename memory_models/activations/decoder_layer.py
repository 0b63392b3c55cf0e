"""One decoder layer as a program on the tape: every tensor that transformers and PEFT allocate.

Notation: D hidden, F MLP, H query heads, K key/value heads, A head size, R adapter rank. Widths are
elements per token. The modules are in norms.py, attention.py, mlp.py and linears.py.
Ignores: rotary tables, tensors of one number per row.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import NamedTuple

from memory_models.activations.attention import attention
from memory_models.activations.mlp import mlp
from memory_models.activations.norms import norm
from memory_models.activations.ops import LayerOps
from memory_models.activations.peaks import Peaks, pareto_peaks
from memory_models.architecture import Architecture
from memory_models.settings import LayerSettings
from memory_models.symbolic import ZERO, Size, Value


class LayerMemory(NamedTuple):
    """Bytes of one layer; the third unit of each size is one attention score of one head."""

    kept: tuple[tuple[Size, int], ...]
    """Sizes of the tensors that the layer holds for backward, each with its number of tensors. The
    layer's input is one of them if the layer saves it."""
    forward: Peaks
    """Peaks of forward, above the bytes that were there before the layer."""
    backward: Peaks
    """Peaks of backward and recomputation, above the bytes that other layers hold. The kept tensors
    of this layer are included."""


@lru_cache(maxsize=4096)
def layer_memory(
    architecture: Architecture,
    settings: LayerSettings,
    *,
    trained: bool,
    first: bool = False,
    masked: bool = False,
) -> LayerMemory:
    """Bytes of one layer.

    ``trained``: the layer's own weights get gradients. ``first``: the layer's input needs no
    gradient. ``masked``: a sliding window is shorter than the sequence, so attention needs a mask.
    """
    layer = LayerProgram(architecture, settings, trained=trained, masked=masked)
    tape = layer.tape
    checkpointed = settings.checkpointed
    width = Size(per_token=architecture.hidden_size)
    # A checkpointed layer's input is the checkpoint, which the totals of all layers count.
    make = tape.uncounted if checkpointed else tape.new
    stream = make(width, layer.flow.residual, needs=not first or checkpointed)
    output = layer.run(stream)
    forward = pareto_peaks(tape.levels)
    kept = Counter(tape.saved())
    tape.backward(output, accumulates=settings.accumulates, recomputed=checkpointed)
    return LayerMemory(
        kept=tuple(kept.items()), forward=forward, backward=pareto_peaks(tape.levels)
    )


class LayerProgram(LayerOps):
    """The layer's own ``forward``; the layer's modules are functions of these ops."""

    def run(self, stream: Value) -> Value:
        """The layer: the residual stream comes in and goes out."""
        tape = self.tape
        if self.shape.layer.parallel_residual:
            return self._parallel(stream)
        holds = self.shape.layer.holds_branch
        normed = self._normed(stream)
        attended = attention(self, normed)
        if not holds:
            tape.drop(normed)
        attended = self._branch_end(attended)
        middle = self.add(stream, attended)
        if not holds:
            tape.drop(attended)
        made = self._branch_end(self._mlp(middle))
        output = self.add(middle, made)
        tape.drop(made, middle, stream, *self.cached)
        if holds:
            tape.drop(normed, attended)
        return output

    def _parallel(self, stream: Value) -> Value:
        """Attention and MLP both read the layer's input, each by its norm or both by one norm."""
        if self.shape.norms.norms_per_layer == 1:
            normed = norm(self, stream)
            attended, made = attention(self, normed), mlp(self, normed)
            self.tape.drop(normed)
        else:
            attended, made = self._attention(stream), self._mlp(stream)
        both = self.add(made, attended)
        output = self.add(both, stream)
        self.tape.drop(both, made, attended, stream, *self.cached)
        return output

    def _attention(self, stream: Value) -> Value:
        normed = self._normed(stream)
        attended = attention(self, normed)
        self.tape.drop(normed)
        return attended

    def _mlp(self, stream: Value) -> Value:
        normed = self._normed(stream)
        made = mlp(self, normed)
        self.tape.drop(normed)
        return made

    def _normed(self, stream: Value) -> Value:
        """What a branch reads: the normed stream, or the stream where the norm stands after."""
        return self.tape.view(stream) if self.shape.norms.norms_after else norm(self, stream)

    def _branch_end(self, value: Value) -> Value:
        """The end of a branch: a norm (Gemma), a dropout (OPT), a factor (Granite) or nothing."""
        if self.shape.norms.norms_per_layer == 4 or self.shape.norms.norms_after:
            end = norm(self, value)
        elif self.shape.layer.dropouts_per_layer:
            end = self.dropout(value)
        elif self.shape.layer.scales_branches:
            # Autograd saves the constant, so a checkpoint runs the layer up to this product.
            constant = self.tape.uncounted(ZERO, value.bytes, needs=False)
            end = self.tape.op((value,), value.elements, value.bytes, saves=(constant,))
        else:
            return value
        self.tape.drop(value)
        return end
