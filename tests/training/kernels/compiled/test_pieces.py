"""The references of the compiled pieces against autograd and transformers' own functions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tsplanner.training.kernels.compiled import pieces
from tsplanner.training.kernels.compiled.pieces import Thin


def fresh(*shape: int, seed: int = 0) -> torch.Tensor:
    """A tensor of normal numbers that wants a gradient."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, requires_grad=True)


def thin(rows: int, width: int, seed: int) -> Thin:
    """A thin product of rank 3, whose rows are parts of wider rows."""
    wide = fresh(rows, 5, seed=seed).detach()
    return Thin(wide[:, 1:4], fresh(width, 3, seed=seed + 1).detach())


def added(value: torch.Tensor, extra: Thin) -> torch.Tensor:
    """What a kernel reads: the value plus its thin product."""
    assert extra.low is not None
    assert extra.side is not None
    return value + extra.low @ extra.side.t()


def test_a_gated_product_adds_the_adapters_of_both_factors_while_it_reads() -> None:
    """silu(gate + low_g B_g^T) * (up + low_u B_u^T), without either sum in memory."""
    gate, up = fresh(4, 6).detach(), fresh(4, 6, seed=1).detach()
    of_gate, of_up = thin(4, 6, 2), thin(4, 6, 4)
    out = torch.empty(4, 6)
    pieces.gated(gate, up, out, of_gate, of_up)
    assert torch.allclose(out, nn.functional.silu(added(gate, of_gate)) * added(up, of_up))


def test_its_backward_leaves_both_gradients_in_their_places_and_the_product_in_the_third() -> None:
    """Autograd's gradients of the sums; the incoming gradient gets its own thin product first."""
    gate, up = fresh(4, 6), fresh(4, 6, seed=1)
    of_gate, of_up = thin(4, 6, 2), thin(4, 6, 4)
    low, a = fresh(4, 2, seed=6).detach(), fresh(2, 6, seed=7).detach()
    incoming = fresh(4, 6, seed=8).detach()
    product = nn.functional.silu(added(gate, of_gate)) * added(up, of_up)
    wanted = torch.autograd.grad(product, (gate, up), incoming + low @ a)
    places = [each.detach().clone() for each in (gate, up, incoming)]
    pieces.gated_backward(*places, of_gate, of_up, Thin(low, a))
    for found, expected in zip(places, (*wanted, product.detach()), strict=True):
        assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("tables", [1, 2])
def test_a_rotation_is_the_one_of_transformers_and_its_backward_the_gradient(tables: int) -> None:
    """One table for all rows of a batch, or one per row; the halves of a head turn together."""
    from transformers.models.qwen3.modeling_qwen3 import apply_rotary_pos_emb

    query, key = fresh(2, 4, 3, 8), fresh(2, 2, 3, 8, seed=1)
    cosine, sine = (fresh(tables, 3, 8, seed=seed).detach() for seed in (2, 3))
    wanted = apply_rotary_pos_emb(query, key, cosine, sine)
    outs = torch.empty(2, 3, 4, 8), torch.empty(2, 3, 2, 8)
    pieces.rotary(query.detach(), key.detach(), outs, (cosine, sine), backward=False)
    incoming = [fresh(*each.shape, seed=4).detach() for each in wanted]
    gradients = torch.autograd.grad(wanted, (query, key), incoming)
    backs = torch.empty(2, 3, 4, 8), torch.empty(2, 3, 2, 8)
    pieces.rotary(*incoming, backs, (cosine, sine), backward=True)
    for found, expected in zip((*outs, *backs), (*wanted, *gradients), strict=True):
        assert torch.allclose(found.transpose(1, 2), expected, atol=1e-5)


def test_a_head_norm_and_its_gradient_are_those_of_the_formula() -> None:
    """A row over its root mean square, times the weight."""
    x, weight = fresh(5, 8), fresh(8, seed=1).detach()
    wanted = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * weight
    out, scale = torch.empty(5, 8), torch.empty(5)
    pieces.head_norm(x.detach(), weight, out, scale, 1e-6)
    assert torch.allclose(out, wanted, atol=1e-6)
    incoming = fresh(5, 8, seed=2).detach()
    back = torch.empty(5, 8)
    pieces.head_norm_backward(incoming, x.detach(), weight, scale, back)
    assert torch.allclose(back, torch.autograd.grad(wanted, x, incoming)[0], atol=1e-5)


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_a_loss_leaves_the_gradient_where_the_logits_stood(
    factor: float, softcap: float | None
) -> None:
    """Factor first, soft cap second, as the models do it."""
    logits, labels = fresh(6, 9), torch.tensor([0, 8, 3, 3, 1, 7])
    value = logits * factor
    value = value if softcap is None else softcap * torch.tanh(value / softcap)
    wanted = nn.functional.cross_entropy(value, labels, reduction="none")
    place, losses = logits.detach().clone(), torch.empty(6)
    pieces.cross_entropy(place, labels, losses, factor, softcap)
    assert torch.allclose(losses, wanted, atol=1e-6)
    assert torch.allclose(place, torch.autograd.grad(wanted.sum(), logits)[0], atol=1e-6)


def test_a_trace_fills_nothing() -> None:
    """Tensors of a trace have no values, and a piece allocates none that stay."""
    out = torch.full((4, 6), 7.0)
    with pieces.traced():
        pieces.gated(fresh(4, 6).detach(), fresh(4, 6).detach(), out, Thin(), Thin())
    assert (out == 7).all()
    assert not pieces.Piece.traced


def test_a_thin_product_that_is_not_there_hands_over_a_stand_in() -> None:
    """A kernel takes pointers, and reads no element through this one."""
    stand_in = torch.empty(1)
    assert Thin().rank == 0
    assert Thin().arguments(stand_in) == (stand_in, stand_in)
    assert thin(4, 6, 0).row_stride == 5
