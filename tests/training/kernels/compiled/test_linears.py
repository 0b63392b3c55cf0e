"""Linears of one input as one function: PEFT's values, one read of the input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from tests.training.kernels.compiled.test_pieces import fresh
from tsplanner.training.kernels.compiled.linears import (
    AdaptedLinears,
    AdapterCopies,
    Group,
    is_groupable,
    join,
    wide_product,
)


class Three(nn.Module):
    """Three linears that are called one after the other with one input."""

    def __init__(self, *, bias: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.q, self.k, self.v = (nn.Linear(8, width, bias=bias) for width in (6, 4, 4))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """All three results."""
        return [self.q(x), self.k(x), self.v(x)]


def adapted(targets: tuple[str, ...] = ("q", "k", "v"), scale: float = 2.0) -> Any:
    """The three with LoRA of rank 2 on some of them, frozen below."""
    made = get_peft_model(
        Three(),
        LoraConfig(
            r=2, lora_alpha=2 * scale, target_modules=list(targets), init_lora_weights=False
        ),
    )
    return made.base_model.model


def sides(model: Any) -> list[nn.Parameter]:
    """What is trained."""
    return [each for each in model.parameters() if each.requires_grad]


@pytest.mark.parametrize("targets", [("q", "k", "v"), ("q", "v"), ("k",)])
def test_a_group_gives_what_its_linears_give_alone(targets: tuple[str, ...]) -> None:
    """Values and gradients of x and of every A and B, adapters on all of them or on some."""
    model, x = adapted(targets), fresh(2, 5, 8)
    plain = model(x)
    weights = [fresh(*each.shape, seed=3).detach() for each in plain]
    total = sum((each * weight).sum() for each, weight in zip(plain, weights, strict=True))
    wanted = torch.autograd.grad(total, [x, *sides(model)])
    group = Group([model.q, model.k, model.v])
    AdapterCopies([group]).refresh()
    ours = AdaptedLinears.apply(x, group, *group.sides)
    for found, expected in zip(ours, plain, strict=True):
        assert torch.allclose(found, expected, atol=1e-5)
    total = sum((each * weight).sum() for each, weight in zip(ours, weights, strict=True))
    found = torch.autograd.grad(total, [x, *sides(model)])
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(found, wanted, strict=True))


def test_the_copies_follow_the_adapters_only_when_they_are_refreshed() -> None:
    """All of them are made again at the start of a pass, and stay as they are within it."""
    model, x = adapted(), fresh(3, 8).detach()
    group = Group([model.q, model.k, model.v])
    copies = AdapterCopies([group])
    copies.refresh()
    before = AdaptedLinears.apply(x, group, *group.sides)[0]
    with torch.no_grad():
        model.q.lora_B["default"].weight.mul_(3)
    assert torch.equal(AdaptedLinears.apply(x, group, *group.sides)[0], before)
    copies.refresh()
    assert torch.allclose(AdaptedLinears.apply(x, group, *group.sides)[0], model.q(x), atol=1e-5)


def test_siblings_compute_once_and_hand_out_the_rest() -> None:
    """The first call makes all three; nothing is held once the last one is taken."""
    model, x = adapted(), fresh(3, 8)
    plain = [each.detach() for each in model(x)]
    group = join([model.q, model.k, model.v])
    AdapterCopies([group]).refresh()
    made = model(x)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(made, plain, strict=True))
    assert made[0].grad_fn is made[1].grad_fn is made[2].grad_fn


def test_siblings_that_get_different_inputs_go_their_own_ways_from_then_on() -> None:
    """Cross-attention reads queries of one tensor and keys of another."""
    model, x, other = adapted(), fresh(3, 8), fresh(3, 8, seed=1)
    wanted = [model.q(x).detach(), model.k(other).detach(), model.k(x).detach()]
    group = join([model.q, model.k, model.v])
    AdapterCopies([group]).refresh()
    found = [model.q(x), model.k(other), model.k(x)]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, wanted, strict=True))


def test_adapters_that_are_switched_off_run_by_peft() -> None:
    """PEFT's ``disable_adapter`` evaluates the bare base."""
    model, x = adapted(), fresh(3, 8)
    group = join([model.q, model.k, model.v])
    AdapterCopies([group]).refresh()
    for each in (model.q, model.k, model.v):
        each.enable_adapters(enabled=False)
    assert torch.allclose(model.q(x), model.q.base_layer(x), atol=1e-6)


def test_only_frozen_half_precision_linears_join_a_group() -> None:
    """A trained linear needs a gradient of its own, and fp32 products are another matter."""
    linear = nn.Linear(4, 4).requires_grad_(False)
    assert not is_groupable(linear)
    assert is_groupable(linear.bfloat16())
    assert not is_groupable(nn.Linear(4, 4).bfloat16())
    assert not is_groupable(None)
    assert not is_groupable(nn.LayerNorm(4))


def test_a_product_in_a_wider_dtype_is_cast_where_the_device_has_none() -> None:
    """CUDA stores the sums in fp32 at once."""
    left, right = torch.ones(2, 3).bfloat16(), torch.ones(3, 1).bfloat16()
    assert wide_product(left, right, torch.float32).dtype is torch.float32
    assert wide_product(left, right, torch.bfloat16).tolist() == [[3.0], [3.0]]
