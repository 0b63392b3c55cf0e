"""Our experts give what PEFT on transformers' loop gives, in losses and in every gradient."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tests.training.test_expert_targets import EXPERTS, adapted, mixture
from tsplanner.training.kernels import experts
from tsplanner.training.kernels.fused_kernels import use_fused_kernels, use_own_kernels


@pytest.fixture
def any_dtype(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the kernel run in wide dtypes, so that formulas and not roundings are compared."""
    monkeypatch.setattr(experts, "HALF", (torch.float64, torch.float32, torch.bfloat16))
    return None


def prepared(family: str, dtype: torch.dtype, *targets: str) -> Any:
    """A mixture with weights large enough to matter, and an adapter that is not zero."""
    model = adapted(mixture(family, dtype, "cpu"), *(targets or EXPERTS), lora_rank=4)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    model.get_base_model().set_experts_implementation("eager")
    return model


def step(model: Any) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of one batch."""
    ids = torch.arange(24).reshape(2, 12)
    model.zero_grad()
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    return loss.item(), {
        name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None
    }


def use_experts(model: Any) -> int:
    """Replace the forward of the experts alone; the number of modules."""
    found = [module for module in model.modules() if experts.is_plain_experts(module)]
    for module in found:
        forward = experts.experts_forward(type(module).forward)
        module.forward = types.MethodType(forward, module)
    return len(found)


@pytest.mark.usefixtures("any_dtype")
@pytest.mark.parametrize("loop", [True, False], ids=["loop", "grouped"])
@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "gpt_oss", "granitemoe", "glm4_moe"])
def test_losses_and_gradients_equal_those_of_peft_in_fp32(
    family: str, loop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Biases, interleaved and transposed matrices (gpt-oss) included."""
    if loop:
        monkeypatch.setattr(experts, "GROUPED", ())
    model = prepared(family, torch.float32)
    wanted_loss, wanted = step(model)
    assert use_experts(model)
    loss, gradients = step(model)
    assert loss == pytest.approx(wanted_loss, rel=1e-6)
    assert gradients.keys() == wanted.keys()
    for name, gradient in gradients.items():
        error = (gradient - wanted[name]).norm() / wanted[name].norm()
        assert float(error) < 2e-6, name


@pytest.mark.usefixtures("any_dtype")
@pytest.mark.parametrize("targets", [("down_proj",), ("gate_up_proj",), ("q_proj", *EXPERTS)])
def test_one_parameter_may_be_adapted_without_the_other(targets: tuple[str, ...]) -> None:
    """The other one's products have no adapter then."""
    model = prepared("qwen3_moe", torch.float32, *targets)
    _, wanted = step(model)
    assert use_experts(model)
    _, gradients = step(model)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-4, atol=1e-8)


def test_half_precision_agrees_within_its_rounding() -> None:
    """PEFT rounds the sum of weight and adapter to bf16; ours rounds two products."""
    model = prepared("qwen3_moe", torch.bfloat16)
    wanted_loss, wanted = step(model)
    use_fused_kernels(model)
    loss, gradients = step(model)
    assert loss == pytest.approx(wanted_loss, rel=1e-3)
    for name, gradient in gradients.items():
        cosine = torch.nn.functional.cosine_similarity(
            gradient.flatten(), wanted[name].flatten(), dim=0
        )
        assert float(cosine) > 0.999, name
    use_own_kernels(model)
    assert step(model)[0] == wanted_loss


def test_fp32_experts_keep_their_own_forward() -> None:
    """As every piece whose base is not in half precision."""
    assert not use_experts(prepared("qwen3_moe", torch.float32))


@pytest.mark.usefixtures("any_dtype")
def test_disabled_adapters_leave_the_base_alone() -> None:
    """PEFT's own forward runs then."""
    model = prepared("qwen3_moe", torch.float32)
    ids = torch.arange(24).reshape(2, 12)
    with model.disable_adapter():
        wanted = model(input_ids=ids).logits
    use_experts(model)
    with model.disable_adapter():
        assert torch.equal(model(input_ids=ids).logits, wanted)


@pytest.mark.parametrize("grouped", [True, False])
def test_rows_meet_the_matrix_of_their_expert(
    grouped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three experts of which the second has no row: its sum of outer products is zero."""
    if not grouped:
        monkeypatch.setattr(experts, "GROUPED", ())
    rows = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]])
    matrices = torch.stack([torch.full((4, 4), float(number)) for number in (1, 2, 3)])
    ends = torch.tensor([2, 2, 3], dtype=torch.int32)
    product = experts.rows_by_experts(rows, matrices, ends)
    assert product.tolist() == [[1.0] * 4, [1.0] * 4, [3.0] * 4]
    sums = experts.experts_by_rows(rows, product, ends)
    assert sums[0].tolist() == [[1.0] * 4, [1.0] * 4, [0.0] * 4, [0.0] * 4]
    assert not sums[1].any()
    assert sums[2].tolist() == [[0.0] * 4, [0.0] * 4, [3.0] * 4, [0.0] * 4]
