"""Attention within rows that are laid end to end."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402
from torch.nn.functional import scaled_dot_product_attention  # noqa: E402

from tsplanner.training.kernels import row_attention  # noqa: E402
from tsplanner.training.kernels.rows import LAYOUT  # noqa: E402

LENGTHS = (5, 1, 9)


def heads(count: int, seed: int) -> Tensor:
    """[1, heads, 15, 8]"""
    return torch.randn(1, count, 15, 8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def layout() -> None:
    """Rows of 5, 1 and 9 tokens."""
    positions = [place for length in LENGTHS for place in range(length)]
    LAYOUT.read(torch.tensor([positions]))


@pytest.mark.parametrize("window", [None, 3, 9, 100])
def test_a_row_sees_itself_alone(window: int | None) -> None:
    """One mask over all tokens gives the same; a window counts the token itself."""
    query, key, value = heads(4, 0), heads(2, 1), heads(2, 2)
    row = torch.repeat_interleave(torch.arange(3), torch.tensor(LENGTHS))
    place = torch.arange(15)
    seen = (row[:, None] == row[None, :]) & (place[:, None] >= place[None, :])
    if window is not None:
        seen &= place[:, None] - place[None, :] < window
    expected = scaled_dot_product_attention(query, key, value, attn_mask=seen, enable_gqa=True)
    found, _ = row_attention.row_attention(
        torch.nn.Identity(), query, key, value, None, sliding_window=window
    )
    assert torch.allclose(found, expected.transpose(1, 2), atol=1e-6)


def test_a_soft_cap_bounds_the_scores() -> None:
    """A cap far above the scores changes nothing; a low one does."""
    query, key, value = heads(4, 0), heads(2, 1), heads(2, 2)
    module = torch.nn.Identity()
    plain, _ = row_attention.row_attention(module, query, key, value, None)
    high, _ = row_attention.row_attention(module, query, key, value, None, softcap=1e4)
    low, _ = row_attention.row_attention(module, query, key, value, None, softcap=0.1)
    assert torch.allclose(high, plain, atol=1e-5)
    assert not torch.allclose(low, plain, atol=1e-2)
