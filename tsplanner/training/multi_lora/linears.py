"""Several adapters on one frozen base: each row of a batch goes through the adapter of its trial.

One pass of the base serves all trials; one ``TrialLayout``, which every adapted linear reads, says
which rows belong to which trial. Matrices are filled up with zeros to the largest rank. A row never
meets the matrices of another trial: nothing is masked out by a zero, so that a trial that diverged
(NaN) cannot reach its neighbours.
Shapes: x [N, in] with the positions of each of k trials together, weight [out, in], a [r, in],
b [out, r].
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tsplanner.training.kernels.frozen_linear import FrozenMatrix, frozen_matrix
from tsplanner.training.kernels.fused_kernels import adapter_types
from tsplanner.training.multi_lora.parts import Parts
from tsplanner.training.multi_lora.refused import CannotShareBaseError


class TrialRows(NamedTuple):
    """Rows of a batch that stand together and belong to one trial."""

    trial: str
    """Name of the trial's adapter."""
    series: int = 0
    """Number of time series in these rows."""
    positions: int | None = None
    """Positions of these rows; None: as many as every other trial has."""


class TrialLayout:
    """Which rows of the batch at work belong to which trial; kept until backward ends."""

    def __init__(self) -> None:
        self.segments: tuple[TrialRows, ...] = ()
        """Parts of the batch, in their order."""
        self.alone: str | None = None
        """The trial that all rows belong to while the encoder reads the series of one segment."""
        self._scales: dict[tuple[float, ...], Tensor] = {}

    def give(self, *segments: TrialRows) -> None:
        """Say whose rows stand in the next batch, one trial's after another's."""
        self.segments = segments

    def trials(self, length: int) -> tuple[tuple[str, ...], Parts]:
        """The trials of the parts of ``length`` entries, and the parts; one if of one trial alone.

        Entries are positions, of whatever shape: mixtures of experts flatten rows and positions,
        and packed rows stand in one sequence. Raises CannotShareBaseError for a tensor that has no
        such parts.
        """
        if self.alone is not None:
            return (self.alone,), Parts(1)
        names = tuple(segment.trial for segment in self.segments)
        sizes = tuple(each.positions for each in self.segments if each.positions is not None)
        if (length != sum(sizes)) if sizes else (length % max(1, len(names))):
            raise CannotShareBaseError(
                f"A linear reads {length} entries of a batch of {len(self.segments)} trials, so "
                "they cannot be told apart in it: run them alone."
            )
        # In an evaluation all segments are of one trial, so one thin product serves them all.
        if len(set(names)) == 1:
            return names[:1], Parts(1)
        return names, Parts(len(names), sizes or None)

    def scales(self, values: tuple[float, ...], like: Tensor) -> Tensor:
        """Scales of the adapters [k, 1, 1]; made once, for the device waits for each copy."""
        if values not in self._scales:
            self._scales[values] = like.new_tensor(values).reshape(-1, 1, 1)
        return self._scales[values]

    @contextlib.contextmanager
    def only(self, trial: str) -> Iterator[None]:
        """Everything that is read inside belongs to one trial."""
        self.alone = trial
        try:
            yield
        finally:
            self.alone = None


def use_multi_lora_adapters(model: nn.Module, layout: TrialLayout) -> None:
    """Route rows through the adapters of their trial; call again once adapters were added.

    Raises CannotShareBaseError for an adapted module that is neither a plain nor a 4-bit linear.
    """
    from peft.tuners.lora import LoraLayer

    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            _check(name, module)
            module.forward = types.MethodType(_linear(layout), module)
        elif hasattr(module, "position_embedding") and name.rsplit(".", 1)[-1] == "ts_encoder":
            module.forward = types.MethodType(_encoder(layout, type(module).forward), module)


def _check(name: str, module: nn.Module) -> None:
    if type(module) not in adapter_types():
        raise CannotShareBaseError(
            f"{name} has an adapter of the kind {type(module).__name__}, which cannot share "
            "its base: run its trials alone."
        )


