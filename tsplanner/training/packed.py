"""Several adapters on one frozen base: each row of a batch goes through its own trial's adapter.

One pass of the base serves all trials; which rows are whose stands in one ``Layout`` that every
adapted linear reads. A row never meets another trial's adapter: nothing is masked out by a zero,
so that a trial that diverged (NaN) cannot reach its neighbours.
Shapes: x [..., in] with the rows of a batch first, weight [out, in], a [r, in], b [out, r].
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tsplanner.errors import TsplannerError


class Segment(NamedTuple):
    """Rows of a batch that stand together and belong to one trial."""

    trial: str
    """Name of its adapter."""
    rows: int
    series: int = 0
    """Time series of these rows."""


class Span(NamedTuple):
    """Part of a tensor's first dimension that one adapter works on."""

    start: int
    stop: int
    scale: float


class Layout:
    """Whose rows stand where in the batch at work; set before forward, kept until backward ends."""

    def __init__(self) -> None:
        self.segments: tuple[Segment, ...] = ()
        self.alone: str | None = None
        """While the encoder reads one segment's series: all rows are this trial's."""

    @property
    def rows(self) -> int:
        """Rows of the batch."""
        return sum(segment.rows for segment in self.segments)

    def parts(self, length: int) -> Iterator[tuple[str, int, int]]:
        """(trial, start, stop) along a first dimension of ``length``, neighbours joined.

        Mixtures of experts flatten rows and positions: there a row is several entries.
        Raises TsplannerError for a tensor whose entries are no whole number a row.
        """
        if self.alone is not None:
            yield self.alone, 0, length
            return
        each, rest = divmod(length, max(1, self.rows))
        if rest:
            raise TsplannerError(
                f"A linear reads {length} entries of a batch of {self.rows} rows, so trials cannot "
                "be told apart in it: run them unpacked."
            )
        start = stop = 0
        trial: str | None = None
        for segment in self.segments:
            if trial is not None and segment.trial != trial:
                yield trial, start, stop
                start = stop
            trial, stop = segment.trial, stop + each * segment.rows
        if trial is not None:
            yield trial, start, stop

    @contextlib.contextmanager
    def only(self, trial: str) -> Iterator[None]:
        """Everything read inside belongs to one trial."""
        self.alone = trial
        try:
            yield
        finally:
            self.alone = None


def use_packed_adapters(model: nn.Module, layout: Layout) -> None:
    """Route rows through their trial's adapters; called again once adapters were added.

    Raises TsplannerError for an adapted module that is neither a plain nor a 4-bit linear.
    """
    from peft.tuners.lora import LoraLayer

    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            _check(name, module)
            module.forward = types.MethodType(_linear(layout), module)
        elif hasattr(module, "position_embedding") and name.rsplit(".", 1)[-1] == "ts_encoder":
            module.forward = types.MethodType(_encoder(layout, type(module).forward), module)


def _check(name: str, module: nn.Module) -> None:
    from peft.tuners.lora.layer import Linear

    known = [Linear]
    with contextlib.suppress(ImportError):
        from peft.tuners.lora.bnb import Linear4bit

        known.append(Linear4bit)
    if type(module) not in known:
        raise TsplannerError(
            f"{name} has an adapter of the kind {type(module).__name__}, which does not pack: "
            "run its trials unpacked."
        )


def _linear(layout: Layout) -> Callable[..., Tensor]:
    def forward(self: Any, x: Tensor, *args: Any, **options: Any) -> Tensor:
        base, spans, matrices = self.base_layer, [], []
        for trial, start, stop in layout.parts(x.shape[0]):
            if trial in self.lora_A:
                spans.append(Span(start, stop, float(self.scaling[trial])))
                matrices += [self.lora_A[trial].weight, self.lora_B[trial].weight]
        if not spans:
            result: Tensor = base(x, *args, **options)
            return result
        dtype = _compute_dtype(x)
        if type(base) is nn.Linear and base.weight.dtype == dtype:
            result = PackedLinear.apply(x, None, base.weight, base.bias, spans, dtype, *matrices)
        else:
            product = base(x, *args, **options)
            result = PackedLinear.apply(x, product, None, None, spans, dtype, *matrices)
        return result

    return forward


