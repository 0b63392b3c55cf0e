"""Tensors without values."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tsplanner.errors import TsplannerError
from tsplanner.tracing.fake_cuda.shapes import (
    ShapeTensor,
    drop_values,
    run_on_shapes,
    without_values,
)


def test_a_tensor_without_values_keeps_shape_strides_and_dtype() -> None:
    """It says it lies on the CPU, so a model's code asks nothing more."""
    found = without_values(torch.zeros(3, 4).t())
    assert isinstance(found, ShapeTensor)
    assert (found.shape, found.stride(), found.dtype) == ((4, 3), (1, 4), torch.float32)
    assert found.device == torch.device("cpu")
    assert without_values(torch.zeros(2), torch.bfloat16).dtype is torch.bfloat16


def test_operators_run_on_shapes_and_real_tensors_lend_theirs() -> None:
    """[2, 3] x [3, 5] is [2, 5], whatever is in them."""
    left = without_values(torch.zeros(2, 3))
    found = left @ torch.ones(3, 5)
    assert isinstance(found, ShapeTensor)
    assert found.shape == (2, 5)
    made = run_on_shapes(torch.ops.aten.add.Tensor, (left, 1.0), {})
    assert (made.shape, made.dtype) == ((2, 3), torch.float32)


def test_code_that_looks_at_values_is_refused_in_one_sentence() -> None:
    """There are none to look at: neither one by one nor to count what is not zero."""
    says = r"cannot follow aten\..*looks at values of tensors\."
    with pytest.raises(TsplannerError, match=says):
        bool(without_values(torch.zeros(1)) > 0)
    with pytest.raises(TsplannerError, match=says):
        without_values(torch.zeros(3)).nonzero()


def test_a_module_keeps_ties_and_flags_when_its_values_are_dropped() -> None:
    """A tied weight stays one tensor, a frozen one stays frozen."""
    with torch.device("meta"):
        first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
        second.weight = first.weight
        frozen = nn.Linear(2, 3, bias=False).requires_grad_(False)
        model = nn.Sequential(first, second, frozen, nn.BatchNorm1d(3))
    drop_values(model)
    assert first.weight is second.weight
    assert first.weight.requires_grad
    assert not frozen.weight.requires_grad
    assert all(item.device == torch.device("cpu") for item in model.parameters())
    assert isinstance(model[3].running_mean, ShapeTensor)
