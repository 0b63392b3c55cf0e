"""The fused kernels give what the plain modules give, and touch only what they know."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from tests.support import tiny
from tsplanner.training.kernels.frozen_linear import PlainMatrix
from tsplanner.training.kernels.fused_kernels import (
    AdaptedLinear,
    GatedProduct,
    RowNorm,
    is_gated_mlp,
    is_plain_norm,
    use_fused_kernels,
    use_own_kernels,
)


def fresh(*shape: int, seed: int = 0) -> torch.Tensor:
    """A tensor that wants a gradient, in fp64 so that formulas and not roundings are compared."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator, requires_grad=True)


def test_row_norm_has_the_gradients_of_its_formula() -> None:
    """A row over its root mean square, times the weight: checked in fp32 against autograd."""
    x, weight = fresh(3, 8).float().detach().requires_grad_(), fresh(8, seed=1).float().detach()
    weight.requires_grad_()
    plain = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * weight
    wanted = torch.autograd.grad(plain.sin().sum(), (x, weight))
    found = torch.autograd.grad(RowNorm.apply(x, weight, 1e-6).sin().sum(), (x, weight))
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_gated_product_has_the_gradients_of_silu_times_up() -> None:
    """Computing silu again in backward changes nothing."""
    gate, up = fresh(4, 6), fresh(4, 6, seed=1)
    plain = nn.functional.silu(gate) * up
    wanted = torch.autograd.grad(plain.sin().sum(), (gate, up))
    found = torch.autograd.grad(GatedProduct.apply(gate, up).sin().sum(), (gate, up))
    assert all(torch.allclose(a, b) for a, b in zip(found, wanted, strict=True))


def test_adapted_linear_has_the_gradients_of_base_plus_adapter() -> None:
    """Two thin products and one with the base, in place: the same function."""
    x, weight, bias = fresh(2, 5, 8), fresh(6, 8, seed=1).detach(), fresh(6, seed=2).detach()
    a, b = fresh(3, 8, seed=3), fresh(6, 3, seed=4)
    plain = nn.functional.linear(x, weight, bias) + 0.5 * (x @ a.t() @ b.t())
    ours = AdaptedLinear.apply(x, PlainMatrix(weight), bias, a, b, 0.5)
    assert torch.allclose(ours, plain)
    wanted = torch.autograd.grad(plain.sin().sum(), (x, a, b))
    found = torch.autograd.grad(ours.sin().sum(), (x, a, b))
    assert all(torch.allclose(one, two) for one, two in zip(found, wanted, strict=True))


def adapted(model_type: str = "qwen2", **lora: Any) -> Any:
    """A tiny bf16 decoder with LoRA on its linears."""
    from transformers import AutoConfig, AutoModelForCausalLM

    keys = {k: v for k, v in tiny.CONFIG.items() if k != "model_type"}
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, head_dim=8, **keys)
    base = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    # The adapter is smaller than the base, as in training: each rounds what it adds.
    options = {"r": 4, "lora_alpha": 1, "target_modules": "all-linear", "init_lora_weights": False}
    return get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **{**options, **lora}))


def loss_and_gradient(model: Any) -> tuple[float, torch.Tensor]:
    """Of one batch under bf16 autocast, as Trainer runs it."""
    ids = torch.arange(24).reshape(2, 12) % 100
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return float(loss), torch.cat(gradients)


@pytest.mark.parametrize("model_type", ["qwen2", "qwen3", "llama", "gemma"])
def test_a_model_with_fused_kernels_learns_the_same(model_type: str) -> None:
    """Loss and adapter gradients agree within bf16's rounding, and undoing restores them."""
    model = adapted(model_type)
    loss, gradient = loss_and_gradient(model)
    use_fused_kernels(model)
    fused_loss, fused_gradient = loss_and_gradient(model)
    assert fused_loss == pytest.approx(loss, rel=2e-3)
    cosine = nn.functional.cosine_similarity(gradient, fused_gradient, dim=0)
    assert float(cosine) > 0.9995
    use_own_kernels(model)
    assert loss_and_gradient(model)[0] == loss


def replaced(model: Any) -> set[str]:
    """Kinds of modules whose forward is not their own."""
    return {type(module).__name__ for module in model.modules() if "forward" in module.__dict__}


def test_only_known_pieces_are_replaced() -> None:
    """Gemma's norm multiplies by one plus its weight in fp32, and its MLP has no silu."""
    model = adapted("gemma")
    use_fused_kernels(model)
    assert replaced(model) == {"Linear"}


@pytest.mark.parametrize("lora", [{"lora_dropout": 0.1}, {"use_dora": True}, {"lora_bias": True}])
def test_other_adapters_keep_their_own_forward(lora: dict[str, Any]) -> None:
    """Dropout, DoRA and a bias of the adapter are PEFT's own business."""
    model = adapted(**lora)
    use_fused_kernels(model)
    assert "Linear" not in replaced(model)
    assert any(is_plain_norm(module) for module in model.modules())
    assert any(is_gated_mlp(module) for module in model.modules())
