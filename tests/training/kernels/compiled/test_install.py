"""Which modules get compiled kernels, what they learn, and that all of it can be undone."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import nn

from memory_models.settings import DecoderKernels
from tests.training.kernels.test_fused_kernels import adapted, loss_and_gradient
from tsplanner.training.kernels.compiled.install import (
    is_head_norm,
    is_usual_rotary,
    use_compiled_kernels,
    use_kernels,
    use_own_forwards,
)
from tsplanner.training.kernels.fused_loss import has_compiled_loss, use_fused_loss


def rotary_of(model_type: str) -> Any:
    """The function by which a family of transformers turns queries and keys."""
    name = f"transformers.models.{model_type}.modeling_{model_type}"
    return importlib.import_module(name).apply_rotary_pos_emb


@pytest.mark.parametrize("model_type", ["qwen2", "qwen3", "llama", "gemma"])
def test_a_model_with_compiled_kernels_learns_the_same(model_type: str) -> None:
    """Loss and adapter gradients agree within bf16's rounding, and undoing restores them."""
    model = adapted(model_type)
    loss, gradient = loss_and_gradient(model)
    use_compiled_kernels(model)
    ours, our_gradient = loss_and_gradient(model)
    assert ours == pytest.approx(loss, rel=2e-3)
    assert float(nn.functional.cosine_similarity(gradient, our_gradient, dim=0)) > 0.9995
    use_own_forwards(model)
    assert loss_and_gradient(model)[0] == loss


@pytest.mark.parametrize("targets", [["q_proj", "down_proj"], ["v_proj"], ["gate_proj"]])
def test_adapters_on_some_linears_learn_the_same(targets: list[str]) -> None:
    """The others of their group are frozen, and have no adapter."""
    model = adapted(target_modules=targets)
    loss, gradient = loss_and_gradient(model)
    use_compiled_kernels(model)
    ours, our_gradient = loss_and_gradient(model)
    assert ours == pytest.approx(loss, rel=2e-3)
    assert float(nn.functional.cosine_similarity(gradient, our_gradient, dim=0)) > 0.999


def test_checkpointed_layers_make_the_same_results_again() -> None:
    """Recomputation asks the siblings anew."""
    model = adapted("qwen3")
    use_compiled_kernels(model)
    loss, gradient = loss_and_gradient(model)
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    again, recomputed = loss_and_gradient(model)
    assert again == loss
    assert torch.equal(gradient, recomputed)


@pytest.mark.parametrize("lora", [{"lora_dropout": 0.1}, {"use_dora": True}])
def test_other_adapters_keep_peft_s_forward(lora: dict[str, Any]) -> None:
    """Dropout and DoRA join no group; norms, products and rotation are compiled all the same."""
    model = adapted("qwen3", **lora)
    use_compiled_kernels(model)
    replaced = {type(each).__name__ for each in model.modules() if "forward" in each.__dict__}
    assert replaced == {"Qwen3RMSNorm", "Qwen3MLP"}


def test_linears_that_several_trials_share_are_left_to_them() -> None:
    """multi-LoRA replaces their forward itself."""
    model = adapted("qwen3")
    use_compiled_kernels(model, alone=False)
    loss_and_gradient(model)
    assert not any("_adapter_copies" in each.__dict__ for each in model.modules())


def test_the_loss_is_compiled_too_where_it_is_fused() -> None:
    """Losses and gradients agree within bf16's rounding."""
    model = adapted("qwen3")
    use_fused_loss(model.get_base_model())
    loss, gradient = loss_and_gradient(model)
    use_compiled_kernels(model)
    assert has_compiled_loss(model.get_base_model())
    ours, our_gradient = loss_and_gradient(model)
    assert ours == pytest.approx(loss, rel=2e-3)
    assert float(nn.functional.cosine_similarity(gradient, our_gradient, dim=0)) > 0.999
    use_own_forwards(model)
    assert not has_compiled_loss(model.get_base_model())


def test_the_rotation_of_a_family_is_replaced_and_given_back() -> None:
    """It is a function of the modeling file, which other models of the family share."""
    plain = rotary_of("qwen3")
    model = adapted("qwen3")
    use_compiled_kernels(model)
    assert rotary_of("qwen3").plain is plain
    use_own_forwards(model)
    assert rotary_of("qwen3") is plain


@pytest.mark.parametrize("kernels", [DecoderKernels.FUSED, DecoderKernels.REFERENCE])
def test_a_model_with_other_kernels_gets_no_rotation_that_another_left(
    kernels: DecoderKernels,
) -> None:
    """A process may build models of one family one after the other, as traces do."""
    plain = rotary_of("qwen3")
    use_kernels(adapted("qwen3"), DecoderKernels.COMPILED)
    assert rotary_of("qwen3") is not plain
    use_kernels(adapted("qwen3"), kernels)
    assert rotary_of("qwen3") is plain


@pytest.mark.parametrize(
    ("model_type", "usual"),
    [("qwen3", True), ("llama", True), ("gemma2", True), ("cohere", False), ("gpt_oss", False)],
)
def test_a_rotation_is_known_by_what_it_returns(model_type: str, usual: bool) -> None:
    """Cohere turns neighbours, gpt-oss has half a table."""
    assert is_usual_rotary(rotary_of(model_type)) is usual


def test_a_trained_norm_is_no_head_norm() -> None:
    """Its weight needs a gradient, which the kernel does not make."""
    norm = torch.nn.RMSNorm(16)
    assert not is_head_norm(norm)
    assert any(is_head_norm(each) for each in adapted("qwen3").modules())
