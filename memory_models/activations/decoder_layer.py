"""One decoder block as a program on the tape: every tensor that transformers and PEFT make.

Notation: D hidden, F MLP, H query heads, K key/value heads, A head size, R adapter rank. Widths are
elements a token. The modules stand in norms.py, attention.py, mlp.py and linears.py.
Ignores: rotary tables, single numbers a row.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import NamedTuple

from memory_models.activations.attention import attention
from memory_models.activations.mlp import mlp
from memory_models.activations.norms import norm
from memory_models.activations.ops import LayerOps
from memory_models.activations.peaks import Moments, moments
from memory_models.activations.tape import Size, Value
from memory_models.architecture import Architecture
from memory_models.settings import LayerSettings


class BlockMemory(NamedTuple):
    """What a block takes, as sizes of tokens, fixed bytes and attention scores."""

    kept: tuple[tuple[Size, int], ...]
    """Tensors held for backward when not checkpointed, each size with its number of tensors; the
    block's input is among them where it is saved."""
    forward: Moments
    """Peaks of forward above what was there before it."""
    backward: Moments
    """Peaks of backward (and recomputation) above what other blocks hold; own kept included."""


@lru_cache(maxsize=4096)
def block_memory(
    architecture: Architecture,
    settings: LayerSettings,
    *,
    trained: bool,
    first: bool = False,
    masked: bool = False,
) -> BlockMemory:
    """Memory of one block.

    ``trained``: its own weights get gradients. ``first``: its input needs no gradient.
    ``masked``: a sliding window shorter than the sequence, so that attention needs a mask.
    """
    block = Program(architecture, settings, trained=trained, masked=masked)
    tape = block.tape
    checkpointed = settings.checkpointed
    width = (architecture.hidden_size, 0, 0)
    make = tape.outside if checkpointed else tape.new
    stream = make(width, block.flow.residual, needs=not first or checkpointed)
    output = block.run(stream)
    forward = moments(tape.levels)
    kept = Counter(tape.saved())
    accumulates = settings.accumulates
    backward = tape.backward(output, accumulates=accumulates, recomputed=checkpointed)
    return BlockMemory(kept=tuple(kept.items()), forward=forward, backward=moments(backward))


class Program(LayerOps):
    """The block's own ``forward``; its modules are functions of these ops."""

    def run(self, stream: Value) -> Value:
        """The block: stream in, stream out."""
        tape = self.tape
        if self.shape.layer.parallel_residual:
            return self._parallel(stream)
        attended = self._branch_end(self._attention(stream))
        middle = self.add(stream, attended)
        tape.drop(attended)
        made = self._branch_end(self._mlp(middle))
        output = self.add(middle, made)
        tape.drop(made, middle, stream, *self.cached)
        return output

    def _parallel(self, stream: Value) -> Value:
        """GPT-NeoX: attention and MLP read the same stream."""
        attended, made = self._attention(stream), self._mlp(stream)
        both = self.add(made, attended)
        output = self.add(both, stream)
        self.tape.drop(both, made, attended, stream, *self.cached)
        return output

    def _attention(self, stream: Value) -> Value:
        normed = norm(self, stream)
        attended = attention(self, normed)
        self.tape.drop(normed)
        return attended

    def _mlp(self, stream: Value) -> Value:
        normed = norm(self, stream)
        made = mlp(self, normed)
        self.tape.drop(normed)
        return made

    def _branch_end(self, value: Value) -> Value:
        """A branch before it joins the stream: a norm more (Gemma), a dropout (OPT)."""
        if self.shape.norms.norms_per_layer == 4:
            end = norm(self, value)
        elif self.shape.layer.dropouts_per_layer:
            end = self.dropout(value)
        else:
            return value
        self.tape.drop(value)
        return end
