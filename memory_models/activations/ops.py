"""The parts that all modules of a program share: tape, shapes, dtypes and common ops."""

from __future__ import annotations

from memory_models.activations.liger.patches import LigerPatch, patch_of
from memory_models.activations.tape import Tape
from memory_models.architecture import Architecture
from memory_models.settings import Arithmetic, DecoderKernels, Dtype, LayerSettings
from memory_models.states.precision import Precision, precision
from memory_models.symbolic import Size, Value, Weight

FP32 = 4


class Ops:
    """Ops on one tape, for one model and its arithmetic; programs of modules call these ops."""

    def __init__(
        self,
        architecture: Architecture,
        arithmetic: Arithmetic,
        *,
        trained: bool,
        masked: bool = False,
        tape: Tape | None = None,
    ) -> None:
        self.shape, self.arithmetic = architecture, arithmetic
        self.trained = trained
        """The base's own weights get gradients."""
        self.masked = masked
        """Attention needs a mask: a sliding window is shorter than the sequence."""
        self.flow: Precision = precision(arithmetic)
        self.tape = tape or Tape()
        self.autocast = arithmetic.base.autocast is not None
        self.stored = FP32 if arithmetic.base.model_dtype is Dtype.FP32 else 2
        """Bytes per element of the base weights as loaded."""
        self.adapter = self.stored if arithmetic.one_dtype else FP32
        """Bytes per element of an adapter's matrices."""
        self.upcast = arithmetic.upcasts_base
        """Norms and fused experts of a quantised base are in fp32, unless DeepSpeed cast them."""
        self.fused = arithmetic.decoder_kernels.is_ours
        """Norms, gated products and adapters run as fused kernels where these exist."""
        self.compiled = arithmetic.decoder_kernels is DecoderKernels.COMPILED
        """Rotations, whole gated MLPs and linears of one input run as compiled kernels too."""
        self.liger: LigerPatch | None = patch_of(architecture, arithmetic.decoder_kernels)
        """What of the layer Liger's kernels replace."""
        self.linears = {linear.role: linear for linear in architecture.layer.linears}
        self.cached: list[Value] = []
        """Casts of trained weights that autocast holds until its context ends."""

    def stream(self) -> Value:
        """The residual stream [n, D] that comes in; the caller has allocated it."""
        return self.tape.given(Size(per_token=self.shape.hidden_size), self.flow.residual)

    def add(self, left: Value, right: Value) -> Value:
        """A sum in the wider dtype; both terms get the incoming gradient itself."""
        wider = max(left.bytes, right.bytes)
        return self.tape.op((left, right), left.elements, wider, passes=True)

    def cast(self, value: Value, bytes: int) -> Value:
        """A copy in another dtype, or a second variable for the same tensor."""
        if value.bytes == bytes:
            return self.tape.view(value)
        return self.tape.op((value,), value.elements, bytes)

    def copy(self, value: Value) -> Value:
        """A fresh tensor of the same size that takes the place of ``value``."""
        fresh = self.tape.op((value,), value.elements, value.bytes)
        self.tape.drop(value)
        return fresh

    def dropout(self, value: Value) -> Value:
        """A fresh tensor; backward keeps a mask of one byte per element."""
        mask = self.tape.new(value.elements, 1, needs=False)
        result = self.tape.op((value,), value.elements, value.bytes, saves=(mask,))
        self.tape.drop(mask)
        return result

    def product(self, source: Value, out: Size, elements: int, stored: int) -> Value:
        """A product with a weight of ``stored`` bytes per element; autocast casts fp32 weights."""
        cast = None
        if self.autocast and stored == FP32:
            cast = self.tape.new(Size(constant=elements), self.flow.operand, needs=False)
        weights = (Weight(elements, self.flow.operand, stored),) if self.trained else ()
        saves = [source] if self.trained else []
        if cast is not None and (source.needs or self.trained):
            saves.append(cast)
        result = self.tape.op((source,), out, self.flow.operand, saves=saves, weights=weights)
        self.tape.folded(result)
        if cast is not None:
            # Autocast caches casts of leaves that require a gradient, and no others.
            if self.trained:
                self.cached.append(cast)
            else:
                self.tape.drop(cast)
        return result


class LayerOps(Ops):
    """Ops of a program whose linears may have adapters: a decoder layer or the encoder."""

    def __init__(
        self,
        architecture: Architecture,
        settings: LayerSettings,
        *,
        trained: bool,
        masked: bool = False,
        tape: Tape | None = None,
    ) -> None:
        super().__init__(
            architecture, settings.arithmetic, trained=trained, masked=masked, tape=tape
        )
        self.settings, self.method = settings, settings.method
        self.quantization = settings.arithmetic.base.quantization
