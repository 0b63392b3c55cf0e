"""Optimizers on fake parameters, as far as memory goes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from memory_models.settings import Optimizer
from tsplanner.tracing.fake_cuda.optimizers import (
    StatesOnly,
    embeddings,
    optimizer_for,
    parameter_groups,
)


def small_model() -> nn.Module:
    """An embedding, a frozen linear, a trained linear with a bias."""
    return nn.ModuleDict(
        {
            "table": nn.Embedding(8, 4),
            "frozen": nn.Linear(4, 4).requires_grad_(False),
            "head": nn.Linear(4, 2),
        }
    )


def test_matrices_and_vectors_are_two_groups_of_what_is_trained() -> None:
    """Weight decay tells them apart; a frozen weight is in neither."""
    model = small_model()
    matrices, vectors = parameter_groups(model)
    assert [tuple(item.shape) for item in matrices["params"]] == [(8, 4), (2, 4)]
    assert [tuple(item.shape) for item in vectors["params"]] == [(2,)]
    assert embeddings(model) == {id(model["table"].weight)}


@pytest.mark.parametrize(
    ("bits", "paged", "expected"),
    [
        # two moments of 1 byte each and a scale per 256 elements; the embedding stays in fp32
        (
            8,
            False,
            {"large": 2 * 10_000 + 2 * 40 * 4, "table": 2 * 10_000 * 4, "small": 2 * 64 * 4},
        ),
        (32, False, {"large": 80_000, "table": 80_000, "small": 512}),
    ],
)
def test_states_have_the_size_that_bitsandbytes_gives_them(
    bits: int, paged: bool, expected: dict[str, int]
) -> None:
    """Under 4096 elements they are fp32, whatever the optimizer's name says."""
    parameters = {
        "large": nn.Parameter(torch.zeros(100, 100)),
        "table": nn.Parameter(torch.zeros(100, 100)),
        "small": nn.Parameter(torch.zeros(8, 8)),
        "unused": nn.Parameter(torch.zeros(8, 8)),
    }
    wide = frozenset({id(parameters["table"])})
    made = StatesOnly([{"params": list(parameters.values())}], wide, bits=bits, paged=paged)
    for name in expected:
        parameters[name].grad = torch.zeros_like(parameters[name])
    made.step()
    sizes = {
        name: sum(state.nbytes for state in made.state[id(parameters[name])]) for name in expected
    }
    assert sizes == expected
    assert id(parameters["unused"]) not in made.state


def test_paged_states_of_large_tensors_lie_outside_the_allocator() -> None:
    """Managed memory is no tensor; only the scales of an 8-bit state are."""
    parameter = nn.Parameter(torch.zeros(1000, 1000))
    parameter.grad = torch.zeros_like(parameter)
    for bits, count in ((32, 0), (8, 2)):
        made = StatesOnly([{"params": [parameter]}], frozenset(), bits=bits, paged=True)
        made.step()
        assert len(made.state[id(parameter)]) == count


@pytest.mark.parametrize("name", Optimizer)
def test_every_optimizer_can_step_a_small_model(name: Optimizer) -> None:
    """With the two groups that Trainer makes."""
    model = small_model()
    optimizer = optimizer_for(name, model)
    for item in model.parameters():
        if item.requires_grad:
            item.grad = torch.ones_like(item)
    optimizer.step()
    assert len(optimizer.state) == (0 if name is Optimizer.SGD else 3)
