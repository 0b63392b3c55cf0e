"""Memory that a CUDA operator allocates and frees inside, if it is as large as the result.

The trace follows the tensors that an operator returns. It cannot see those that the operator makes
and frees before it returns, so this table lists them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Workspace:
    """Tensors that live only while an operator runs."""

    sizes: Callable[..., tuple[int, ...]]
    """Bytes of each tensor, computed from the operator's arguments."""
    before_result: bool
    """Whether the tensors are allocated before the result."""


def _softmax_gradient(gradient: Tensor, *_: Any) -> tuple[int, ...]:
    """Bytes of the product of gradient and output.

    Source: aten/src/ATen/native/cuda/SoftMax.cu (softmax_backward_cuda_out).
    """
    return (gradient.numel() * gradient.element_size(),)


def _safe_softmax(scores: Tensor, *_: Any) -> tuple[int, ...]:
    """Bytes of the plain softmax, and of the flags of masked scores.

    Source: aten/src/ATen/native/transformers/attention.cpp (_safe_softmax).
    """
    return scores.numel() * scores.element_size(), scores.numel()


WORKSPACES: dict[Any, Workspace] = {
    torch.ops.aten._softmax_backward_data.default: Workspace(
        _softmax_gradient, before_result=False
    ),
    torch.ops.aten._safe_softmax.default: Workspace(_safe_softmax, before_result=True),
}
