"""Operators in a trace: whole numbers are computed, and all other tensors have only shapes.

Token ids, masks and positions are small and decide shapes (the number of positions with a label,
the length of a merged sequence), so they are computed. Weights and activations have no values.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tsplanner.tracing.fake_cuda.shapes import ShapeTensor, run_on_shapes, without_values
from tsplanner.tracing.fake_cuda.storages import Kind, Phase, StorageLog
from tsplanner.tracing.fake_cuda.workspaces import WORKSPACES, Workspace

LARGEST_REAL_ELEMENTS = 4 * 1024 * 1024
"""Real floating-point tensors with more elements lose their values."""
IN_PLACE_SUMS = frozenset(
    {
        torch.ops.aten.add.Tensor,
        torch.ops.aten.index_put.default,
        torch.ops.aten._index_put_impl.default,
    }
)
INDEXED = frozenset(
    {
        torch.ops.aten.index.Tensor,
        torch.ops.aten.index_put.default,
        torch.ops.aten.index_put_.default,
        torch.ops.aten._index_put_impl.default,
        torch.ops.aten._index_put_impl_.default,
    }
)
"""Operators whose index may be a mask; the values of the mask decide the length of the result."""

PRODUCTS = frozenset(
    {
        torch.ops.aten.mm.default,
        torch.ops.aten.addmm.default,
        torch.ops.aten.bmm.default,
        torch.ops.aten.baddbmm.default,
    }
)
"""Operators that cuBLAS computes."""


class TraceMode(TorchDispatchMode):
    """Runs every operator without values and logs the storages that the operator makes."""

    def __init__(self, storages: StorageLog, workspace_bytes: int = 0) -> None:
        """``workspace_bytes``: the cuBLAS workspaces of both threads together."""
        super().__init__()
        self.storages = storages
        self._workspace_bytes = workspace_bytes // 2
        self._without_workspace = {Phase.FORWARD, Phase.BACKWARD}
        self._makes: dict[Any, bool] = {}
        """Operator -> whether it makes new storages."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Tell torch not to wrap every call for its compiler."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        workspace = WORKSPACES.get(func)
        if workspace is not None:
            return self._run_with(workspace, func, args, kwargs)
        result = self.compute(func, args, kwargs)
        # A step may have a hundred thousand calls, so a schema is read once per operator.
        makes = self._makes.get(func)
        if makes is None:
            makes = self._makes[func] = any(
                returned.alias_info is None for returned in func._schema.returns
            )
        if makes:
            self._follow(func, result)
            if func in PRODUCTS and self.storages.phase in self._without_workspace:
                self._take_workspace()
            # Backward runs with gradients off, which tells autograd's sums from those of the model;
            # the base of a view has one more reference, so autograd would not add to it.
            if func in IN_PLACE_SUMS and not torch.is_grad_enabled() and not args[0]._is_view():
                self.storages.may_add_in_place(result, args[0])
        return result

    def _run_with(
        self, workspace: Workspace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run an operator that takes memory of its own while it runs."""
        sizes, origin = workspace.sizes(*args), f"inside {func.__name__}"
        taken = self.storages.take(sizes, origin) if workspace.before_result else []
        result = self.compute(func, args, kwargs)
        self._follow(func, result)
        if not workspace.before_result:
            taken = self.storages.take(sizes, origin)
        self.storages.give_back(taken)
        return result

    def compute(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """An operator's result: real if all arguments are real, otherwise without values."""
        shapes, real = _tensors_in(args, kwargs)
        if shapes and func in INDEXED:
            args = (args[0], _numbered(args[1]), *args[2:])
        if shapes:
            return run_on_shapes(func, args, kwargs)
        if not real and _makes_without_values(func, args, kwargs):
            return run_on_shapes(func, args, {**kwargs, "device": "meta"})
        result = func(*args, **kwargs)
        is_float = isinstance(result, Tensor) and result.is_floating_point()
        if is_float and result.numel() > LARGEST_REAL_ELEMENTS:
            return without_values(result)
        return result

    def _take_workspace(self) -> None:
        """Allocate a cuBLAS workspace for this phase.

        Autograd's thread has a separate cuBLAS handle, and each handle has a workspace. The first
        product of backward comes right after the logits are freed, so its workspace lands in their
        segment, and the logits of the next step need another segment.
        """
        self._without_workspace.discard(self.storages.phase)
        self.storages.take_forever(self._workspace_bytes, Kind.WORKSPACE)

    def _follow(self, func: Any, result: Any) -> None:
        if isinstance(result, Tensor):
            self.storages.follow(result, func.__name__)
        elif isinstance(result, (tuple, list)):
            for item in result:
                self._follow(func, item)


def _numbered(indices: Any) -> list[Any]:
    """Indices in which the positions of a real mask's true values replace the mask."""
    found: list[Any] = []
    for index in indices:
        is_mask = isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)
        if is_mask and not isinstance(index, ShapeTensor):
            found += index.nonzero(as_tuple=True)
        else:
            found.append(index)
    return found


def _tensors_in(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, bool]:
    """Whether the arguments hold tensors without values, and whether they hold real tensors."""
    real = False
    for item in (*args, *kwargs.values()) if kwargs else args:
        if isinstance(item, ShapeTensor):
            return True, real
        if isinstance(item, Tensor):
            real = True
        elif isinstance(item, (list, tuple)):
            for inner in item:
                if isinstance(inner, ShapeTensor):
                    return True, real
                real = real or isinstance(inner, Tensor)
    return False, real


def _makes_without_values(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an operator without tensor arguments makes a tensor whose values are not needed."""
    if all(argument.name != "device" for argument in func._schema.arguments):
        return False
    dtype = kwargs.get("dtype")
    if dtype is not None and dtype.is_floating_point:
        return True
    size = args[0] if args and isinstance(args[0], (list, tuple)) else ()
    if dtype is None and "arange" not in func.__name__:
        return True
    return prod(size) > LARGEST_REAL_ELEMENTS
