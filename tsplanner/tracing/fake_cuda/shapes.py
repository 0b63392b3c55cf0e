"""Tensors that have a shape and a dtype but no values; they are stored on ``meta`` and say "cpu".

torch's FakeTensor is the same idea, but takes 0.2 ms per operator, and a step of a 14B model has a
hundred thousand operators. The tracer does not need its other features (symbolic shapes, several
devices, constants, a cache of results).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tsplanner.errors import TsplannerError

CPU = torch.device("cpu")
META = torch.device("meta")
_GROUPED = torch.ops.aten._grouped_mm.default if hasattr(torch.ops.aten, "_grouped_mm") else None
_DEVICE_OF = torch.ops.prim.device.default
"""The operator by which C++ asks a tensor subclass for its device."""
_VALUE_OF = torch.ops.aten._local_scalar_dense.default
"""What ``item`` and ``bool`` call; its meta kernel raises a bare RuntimeError."""


class _Kernel:
    """Whether a kernel of ``meta`` is running, which must see tensors on ``meta``."""

    running = False


class ShapeTensor(Tensor):
    """A tensor without values."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def of(meta: Tensor) -> ShapeTensor:
        """A tensor that shares the storage of one on ``meta``."""
        made: ShapeTensor = Tensor._make_subclass(
            ShapeTensor, meta, False, dispatch_device=True, device_for_backend_keys=CPU
        )
        return made

    @property
    def device(self) -> torch.device:
        """The CPU, except to the kernels of ``meta``."""
        return META if _Kernel.running else CPU

    def tolist(self) -> Any:
        """What C++ would refuse with a bare RuntimeError."""
        raise _needs_values("Tensor.tolist")

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return run_on_shapes(func, args, kwargs or {})


def run_on_shapes(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operator on shapes alone; a real tensor among the arguments lends its shape.

    Raises:
        TsplannerError: the operator needs values, or cannot be run without a device.
    """
    if func is _DEVICE_OF:
        return META if _Kernel.running else CPU
    args, kwargs = _shapes_only(args, kwargs)
    if func is _GROUPED and args[0].dtype != torch.bfloat16:
        return _grouped_product(func, args, kwargs)
    if kwargs.get("device") is not None:
        kwargs["device"] = META
    if _Kernel.running:
        raise RuntimeError(f"{func} calls back into tracing")
    if func is _VALUE_OF:
        raise _needs_values(func)
    try:
        with torch._C._DisableTorchDispatch():
            _Kernel.running = True
            # Our tensors carry the keys of the CPU, so the key of `meta` is put in by hand.
            torch._C._set_meta_in_tls_dispatch_include(True)
            try:
                result = func(*args, **kwargs)
            finally:
                _Kernel.running = False
                torch._C._set_meta_in_tls_dispatch_include(False)
    except NotImplementedError as error:
        raise _needs_values(func) from error
    return _wrapped(result)


def _needs_values(func: object) -> TsplannerError:
    return TsplannerError(
        f"The trace cannot follow {func}: the model's code looks at values of tensors."
    )


def _grouped_product(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Products of a mixture's experts, run in bf16: the kernel of ``meta`` takes no other dtype."""
    narrow = [without_values(item, torch.bfloat16) for item in args[:2]]
    result = run_on_shapes(func, (*narrow, *args[2:]), kwargs)
    return without_values(result, args[0].dtype)


def _wrapped(result: Any) -> Any:
    if isinstance(result, Tensor):
        return result if isinstance(result, ShapeTensor) else ShapeTensor.of(result)
    if isinstance(result, (tuple, list)):
        return type(result)(_wrapped(item) for item in result)
    return result


def _shapes_only(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    if any(isinstance(item, (list, tuple)) or _is_real(item) for item in args):
        args = tuple(_shape_of(item) for item in args)
    if kwargs:
        kwargs = {name: _shape_of(item) for name, item in kwargs.items()}
    return args, kwargs


def _is_real(item: Any) -> bool:
    return isinstance(item, Tensor) and not isinstance(item, ShapeTensor)


def _shape_of(item: Any) -> Any:
    if isinstance(item, (list, tuple)):
        if any(_is_real(inner) for inner in item):
            return type(item)(_shape_of(inner) for inner in item)
        return item
    return without_values(item) if _is_real(item) else item


def without_values(tensor: Tensor, dtype: torch.dtype | None = None) -> ShapeTensor:
    """A tensor without values of the same shape and strides; ``dtype`` replaces the dtype."""
    with torch._C._DisableTorchDispatch():
        made = torch.empty_strided(
            tensor.shape, tensor.stride(), dtype=dtype or tensor.dtype, device=META
        )
    return ShapeTensor.of(made)


def drop_values(module: nn.Module) -> None:
    """Turn the parameters and buffers of a module on ``meta`` into tensors that say "cpu"."""
    made: dict[int, tuple[Tensor, Tensor]] = {}
    for owner in module.modules():
        for table in (owner._parameters, owner._buffers):
            for name, tensor in table.items():
                if tensor is None:
                    continue
                if id(tensor) not in made:
                    fresh: Tensor = without_values(tensor)
                    if isinstance(tensor, nn.Parameter):
                        fresh = nn.Parameter(fresh, requires_grad=tensor.requires_grad)
                    # The old tensor is kept as well: the identity of a freed one may come again.
                    made[id(tensor)] = (tensor, fresh)
                table[name] = made[id(tensor)][1]
