"""Packed rows on a real NVIDIA GPU; run with ``make test-gpu``."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from tsplanner.training.kernels import row_attention  # noqa: E402
from tsplanner.training.kernels.row_attention import Rules  # noqa: E402
from tsplanner.training.kernels.rows import LAYOUT  # noqa: E402

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(240)]
LENGTHS = (130, 1, 63, 8)


@pytest.mark.parametrize("window", [None, 16])
@pytest.mark.parametrize("key_heads", [4, 2, 1])
def test_one_kernel_gives_what_single_rows_give(key_heads: int, window: int | None) -> None:
    """Values and gradients in bf16, with as many key heads as query heads and with fewer."""
    positions = [place for length in LENGTHS for place in range(length)]
    LAYOUT.read(torch.tensor([positions], device="cuda"))
    draw = torch.Generator(device="cuda").manual_seed(0)
    shape = (sum(LENGTHS), 64)
    sides = [
        torch.randn(1, heads, *shape, device="cuda", generator=draw).bfloat16().requires_grad_()
        for heads in (4, key_heads, key_heads)
    ]
    rules = Rules(window=window)
    together = row_attention._one_kernel(*sides, rules)
    hold_to_single_rows(together, sides, LENGTHS, rules)


def hold_to_single_rows(
    together: Tensor, sides: list[Tensor], lengths: tuple[int, ...], rules: Rules
) -> None:
    """Values and gradients of queries, keys, values and sinks are those of rows one by one."""
    alone = torch.cat(
        [
            row_attention._one_row(*parts, rules)
            for parts in zip(*(side.split(lengths, dim=2) for side in sides), strict=True)
        ],
        dim=2,
    ).transpose(1, 2)
    assert off(together, alone) < 0.01
    trained = [*sides, *([] if rules.sinks is None else [rules.sinks])]
    for one, other in zip(gradients(together, trained), gradients(alone, trained), strict=True):
        assert off(one, other) < 0.02


def off(one: Tensor, other: Tensor) -> float:
    """Length of the difference over that of the other, which bf16 rounds by 0.004."""
    return float((one - other).float().norm() / other.float().norm())


def gradients(result: Tensor, sides: list[Tensor]) -> tuple[Tensor, ...]:
    """Of the sum of squares of a result."""
    return torch.autograd.grad((result.float() ** 2).sum(), sides)
