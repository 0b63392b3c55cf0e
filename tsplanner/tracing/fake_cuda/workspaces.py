"""Memory that CUDA takes inside one operator, where it is as large as the operator's result.

What an operator returns is followed as it is born; this is what it makes and frees in between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Workspace:
    """Blocks that live while an operator runs."""

    sizes: Callable[..., tuple[int, ...]]
    """Their bytes, from the operator's arguments."""
    before_result: bool
    """Taken before the result is, or after."""


def _softmax_gradient(gradient: Tensor, *_: Any) -> tuple[int, ...]:
    """The product of gradient and output.

    Source: aten/src/ATen/native/cuda/SoftMax.cu (softmax_backward_cuda_out).
    """
    return (gradient.numel() * gradient.element_size(),)


def _safe_softmax(scores: Tensor, *_: Any) -> tuple[int, ...]:
    """The plain softmax, and which scores are masked.

    Source: aten/src/ATen/native/transformers/attention.cpp (_safe_softmax).
    """
    return scores.numel() * scores.element_size(), scores.numel()


WORKSPACES: dict[Any, Workspace] = {
    torch.ops.aten._softmax_backward_data.default: Workspace(
        _softmax_gradient, before_result=False
    ),
    torch.ops.aten._safe_softmax.default: Workspace(_safe_softmax, before_result=True),
}