def _compute_dtype(x: Tensor) -> torch.dtype:
    """Dtype of the thin products."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def _encoder(layout: Layout, plain: Callable[..., Any]) -> Callable[..., Any]:
    """The encoder, trial by trial: its features may depend on the longest series of a batch."""

    def forward(self: Any, timeseries: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        found: list[tuple[Tensor, Tensor]] = []
        start = 0
        for segment in layout.segments:
            if segment.series:
                with layout.only(segment.trial):
                    own = timeseries[start : start + segment.series]
                    found.append(plain(self, own, dtype))
                start += segment.series
        return torch.cat([patches for patches, _ in found]), torch.cat([n for _, n in found])

    return forward


class PackedLinear(torch.autograd.Function):
    """base(x) + s_i (x_i a_i^T) b_i^T on the rows x_i of each span; the base is frozen.

    With ``weight`` the base's product is made here, and backward adds the adapters to its gradient
    in place; else ``product`` is the base's, of a quantised or cast weight.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        product: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        spans: list[Span],
        dtype: torch.dtype,
        *matrices: Tensor,
    ) -> Tensor:
        """Keeps x, x_i a_i^T and the matrices, all in ``dtype``."""
        source = x.to(dtype)
        if product is None:
            assert weight is not None
            result = nn.functional.linear(source, weight, bias)
        else:
            result = product.clone(memory_format=torch.contiguous_format)
        narrow = [matrix.to(dtype) for matrix in matrices]
        lows = []
        for span, a, b in zip(spans, narrow[::2], narrow[1::2], strict=True):
            low = _flat(source, span) @ a.t()
            _add_product(_flat(result, span), low, b.t(), span.scale)
            lows.append(low)
        ctx.save_for_backward(source, weight, *lows, *narrow)
        ctx.spans, ctx.dtypes = spans, (x.dtype, *(matrix.dtype for matrix in matrices))
        return result

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, of the base's product, and of each span's a and b."""
        source, weight, *rest = ctx.saved_tensors
        spans, count = ctx.spans, len(ctx.spans)
        lows, narrow = rest[:count], rest[count:]
        gradient = outputs[0].contiguous()
        of_x: Tensor | None = None
        if ctx.needs_input_grad[0]:
            of_x = source.new_zeros(source.shape) if weight is None else gradient @ weight
        found: list[Tensor | None] = []
        for index, span in enumerate(spans):
            a, b = narrow[2 * index], narrow[2 * index + 1]
            rows = _flat(gradient, span).to(source.dtype)
            of_low = (rows @ b).mul_(span.scale)
            of_b = (rows.t() @ lows[index]).to(ctx.dtypes[2 + 2 * index]).mul_(span.scale)
            of_a = (of_low.t() @ _flat(source, span)).to(ctx.dtypes[1 + 2 * index])
            found += [of_a, of_b]
            if of_x is not None:
                _flat(of_x, span).addmm_(of_low, a)
        of_product = outputs[0] if weight is None else None
        of_x = None if of_x is None else of_x.to(ctx.dtypes[0])
        return (of_x, of_product, None, None, None, None, *found)


def _flat(tensor: Tensor, span: Span) -> Tensor:
    """A span of a tensor as a matrix [N, width]; a view where the tensor is contiguous."""
    part = tensor[span.start : span.stop]
    return part.reshape(-1, part.shape[-1])


def _add_product(target: Tensor, left: Tensor, right: Tensor, scale: float) -> None:
    """Add scale * left right to the target, in place."""
    if target.dtype == left.dtype:
        target.addmm_(left, right, alpha=scale)
    else:
        target.add_(left @ right, alpha=scale)
