"""Rotation, head norm and gated product as functions with a gradient."""

from __future__ import annotations

import torch
from torch import nn

from tests.training.kernels.compiled.test_pieces import fresh
from tsplanner.training.kernels.compiled.functions import GatedProduct, HeadNorm, Rotary


def test_turned_heads_lie_token_by_token_and_keep_the_tables_alone() -> None:
    """Attention kernels read [B, S, H, D], and the gradient comes back in any order."""
    query, key = fresh(2, 4, 3, 8), fresh(2, 2, 3, 8, seed=1)
    cosine, sine = torch.ones(1, 3, 8), torch.zeros(1, 3, 8)
    turned = Rotary.apply(query, key, cosine, sine)
    assert [each.shape for each in turned] == [query.shape, key.shape]
    assert all(each.transpose(1, 2).is_contiguous() for each in turned)
    # A turn by nothing passes the gradient on.
    sums = sum((each * 3).sum() for each in turned)
    found = torch.autograd.grad(sums, (query, key))
    assert all(torch.equal(each, torch.full_like(each, 3)) for each in found)


def test_a_head_norm_takes_heads_that_are_not_laid_out_one_after_the_other() -> None:
    """[B, H, S, D] seen through a transposition, as Gemma hands it over."""
    x, weight = fresh(2, 3, 4, 8), torch.full((8,), 2.0)
    seen = x.transpose(1, 2)
    wanted = seen * torch.rsqrt(seen.pow(2).mean(-1, keepdim=True) + 1e-6) * weight
    assert torch.allclose(HeadNorm.apply(seen, weight, 1e-6), wanted, atol=1e-6)
    incoming = fresh(2, 4, 3, 8, seed=1).detach()
    found = torch.autograd.grad(HeadNorm.apply(seen, weight, 1e-6), x, incoming)[0]
    assert torch.allclose(found, torch.autograd.grad(wanted, x, incoming)[0], atol=1e-5)


def test_a_gated_product_returns_its_gradients_in_the_tensors_that_it_kept() -> None:
    """The incoming gradient is another's, and stays as it was."""
    gate, up = fresh(2, 3, 6), fresh(2, 3, 6, seed=1)
    incoming = fresh(2, 3, 6, seed=2).detach()
    before = incoming.clone()
    wanted = torch.autograd.grad(nn.functional.silu(gate) * up, (gate, up), incoming)
    copies = [each.detach().clone().requires_grad_() for each in (gate, up)]
    out = GatedProduct.apply(*copies)
    found = torch.autograd.grad(out, copies, incoming)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, wanted, strict=True))
    assert torch.equal(incoming, before)
