"""Operations of matrix products, counted while a model runs without values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import flop_registry

from tsplanner.tracing.fake_cuda.storages import Phase, StorageLog
from tsplanner.tracing.fake_cuda.tensors import TraceMode
from tsplanner.tracing.recording.segments import MicroBatch


def _grouped(rows: Tensor, matrices: Tensor, *_: Any, **__: Any) -> int:
    """Operations of rows [N, K] times the matrix [K, M] of each row's expert."""
    return 2 * rows.shape[0] * rows.shape[-1] * int(matrices.shape[-1])


OWN: dict[str, Callable[..., int]] = {"aten::_grouped_mm": _grouped}
"""Products that PyTorch's counter leaves out."""


class CountingMode(TraceMode):
    """A trace that also counts the operations of forward."""

    def __init__(self, storages: StorageLog) -> None:
        super().__init__(storages)
        self.counted: list[tuple[int, int]] = []
        """Number of events before a product, and its operations."""

    def compute(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of an operator, as ``TraceMode`` computes it."""
        result = super().compute(func, args, kwargs)
        if self.storages.phase is Phase.FORWARD:
            own = OWN.get(func._schema.name)
            if own is not None:
                self.count(own(*args, **kwargs))
            elif func._overloadpacket in flop_registry:
                self.count(flop_registry[func._overloadpacket](*args, **kwargs, out_val=result))
        return result

    def count(self, flops: int) -> None:
        """Note some operations."""
        if self.storages.phase is Phase.FORWARD:
            self.counted.append((len(self.storages.events), flops))

    @contextmanager
    def counting_attention(self) -> Iterator[None]:
        """Count fused attention, whose stand-in runs no product; enter it after the stand-in.

        Both products of queries [B, H, S, A] and keys take 2 B H S S A operations each; a causal
        kernel leaves out half of them, a mask none.
        """
        stand_in = functional.scaled_dot_product_attention

        def attention(query: Tensor, key: Tensor, value: Tensor, *more: Any, **named: Any) -> Any:
            mask = named.get("attn_mask", more[0] if more else None)
            rows, size = query.shape[:-1].numel() * key.shape[-2], query.shape[-1]
            flops = 2 * rows * (size + value.shape[-1])
            self.count(flops if mask is not None else flops // 2)
            return stand_in(query, key, value, *more, **named)

        functional.scaled_dot_product_attention = attention
        try:
            yield
        finally:
            functional.scaled_dot_product_attention = stand_in

    def flops_between(self, found: MicroBatch, place: int) -> int:
        """Operations of one layer's forward."""
        begin, end = found.forward[place], found.forward[place + 1]
        return sum(flops for event, flops in self.counted if begin <= event < end)
