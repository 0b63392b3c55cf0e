"""Rows of a batch go through the adapter of their trial, and through no other."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tsplanner.training.kernels.frozen_linear import PlainMatrix
from tsplanner.training.multi_lora.linears import MultiLoraLinear, TrialLayout, TrialRows
from tsplanner.training.multi_lora.parts import Parts
from tsplanner.training.multi_lora.refused import CannotShareBaseError

RANKS, ROWS, WIDTH, OUT = (2, 3), 2, 4, 5
TWO = ((0, 1), Parts(2))
"""Both trials have matrices, and parts of the same length."""


def layout(*trials: str) -> TrialLayout:
    """A batch in which each of the trials has one part."""
    found = TrialLayout()
    found.segments = tuple(TrialRows(trial) for trial in trials)
    return found


def test_a_batch_is_divided_evenly_among_its_trials() -> None:
    """Six entries of two trials are three each; a batch of one trial is one part."""
    assert layout("a", "b").trials(6) == (("a", "b"), Parts(2))
    assert layout("a", "a", "a").trials(6) == (("a",), Parts(1))
    with pytest.raises(CannotShareBaseError, match="7 entries of a batch of 2 trials"):
        layout("a", "b").trials(7)


def test_packed_rows_are_divided_by_their_positions() -> None:
    """Five entries are one of a and four of b; six are nobody's."""
    found = TrialLayout()
    found.give(TrialRows("a", positions=1), TrialRows("b", positions=4))
    assert found.trials(5) == (("a", "b"), Parts(2, (1, 4)))
    with pytest.raises(CannotShareBaseError, match="6 entries"):
        found.trials(6)


def test_all_rows_belong_to_one_trial_while_its_series_are_read() -> None:
    """Afterwards the batch is divided as before, also after an error."""
    found = layout("a", "b")
    with found.only("b"):
        assert found.trials(7) == (("b",), Parts(1))
    assert found.alone is None


def tensors() -> tuple[torch.Tensor, nn.Linear, list[torch.Tensor], list[torch.Tensor]]:
    """X of two trials with two rows each, a frozen base, and adapters of ranks 2 and 3."""
    torch.manual_seed(0)
    x = torch.randn(len(RANKS) * ROWS, WIDTH, dtype=torch.double, requires_grad=True)
    base = nn.Linear(WIDTH, OUT, dtype=torch.double).requires_grad_(False)
    a = [torch.randn(r, WIDTH, dtype=torch.double, requires_grad=True) for r in RANKS]
    b = [torch.randn(OUT, r, dtype=torch.double, requires_grad=True) for r in RANKS]
    return x, base, a, b


@pytest.mark.parametrize("sizes", [None, (2, 2), (1, 3)], ids=["equal", "given", "unequal"])
@pytest.mark.parametrize("own_product", [True, False], ids=["plain base", "quantised base"])
def test_outputs_and_gradients_are_those_of_each_adapter_alone(
    own_product: bool, sizes: tuple[int, ...] | None
) -> None:
    """base(x) + s (x a^T) b^T row by row, by plain matrix products."""
    first = 2 if sizes is None else sizes[0]
    x, base, a, b = tensors()
    scales = torch.tensor([0.5, 2.0], dtype=torch.double).reshape(-1, 1, 1)
    product = None if own_product else base(x)
    matrix, bias = (PlainMatrix(base.weight), base.bias) if own_product else (None, None)
    trials = ((0, 1), Parts(2, sizes))
    found = MultiLoraLinear.apply(x, product, matrix, bias, scales, trials, *a, *b)
    low = [x[:first] @ a[0].t() * 0.5, x[first:] @ a[1].t() * 2.0]
    expected = base(x) + torch.cat([low[0] @ b[0].t(), low[1] @ b[1].t()])
    torch.testing.assert_close(found, expected)
    upstream = torch.randn_like(expected)
    leaves = [x, *a, *b]
    torch.testing.assert_close(
        torch.autograd.grad(found, leaves, upstream),
        torch.autograd.grad(expected, leaves, upstream),
    )


def test_a_trial_that_diverged_does_not_reach_its_neighbour() -> None:
    """NaN in the first adapter; the rows of the second are what they were."""
    x, base, a, b = tensors()
    scales = torch.ones(2, 1, 1, dtype=torch.double)
    broken = [torch.full_like(a[0], float("nan")), a[1]]
    matrix = PlainMatrix(base.weight)
    fine = MultiLoraLinear.apply(x, None, matrix, base.bias, scales, TWO, *a, *b)
    found = MultiLoraLinear.apply(x, None, matrix, base.bias, scales, TWO, *broken, *b)
    assert found[:2].isnan().all()
    torch.testing.assert_close(found[2:], fine[2:])


def test_a_trial_without_an_adapter_on_a_linear_gets_the_base_alone() -> None:
    """Its place in the stack is filled with zeros."""
    x, base, a, b = tensors()
    scales = torch.tensor([0.0, 1.0], dtype=torch.double).reshape(-1, 1, 1)
    matrix = PlainMatrix(base.weight)
    found = MultiLoraLinear.apply(x, None, matrix, base.bias, scales, ((1,), Parts(2)), a[1], b[1])
    torch.testing.assert_close(found[:2], base(x[:2]))
