"""One frozen weight, many forms: the matrix of a frozen linear, and its two products.

A frozen linear needs rows W^T in forward and gradient W in backward, and no gradient of W. Adapters
(fused_kernels.py, multi_lora/linears.py) call these two products and do not ask how W is stored.
Shapes: W [out, in], rows [N, in], gradient [N, out].
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn


class FrozenMatrix(Protocol):
    """The matrix W [out, in] of a frozen linear."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the rows and gradients that the matrix multiplies."""
        ...

    @property
    def accumulates(self) -> bool:
        """Whether a product adds to ``into`` while it runs, and not in a pass of its own."""
        ...

    def product(self, rows: Tensor, into: Tensor | None = None) -> Tensor:
        """The product rows W^T [N, out], added to ``into`` in place if that is given."""
        ...

    def product_back(self, gradient: Tensor, into: Tensor | None = None) -> Tensor:
        """The product gradient W [N, in], added to ``into`` in place if that is given."""
        ...


class PlainMatrix:
    """A matrix in the dtype of its rows."""

    accumulates = True

    __slots__ = ("weight",)

    def __init__(self, weight: Tensor) -> None:
        # The parameter itself, and not its data: whoever moves or refills it is seen here.
        self.weight = weight

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weight."""
        return self.weight.dtype

    def product(self, rows: Tensor, into: Tensor | None = None) -> Tensor:
        """One product, which reads and writes ``into`` once."""
        return added_product(rows, self.weight.detach().t(), into)

    def product_back(self, gradient: Tensor, into: Tensor | None = None) -> Tensor:
        """One product, which reads and writes ``into`` once."""
        return added_product(gradient, self.weight.detach(), into)


class FourBitMatrix:
    """A matrix that bitsandbytes packed in 4 bits; each product dequantises it once.

    The dequantised matrix lives as long as the product: a pass of N rows does 2 N operations per
    weight on 2.5 bytes moved, so that dequantising costs little from a few thousand rows on.
    """

    accumulates = True

    __slots__ = ("weight",)

    def __init__(self, weight: Any) -> None:
        self.weight = weight

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the matrix is dequantised to."""
        dtype: torch.dtype = self.weight.quant_state.dtype
        return dtype

    def product(self, rows: Tensor, into: Tensor | None = None) -> Tensor:
        """Dequantise, then one product."""
        return added_product(rows, self._dequantised().t(), into)

    def product_back(self, gradient: Tensor, into: Tensor | None = None) -> Tensor:
        """Dequantise, then one product."""
        return added_product(gradient, self._dequantised(), into)

    def _dequantised(self) -> Tensor:
        from bitsandbytes.functional import dequantize_4bit

        found: Tensor = dequantize_4bit(self.weight.data, self.weight.quant_state)
        return found


def frozen_matrix(linear: nn.Module) -> FrozenMatrix | None:
    """The matrix of a frozen linear; None: the linear multiplies in a way of its own.

    A linear that has a method ``frozen_matrix`` brings its own form.
    """
    own = getattr(linear, "frozen_matrix", None)
    if own is not None:
        found: FrozenMatrix = own()
        return found
    # bitsandbytes' linears are subclasses of nn.Linear, so the type itself is compared.
    if type(linear) is nn.Linear:
        return PlainMatrix(linear.weight)
    packed = getattr(getattr(linear, "weight", None), "quant_state", None) is not None
    return FourBitMatrix(linear.weight) if packed else None


def product_plus(
    matrix: FrozenMatrix, rows: Tensor, low: Tensor, high: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Rows W^T + low high + bias [N, out], with low [N, r] and high [r, out].

    The thin product comes first where the large one adds to it as it runs, which reads and writes
    the result once less; else it is added to the large one.
    """
    if matrix.accumulates:
        thin = low @ high if bias is None else torch.addmm(bias.to(low.dtype), low, high)
        return matrix.product(rows, into=thin)
    result = matrix.product(rows)
    if bias is not None:
        result += bias
    return result.addmm_(low, high)


def product_back_plus(matrix: FrozenMatrix, gradient: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The sum gradient W + low high [N, in], with low [N, r] and high [r, in]."""
    if matrix.accumulates:
        return matrix.product_back(gradient, into=low @ high)
    return matrix.product_back(gradient).addmm_(low, high)


def added_product(left: Tensor, right: Tensor, into: Tensor | None) -> Tensor:
    """The product of two matrices, added to ``into`` in place if that is given."""
    return left @ right if into is None else into.addmm_(left, right)
