"""Frozen linears of one input, with their LoRA adapters, as one function.

Notation: y_i = x W_i^T + bias_i + s_i (x A_i^T) B_i^T for each linear i; x [..., in], W_i
[out_i, in], A_i [r_i, in], B_i [out_i, r_i]; N rows, R = sum of all r_i.

A group may be one linear. Query, key and value read one input, and so do gate and up: together
they read it once for all A_i, and backward adds their gradients of x in place, where autograd would
add whole tensors. PEFT makes an fp32 copy of the input, which autocast casts back, and adds two
results of full size.

The products read copies of A and s B in the dtype of x, which are made once per pass for all
adapters of a model (``AdapterCopies``) and not by each product.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tsplanner.training.kernels.frozen_linear import FrozenMatrix, frozen_matrix
from tsplanner.training.kernels.fused_kernels import HALF, is_plain_lora


def is_groupable(module: Any) -> bool:
    """Whether a linear can be part of a group: frozen, with one plain adapter or none."""
    if not isinstance(module, nn.Module):
        return False
    if is_plain_lora(module):
        return True
    matrix = frozen_matrix(module)
    frozen = all(not each.requires_grad for each in module.parameters())
    return matrix is not None and frozen and matrix.dtype in HALF


class Part(NamedTuple):
    """One linear of a group."""

    frozen: nn.Module
    """The linear without its adapter. It is asked for its tensors at each use, because FSDP2 puts
    others in their place when it gathers and slices."""
    scale: float = 1.0
    a: Tensor | None = None
    """The trained A; None: the linear has no adapter."""
    b: Tensor | None = None

    @property
    def matrix(self) -> FrozenMatrix:
        """W."""
        found = frozen_matrix(self.frozen)
        assert found is not None
        return found

    @property
    def bias(self) -> Tensor | None:
        """The linear's own bias."""
        bias: Tensor | None = self.frozen.bias
        return bias

    @property
    def rank(self) -> int:
        """r; 0: the linear has no adapter."""
        return 0 if self.a is None else self.a.shape[0]


def part_of(module: Any) -> Part:
    """The linear and its adapter."""
    base = getattr(module, "base_layer", module)
    if base is module:
        return Part(base)
    (name,) = module.lora_A
    sides = module.lora_A[name].weight, module.lora_B[name].weight
    return Part(base, module.scaling[name], *sides)


class Group:
    """Linears of one input, and the copies of their adapters that the products read.

    The copies are made when the model first runs: its tensors may be replaced or moved until then.
    """

    def __init__(self, linears: Sequence[nn.Module]) -> None:
        self.linears = tuple(linears)
        self.parts: tuple[Part, ...] = ()
        self.sides: tuple[Tensor, ...] = ()
        """A and B of each adapter, which are trained."""
        self.spans: tuple[tuple[int, int], ...] = ()
        """First of R and rank, per linear."""
        self.rank = 0
        """R."""
        self.a: Tensor | None = None
        """All A [R, in] in the dtype of the products; None: no linear has an adapter."""
        self.b: tuple[Tensor | None, ...] = ()
        """s B [out, r] of each linear in the dtype of the products."""

    def begin(self) -> None:
        """Take the linears as they stand, and make room for the copies."""
        self.parts = tuple(part_of(linear) for linear in self.linears)
        both = ((part.a, part.b) for part in self.parts)
        self.sides = tuple(side for pair in both for side in pair if side is not None)
        ranks = [part.rank for part in self.parts]
        self.spans = tuple((sum(ranks[:place]), rank) for place, rank in enumerate(ranks))
        self.rank = sum(ranks)
        dtype = self.parts[0].matrix.dtype
        self.b = tuple(
            None if part.b is None else torch.empty_like(part.b, dtype=dtype) for part in self.parts
        )
        if self.sides:
            first = self.sides[0]
            self.a = first.new_empty(self.rank, first.shape[1], dtype=dtype)

    def takes(self, x: Tensor) -> bool:
        """Whether the adapters stand as they stood when the group was made."""
        return x.dtype == self.parts[0].matrix.dtype and not any(
            getattr(linear, "disable_adapters", False) or getattr(linear, "merged", False)
            for linear in self.linears
        )

    def of(self, low: Tensor, place: int) -> Tensor:
        """The columns of one linear in a thin product [N, R]."""
        first, rank = self.spans[place]
        return low[:, first : first + rank]

    def thin(self, rows: Tensor) -> Tensor | None:
        """The thin product rows A^T [N, R]; None: no linear has an adapter."""
        return None if self.a is None else rows @ self.a.t()

    def prepared(self, rows: Tensor) -> Any:
        """The rows as all matrices of the group read them: 8-bit ones share the rounded rows."""
        prepare = [getattr(part.matrix, "prepared", None) for part in self.parts]
        return rows if prepare[0] is None or None in prepare else prepare[0](rows)

    def outputs(self, rows: Tensor, low: Tensor | None) -> list[Tensor]:
        """Every y_i [N, out_i]."""
        results = []
        read = self.prepared(rows)
        for place, part in enumerate(self.parts):
            result = part.matrix.product(read, bias=part.bias)
            b = self.b[place]
            if b is not None and low is not None:
                # On an H200 this order is faster than adding the large product to the thin one.
                result.addmm_(self.of(low, place), b.t())
            results.append(result)
        return results

    def of_input(self, gradients: Sequence[Tensor], of_low: Tensor | None) -> Tensor:
        """The gradient of x [N, in]."""
        result = None
        for part, gradient in zip(self.parts, gradients, strict=True):
            result = part.matrix.product_back(gradient, into=result)
        assert result is not None
        if of_low is not None and self.a is not None:
            result.addmm_(of_low, self.a)
        return result

    def of_thin(self, gradients: Sequence[Tensor]) -> Tensor | None:
        """The gradient of rows A^T [N, R]."""
        if self.a is None:
            return None
        result = gradients[0].new_empty(gradients[0].shape[0], self.rank)
        for place, (b, gradient) in enumerate(zip(self.b, gradients, strict=True)):
            if b is not None:
                torch.mm(gradient, b, out=self.of(result, place))
        return result

    def of_sides(
        self, x: Tensor, low: Tensor, of_low: Tensor, gradients: Sequence[Tensor]
    ) -> list[Tensor]:
        """The gradients of A and B of each adapter, in the order of ``sides``."""
        dtype = self.sides[0].dtype
        of_a = wide_product(of_low.t(), x, dtype)
        found = []
        for place, part in enumerate(self.parts):
            if part.a is None:
                continue
            first, rank = self.spans[place]
            of_b = wide_product(gradients[place].t(), self.of(low, place), dtype)
            found += [of_a[first : first + rank], of_b.mul_(part.scale)]
        return found


