"""A frozen linear whose matrix lies in 8 bits, and whose two products are 8-bit products.

Shapes: W [out, in], rows x [N, in], gradient g [N, out].
y = x W^T rounds x row by row and multiplies it by the stored values of W, which have a scale per
output row. dx = g W sums over the output rows, so their scales go into g before g is rounded, and
the values of W are transposed for the product and freed after it: one copy of the base stays.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tsplanner.training.eight_bit import arithmetic
from tsplanner.training.eight_bit.arithmetic import Rows
from tsplanner.training.kernels.frozen_linear import FrozenMatrix


class EightBitMatrix:
    """The matrix of a linear in 8 bits; results have the dtype of the rows."""

    __slots__ = ("dtype", "linear")

    def __init__(self, linear: EightBitLinear) -> None:
        self.linear, self.dtype = linear, linear.dtype

    def prepared(self, rows: Tensor) -> Rows:
        """The rows in 8 bits, for several matrices that multiply the same rows."""
        return arithmetic.quantise_rows(rows, self.linear.form)

    def product(
        self, rows: Tensor | Rows, into: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """An 8-bit product."""
        left = rows if isinstance(rows, Rows) else self.prepared(rows)
        result = _added(arithmetic.multiply(left, self.linear.rows, self.dtype), into)
        return result if bias is None else result.add_(bias)

    def product_back(self, gradient: Tensor, into: Tensor | None = None) -> Tensor:
        """An 8-bit product with the transposed values, whose scales are in the gradient's rows."""
        stored = self.linear.rows
        left = arithmetic.quantise_rows(gradient, self.linear.form, stored.scale.view(-1))
        values = arithmetic.turned(stored.values)
        right = Rows(values, stored.scale.new_ones(len(values), 1))
        return _added(arithmetic.multiply(left, right, self.dtype), into)


def _added(product: Tensor, into: Tensor | None) -> Tensor:
    return product if into is None else into.add_(product)


class EightBitLinear(nn.Linear):
    """A frozen linear with its matrix in 8 bits.

    ``packed`` [out, in] has the bits of the values as int8, so that nothing casts it as a float;
    ``scale`` [out, 1] is in fp32. The bias stays as it was.
    """

    packed: nn.Parameter
    scale: Tensor
    _is_hf_initialized = True
    """By this transformers draws no initial values for it; it would ask for the whole matrix."""

    def __init__(self, linear: nn.Linear, rows: Rows, dtype: torch.dtype) -> None:
        """Of ``linear`` the shape and the bias; ``rows``: its matrix; ``dtype``: of the results."""
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.form, self.dtype, self.bias = rows.values.dtype, dtype, linear.bias
        self.packed = nn.Parameter(rows.values.view(torch.int8), requires_grad=False)
        self.register_buffer("scale", rows.scale, persistent=False)

    @property
    def rows(self) -> Rows:
        """The matrix by its output rows."""
        return Rows(self.packed.detach().view(self.form), self.scale)

    @property
    def weight(self) -> Tensor:
        """The matrix [out, in] that the stored values stand for; made anew each time.

        PEFT asks it for its device and dtype, and DoRA takes its norms from it.
        """
        return self.rows.whole(self.dtype)

    def frozen_matrix(self) -> FrozenMatrix:
        """The matrix as adapters multiply by it."""
        return EightBitMatrix(self)

    def forward(self, x: Tensor) -> Tensor:
        """X W^T + bias; backward keeps nothing."""
        result: Tensor = EightBitProduct.apply(x, self.frozen_matrix(), self.bias)
        return result


class EightBitProduct(torch.autograd.Function):
    """The function x W^T + bias with a frozen matrix."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: FrozenMatrix, bias: Tensor | None) -> Tensor:
        """Return the product [..., out]."""
        ctx.matrix, ctx.shape = matrix, x.shape
        result = matrix.product(x.reshape(-1, x.shape[-1]))
        if bias is not None:
            result += bias
        return result.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of x."""
        gradient = outputs[0].reshape(-1, outputs[0].shape[-1])
        return ctx.matrix.product_back(gradient).view(ctx.shape), None, None