def _linear(layout: TrialLayout) -> Callable[..., Tensor]:
    def forward(self: Any, x: Tensor, *args: Any, **options: Any) -> Tensor:
        base, (trials, parts) = self.base_layer, layout.trials(x.numel() // x.shape[-1])
        positions = tuple(position for position, trial in enumerate(trials) if trial in self.lora_A)
        if not positions:
            result: Tensor = base(x, *args, **options)
            return result
        dtype = _compute_dtype(x)
        found = [trials[position] for position in positions]
        # A trial that does not adapt this linear takes part with matrices of zeros.
        factors = tuple(float(self.scaling.get(trial, 0.0)) for trial in trials)
        scales = layout.scales(factors, x.new_empty(0, dtype=dtype))
        matrices = [self.lora_A[trial].weight for trial in found]
        matrices += [self.lora_B[trial].weight for trial in found]
        matrix = frozen_matrix(base)
        if matrix is not None and matrix.dtype == dtype == x.dtype:
            product, bias = None, base.bias
        else:
            product, matrix, bias = base(x, *args, **options), None, None
        own = (positions, parts)
        result = MultiLoraLinear.apply(x, product, matrix, bias, scales, own, *matrices)
        return result

    return forward


def _compute_dtype(x: Tensor) -> torch.dtype:
    """The dtype of the thin products."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def _encoder(layout: TrialLayout, plain: Callable[..., Any]) -> Callable[..., Any]:
    """Runs the encoder trial by trial: its features may depend on the longest series of a batch."""

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


class MultiLoraLinear(torch.autograd.Function):
    """base(x) + s_i (x_i a_i^T) b_i^T on the rows x_i of each of k trials; the base is frozen.

    With ``matrix`` the base's product is made here, and both are added in place, forward and
    backward; else ``product`` is the base's, of a weight that has no such form. ``scales``
    [k, 1, 1] are in the dtype of the thin products; ``trials`` says which of them the matrices
    belong to, first all a, then all b, and the parts of x.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        product: Tensor | None,
        matrix: FrozenMatrix | None,
        bias: Tensor | None,
        scales: Tensor,
        trials: tuple[tuple[int, ...], Parts],
        *matrices: Tensor,
    ) -> Tensor:
        """Keeps x, s_i x_i a_i^T [N, r] and the stacked matrices, all in the scales' dtype."""
        source, (positions, parts) = x.to(scales.dtype), trials
        all_a, all_b = matrices[: len(positions)], matrices[len(positions) :]
        a = _stacked(all_a, positions, scales)
        b = _stacked([each.t() for each in all_b], positions, scales)
        rows = source.reshape(-1, source.shape[-1])
        low = parts.times(rows, a.transpose(1, 2) * scales)
        if product is None:
            assert matrix is not None
            result = matrix.product(rows)
            parts.add_times(result, low, b)
            result = result.view(*x.shape[:-1], -1)
            if bias is not None:
                result += bias
        else:
            # The product is the output of another node, so the adapters are added to a copy of it.
            result = product.clone(memory_format=torch.contiguous_format)
            parts.add_times(result.view(len(rows), -1), low, b)
        ctx.save_for_backward(source, low, a, b, scales)
        ctx.matrix, ctx.trials, ctx.dtypes = matrix, trials, (x.dtype, matrices[0].dtype)
        ctx.ranks = [each.shape[0] for each in all_a]
        return result

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, of the base's product, and of each trial's a and b."""
        source, low, a, b, scales = ctx.saved_tensors
        matrix: FrozenMatrix | None = ctx.matrix
        positions, parts = ctx.trials
        gradient = outputs[0].reshape(-1, outputs[0].shape[-1])
        rows = gradient.to(scales.dtype)
        of_low = parts.times(rows, b.transpose(1, 2) * scales)
        of_b = parts.outer(low, rows).to(ctx.dtypes[1])
        of_a = parts.outer(of_low, source.reshape(-1, source.shape[-1])).to(ctx.dtypes[1])
        of_x: Tensor | None = None
        if ctx.needs_input_grad[0]:
            # Without a matrix this is the adapters' part alone; the base's own node adds the rest.
            if matrix is None:
                of_x = parts.times(of_low, a)
            else:
                of_x = matrix.product_back(gradient)
                parts.add_times(of_x, of_low, a)
            of_x = of_x.view(source.shape).to(ctx.dtypes[0])
        own_a = _own(of_a, positions, ctx.ranks)
        own_b = [each.t() for each in _own(of_b, positions, ctx.ranks)]
        of_product = outputs[0] if matrix is None else None
        return (of_x, of_product, None, None, None, None, *own_a, *own_b)


def _stacked(found: Sequence[Tensor], positions: Sequence[int], like: Tensor) -> Tensor:
    """Matrices [r_i, width] stacked as [k, r, width] of the largest rank, filled up with zeros."""
    rank, width = max(matrix.shape[0] for matrix in found), found[0].shape[1]
    stack = like.new_zeros(len(like), rank, width)
    parts = stack.unbind()
    targets = [
        parts[position][: len(each)] for position, each in zip(positions, found, strict=True)
    ]
    torch._foreach_copy_(targets, list(found))
    return stack


def _own(stack: Tensor, positions: Sequence[int], ranks: Sequence[int]) -> list[Tensor]:
    """The matrix of each trial out of a stack, copied: a view would keep the whole stack alive."""
    parts = stack.unbind()
    found = [parts[position][:rank] for position, rank in zip(positions, ranks, strict=True)]
    # Multiplying by one copies the matrices of all trials in one call.
    return list(torch._foreach_mul(found, 1.0))