def wide_product(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    """The product of two matrices in a wider dtype; CUDA's product sums and stores it there."""
    if left.is_cuda and dtype is torch.float32 and left.dtype in HALF:
        return torch.mm(left, right, out_dtype=dtype)
    return (left @ right).to(dtype)


class AdaptedLinears(torch.autograd.Function):
    """The function of the module's first lines, for all linears of a group."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group, *sides: Tensor) -> tuple[Tensor, ...]:
        """Return every y_i, and keep x and all x A_i^T [N, R].

        ``sides``: those of the group, which autograd must see as inputs.
        """
        rows = x.reshape(-1, x.shape[-1])
        low = group.thin(rows)
        results = group.outputs(rows, low)
        ctx.save_for_backward(x if sides else None, low)
        ctx.group, ctx.shape = group, x.shape
        return tuple(result.view(*x.shape[:-1], -1) for result in results)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x and of every A and B."""
        x, low = ctx.saved_tensors
        group: Group = ctx.group
        gradients = [each.reshape(-1, each.shape[-1]) for each in outputs]
        of_low = group.of_thin(gradients)
        of_sides: list[Tensor] = []
        if of_low is not None:
            of_sides = group.of_sides(x.reshape(-1, x.shape[-1]), low, of_low, gradients)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = group.of_input(gradients, of_low).view(ctx.shape)
        return of_x, None, *of_sides


class AdapterCopies:
    """The copies of all groups of a model, made again at the start of each pass."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = tuple(groups)
        self.begun = False
        self.sources: list[Tensor] = []
        self.scaled: list[Tensor] = []
        self.scales: list[float] = []
        self.copies: list[Tensor] = []
        """Those of the sources, then those of the scaled ones."""

    def _begin(self) -> None:
        of_scaled: list[Tensor] = []
        for group in self.groups:
            group.begin()
            for place, part in enumerate(group.parts):
                b = group.b[place]
                if part.a is None or part.b is None or group.a is None or b is None:
                    continue
                first, rank = group.spans[place]
                self.sources.append(part.a)
                self.copies.append(group.a[first : first + rank])
                self.scaled.append(part.b)
                self.scales.append(part.scale)
                of_scaled.append(b)
        self.copies += of_scaled
        self.begun = True

    def refresh(self, *_: Any) -> None:
        """Copy the adapters as they are now."""
        if not self.begun:
            self._begin()
        if not self.copies:
            return
        with torch.no_grad():
            # The scale goes onto fp32 values, so that s B is rounded once.
            scaled = torch._foreach_mul(self.scaled, self.scales)
            torch._foreach_copy_(self.copies, [*self.sources, *scaled])


class Siblings:
    """Linears that one module calls one after the other with the same input.

    The first one that is called computes all of them, and the others hand their results out.
    """

    def __init__(self, group: Group) -> None:
        self.group = group
        self.source: Tensor | None = None
        self.made: dict[int, Tensor] = {}
        self.together = True
        """The linears have always been called with one input."""

    def result(self, place: int, x: Tensor) -> Tensor | None:
        """The result of one linear; None: it has to compute its own."""
        if self.source is x and place in self.made:
            found = self.made.pop(place)
            if not self.made:
                self.source = None
            return found
        if self.made:
            # Another input came before the results of the last one were asked for.
            self.together = False
            self.made, self.source = {}, None
        if not self.together or not self.group.takes(x):
            return None
        results = AdaptedLinears.apply(x, self.group, *self.group.sides)
        if len(results) > 1:
            self.made = {other: value for other, value in enumerate(results) if other != place}
            self.source = x
        result: Tensor = results[place]
        return result


def join(linears: Sequence[nn.Module]) -> Group:
    """Let linears of one input run as one function; the first call computes all."""
    group = Group(linears)
    siblings = Siblings(group)
    for place, linear in enumerate(linears):
        linear.forward = types.MethodType(_forward(siblings, place, type(linear).forward), linear)
    return group


def _forward(siblings: Siblings, place: int, plain: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def forward(self: Any, x: Tensor, *args: Any, **options: Any) -> Tensor:
        found = None if args or options else siblings.result(place, x)
        return plain(self, x, *args, **options) if found is None else found

    return forward
