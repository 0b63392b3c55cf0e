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

    def product(
        self, rows: Tensor, into: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """The product rows W^T [N, out], added to ``into`` in place if that is given.

        ``bias`` [out] is added to each row.
        """
        ...

    def product_back(self, gradient: Tensor, into: Tensor | None = None) -> Tensor:
        """The product gradient W [N, in], added to ``into`` in place if that is given."""
        ...


class PlainMatrix:
    """A matrix in the dtype of its rows."""

    __slots__ = ("weight",)

    def __init__(self, weight: Tensor) -> None:
        # The parameter itself, and not its data: whoever moves or refills it is seen here.
        self.weight = weight

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weight."""
        return self.weight.dtype

    def product(
        self, rows: Tensor, into: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """One product, which reads and writes ``into`` once."""
        return added_product(rows, self.weight.detach().t(), into, bias)

    def product_back(self, gradient: Tensor, into: Tensor | None = None) -> Tensor:
        """One product, which reads and writes ``into`` once."""
        return added_product(gradient, self.weight.detach(), into)


class FourBitMatrix:
    """A matrix that bitsandbytes packed in 4 bits; each product dequantises it once.

    The dequantised matrix lives as long as the product: a pass of N rows does 2 N operations per
    weight on 2.5 bytes moved, so that dequantising costs little from a few thousand rows on.
    """

    __slots__ = ("state", "weight")

    def __init__(self, weight: Any, state: Any) -> None:
        self.weight, self.state = weight, state

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the matrix is dequantised to."""
        dtype: torch.dtype = self.state.dtype
        return dtype

    def product(
        self, rows: Tensor, into: Tensor | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """Dequantise, then one product."""
        return added_product(rows, self._dequantised().t(), into, bias)

    def product_back(self, gradient: Tensor, into: Tensor | None = None) -> Tensor:
        """Dequantise, then one product."""
        return added_product(gradient, self._dequantised(), into)

    def _dequantised(self) -> Tensor:
        from bitsandbytes.functional import dequantize_4bit

        found: Tensor = dequantize_4bit(self.weight.data, self.state)
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
    weight = getattr(linear, "weight", None)
    # A weight that FSDP2 gathered is a plain parameter, and its constants are the linear's.
    state = getattr(weight, "quant_state", None) or getattr(linear, "quant_state", None)
    return FourBitMatrix(weight, state) if state is not None else None


def product_plus(
    matrix: FrozenMatrix, rows: Tensor, low: Tensor, high: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Rows W^T + low high + bias [N, out], with low [N, r] and high [r, out].

    On an H200 this order is faster than letting the large product add to the thin one.
    """
    return matrix.product(rows, bias=bias).addmm_(low, high)


def product_back_plus(matrix: FrozenMatrix, gradient: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The sum gradient W + low high [N, in], with low [N, r] and high [r, in]."""
    return matrix.product_back(gradient).addmm_(low, high)


def added_product(
    left: Tensor, right: Tensor, into: Tensor | None, bias: Tensor | None = None
) -> Tensor:
    """The product of two matrices, added to ``into`` in place if that is given, plus a bias."""
    if into is not None:
        into = into.addmm_(left, right)
        return into if bias is None else into.add_(bias)
    return left @ right if bias is None else torch.addmm(bias.to(left.dtype), left, right)
