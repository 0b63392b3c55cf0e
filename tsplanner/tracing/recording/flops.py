"""Operations of matrix products, counted while a model runs without values."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import flop_registry

from tsplanner.tracing.fake_cuda.storages import Phase, StorageLog
from tsplanner.tracing.fake_cuda.tensors import TraceMode
from tsplanner.tracing.recording.segments import MicroBatch

CAUSAL_SHARE = 0.5
"""Share of the scores that a causal kernel computes; PyTorch's counter counts all of them."""
ATTENTION = "scaled_dot_product"
"""Part of the names of the attention kernels."""


class CountingMode(TraceMode):
    """A trace that also counts the operations of forward."""

    def __init__(self, storages: StorageLog) -> None:
        super().__init__(storages)
        self.counted: list[tuple[int, int]] = []
        """Number of events before a product, and its operations."""

    def compute(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of an operator, as ``TraceMode`` computes it."""
        result = super().compute(func, args, kwargs)
        count = flop_registry.get(func._overloadpacket)
        if count is not None and self.storages.phase is Phase.FORWARD:
            flops = count(*args, **kwargs, out_val=result)
            if ATTENTION in func.__name__:
                flops = round(flops * CAUSAL_SHARE)
            self.counted.append((len(self.storages.events), flops))
        return result

    def flops_between(self, found: MicroBatch, place: int) -> int:
        """Operations of one layer's forward."""
        begin, end = found.forward[place], found.forward[place + 1]
        return sum(flops for event, flops in self.counted if begin <= event < end)


def has_counter(func: Any) -> bool:
    """Whether PyTorch counts the operations of an operator."""
    return isinstance(func, torch._ops.OpOverload) and func._overloadpacket in flop_registry
